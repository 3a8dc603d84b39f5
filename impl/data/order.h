// The order of rows in an epoch.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <vector>

namespace mill {

// Counter-based random bits: value i of a stream is a function of (seed, stream, i) alone.
// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014): its i-th
// output is a mix of start + i * gamma, so any output can be computed without the ones before it.
class CounterRandom {
 public:
  CounterRandom(uint64_t seed, uint64_t stream);
  uint64_t at(uint64_t counter) const;

 private:
  uint64_t start_;
};

// A number for one row in one epoch: s(s(s(seed) + epoch) + row), where s(x) is what SplitMix64
// gives first from state x. Rows of one epoch have different keys, since s is a bijection.
uint64_t row_key(uint64_t seed, uint64_t epoch, int64_t row);

// A permutation of 0 .. rows - 1 by Fisher and Yates (in Durstenfeld's form), drawn from
// CounterRandom(seed, epoch), so that it depends on rows, seed and epoch only. Rows are stored in 4
// bytes where they fit.
class EpochOrder {
 public:
  // Without shuffling no memory is used and row i is at position i.
  EpochOrder(int64_t rows, uint64_t seed, bool shuffle);

  // Makes the order of `epoch` unless it is there already. Returns early, and without an order,
  // once `cancelled` is true; says whether the order is there.
  bool prepare(uint64_t seed, uint64_t epoch, const std::atomic<bool>& cancelled);
  // The rows at positions first .. first + count - 1.
  void copy(int64_t first, int64_t count, int64_t* to) const;

 private:
  bool shuffle_;
  bool ready_ = false;
  uint64_t seed_;
  uint64_t epoch_ = 0;
  std::vector<uint32_t> narrow_;
  std::vector<int64_t> wide_;
};

// The orders of several epochs, used by several threads: each is made once, by the first that needs
// it, and as many are kept as there is room for. A thread keeps one from being replaced only while
// it copies from it. After the constructor nothing is allocated.
class EpochOrders {
 public:
  EpochOrders(int64_t rows, uint64_t seed, bool shuffle, uint32_t room);

  // The rows at positions first .. first + count - 1. False, with `to` untouched, once `cancelled`
  // is true.
  bool copy(uint64_t seed, uint64_t epoch, int64_t first, int64_t count, int64_t* to,
            const std::atomic<bool>& cancelled);

 private:
  enum class Phase : uint8_t { empty, making, ready };
  struct Entry {
    EpochOrder order;
    Phase phase = Phase::empty;
    uint64_t seed = 0;
    uint64_t epoch = 0;
    uint32_t users = 0;
    uint64_t last_use = 0;
  };
  Entry* find(uint64_t seed, uint64_t epoch);
  Entry* replaceable();
  Entry* ready(uint64_t seed, uint64_t epoch, std::unique_lock<std::mutex>& lock,
               const std::atomic<bool>& cancelled);

  std::mutex mutex_;
  std::condition_variable changed_;  // an order was made, or is not used any more
  std::vector<Entry> entries_;
  uint64_t uses_ = 0;
};

}  // namespace mill
