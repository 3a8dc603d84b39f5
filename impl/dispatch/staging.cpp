#include "dispatch/staging.h"

#include <algorithm>
#include <cstring>

namespace mill {

StagingRing::StagingRing(Device& device, uint64_t bytes, uint64_t stream, uint32_t tag)
    : device_(device), slot_bytes_(bytes / kSlots), slots_(kSlots) {
  try {
    for (Slot& slot : slots_) {
      slot.block = device_.pinned().allocate(slot_bytes_, stream, tag);
      slot.copied = Ref<mill_event>::adopt(slab_new<mill_event>(device_));
    }
  } catch (...) {
    free_all();
    throw;
  }
}

StagingRing::~StagingRing() {
  free_all();
}

void StagingRing::free_all() noexcept {
  for (Slot& slot : slots_) {
    if (!slot.block) continue;
    try {
      if (slot.pending) slot.copied->wait(UINT64_MAX);
    } catch (...) {  // NOLINT(bugprone-empty-catch): a device that is lost copies nothing
    }
    device_.pinned().free(slot.block);
    slot.block = nullptr;
  }
}

void StagingRing::copy(mill_stream& stream, void* to, const void* from, uint64_t bytes) {
  const mill_timeline_functions* const model = device_.modelled();
  for (uint64_t at = 0; at < bytes;) {
    Slot& slot = slots_[next_];
    const uint64_t n = std::min(bytes - at, slot_bytes_);
    // An event of its own: waiting for the stream would wait for kernels that came after the copy.
    if (slot.pending) slot.copied->wait(UINT64_MAX);
    slot.pending = false;
    if (model) {
      model->work(device_.self(), 0, n);
      mill_kernel_error error{};
      check(model->host_access(device_.self(), slot.block->data, n, 1, &error), error);
    }
    std::memcpy(slot.block->data, static_cast<const char*>(from) + at, n);
    device_.copy(stream.native, static_cast<char*>(to) + at, slot.block->data, n,
                 MILL_COPY_HOST_TO_DEVICE);
    slot.copied->record(stream);
    slot.pending = true;
    next_ = (next_ + 1) % slots_.size();
    at += n;
  }
}

}  // namespace mill
