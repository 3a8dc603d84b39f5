#include <sys/mman.h>
#include <unistd.h>

#include <new>

#include "gpu/runtime/sim/fiber.h"

namespace mill::sim {

namespace {

constexpr size_t kStackPages = 16;  // 64 KiB; bodies use under 4 KiB, checks and reports more
constexpr size_t kStagger = 128;    // bytes between the tops of neighbours, modulo a page

}  // namespace

FiberStacks::FiberStacks(int count)
    : page_(static_cast<size_t>(sysconf(_SC_PAGESIZE))), count_(count) {
  stride_ = (kStackPages + 1) * page_;  // 17 pages, the lowest of them the guard
  const size_t bytes = stride_ * static_cast<size_t>(count);
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  memory_ = static_cast<unsigned char*>(memory);
  for (int k = 0; k < count; ++k)
    mprotect(memory_ + stride_ * static_cast<size_t>(k), page_, PROT_NONE);
}

FiberStacks::~FiberStacks() {
  munmap(memory_, stride_ * static_cast<size_t>(count_));
}

void FiberStacks::give(int index, Fiber& fiber) const {
  const auto k = static_cast<size_t>(index);
  fiber.stack = memory_ + stride_ * k + page_;
  fiber.bytes = kStackPages * page_ - (k % (page_ / kStagger)) * kStagger;
}

}  // namespace mill::sim
