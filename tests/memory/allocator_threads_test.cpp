#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "base/error.h"
#include "fake_source.h"
#include "memory/allocator.h"

namespace mill {
namespace {

// Lets threads go through a test step by step.
class Gate {
 public:
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
};

TEST(AllocatorThreadsTest, BlocksExchangedBetweenThreadsKeepTheirContentsAndCounts) {
  FakeSource source(true);
  Allocator allocator(source);
  constexpr size_t kThreads = 4;
  std::vector<std::atomic<Block*>> board(64);
  std::atomic<bool> intact{true};
  std::atomic<uint64_t> made{0};
  std::vector<std::thread> threads;
  for (size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(t);
      for (int i = 0; i < 3000; ++i) {
        const uint64_t bytes = 8 + random() % (random() % 16 == 0 ? 200000 : 4000);
        Block* mine = allocator.allocate(bytes, t, static_cast<uint32_t>(t));
        ++made;
        const auto mark = static_cast<unsigned char>(reinterpret_cast<uintptr_t>(mine->data) >> 6);
        std::memset(mine->data, mark, bytes);
        Block* other = board[random() % board.size()].exchange(mine, std::memory_order_acq_rel);
        if (!other) continue;
        const auto* data = static_cast<const unsigned char*>(other->data);
        const auto expected =
            static_cast<unsigned char>(reinterpret_cast<uintptr_t>(other->data) >> 6);
        if (data[0] != expected || data[other->bytes / 2] != expected ||
            data[other->bytes - 1] != expected) {
          intact = false;
        }
        allocator.free(other);
      }
    });
  }
  // Meanwhile another thread looks and tidies up.
  std::thread tidier([&] {
    for (int i = 0; i < 40; ++i) {
      allocator.trim();
      const MemoryStats s = allocator.stats();
      if (s.reserved != s.in_use + s.cached || s.allocations < s.frees) intact = false;
      allocator.reset_peak();
      std::this_thread::yield();
    }
  });
  for (auto& t : threads) t.join();
  tidier.join();
  for (auto& slot : board) allocator.free(slot.load());
  EXPECT_TRUE(intact);
  const MemoryStats s = allocator.stats();
  EXPECT_EQ(s.in_use, 0u);
  EXPECT_EQ(s.requested, 0u);
  EXPECT_EQ(s.allocations, made);
  EXPECT_EQ(s.frees, made);
  EXPECT_EQ(allocator.self_check(), "");
  allocator.trim();
  EXPECT_EQ(source.held, 0u);
}

TEST(AllocatorThreadsTest, OneThreadMakesAndAnotherFreesWithoutGrowingForever) {
  FakeSource source(true);
  Allocator allocator(source);
  std::atomic<Block*> hand{nullptr};
  constexpr int kCount = 20000;
  std::thread consumer([&] {
    for (int i = 0; i < kCount; ++i) {
      Block* b = nullptr;
      while (!(b = hand.exchange(nullptr, std::memory_order_acquire))) std::this_thread::yield();
      allocator.free(b);
    }
  });
  for (int i = 0; i < kCount; ++i) {
    Block* b = allocator.allocate(1000, 1, 0);
    while (hand.load(std::memory_order_relaxed)) std::this_thread::yield();
    hand.store(b, std::memory_order_release);
  }
  consumer.join();
  EXPECT_EQ(source.allocations, 1u);
  EXPECT_EQ(allocator.stats().in_use, 0u);
}

TEST(AllocatorThreadsTest, AThreadThatEndsGivesItsMagazinesBack) {
  FakeSource source(true);
  Allocator allocator(source);
  Block* survivor = nullptr;
  std::thread([&] {
    std::vector<Block*> blocks;
    for (int i = 0; i < 100; ++i) blocks.push_back(allocator.allocate(500, 1, 2));
    survivor = blocks.back();
    blocks.pop_back();
    for (Block* b : blocks) allocator.free(b);
  }).join();
  EXPECT_EQ(allocator.self_check(), "");
  EXPECT_EQ(allocator.stats().tags[2], survivor->capacity);
  EXPECT_EQ(allocator.stats().allocations, 100u);
  allocator.free(survivor);
  allocator.trim();
  EXPECT_EQ(source.held, 0u);
}

TEST(AllocatorThreadsTest, TrimReachesTheMagazinesOfThreadsThatLive) {
  FakeSource source(true);
  Allocator allocator(source);
  Gate filled;
  Gate checked;
  std::thread idle([&] {
    std::vector<Block*> blocks;
    for (int i = 0; i < 30; ++i) blocks.push_back(allocator.allocate(2000, 1, 0));
    for (Block* b : blocks) allocator.free(b);
    filled.open();
    checked.wait();
    allocator.free(allocator.allocate(2000, 1, 0));
  });
  filled.wait();
  EXPECT_GT(source.held, 0u);
  allocator.trim();
  EXPECT_EQ(source.held, 0u);
  checked.open();
  idle.join();
  EXPECT_EQ(allocator.self_check(), "");
}

TEST(AllocatorThreadsTest, AnAllocatorMayEndWhileThreadsThatUsedItLiveOn) {
  auto source = std::make_unique<FakeSource>(true);
  auto allocator = std::make_unique<Allocator>(*source);
  Gate used;
  Gate ended;
  std::thread user([&] {
    allocator->free(allocator->allocate(100, 1, 0));
    used.open();
    ended.wait();
    // The place of the dead allocator's cache is taken over by one with the same last bits of its
    // id, among others.
    FakeSource other_source(true);
    for (int i = 0; i < 20; ++i) {
      Allocator other(other_source);
      Block* b = other.allocate(100, 1, 0);
      EXPECT_EQ(other.stats().allocations, 1u);
      other.free(b);
      EXPECT_EQ(other.self_check(), "");
    }
    EXPECT_EQ(other_source.held, 0u);
  });
  used.wait();
  allocator.reset();
  EXPECT_EQ(source->held, 0u);
  source.reset();
  ended.open();
  user.join();
}

TEST(AllocatorThreadsTest, MoreAllocatorsThanAThreadHasPlacesForAllWork) {
  FakeSource source(true);
  std::vector<std::unique_ptr<Allocator>> allocators;
  for (int i = 0; i < 24; ++i) allocators.push_back(std::make_unique<Allocator>(source));
  for (int round = 0; round < 3; ++round) {
    std::vector<Block*> blocks;
    for (auto& a : allocators) blocks.push_back(a->allocate(300, 1, 0));
    for (size_t i = 0; i < allocators.size(); ++i) {
      EXPECT_EQ(allocators[i]->stats().in_use, blocks[i]->capacity);
      allocators[i]->free(blocks[i]);
      EXPECT_EQ(allocators[i]->self_check(), "");
    }
  }
  allocators.clear();
  EXPECT_EQ(source.held, 0u);
}

TEST(AllocatorThreadsTest, ThreadsThatHitTheLimitTogetherFailCleanlyAndNeverExceedIt) {
  FakeSource source(true);
  Allocator allocator(source);
  constexpr uint64_t kLimit = uint64_t{12} << 20;
  allocator.set_limit(kLimit);
  source.capacity = kLimit;
  std::atomic<uint64_t> failed{0};
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(t);
      std::vector<Block*> live;
      for (int i = 0; i < 400; ++i) {
        try {
          live.push_back(allocator.allocate(random() % 900000 + 1, t, 0));
        } catch (const Error& e) {
          EXPECT_EQ(e.status(), MILL_E_MEMORY);
          EXPECT_EQ(e.limit_bytes(), kLimit);
          ++failed;
          for (Block* b : live) allocator.free(b);
          live.clear();
        }
      }
      for (Block* b : live) allocator.free(b);
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_GT(failed, 0u);
  EXPECT_LE(allocator.stats().reserved_peak, kLimit);
  EXPECT_EQ(allocator.self_check(), "");
}

TEST(AllocatorThreadsTest, ThreadsOnDifferentStreamsShareAnAllocator) {
  FakeSource source(false);
  auto allocator = std::make_unique<Allocator>(source);
  std::vector<std::atomic<Block*>> board(32);
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(t);
      for (int i = 0; i < 1500; ++i) {
        Block* mine = allocator->allocate(random() % 60000 + 1, t, 0);
        if (random() % 8 == 0) allocator->record_use(mine, (t + 1) % 3);
        Block* other = board[random() % board.size()].exchange(mine, std::memory_order_acq_rel);
        allocator->free(other);
      }
    });
  }
  for (auto& t : threads) t.join();
  for (auto& slot : board) allocator->free(slot.load());
  EXPECT_EQ(allocator->stats().in_use, 0u);
  EXPECT_EQ(allocator->self_check(), "");
  allocator.reset();
  EXPECT_EQ(source.held, 0u);
  EXPECT_EQ(source.events, 0);
}

}  // namespace
}  // namespace mill
