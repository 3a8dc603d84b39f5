// The rule between streams, on a source whose streams are done when the test says so.
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "base/error.h"
#include "fake_source.h"
#include "memory/allocator.h"

namespace mill {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

class AllocatorStreamsTest : public ::testing::TestWithParam<uint64_t> {
 protected:
  AllocatorStreamsTest() : source_(false), allocator_(std::make_unique<Allocator>(source_)) {}
  ~AllocatorStreamsTest() override {
    EXPECT_EQ(allocator_->self_check(), "");
    allocator_.reset();
    EXPECT_EQ(source_.held, 0u);
    EXPECT_EQ(source_.events, 0);
    EXPECT_EQ(source_.wrong, "");
  }

  Block* allocate(uint64_t stream) { return allocator_->allocate(GetParam(), stream, 0); }
  void submit(uint64_t stream) { ++source_.submitted[stream]; }
  void complete(uint64_t stream) { source_.completed[stream] = source_.submitted[stream]; }
  // Takes every free block that `stream` may have without growth, and says whether one of them
  // holds `data`.
  bool stream_gets(uint64_t stream, const void* data) {
    std::vector<Block*> taken;
    bool found = false;
    const uint64_t calls = source_.allocations;
    for (int i = 0; i < 10000 && source_.allocations == calls && !found; ++i) {
      taken.push_back(allocate(stream));
      found = taken.back()->data == data;
    }
    for (Block* b : taken) allocator_->free(b);
    return found;
  }

  FakeSource source_;
  std::unique_ptr<Allocator> allocator_;
};

TEST_P(AllocatorStreamsTest, TheSameStreamReusesAtOnceWithoutAnyDeviceCall) {
  for (int i = 0; i < 50; ++i) {
    Block* a = allocate(1);
    submit(1);
    allocator_->free(a);
  }
  EXPECT_EQ(source_.allocations, 1u);
  EXPECT_EQ(source_.records + source_.queries + source_.waits, 0u);
}

TEST_P(AllocatorStreamsTest, AnotherStreamGetsMemoryOnlyAfterTheFirstIsDone) {
  std::vector<Block*> all;
  for (int i = 0; i < 40; ++i) all.push_back(allocate(1));
  Block* kept = allocate(2);
  const void* data = all[20]->data;
  submit(1);
  for (Block* b : all) allocator_->free(b);
  // Into the shared part, as a flush by another thread would.
  allocator_->trim();
  EXPECT_FALSE(stream_gets(2, data));
  complete(1);
  EXPECT_TRUE(stream_gets(2, data));
  allocator_->free(kept);
}

TEST_P(AllocatorStreamsTest, WorkSubmittedAfterTheFreeNeedNotBeWaitedForOnceAnEventIsThere) {
  Block* a = allocate(1);
  const void* data = a->data;
  submit(1);
  allocator_->free(a);
  allocator_->trim();  // looks at the device: the event is recorded here
  complete(1);
  submit(1);
  EXPECT_TRUE(stream_gets(2, data));
}

TEST_P(AllocatorStreamsTest, AUseOnAnotherStreamHoldsMemoryBackEvenFromItsOwn) {
  Block* a = allocate(1);
  const void* data = a->data;
  submit(2);
  allocator_->record_use(a, 2);
  allocator_->record_use(a, 2);
  allocator_->free(a);
  EXPECT_FALSE(stream_gets(1, data));
  complete(2);
  allocator_->trim();
  allocator_->trim();
  EXPECT_EQ(allocator_->self_check(), "");
  EXPECT_EQ(source_.held, 0u) << "memory stayed pending";
}

TEST_P(AllocatorStreamsTest, MemoryWithManyUsersWaitsForTheLastOfThem) {
  Block* a = allocate(1);
  const void* data = a->data;
  for (uint64_t s = 2; s < 22; ++s) {
    submit(s);
    allocator_->record_use(a, s);
  }
  allocator_->free(a);
  for (uint64_t s = 2; s < 21; ++s) complete(s);
  EXPECT_FALSE(stream_gets(1, data));
  complete(21);
  EXPECT_TRUE(stream_gets(1, data));
}

TEST_P(AllocatorStreamsTest, WhenMemoryRunsOutOtherStreamsAreWaitedFor) {
  std::vector<Block*> all{allocate(1)};
  source_.fail_always = true;
  try {
    for (;;) all.push_back(allocate(1));
  } catch (const Error&) {
    // Now the first stream has all there is.
  }
  submit(1);
  for (Block* block : all) allocator_->free(block);
  const uint64_t waits = source_.waits;
  Block* b = allocate(2);
  EXPECT_EQ(b->served, Served::reclaim);
  EXPECT_EQ(source_.waits, waits + 1);
  EXPECT_EQ(source_.completed[1], source_.submitted[1]);
  allocator_->free(b);
}

TEST_P(AllocatorStreamsTest, MemoryOfAnEndedStreamBelongsToAllOnceItsWorkIsDone) {
  Block* freed = allocate(1);
  Block* live = allocate(1);
  const void* first = freed->data;
  const void* second = live->data;
  submit(1);
  allocator_->free(freed);
  allocator_->retire_stream(1);
  const uint64_t records = source_.records;
  allocator_->free(live);
  EXPECT_FALSE(stream_gets(2, first));
  complete(1);
  EXPECT_TRUE(stream_gets(2, first));
  EXPECT_TRUE(stream_gets(2, second));
  EXPECT_EQ(source_.completed[1], source_.submitted[1]);
  // Stream 2 may have been asked; the ended one must not.
  EXPECT_LE(source_.records - records, source_.queries);
}

TEST_P(AllocatorStreamsTest, MemoryFreedAfterItsStreamHasEndedStillWaitsForTheStreamsWork) {
  Block* live = allocate(1);
  const void* data = live->data;
  submit(1);
  allocator_->retire_stream(1);
  allocator_->free(live);
  allocator_->trim();
  EXPECT_FALSE(stream_gets(2, data));
  complete(1);
  EXPECT_TRUE(stream_gets(2, data));
}

TEST_P(AllocatorStreamsTest, TwoStreamsInTurnReachASteadyState) {
  auto step = [&](uint64_t stream) {
    std::vector<Block*> live;
    for (int i = 0; i < 20; ++i) live.push_back(allocate(stream));
    submit(stream);
    for (Block* b : live) allocator_->free(b);
  };
  for (uint64_t i = 0; i < 6; ++i) step(i % 2);
  const uint64_t calls = source_.allocations;
  for (uint64_t i = 0; i < 10; ++i) step(i % 2);
  EXPECT_EQ(source_.allocations, calls);
}

class AllocatorMergeTest : public AllocatorStreamsTest {};

TEST_P(AllocatorMergeTest, AMergedBlockIsDoneOnlyWhenItsLastPartIs) {
  const uint64_t bytes = GetParam();
  allocator_->free(allocator_->allocate(2 * bytes, 1, 0));
  Block* a = allocator_->allocate(bytes, 1, 0);
  Block* b = allocator_->allocate(bytes, 1, 0);
  const void* first = a->data;
  ASSERT_EQ(b->data, static_cast<const char*>(first) + bytes);
  // A request that nothing free can serve makes the allocator look at the device.
  auto look = [&](uint64_t n) { allocator_->free(allocator_->allocate(n * bytes, 2, 0)); };
  submit(1);
  allocator_->free(a);
  look(8);
  complete(1);
  look(20);
  submit(1);
  allocator_->free(b);
  EXPECT_EQ(allocator_->self_check(), "");
  EXPECT_FALSE(stream_gets(2, first));
  complete(1);
  EXPECT_TRUE(stream_gets(2, first));
}

INSTANTIATE_TEST_SUITE_P(Large, AllocatorMergeTest, ::testing::Values(2 * kMiB));

INSTANTIATE_TEST_SUITE_P(Sizes, AllocatorStreamsTest,
                         ::testing::Values(uint64_t{1000}, uint64_t{30000}, uint64_t{100000},
                                           3 * kMiB));

}  // namespace
}  // namespace mill
