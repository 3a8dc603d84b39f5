#include "memory/allocator.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/slab.h"
#include "fake_source.h"

namespace mill {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

class AllocatorTest : public ::testing::Test {
 protected:
  AllocatorTest() : source_(true), allocator_(std::make_unique<Allocator>(source_)) {}
  ~AllocatorTest() override {
    EXPECT_EQ(allocator_->self_check(), "");
    allocator_.reset();
    EXPECT_EQ(source_.held, 0u);
    EXPECT_EQ(source_.wrong, "");
  }

  Block* allocate(uint64_t bytes, uint32_t tag = 0) { return allocator_->allocate(bytes, 1, tag); }
  void free(Block* block) { allocator_->free(block); }
  MemoryStats stats() { return allocator_->stats(); }

  FakeSource source_;
  std::unique_ptr<Allocator> allocator_;
};

TEST_F(AllocatorTest, BlocksAreAlignedAndAtLeastAsLargeAsAsked) {
  std::vector<Block*> blocks;
  for (uint64_t bytes : {1ull, 63ull, 64ull, 65ull, 1000ull, 32768ull, 32769ull, 100000ull,
                         1048576ull, 1048577ull, 5000000ull, 9999999ull}) {
    Block* b = allocate(bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(b->data) % 64, 0u);
    EXPECT_EQ(b->bytes, bytes);
    EXPECT_GE(b->capacity, bytes);
    EXPECT_TRUE(source_.inside(b->data, b->capacity));
    std::memset(b->data, 1, bytes);
    blocks.push_back(b);
  }
  for (Block* b : blocks) free(b);
  EXPECT_EQ(stats().in_use, 0u);
}

TEST_F(AllocatorTest, ARequestOfNoBytesGetsABlockWithoutDataOrMemory) {
  Block* b = allocate(0);
  EXPECT_EQ(b->data, nullptr);
  EXPECT_EQ(b->capacity, 0u);
  EXPECT_EQ(stats().allocations - stats().frees, 1u);
  free(b);
  EXPECT_EQ(stats().allocations, stats().frees);
  EXPECT_EQ(source_.allocations, 0u);
}

TEST_F(AllocatorTest, FreedMemoryIsReusedWithoutAskingTheSource) {
  for (uint64_t bytes : {uint64_t{100}, uint64_t{50000}, 7 * kMiB}) {
    Block* a = allocate(bytes);
    void* data = a->data;
    free(a);
    const uint64_t calls = source_.allocations;
    Block* b = allocate(bytes);
    EXPECT_EQ(b->data, data) << bytes;
    EXPECT_EQ(b->served, Served::hit);
    EXPECT_EQ(source_.allocations, calls);
    free(b);
  }
}

TEST_F(AllocatorTest, ASteadyStepCallsNeitherTheSourceNorTheSystem) {
  auto step = [&] {
    std::vector<Block*> live;
    for (uint64_t i = 0; i < 400; ++i) {
      live.push_back(allocate((i * 7919) % 60000 + 1));
      if (i % 3 == 0) live.push_back(allocate((i % 11 + 1) * 700000));
      if (i % 2 == 0) {
        const size_t k = (i * 31) % live.size();
        free(live[k]);
        live.erase(live.begin() + static_cast<std::ptrdiff_t>(k));
      }
    }
    for (Block* b : live) free(b);
  };
  step();
  step();
  const uint64_t calls = source_.allocations + source_.frees;
  const uint64_t mapped = slab_mapped_bytes();
  for (int i = 0; i < 10; ++i) step();
  EXPECT_EQ(source_.allocations + source_.frees, calls);
  EXPECT_EQ(slab_mapped_bytes(), mapped);
}

TEST_F(AllocatorTest, AFreeBlockIsSplitAndItsPartsMergeAgain) {
  Block* whole = allocate(16 * kMiB);
  const void* data = whole->data;
  free(whole);
  Block* a = allocate(4 * kMiB);
  Block* b = allocate(4 * kMiB);
  Block* c = allocate(8 * kMiB);
  EXPECT_EQ(source_.allocations, 1u);
  free(b);
  free(a);
  free(c);
  EXPECT_EQ(allocator_->self_check(), "");
  whole = allocate(16 * kMiB);
  EXPECT_EQ(whole->data, data);
  EXPECT_EQ(source_.allocations, 1u);
  free(whole);
}

TEST_F(AllocatorTest, TheSmallestFreeBlockThatFitsIsTaken) {
  std::vector<Block*> wall;
  std::vector<Block*> holes;
  for (uint64_t n : {12u, 5u, 8u}) {
    holes.push_back(allocate(n * kMiB));
    wall.push_back(allocate(2 * kMiB));
  }
  const void* five = holes[1]->data;
  for (Block* b : holes) free(b);
  Block* b = allocate(4 * kMiB);
  EXPECT_EQ(b->data, five);
  free(b);
  for (Block* w : wall) free(w);
}

TEST_F(AllocatorTest, StatisticsAddUpAndPeaksAreExact) {
  Block* a = allocate(1000, 3);
  Block* b = allocate(3 * kMiB, 5);
  Block* c = allocate(10, 3);
  MemoryStats s = stats();
  EXPECT_EQ(s.requested, 1000 + 3 * kMiB + 10);
  EXPECT_EQ(s.in_use, a->capacity + b->capacity + c->capacity);
  EXPECT_EQ(s.in_use_peak, s.in_use);
  EXPECT_EQ(s.reserved, source_.held);
  EXPECT_EQ(s.cached, s.reserved - s.in_use);
  EXPECT_EQ(s.tags[3], a->capacity + c->capacity);
  EXPECT_EQ(s.tags[5], b->capacity);
  EXPECT_EQ(s.tags[0], 0u);
  EXPECT_EQ(s.allocations, 3u);
  EXPECT_EQ(s.source_allocations, source_.allocations);
  const uint64_t peak = s.in_use;
  const uint64_t small = a->capacity;
  free(b);
  free(a);
  EXPECT_EQ(stats().in_use_peak, peak);
  allocator_->reset_peak();
  EXPECT_EQ(stats().in_use_peak, stats().in_use);
  a = allocate(1000);
  free(a);
  EXPECT_EQ(stats().in_use_peak, stats().in_use + small)
      << "a short peak of a small block was missed";
  free(c);
  s = stats();
  EXPECT_EQ(s.in_use, 0u);
  EXPECT_EQ(s.requested, 0u);
  EXPECT_EQ(s.allocations, s.frees);
  for (uint64_t t : s.tags) EXPECT_EQ(t, 0u);
}

TEST_F(AllocatorTest, ThePeakCountsSmallAndLargeBlocksThatLiveTogether) {
  Block* small = allocate(20000);
  Block* large = allocate(2 * kMiB);
  const uint64_t together = small->capacity + large->capacity;
  free(large);
  free(small);
  EXPECT_EQ(stats().in_use_peak, together);
}

TEST_F(AllocatorTest, TrimReturnsEverythingThatIsNotInUse) {
  std::vector<Block*> blocks;
  for (uint64_t i = 1; i < 200; ++i) blocks.push_back(allocate(i * 300));
  Block* large = allocate(40 * kMiB);
  for (Block* b : blocks) free(b);
  const uint64_t before = source_.held;
  const uint64_t released = allocator_->trim();
  EXPECT_EQ(before - source_.held, released);
  EXPECT_EQ(source_.held, 40 * kMiB);
  free(large);
  EXPECT_EQ(allocator_->trim(), 40 * kMiB);
  EXPECT_EQ(source_.held, 0u);
  EXPECT_EQ(stats().reserved, 0u);
}

TEST_F(AllocatorTest, ASmallBlockInUseKeepsOnlyItsOwnSegment) {
  Block* small = allocate(100);
  Block* large = allocate(64 * kMiB);
  free(large);
  allocator_->trim();
  EXPECT_EQ(source_.held, 2 * kMiB);
  free(small);
}

TEST_F(AllocatorTest, SmallRequestsDoNotBreakUpLargeCachedBlocks) {
  Block* large = allocate(64 * kMiB);
  free(large);
  std::vector<Block*> small;
  for (int i = 0; i < 100; ++i) small.push_back(allocate(40000));
  const uint64_t calls = source_.allocations;
  large = allocate(64 * kMiB);
  EXPECT_EQ(source_.allocations, calls);
  free(large);
  for (Block* b : small) free(b);
}

TEST_F(AllocatorTest, TheLimitHoldsAndItsErrorTellsAllFigures) {
  allocator_->set_limit(10 * kMiB);
  Block* a = allocate(6 * kMiB);
  const uint64_t in_use = a->capacity;
  free(allocate(2 * kMiB));
  try {
    free(allocate(5 * kMiB));
    FAIL() << "the limit was exceeded";
  } catch (const Error& e) {
    EXPECT_EQ(e.status(), MILL_E_MEMORY);
    EXPECT_EQ(e.requested_bytes(), 5 * kMiB);
    EXPECT_EQ(e.in_use_bytes(), in_use);
    EXPECT_EQ(e.limit_bytes(), 10 * kMiB);
    EXPECT_STREQ(e.text(),
                 "cannot allocate 5242880 bytes on fake: 6291456 in use, 2097152 cached and just "
                 "released, limit "
                 "10485760");
  }
  EXPECT_LE(source_.held, 10 * kMiB);
  EXPECT_EQ(stats().failures, 1u);
  free(a);
  a = allocate(10 * kMiB);
  EXPECT_EQ(a->served, Served::reclaim);
  free(a);
  allocator_->set_limit(0);
  free(allocate(20 * kMiB));
}

TEST_F(AllocatorTest, AllOfALimitCanBeUsedBySmallBlocks) {
  allocator_->set_limit(64 * 1024);
  std::vector<Block*> blocks;
  try {
    for (;;) blocks.push_back(allocate(4096));
  } catch (const Error& e) {
    EXPECT_EQ(e.status(), MILL_E_MEMORY);
  }
  EXPECT_EQ(blocks.size(), 16u);
  for (Block* b : blocks) free(b);
}

TEST_F(AllocatorTest, LoweringTheLimitReturnsCachedMemoryButNotMemoryInUse) {
  Block* a = allocate(8 * kMiB);
  free(allocate(32 * kMiB));
  allocator_->set_limit(4 * kMiB);
  EXPECT_EQ(source_.held, 8 * kMiB);
  EXPECT_THROW((void)allocate(100), Error);
  free(a);
  a = allocate(100);
  EXPECT_LE(source_.held, 4 * kMiB);
  free(a);
}

TEST_F(AllocatorTest, WhenTheSourceRefusesCachedMemoryIsGivenBackAndAsked) {
  source_.capacity = 20 * kMiB;
  free(allocate(12 * kMiB));
  Block* b = allocate(16 * kMiB);  // only if the 12 MiB go back first
  EXPECT_EQ(b->served, Served::reclaim);
  EXPECT_EQ(stats().reclaims, 1u);
  EXPECT_EQ(source_.held, 16 * kMiB);
  free(b);
  try {
    (void)allocate(21 * kMiB);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.text()).find("no limit; the fake is full"), std::string::npos)
        << e.text();
  }
}

TEST_F(AllocatorTest, WhenTheSourceRefusesSmallRequestsUseLargeCachedBlocks) {
  Block* a = allocate(8 * kMiB);
  Block* b = allocate(8 * kMiB);  // its segment stays, for b is in use
  free(a);
  source_.fail_always = true;
  std::vector<Block*> small;
  allocator_->trim();
  source_.fail_always = false;
  a = allocate(4 * kMiB);
  Block* hole = allocate(4 * kMiB);
  free(hole);
  source_.fail_always = true;
  for (int i = 0; i < 50; ++i) small.push_back(allocate(50000));
  for (Block* s : small) free(s);
  free(a);
  free(b);
}

TEST_F(AllocatorTest, ASourceThatAlwaysFailsIsAskedABoundedNumberOfTimes) {
  source_.fail_always = true;
  for (uint64_t bytes : {uint64_t{64}, uint64_t{40000}, uint64_t{100} * kMiB, uint64_t{1} << 50}) {
    const uint64_t before = source_.allocations;
    EXPECT_THROW((void)allocate(bytes), Error);
    EXPECT_LE(source_.allocations - before, 12u);
  }
  EXPECT_THROW((void)allocate(~uint64_t{0}), Error);
  EXPECT_THROW((void)allocate(~uint64_t{0} - 4095), Error);
  source_.fail_always = false;
  free(allocate(64));
}

TEST_F(AllocatorTest, AnInjectedFailureHitsExactlyTheOneAskedForAndChangesNothing) {
  allocator_->fail_at(3);
  Block* a = allocate(100);
  Block* b = allocate(3 * kMiB);
  const MemoryStats before = stats();
  for (uint64_t bytes : {uint64_t{0}}) {
    try {
      (void)allocate(bytes);
      FAIL();
    } catch (const Error& e) {
      EXPECT_EQ(e.status(), MILL_E_MEMORY);
    }
  }
  EXPECT_EQ(stats().in_use, before.in_use);
  EXPECT_EQ(stats().allocations, before.allocations);
  EXPECT_EQ(stats().failures, 1u);
  Block* c = allocate(100);
  allocator_->fail_at(1);
  allocator_->fail_at(0);
  Block* d = allocate(100);
  for (Block* x : {a, b, c, d}) free(x);
}

TEST_F(AllocatorTest, NoMemoryForRecordsIsAnErrorThatLeavesTheAllocatorWhole) {
  uint64_t failed = 0;
  for (uint64_t k = 1; k < 40; ++k) {
    for (uint64_t bytes : {uint64_t{0}, uint64_t{3000}, uint64_t{200000}, 3 * kMiB}) {
      allocator_->trim();
      slab_fail_at(k);
      Block* b = nullptr;
      try {
        b = allocate(bytes);
      } catch (const Error& e) {
        EXPECT_EQ(e.status(), MILL_E_MEMORY);
        ++failed;
      }
      slab_fail_at(0);
      ASSERT_EQ(allocator_->self_check(), "") << bytes << " " << k;
      free(b);
    }
  }
  EXPECT_GT(failed, 0u);
  EXPECT_EQ(stats().in_use, 0u);
}

TEST_F(AllocatorTest, EverySingleSourceFailureIsSurvivedOrReported) {
  for (uint64_t k = 1; k <= 8; ++k) {
    allocator_->trim();
    source_.fail_in = k;
    std::vector<Block*> live;
    for (uint64_t bytes :
         {uint64_t{50}, uint64_t{5000}, uint64_t{60000}, 2 * kMiB, 5 * kMiB, 9 * kMiB}) {
      try {
        live.push_back(allocate(bytes));
      } catch (const Error& e) {
        EXPECT_EQ(e.status(), MILL_E_MEMORY);
      }
      ASSERT_EQ(allocator_->self_check(), "");
    }
    for (Block* b : live) free(b);
  }
  source_.fail_in = 0;
}

TEST_F(AllocatorTest, TheHookIsToldOfGrowthAlwaysAndOfBlocksWhenAsked) {
  struct Log {
    std::vector<MemoryNotice> notices;
    static void note(void* self, const MemoryNotice& n) noexcept {
      static_cast<Log*>(self)->notices.push_back(n);
    }
  } log;
  allocator_->set_hook(Log::note, &log);
  Block* a = allocate(5 * kMiB, 7);
  ASSERT_EQ(log.notices.size(), 1u);
  EXPECT_EQ(log.notices[0].event, MemoryEvent::growth);
  EXPECT_EQ(log.notices[0].bytes, 6 * kMiB);
  allocator_->tell_every_block(true);
  free(a);
  a = allocate(5 * kMiB, 7);
  ASSERT_EQ(log.notices.size(), 3u);
  EXPECT_EQ(log.notices[1].event, MemoryEvent::free);
  EXPECT_EQ(log.notices[2].event, MemoryEvent::allocate);
  EXPECT_EQ(log.notices[2].bytes, 5 * kMiB);
  EXPECT_EQ(log.notices[2].tag, 7);
  EXPECT_EQ(log.notices[2].stream, 1u);
  EXPECT_EQ(log.notices[2].served, Served::hit);
  allocator_->tell_every_block(false);
  free(a);
  allocator_->trim();
  ASSERT_EQ(log.notices.size(), 4u);
  EXPECT_EQ(log.notices[3].event, MemoryEvent::release);
  EXPECT_EQ(log.notices[3].bytes, 6 * kMiB);
  allocator_->set_hook(nullptr, nullptr);
}

TEST_F(AllocatorTest, CheckedBuildsOverwriteMemoryWhenItIsHandedOut) {
  Block* a = allocate(256);
  if (kCheckedBuild) {
    for (int i = 0; i < 256; ++i) ASSERT_EQ(static_cast<unsigned char*>(a->data)[i], 0xff);
  }
  std::memset(a->data, 0, 256);
  free(a);
  Block* b = allocate(256);
  if (kCheckedBuild) {
    for (int i = 0; i < 256; ++i) ASSERT_EQ(static_cast<unsigned char*>(b->data)[i], 0xff);
  }
  free(b);
}

#if defined(MILL_ASAN)
TEST_F(AllocatorTest, ReadingFreedMemoryOrPastTheRequestIsCaught) {
  Block* a = allocate(3000);
  auto* data = static_cast<volatile char*>(a->data);
  EXPECT_DEATH((void)data[3000], "use-after-poison");
  free(a);
  EXPECT_DEATH((void)data[0], "use-after-poison");
}
#endif

}  // namespace
}  // namespace mill
