#include "gpu/runtime/sim/space.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "gpu/runtime/sim/check/shadow.h"

namespace mill::sim {

namespace {

constexpr uint64_t kPoisonLimit = uint64_t{64} << 20;

uint64_t round_up(uint64_t bytes) {
  return (bytes + Space::kGranule - 1) & ~(Space::kGranule - 1);
}

}  // namespace

Space::Space(uint64_t capacity) : capacity_(capacity) {
  // Half as much again, because addresses are cut into pieces; the granules between allocations
  // come out of it too.
  span_ = round_up(capacity + capacity / 2);
  void* both =
      mmap(nullptr, 2 * span_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (both == MAP_FAILED) throw std::bad_alloc();
  begin_ = static_cast<char*>(both);
  delta_ = static_cast<ptrdiff_t>(span_);
  free_[0] = span_;
}

Space::~Space() {
  munmap(begin_, 2 * span_);
}

bool Space::take(uint64_t bytes, uint64_t* offset) {
  for (auto it = free_.begin(); it != free_.end(); ++it) {
    if (it->second < bytes) continue;
    *offset = it->first;
    const uint64_t rest = it->second - bytes;
    const uint64_t at = it->first + bytes;
    free_.erase(it);
    if (rest > 0) free_[at] = rest;
    return true;
  }
  return false;
}

void Space::give(uint64_t offset, uint64_t bytes) noexcept {
  auto next = free_.lower_bound(offset);
  if (next != free_.end() && next->first == offset + bytes) {
    bytes += next->second;
    next = free_.erase(next);
  }
  if (next != free_.begin()) {
    const auto before = std::prev(next);
    if (before->first + before->second == offset) {
      before->second += bytes;
      return;
    }
  }
  free_[offset] = bytes;
}

bool Space::open(uint64_t offset, uint64_t bytes) noexcept {
  return mprotect(begin_ + delta_ + offset, bytes, PROT_READ | PROT_WRITE) == 0;
}

// Fresh anonymous memory over the old: its pages go back and it is closed again.
void Space::close(uint64_t offset, uint64_t bytes) noexcept {
  char* const at = begin_ + delta_ + offset;
  const void* const closed =
      mmap(at, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  // Out of maps: the pages stay until they are opened again.
  if (closed == MAP_FAILED) mprotect(at, bytes, PROT_NONE);
}

void* Space::allocate(uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  const uint64_t memory = round_up(std::max<uint64_t>(bytes, 1));
  if (bytes > capacity_ || memory > capacity_ - std::min(capacity_, used_)) return nullptr;
  uint64_t offset = 0;
  // One closed granule behind, where a run past the end faults.
  if (!take(memory + kGranule, &offset)) return nullptr;
  if (!open(offset, memory)) {
    give(offset, memory + kGranule);
    return nullptr;
  }
  used_ += memory;
  ranges_[offset] = {bytes, memory + kGranule, memory, false};
  if (shadow_) shadow_->fresh(begin_ + offset, memory);
  if (bytes <= kPoisonLimit) std::memset(begin_ + delta_ + offset, 0xff, bytes);
  return begin_ + offset;
}

void Space::free(void* data) noexcept {
  const std::lock_guard lock(mutex_);
  const auto offset = static_cast<uint64_t>(static_cast<char*>(data) - begin_);
  const auto found = ranges_.find(offset);
  if (found == ranges_.end() || found->second.reserved_only) return;
  close(offset, found->second.mapped);
  if (shadow_) shadow_->gone(data, found->second.mapped);
  used_ -= found->second.mapped;
  give(offset, found->second.span);
  ranges_.erase(found);
}

void* Space::reserve(uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  const uint64_t span = round_up(std::max<uint64_t>(bytes, 1));
  uint64_t offset = 0;
  if (span < bytes || span > span_ - kGranule || !take(span + kGranule, &offset)) return nullptr;
  ranges_[offset] = {bytes, span + kGranule, 0, true};
  return begin_ + offset;
}

void Space::release(void* range) noexcept {
  const std::lock_guard lock(mutex_);
  const auto offset = static_cast<uint64_t>(static_cast<char*>(range) - begin_);
  const auto found = ranges_.find(offset);
  if (found == ranges_.end() || !found->second.reserved_only) return;
  close(offset, found->second.span);
  if (shadow_) shadow_->gone(range, found->second.span);
  used_ -= found->second.mapped;
  give(offset, found->second.span);
  ranges_.erase(found);
}

bool Space::map(void* at, uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  const auto offset = static_cast<uint64_t>(static_cast<char*>(at) - begin_);
  auto found = ranges_.upper_bound(offset);
  if (found == ranges_.begin()) return false;
  --found;
  Range& range = found->second;
  if (!range.reserved_only || offset + bytes > found->first + range.span - kGranule ||
      offset % kGranule != 0 || bytes % kGranule != 0 ||
      bytes > capacity_ - std::min(capacity_, used_) || !open(offset, bytes)) {
    return false;
  }
  range.mapped += bytes;
  if (shadow_) shadow_->fresh(at, bytes);
  used_ += bytes;
  return true;
}

void Space::unmap(void* at, uint64_t bytes) noexcept {
  const std::lock_guard lock(mutex_);
  const auto offset = static_cast<uint64_t>(static_cast<char*>(at) - begin_);
  auto found = ranges_.upper_bound(offset);
  if (found == ranges_.begin()) return;
  --found;
  if (!found->second.reserved_only || bytes > found->second.mapped) return;
  close(offset, bytes);
  if (shadow_) shadow_->gone(at, bytes);
  found->second.mapped -= bytes;
  used_ -= bytes;
}

uint64_t Space::bytes_at(const void* data) const {
  const std::lock_guard lock(mutex_);
  const auto found = ranges_.find(static_cast<uint64_t>(static_cast<const char*>(data) - begin_));
  return found == ranges_.end() ? 0 : found->second.bytes;
}

bool Space::contains(const void* p, uint64_t bytes, uint64_t* left) const {
  const std::lock_guard lock(mutex_);
  *left = 0;
  if (!holds(p)) return false;
  const auto offset = static_cast<uint64_t>(static_cast<const char*>(p) - begin_);
  auto found = ranges_.upper_bound(offset);
  if (found == ranges_.begin()) return false;
  --found;
  const uint64_t end = found->first + found->second.bytes;
  if (offset >= end) return false;
  *left = end - offset;
  return bytes <= *left;
}

std::vector<Space::Live> Space::live() const {
  const std::lock_guard lock(mutex_);
  std::vector<Live> all;
  all.reserve(ranges_.size());
  for (const auto& [offset, range] : ranges_) all.push_back({offset, range.bytes});
  return all;
}

void Space::watch(Shadow* shadow) {
  const std::lock_guard lock(mutex_);
  shadow_ = shadow;
}

uint64_t Space::used() const {
  const std::lock_guard lock(mutex_);
  return used_;
}

uint64_t Space::capacity() const {
  const std::lock_guard lock(mutex_);
  return capacity_;
}

void Space::set_capacity(uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  capacity_ = bytes;
}

}  // namespace mill::sim
