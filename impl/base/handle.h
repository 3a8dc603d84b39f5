// The header that every public handle begins with, and the check that a pointer from a caller is
// such a handle.
#pragma once

#include <atomic>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "base/slab.h"

namespace mill {

enum class HandleKind : uint32_t {
  none = 0,
  error,
  context,
  exec,
  stream,
  event,
  future,
  tensor,
  call,
  tape,
  group,
  optimizer,
  generator,
  loader,
  file,
  writer,
  prof,
  prof_view,
  prof_result,
  count
};
static_assert(static_cast<uint32_t>(HandleKind::count) <= kSlabObjectCounter);

namespace detail {
extern const char cookie_anchor;  // one per copy of the library in the process
}

// Refuses handles of another copy of the library and memory that never was a handle.
inline uint64_t handle_cookie() {
  return reinterpret_cast<uintptr_t>(&detail::cookie_anchor) ^ uint64_t { 0x6d696c6c72616365 };
}

// First base of every public handle struct. A caller's stale pointer may be examined while another
// thread reuses the slot, so kind and cookie are only ever accessed atomically, construction
// included.
class Handle {
 public:
  Handle() noexcept {
    store_kind(HandleKind::none);
    __atomic_store_n(&cookie_, handle_cookie(), __ATOMIC_RELAXED);
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  HandleKind kind() const noexcept {
    return static_cast<HandleKind>(__atomic_load_n(&kind_, __ATOMIC_RELAXED));
  }
  uint64_t cookie() const noexcept { return __atomic_load_n(&cookie_, __ATOMIC_RELAXED); }
  uint32_t refs() const noexcept { return refs_.load(std::memory_order_relaxed); }

  void retain() noexcept { refs_.fetch_add(1, std::memory_order_relaxed); }
  // True for the last reference: the caller then destroys the object, and sees everything others
  // did to it.
  [[nodiscard]] bool release() noexcept {
    return refs_.fetch_sub(1, std::memory_order_acq_rel) == 1;
  }

  void store_kind(HandleKind kind) noexcept {
    __atomic_store_n(&kind_, static_cast<uint32_t>(kind), __ATOMIC_RELAXED);
  }

 private:
  std::atomic<uint32_t> refs_{1};
  uint32_t kind_;
  uint64_t cookie_;
};
static_assert(sizeof(Handle) == 16);

// Whether p is a live handle of this kind, made by this copy of the library. NULL and misaligned
// pointers are refused without being read. A pointer into memory that is not mapped still faults.
inline bool valid(const void* p, HandleKind kind) noexcept {
  if (!p || (reinterpret_cast<uintptr_t>(p) & (kSlabAlign - 1)) != 0) return false;
  const auto* handle = static_cast<const Handle*>(p);
  return handle->kind() == kind && handle->cookie() == handle_cookie();
}

// T derives from Handle first and names its kind: static constexpr HandleKind kKind =
// HandleKind::tensor; The new handle has one reference. It becomes valid after its constructor, and
// invalid before its destructor.
template <class T, class... Args>
T* slab_new(Args&&... args) {
  static_assert(std::is_base_of_v<Handle, T>);
  static_assert(sizeof(T) <= kSlabMaxBytes && alignof(T) <= kSlabAlign);
  constexpr uint32_t size_class = slab_class(sizeof(T));
  constexpr uint32_t counter = static_cast<uint32_t>(T::kKind);
  void* slot = slab_take(SlabFamily::handles, size_class, counter);
  try {
    T* handle = ::new (slot) T(std::forward<Args>(args)...);
    handle->store_kind(T::kKind);
    return handle;
  } catch (...) {
    slab_give(SlabFamily::handles, size_class, counter, slot);
    throw;
  }
}

template <class T>
void slab_delete(T* handle) noexcept {
  if (!handle) return;
  handle->store_kind(HandleKind::none);
  std::destroy_at(handle);
  slab_give(SlabFamily::handles, slab_class(sizeof(T)), static_cast<uint32_t>(T::kKind), handle);
}

// Handles of a kind that are alive, over all threads; for leak checks.
inline int64_t live_handles(HandleKind kind) noexcept {
  return slab_live(static_cast<uint32_t>(kind));
}

}  // namespace mill
