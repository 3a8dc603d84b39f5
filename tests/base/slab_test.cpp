#include "base/slab.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <random>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "base/error.h"

namespace mill {
namespace {

struct Small {
  explicit Small(uint64_t v = 0) : value(v) {}
  uint64_t value;
  uint64_t rest[5] = {};
};

struct Large {
  std::byte bytes[3000];
};

int64_t live_objects() {
  return slab_live(kSlabObjectCounter);
}

TEST(SlabTest, EveryClassHoldsItsSizesAndIsTight) {
  for (size_t bytes = 1; bytes <= kSlabMaxBytes; ++bytes) {
    const uint32_t c = slab_class(bytes);
    ASSERT_LT(c, kSlabClasses);
    ASSERT_GE(slab_class_bytes(c), bytes);
    ASSERT_EQ(slab_class_bytes(c) % kSlabAlign, 0u);
    if (c > 0) {
      ASSERT_LT(slab_class_bytes(c - 1), bytes);
    }
  }
}

TEST(SlabTest, ObjectsAreAlignedDistinctAndKeepTheirContents) {
  const int64_t before = live_objects();
  std::vector<Small*> all;
  std::set<Small*> distinct;
  for (uint64_t i = 0; i < 5000; ++i) {
    Small* s = Slab<Small>::create(i);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(s) % kSlabAlign, 0u);
    all.push_back(s);
    distinct.insert(s);
  }
  EXPECT_EQ(distinct.size(), all.size());
  EXPECT_EQ(live_objects() - before, 5000);
  for (uint64_t i = 0; i < all.size(); ++i) EXPECT_EQ(all[i]->value, i);
  for (Small* s : all) Slab<Small>::destroy(s);
  EXPECT_EQ(live_objects(), before);
}

TEST(SlabTest, ReturnedSlotsAreReusedInsteadOfMappingMore) {
  auto round = [] {
    std::vector<Large*> all;
    for (int i = 0; i < 400; ++i) {
      all.push_back(Slab<Large>::create());
      std::memset(all.back()->bytes, i, sizeof all.back()->bytes);
    }
    for (Large* l : all) Slab<Large>::destroy(l);
  };
  round();
  round();
  const uint64_t mapped = slab_mapped_bytes();
  for (int i = 0; i < 20; ++i) round();
  EXPECT_EQ(slab_mapped_bytes(), mapped);
}

TEST(SlabTest, AConstructorThatThrowsLeavesNoSlotBehind) {
  struct Throws {
    Throws() { throw std::runtime_error("no"); }
  };
  const int64_t before = live_objects();
  EXPECT_THROW((void)Slab<Throws>::create(), std::runtime_error);
  EXPECT_EQ(live_objects(), before);
}

TEST(SlabTest, AnInjectedFailureIsAnOutOfMemoryError) {
  slab_fail_at(2);
  Slab<Small>::Owner first(Slab<Small>::create(1u));
  try {
    Slab<Small>::Owner second(Slab<Small>::create(2u));
    FAIL() << "the second allocation was to fail";
  } catch (const Error& e) {
    EXPECT_EQ(e.status(), MILL_E_MEMORY);
    EXPECT_EQ(e.requested_bytes(), 64u);
  }
  Slab<Small>::Owner third(Slab<Small>::create(3u));
  EXPECT_EQ(third->value, 3u);
}

TEST(SlabTest, SlotsMadeByOneThreadMayBeReturnedByAnother) {
  constexpr int kCount = 3000;
  const int64_t before = live_objects();
  std::vector<Small*> made(kCount);
  uint64_t mapped = 0;
  for (int round = 0; round < 6; ++round) {
    std::thread([&] {
      for (int i = 0; i < kCount; ++i)
        made[static_cast<size_t>(i)] = Slab<Small>::create(static_cast<uint64_t>(i));
    }).join();
    for (size_t i = 0; i < made.size(); ++i) {
      ASSERT_EQ(made[i]->value, i);
      Slab<Small>::destroy(made[i]);
    }
    EXPECT_EQ(live_objects(), before);
    if (round == 2) mapped = slab_mapped_bytes();
  }
  EXPECT_EQ(slab_mapped_bytes(), mapped) << "slots of ended threads were lost";
}

TEST(SlabTest, ThreadsThatExchangeObjectsNeverShareASlot) {
  constexpr size_t kThreads = 4;
  constexpr size_t kSlots = 256;
  const int64_t before = live_objects();
  std::vector<std::atomic<Small*>> board(kSlots);
  std::atomic<bool> intact{true};
  std::vector<std::thread> threads;
  for (size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(t);
      for (int i = 0; i < 20000; ++i) {
        Small* mine = Slab<Small>::create(random());
        mine->rest[4] = ~mine->value;
        Small* other = board[random() % kSlots].exchange(mine, std::memory_order_acq_rel);
        if (!other) continue;
        if (other->rest[4] != ~other->value) intact = false;
        Slab<Small>::destroy(other);
      }
    });
  }
  for (auto& t : threads) t.join();
  for (auto& slot : board) Slab<Small>::destroy(slot.load());
  EXPECT_TRUE(intact);
  EXPECT_EQ(live_objects(), before);
}

TEST(SlabTest, AForkedChildMayAllocateWhileOtherThreadsWereBusy) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP()
      << "needs a build without ThreadSanitizer, which does not follow threads across fork";
#endif
  std::atomic<bool> stop{false};
  std::vector<std::thread> busy;
  for (int t = 0; t < 2; ++t) {
    busy.emplace_back([&] {
      std::vector<Small*> held;
      while (!stop) {
        for (int i = 0; i < 100; ++i) held.push_back(Slab<Small>::create(1u));
        for (Small* s : held) Slab<Small>::destroy(s);
        held.clear();
      }
    });
  }
  for (int i = 0; i < 20; ++i) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const int64_t before = live_objects();
      std::vector<Small*> held;
      for (uint64_t k = 0; k < 500; ++k) held.push_back(Slab<Small>::create(k));
      bool good = live_objects() == before + 500;
      for (uint64_t k = 0; k < 500; ++k) good = good && held[k]->value == k;
      for (Small* s : held) Slab<Small>::destroy(s);
      _exit(good && live_objects() == before ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  stop = true;
  for (auto& t : busy) t.join();
}

}  // namespace
}  // namespace mill
