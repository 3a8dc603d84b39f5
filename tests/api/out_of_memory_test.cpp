// Every exported function when memory runs out: on the heap at each operator new (replaced below
// for the whole program), and on the device at each allocation.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "api/calls.h"

namespace {

std::atomic<int64_t> live_blocks{0};
thread_local uint64_t fail_in = 0;  // 1 fails the next; 0 is off
thread_local bool has_failed = false;

void* allocate(size_t bytes, size_t align) {
  if (fail_in != 0 && --fail_in == 0) {
    has_failed = true;
    return nullptr;
  }
  void* out = nullptr;
  if (align <= alignof(std::max_align_t)) {
    out = std::malloc(bytes == 0 ? 1 : bytes);
  } else if (::posix_memalign(&out, align, bytes) != 0) {
    out = nullptr;
  }
  if (out) live_blocks.fetch_add(1, std::memory_order_relaxed);
  return out;
}

void* allocate_or_throw(size_t bytes, size_t align) {
  void* out = allocate(bytes, align);
  if (!out) throw std::bad_alloc();
  return out;
}

void give_back(void* block) noexcept {
  if (!block) return;
  live_blocks.fetch_sub(1, std::memory_order_relaxed);
  std::free(block);
}

}  // namespace

void* operator new(size_t n) {
  return allocate_or_throw(n, 1);
}
void* operator new[](size_t n) {
  return allocate_or_throw(n, 1);
}
void* operator new(size_t n, std::align_val_t a) {
  return allocate_or_throw(n, static_cast<size_t>(a));
}
void* operator new[](size_t n, std::align_val_t a) {
  return allocate_or_throw(n, static_cast<size_t>(a));
}
void* operator new(size_t n, const std::nothrow_t&) noexcept {
  return allocate(n, 1);
}
void* operator new[](size_t n, const std::nothrow_t&) noexcept {
  return allocate(n, 1);
}
void operator delete(void* p) noexcept {
  give_back(p);
}
void operator delete[](void* p) noexcept {
  give_back(p);
}
void operator delete(void* p, size_t) noexcept {
  give_back(p);
}
void operator delete[](void* p, size_t) noexcept {
  give_back(p);
}
void operator delete(void* p, std::align_val_t) noexcept {
  give_back(p);
}
void operator delete[](void* p, std::align_val_t) noexcept {
  give_back(p);
}
void operator delete(void* p, size_t, std::align_val_t) noexcept {
  give_back(p);
}
void operator delete[](void* p, size_t, std::align_val_t) noexcept {
  give_back(p);
}
void operator delete(void* p, const std::nothrow_t&) noexcept {
  give_back(p);
}
void operator delete[](void* p, const std::nothrow_t&) noexcept {
  give_back(p);
}

namespace mill_test {
namespace {

constexpr uint64_t kMost = 4000;  // no call comes near so many allocations

class OutOfMemory : public testing::TestWithParam<const Entry*> {
 protected:
  // Whether a status is one that the call may end with when memory ran out in it.
  void expect_refusal(Fixture& f, Call& call, mill_status status, uint64_t k,
                      const std::string& state) {
    const Entry& entry = *GetParam();
    if (entry.value || status == entry.good) return;
    EXPECT_EQ(status, MILL_E_MEMORY) << "allocation " << k << ": " << f.message();
    if (call.argument(call.size() - 1) == Argument::err) {
      EXPECT_EQ(mill_error_status(f.err()), status);
      EXPECT_NE(f.message(), "");
    }
    for (size_t j = 0; j < call.size(); ++j) {
      if (call.argument(j) != Argument::handle_out) continue;
      EXPECT_EQ(*static_cast<void**>(call.pointer(j)), nullptr) << "allocation " << k;
    }
    EXPECT_EQ(f.state(), state) << "allocation " << k;
    // The library goes on.
    mill_error_clear(f.err());
    EXPECT_EQ(call.run(), entry.good) << "after allocation " << k << ": " << f.message();
  }
};

TEST_P(OutOfMemory, OnTheHeapIsReportedAndLeavesNothing) {
  const auto once = [&](uint64_t k) {
    const auto f = std::make_unique<Fixture>();
    const auto call = GetParam()->bind(*f);
    const std::string state = f->state();
    has_failed = false;
    fail_in = k;
    const mill_status status = call->run();
    fail_in = 0;
    const bool failed = has_failed;
    if (k != 0) expect_refusal(*f, *call, status, k, state);
    return failed;
  };
  once(0);  // what is made once and kept: tables, thread state, the folder of the run
  for (uint64_t k = 1; k < kMost; ++k) {
    const int64_t before = live_blocks.load();
    const bool failed = once(k);
    EXPECT_EQ(live_blocks.load(), before) << "allocation " << k;
    if (!failed) return;
    if (HasFailure()) return;
  }
  FAIL() << "more than " << kMost << " allocations";
}

class OutOfDeviceMemory : public OutOfMemory {};

TEST_P(OutOfDeviceMemory, IsReportedAndLeavesNothing) {
  for (uint64_t k = 1; k < kMost; ++k) {
    Fixture f;
    const auto call = GetParam()->bind(f);
    const std::string state = f.state();
    const uint64_t before = f.in_use();
    ASSERT_EQ(mill_memory_fail_at(f.context(), 0, k, f.err()), MILL_OK);
    const mill_status status = call->run();
    ASSERT_EQ(mill_memory_fail_at(f.context(), 0, 0, f.err()), MILL_OK);
    const bool refused = status == MILL_E_MEMORY && !GetParam()->value;
    if (refused) {
      EXPECT_EQ(f.in_use(), before) << "allocation " << k;
    }
    expect_refusal(f, *call, status, k, state);
    if (!refused || HasFailure()) return;
  }
  FAIL() << "more than " << kMost << " allocations";
}

std::vector<const Entry*> entries_but(const std::string& name) {
  std::vector<const Entry*> out;
  for (const Entry& entry : entries()) {
    if (name != entry.name) out.push_back(&entry);
  }
  return out;
}

INSTANTIATE_TEST_SUITE_P(Abi, OutOfMemory, testing::ValuesIn(entries_but("")),
                         [](const auto& entry) { return std::string(entry.param->name + 5); });
// mill_memory_fail_at itself takes the order back that the test gives.
INSTANTIATE_TEST_SUITE_P(Abi, OutOfDeviceMemory,
                         testing::ValuesIn(entries_but("mill_memory_fail_at")),
                         [](const auto& entry) { return std::string(entry.param->name + 5); });

TEST(OutOfMemoryReplacement, CountsAndFailsTheLibrarysAllocations) {
  Fixture f;
  mill_context* context = nullptr;
  const int64_t before = live_blocks.load();
  ASSERT_EQ(mill_context_create(nullptr, &context, nullptr), MILL_OK);
  EXPECT_GT(live_blocks.load(), before);
  mill_context_release(context);
  fail_in = 1;
  EXPECT_EQ(mill_context_create(nullptr, &context, f.err()), MILL_E_MEMORY);
  fail_in = 0;
  EXPECT_EQ(context, nullptr);
  EXPECT_EQ(f.message(), "mill_context_create: out of memory on the host");
}

TEST(MemoryLimit, RefusesWithBothNumbersAndTakesBack) {
  Fixture f;
  ASSERT_EQ(mill_memory_set_limit(f.context(), 0, 8 << 20, f.err()), MILL_OK);
  const uint64_t before = f.in_use();
  const int64_t dims[] = {1 << 26};
  mill_tensor* tensor = nullptr;
  EXPECT_EQ(mill_tensor_create(f.exec(), MILL_F32, dims, 1, &tensor, f.err()), MILL_E_MEMORY);
  EXPECT_EQ(tensor, nullptr);
  uint64_t requested = 0;
  uint64_t in_use = 1;
  uint64_t limit = 0;
  mill_error_memory(f.err(), &requested, &in_use, &limit);
  EXPECT_GE(requested, uint64_t{1} << 28);
  EXPECT_EQ(in_use, before);
  EXPECT_EQ(limit, uint64_t{8} << 20);
  EXPECT_EQ(f.in_use(), before);
  ASSERT_EQ(mill_memory_set_limit(f.context(), 0, 0, f.err()), MILL_OK);
  const int64_t small[] = {1 << 22};
  EXPECT_EQ(mill_tensor_create(f.exec(), MILL_F32, small, 1, &tensor, f.err()), MILL_OK);
  mill_tensor_release(tensor);
}

TEST(MemoryLimit, OfTheOptionsHolds) {
  Fixture f;
  mill_context_opts opts{};
  opts.size = sizeof opts;
  opts.type = MILL_STRUCT_CONTEXT_OPTS;
  opts.threads = 1;
  opts.memory_limit = 4 << 20;
  mill_context* context = nullptr;
  ASSERT_EQ(mill_context_create(&opts, &context, f.err()), MILL_OK);
  mill_exec* exec = nullptr;
  ASSERT_EQ(mill_exec_create(context, 0, nullptr, &exec, f.err()), MILL_OK);
  const int64_t dims[] = {1 << 23};
  mill_tensor* tensor = nullptr;
  EXPECT_EQ(mill_tensor_create(exec, MILL_U8, dims, 1, &tensor, f.err()), MILL_E_MEMORY);
  mill_exec_release(exec);
  mill_context_release(context);
}

}  // namespace
}  // namespace mill_test
