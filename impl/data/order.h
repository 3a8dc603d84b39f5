// The order of rows in an epoch.
#pragma once

#include <atomic>
#include <cstdint>
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

// A permutation of 0 .. rows - 1 by Fisher and Yates (in Durstenfeld's form), drawn from
// CounterRandom(seed, epoch), so that it depends on rows, seed and epoch only. Rows are stored in 4
// bytes where they fit.
class EpochOrder {
 public:
  // Without shuffling no memory is used and row i is at position i.
  EpochOrder(int64_t rows, uint64_t seed, bool shuffle);

  // Makes the order of `epoch` unless it is there already. Returns early, and without an order,
  // once `cancelled` is true.
  void prepare(uint64_t seed, uint64_t epoch, const std::atomic<bool>& cancelled);
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

}  // namespace mill
