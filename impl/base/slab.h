// Storage for the engine's small, short-lived objects: public handles, tensor storages, tape nodes,
// block records.
//
// - Slots are cut from anonymous mappings that are never returned to the system and never change
// between the handle
//   and the object family. A stale handle can therefore be examined safely: its header is still a
//   handle header.
// - The usual path takes no lock: each thread keeps two magazines per size class and trades whole
// magazines of 32 with
//   a shared list (Bonwick and Adams, "Magazines and Vmem", 2001). A slot may be returned by any
//   thread. A thread that ends gives its magazines back.
// - Slots are reused last in, first out. With MILL_CHECK_HANDLES and in sanitizer builds the last
// 256 slots that a
//   thread returned per class stay out of use, so that stale pointers are noticed for longer.
// - After fork() the child may go on allocating: the shared lists' locks are taken around the fork.
// What other threads
//   held in their magazines is lost to the child, never corrupted.
// - Memory that runs out is reported as Error(MILL_E_MEMORY).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>

namespace mill {

enum class SlabFamily : uint32_t { handles = 0, objects = 1 };

inline constexpr size_t kSlabAlign = 64;
inline constexpr size_t kSlabMaxBytes = 8192;
inline constexpr uint32_t kSlabClasses =
    26;  // 64 B steps to 1 KiB, 256 B steps to 2 KiB, 1 KiB steps to 8 KiB

constexpr uint32_t slab_class(size_t bytes) {
  if (bytes <= 1024) return bytes == 0 ? 0 : static_cast<uint32_t>((bytes - 1) / 64);
  if (bytes <= 2048) return 16 + static_cast<uint32_t>((bytes - 1025) / 256);
  return 20 + static_cast<uint32_t>((bytes - 2049) / 1024);
}

constexpr size_t slab_class_bytes(uint32_t index) {
  if (index < 16) return (size_t{index} + 1) * 64;
  if (index < 20) return 1024 + (size_t{index} - 15) * 256;
  return 2048 + (size_t{index} - 19) * 1024;
}

// Raw slots. `counter` (below kSlabCounters) is where the live count is kept; any meaning the
// caller gives it.
inline constexpr uint32_t kSlabCounters = 32;
void* slab_take(SlabFamily family, uint32_t size_class, uint32_t counter);
void slab_give(SlabFamily family, uint32_t size_class, uint32_t counter, void* slot) noexcept;

// Slots taken and not yet given back under a counter, over all threads. Exact while no other thread
// allocates.
int64_t slab_live(uint32_t counter) noexcept;
// Bytes mapped from the system so far.
uint64_t slab_mapped_bytes() noexcept;
// Tests of error paths: the k-th slab_take of the calling thread from now on fails (1 is the next);
// 0 turns it off.
void slab_fail_at(uint64_t k) noexcept;

// The live counters: one per HandleKind below 24, then one for all internal objects.
inline constexpr uint32_t kSlabObjectCounter = 24;

// Storage for internal objects that are not handles.
template <class T>
class Slab {
  static_assert(sizeof(T) <= kSlabMaxBytes && alignof(T) <= kSlabAlign);
  static constexpr uint32_t kClass = slab_class(sizeof(T));

 public:
  template <class... Args>
  static T* create(Args&&... args) {
    void* slot = slab_take(SlabFamily::objects, kClass, kSlabObjectCounter);
    try {
      return ::new (slot) T(std::forward<Args>(args)...);
    } catch (...) {
      slab_give(SlabFamily::objects, kClass, kSlabObjectCounter, slot);
      throw;
    }
  }

  static void destroy(T* object) noexcept {
    if (!object) return;
    std::destroy_at(object);
    slab_give(SlabFamily::objects, kClass, kSlabObjectCounter, object);
  }

  struct Deleter {
    void operator()(T* object) const noexcept { destroy(object); }
  };
  using Owner = std::unique_ptr<T, Deleter>;
};

}  // namespace mill
