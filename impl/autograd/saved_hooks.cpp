#include "autograd/saved_hooks.h"

#include "dispatch/trace_op.h"
#include "dispatch/user_error.h"

namespace mill {

uint32_t PackedValues::pack(Exec& exec, mill_tensor& tensor) {
  const uint64_t id = trace_id(*exec.context, tensor);
  const uint64_t version = tensor.storage->version.load(std::memory_order_relaxed);
  if (const auto found = by_tensor_.find(id); found != by_tensor_.end()) {
    Entry& entry = entries_[found->second];
    if (entry.tensor == id && entry.version == version && entry.hooks == hooks) {
      ++entry.uses;
      return found->second + 1;
    }
  }
  // Room first: what the hook has made must not be lost.
  if (free_.empty()) {
    entries_.emplace_back();
    free_.reserve(entries_.capacity());
    free_.push_back(static_cast<uint32_t>(entries_.size() - 1));
  }
  uint32_t& slot = by_tensor_[id];
  Entry made;
  made.hooks = hooks;
  made.tensor = id;
  made.version = version;
  made.uses = 1;
  UserError error;
  const mill_status status = hooks->pack(hooks->user, &exec, &tensor, &made.object, error.handle());
  if (status < 0) {
    by_tensor_.erase(id);
    error.rethrow(status, "on_saved, pack,");
  }
  slot = free_.back();
  free_.pop_back();
  entries_[slot] = std::move(made);
  return slot + 1;
}

TensorRef PackedValues::unpack(Exec& exec, uint32_t number, const SavedValue& want) const {
  const Entry& entry = entries_[number - 1];
  UserError error;
  mill_tensor* stored = nullptr;
  const mill_status status =
      entry.hooks->unpack(entry.hooks->user, &exec, entry.object, &stored, error.handle());
  const bool real = stored && valid(stored, HandleKind::tensor);
  const TensorRef given = real ? TensorRef::adopt(stored) : TensorRef();
  if (status < 0) error.rethrow(status, "on_saved, unpack,");
  if (!given) fail(MILL_E_STATE, "unpack left no tensor in out_tensor");
  bool same = given->rank() == want.rank && given->dtype() == want.dtype;
  for (int32_t i = 0; same && i < want.rank; ++i) same = given->view.dims[i] == want.dims[i];
  if (!same) {
    fail(MILL_E_SHAPE, "unpack gave %s %s, what was packed is %s %s", dtype_name(given->dtype()),
         format_dims(*given).text, dtype_name(want.dtype), format_dims(want.dims, want.rank).text);
  }
  if (&given->device() != &exec.device) {
    fail(MILL_E_DEVICE, "unpack gave a tensor on %s %u, the exec is on %s %u",
         given->device().table().name, given->device().index(), exec.device.table().name,
         exec.device.index());
  }
  // A handle of the tape's own: the program's may have a place on a tape already.
  return make_view(given->storage.get(), given->dtype(), given->view.dims, given->view.strides,
                   given->rank(), given->offset);
}

void PackedValues::drop(uint32_t number) noexcept {
  Entry& entry = entries_[number - 1];
  if (--entry.uses > 0) return;
  if (const auto found = by_tensor_.find(entry.tensor);
      found != by_tensor_.end() && found->second == number - 1) {
    by_tensor_.erase(found);
  }
  const Entry gone = std::move(entry);
  entry = Entry();
  free_.push_back(number - 1);  // its capacity is that of entries_
  if (gone.object && gone.hooks->release) gone.hooks->release(gone.hooks->user, gone.object);
}

}  // namespace mill
