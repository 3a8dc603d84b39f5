#include "data/order.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace mill {

namespace {

constexpr uint64_t kGamma = 0x9e3779b97f4a7c15u;

// SplitMix64's output function: Stafford's variant 13 of the MurmurHash3 finaliser.
uint64_t mix(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
  return value ^ (value >> 31);
}

__extension__ typedef unsigned __int128 uint128;

// Uniform below `bound` without bias (Lemire: "Fast random integer generation in an interval",
// 2019).
uint64_t below(const CounterRandom& random, uint64_t& counter, uint64_t bound) {
  uint128 product = uint128{random.at(counter++)} * bound;
  if (static_cast<uint64_t>(product) < bound) {
    const uint64_t threshold = (0 - bound) % bound;
    while (static_cast<uint64_t>(product) < threshold) {
      product = uint128{random.at(counter++)} * bound;
    }
  }
  return static_cast<uint64_t>(product >> 64);
}

template <class Row>
bool shuffle_rows(std::vector<Row>& rows, const CounterRandom& random,
                  const std::atomic<bool>& cancelled) {
  std::iota(rows.begin(), rows.end(), Row{0});
  uint64_t counter = 0;
  for (uint64_t i = rows.size(); i > 1; --i) {
    if (i % 65536 == 0 && cancelled.load(std::memory_order_relaxed)) return false;
    std::swap(rows[i - 1], rows[below(random, counter, i)]);
  }
  return true;
}

}  // namespace

CounterRandom::CounterRandom(uint64_t seed, uint64_t stream)
    : start_(mix(seed + kGamma) ^ mix(mix(stream) + kGamma)) {}

uint64_t CounterRandom::at(uint64_t counter) const {
  return mix(start_ + (counter + 1) * kGamma);
}

uint64_t row_key(uint64_t seed, uint64_t epoch, int64_t row) {
  const uint64_t stream = mix(mix(seed + kGamma) + epoch + kGamma);
  return mix(stream + static_cast<uint64_t>(row) + kGamma);
}

EpochOrder::EpochOrder(int64_t rows, uint64_t seed, bool shuffle) : shuffle_(shuffle), seed_(seed) {
  if (!shuffle) return;
  if (rows <= int64_t{UINT32_MAX}) {
    narrow_.resize(static_cast<size_t>(rows));
  } else {
    wide_.resize(static_cast<size_t>(rows));
  }
}

bool EpochOrder::prepare(uint64_t seed, uint64_t epoch, const std::atomic<bool>& cancelled) {
  if (!shuffle_ || (ready_ && seed == seed_ && epoch == epoch_)) return true;
  seed_ = seed;
  epoch_ = epoch;
  const CounterRandom random(seed, epoch);
  ready_ = wide_.empty() ? shuffle_rows(narrow_, random, cancelled)
                         : shuffle_rows(wide_, random, cancelled);
  return ready_;
}

void EpochOrder::copy(int64_t first, int64_t count, int64_t* to) const {
  if (!shuffle_) {
    std::iota(to, to + count, first);
  } else if (wide_.empty()) {
    std::copy_n(narrow_.begin() + first, count, to);
  } else {
    std::copy_n(wide_.begin() + first, count, to);
  }
}

EpochOrders::EpochOrders(int64_t rows, uint64_t seed, bool shuffle, uint32_t room) {
  if (!shuffle) return;
  entries_.reserve(room);
  for (uint32_t k = 0; k < room; ++k) entries_.push_back({EpochOrder(rows, seed, true)});
}

EpochOrders::Entry* EpochOrders::find(uint64_t seed, uint64_t epoch) {
  for (Entry& entry : entries_) {
    if (entry.phase != Phase::empty && entry.seed == seed && entry.epoch == epoch) return &entry;
  }
  return nullptr;
}

EpochOrders::Entry* EpochOrders::replaceable() {
  Entry* found = nullptr;
  for (Entry& entry : entries_) {
    if (entry.phase == Phase::making || entry.users != 0) continue;
    if (found == nullptr || entry.last_use < found->last_use) found = &entry;
  }
  return found;
}

EpochOrders::Entry* EpochOrders::ready(uint64_t seed, uint64_t epoch,
                                       std::unique_lock<std::mutex>& lock,
                                       const std::atomic<bool>& cancelled) {
  while (!cancelled.load(std::memory_order_relaxed)) {
    Entry* entry = find(seed, epoch);
    if (entry != nullptr && entry->phase == Phase::ready) return entry;
    if (entry == nullptr) entry = replaceable();
    if (entry == nullptr || entry->phase == Phase::making) {
      changed_.wait(lock);
      continue;
    }
    entry->phase = Phase::making;
    entry->seed = seed;
    entry->epoch = epoch;
    lock.unlock();
    const bool made = entry->order.prepare(seed, epoch, cancelled);
    lock.lock();
    entry->phase = made ? Phase::ready : Phase::empty;
    changed_.notify_all();
  }
  return nullptr;
}

bool EpochOrders::copy(uint64_t seed, uint64_t epoch, int64_t first, int64_t count, int64_t* to,
                       const std::atomic<bool>& cancelled) {
  if (entries_.empty()) {
    std::iota(to, to + count, first);
    return true;
  }
  Entry* entry = nullptr;
  {
    std::unique_lock lock(mutex_);
    entry = ready(seed, epoch, lock, cancelled);
    if (entry == nullptr) return false;
    ++entry->users;
    entry->last_use = ++uses_;
  }
  entry->order.copy(first, count, to);
  const std::lock_guard lock(mutex_);
  if (--entry->users == 0) changed_.notify_all();
  return true;
}

}  // namespace mill
