// The two rings that trace records travel through. Neither blocks, allocates after construction, or
// makes a system call: a full ring drops the newest record and counts it.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>

#include "base/alarm.h"

namespace mill {

// Not std::hardware_destructive_interference_size: its value depends on compiler flags.
constexpr std::size_t kCacheLine = 64;

// Zeroed, and aligned so that a 128-byte record touches two cache lines and not three.
template <class T>
class AlignedArray {
  static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);

 public:
  explicit AlignedArray(uint64_t count)
      : data_(static_cast<T*>(::operator new (count * sizeof(T), std::align_val_t{kCacheLine}))) {
    std::uninitialized_value_construct_n(data_.get(), count);
  }
  T& operator[](uint64_t i) const { return data_.get()[i]; }

 private:
  struct Free {
    void operator()(T* data) const { ::operator delete (data, std::align_val_t{kCacheLine}); }
  };
  std::unique_ptr<T, Free> data_;
};

// One producer, one consumer, release / acquire only (Lamport's queue with a cached bound
// from the other side's index, as in Lee et al., "MCRingBuffer", 2010). Positions count for ever
// and are masked on use. Producer and consumer may each move to another thread if something else
// orders the two.
template <class T>
class Ring {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  // capacity is rounded up to a power of two. Touches every slot, so that the first lap takes no
  // page faults.
  // half_full, if given, is rung when half of it or more waits; it outlives the ring.
  explicit Ring(uint64_t capacity, Alarm* half_full = nullptr)
      : mask_(std::bit_ceil(std::max<uint64_t>(capacity, 2)) - 1),
        slots_(mask_ + 1),
        half_full_(half_full) {}

  uint64_t capacity() const { return mask_ + 1; }

  // Producer: the slot to fill, or NULL when the ring is full, which is counted. commit() publishes
  // it.
  T* claim() {
    const uint64_t head = head_.load(std::memory_order_relaxed);
    if (head >= look_at_) [[unlikely]] {
      if (!look(head)) return nullptr;
    }
    return &slots_[head & mask_];
  }
  void commit() {
    const uint64_t next = head_.load(std::memory_order_relaxed) + 1;
    head_.store(next, std::memory_order_release);
    prefetch(&slots_[(next + kAhead - 1) & mask_]);
  }

  bool push(const T& value) {
    T* slot = claim();
    if (slot == nullptr) return false;
    *slot = value;
    commit();
    return true;
  }

  // Consumer: the position up to which pop() may go now.
  uint64_t limit() const { return head_.load(std::memory_order_acquire); }
  uint64_t pending(uint64_t limit) const { return limit - tail_.load(std::memory_order_relaxed); }

  // Consumer: moves up to `capacity` values that lie before `limit`; returns how many.
  uint64_t pop(T* out, uint64_t capacity, uint64_t limit) {
    const uint64_t tail = tail_.load(std::memory_order_relaxed);
    const uint64_t count = std::min(limit - tail, capacity);
    if (count == 0) return 0;
    const uint64_t first = std::min(count, mask_ + 1 - (tail & mask_));
    std::memcpy(out, &slots_[tail & mask_], first * sizeof(T));
    std::memcpy(out + first, &slots_[0], (count - first) * sizeof(T));
    tail_.store(tail + count, std::memory_order_release);
    return count;
  }

  // Any thread: how many were dropped since construction.
  uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

 private:
  // Producer, where it may be half full or full: how far the consumer is. False: full.
  bool look(uint64_t head) {
    const uint64_t tail = tail_.load(std::memory_order_acquire);
    if (head - tail > mask_) {
      dropped_.store(dropped_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
      return false;
    }
    const bool half = head - tail > mask_ / 2;
    look_at_ = tail + (half ? mask_ : mask_ / 2) + 1;
    if (half && half_full_ != nullptr) half_full_->ring();
    return true;
  }

  // The consumer's core, or none, has what the ring's next slots held: written as they are, each
  // would be waited for by the next locked instruction. So they are asked for some records ahead.
  static constexpr uint64_t kAhead = 4;
  static void prefetch(const T* slot) {
    for (std::size_t at = 0; at < sizeof(T); at += kCacheLine) {
      const char* const line = reinterpret_cast<const char*>(slot) + at;
#if defined(__x86_64__)
      // For writing; where a CPU does not know it, it does nothing.
      asm volatile("prefetchw %0" : : "m"(*line));
#else
      __builtin_prefetch(line, 1);
#endif
    }
  }

  const uint64_t mask_;
  const AlignedArray<T> slots_;
  Alarm* const half_full_;
  alignas(kCacheLine) std::atomic<uint64_t> head_{0};
  uint64_t look_at_ = 0;  // the position from which on there may be no room, or less than half
  std::atomic<uint64_t> dropped_{0};
  alignas(kCacheLine) std::atomic<uint64_t> tail_{0};
};

// Many producers, one consumer: Dmitry Vyukov's bounded queue with a sequence number per slot. A
// producer that is suspended between claiming and publishing holds back what was claimed after it,
// but nobody waits for it.
template <class T>
class SharedRing {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  // As Ring's. Looked at four times in a lap: it is rung before three quarters are waiting.
  explicit SharedRing(uint64_t capacity, Alarm* half_full = nullptr)
      : mask_(std::bit_ceil(std::max<uint64_t>(capacity, 2)) - 1),
        slots_(mask_ + 1),
        half_full_(half_full),
        sequences_(std::make_unique<std::atomic<uint64_t>[]>(mask_ + 1)) {
    for (uint64_t i = 0; i <= mask_; ++i) sequences_[i].store(i, std::memory_order_relaxed);
  }

  uint64_t capacity() const { return mask_ + 1; }

  bool push(const T& value) {
    uint64_t head = head_.load(std::memory_order_relaxed);
    for (;;) {
      const uint64_t sequence = sequences_[head & mask_].load(std::memory_order_acquire);
      const auto distance = static_cast<int64_t>(sequence - head);
      if (distance == 0) {
        if (head_.compare_exchange_weak(head, head + 1, std::memory_order_relaxed)) break;
      } else if (distance < 0) {
        dropped_.fetch_add(1, std::memory_order_relaxed);
        return false;
      } else {
        head = head_.load(std::memory_order_relaxed);
      }
    }
    slots_[head & mask_] = value;
    sequences_[head & mask_].store(head + 1, std::memory_order_release);
    if ((head & (mask_ >> 2)) == 0 && half_full_ != nullptr && head > mask_ / 2) [[unlikely]] {
      // Published and not taken: so are all after it.
      const uint64_t before = head - mask_ / 2;
      if (sequences_[before & mask_].load(std::memory_order_relaxed) == before + 1)
        half_full_->ring();
    }
    return true;
  }

  uint64_t limit() const { return head_.load(std::memory_order_acquire); }
  uint64_t pending(uint64_t limit) const { return limit - tail_; }

  // Consumer: stops early at a slot that is claimed and not yet published.
  uint64_t pop(T* out, uint64_t capacity, uint64_t limit) {
    uint64_t count = 0;
    while (count < capacity && tail_ != limit) {
      std::atomic<uint64_t>& sequence = sequences_[tail_ & mask_];
      if (sequence.load(std::memory_order_acquire) != tail_ + 1) break;
      out[count++] = slots_[tail_ & mask_];
      sequence.store(tail_ + mask_ + 1, std::memory_order_release);
      ++tail_;
    }
    return count;
  }

  uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

 private:
  const uint64_t mask_;
  const AlignedArray<T> slots_;
  Alarm* const half_full_;
  const std::unique_ptr<std::atomic<uint64_t>[]> sequences_;
  alignas(kCacheLine) std::atomic<uint64_t> head_{0};
  std::atomic<uint64_t> dropped_{0};
  alignas(kCacheLine) uint64_t tail_ = 0;
};

}  // namespace mill
