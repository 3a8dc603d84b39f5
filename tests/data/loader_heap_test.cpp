// Counts heap calls by replacing operator new for the whole test program.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "data/loader.h"

namespace {
std::atomic<long> heap_calls = 0;

void* counted(size_t size, size_t alignment) {
  heap_calls.fetch_add(1, std::memory_order_relaxed);
  void* memory = nullptr;
  if (::posix_memalign(&memory, alignment, size) != 0) throw std::bad_alloc();
  return memory;
}
}  // namespace

// Not inlined, because gcc would take free() for the wrong counterpart of a new it sees through.
#define MILL_REPLACED __attribute__((noinline))
MILL_REPLACED void* operator new(size_t size) {
  return counted(size, alignof(std::max_align_t));
}
MILL_REPLACED void* operator new(size_t size, std::align_val_t alignment) {
  return counted(size, static_cast<size_t>(alignment));
}
MILL_REPLACED void operator delete(void* memory) noexcept {
  std::free(memory);
}
MILL_REPLACED void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}
MILL_REPLACED void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
MILL_REPLACED void operator delete(void* memory, size_t, std::align_val_t) noexcept {
  std::free(memory);
}

namespace mill {
namespace {

TEST(LoaderHeap, IsNotUsedAfterTheFirstBatch) {
  static const uint8_t bytes[1000] = {};
  LoaderColumn column;
  column.base = bytes;
  column.dtype = MILL_U8;
  column.rows = 100;
  column.row_stride = 10;
  column.rank = 1;
  column.dims[0] = 10;
  column.strides[0] = 1;
  for (const uint32_t prefetch : {0u, 2u, 4u}) {
    LoaderOptions options;
    options.workers = prefetch == 4 ? 3 : 1;
    options.batch = 7;
    options.shuffle = true;
    options.prefetch = prefetch;
    BatchLoader loader(&column, 1, 0, options);
    loader.set_transform(0, {MILL_F32, 0.5, 0});
    LoaderBatch batch;
    const long before_first = heap_calls;
    ASSERT_TRUE(loader.next(batch));
    const long after_first = heap_calls;
    EXPECT_GT(after_first, before_first);
    for (int i = 0; i < 200; ++i) (void)loader.next(batch);
    EXPECT_EQ(heap_calls, after_first);
  }
}

}  // namespace
}  // namespace mill
