// The simulated device's address space. Addresses that the program sees lie in a reserved range
// that is never mapped, so that a host access to device memory faults at a recognisable address;
// the bytes lie at a constant distance from there, in anonymous memory that only what is written
// occupies.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

namespace mill::sim {

class Shadow;

class Space {
 public:
  static constexpr uint64_t kGranule = uint64_t{64} << 10;

  // Reserves address ranges for `capacity` bytes. Throws std::bad_alloc where the system refuses.
  explicit Space(uint64_t capacity);
  ~Space();
  Space(const Space&) = delete;
  Space& operator=(const Space&) = delete;

  const char* begin() const { return begin_; }  // of the range that the program sees
  uint64_t span() const { return span_; }
  ptrdiff_t delta() const { return delta_; }
  bool holds(const void* p) const {
    return static_cast<uint64_t>(static_cast<const char*>(p) - begin_) < span_;
  }
  char* bytes_of(const void* p) const {
    return const_cast<char*>(static_cast<const char*>(p)) + delta_;
  }

  // Device memory, filled with NaNs up to 64 MiB; null when the capacity does not hold it.
  void* allocate(uint64_t bytes);
  void free(void* data) noexcept;
  // Address ranges without memory, and memory for parts of them in granules. map answers false
  // when the capacity does not hold it.
  void* reserve(uint64_t bytes);
  void release(void* range) noexcept;
  bool map(void* at, uint64_t bytes);
  void unmap(void* at, uint64_t bytes) noexcept;

  uint64_t bytes_at(const void* data) const;  // of the allocation that begins there
  // Whether [p, p + bytes) lies inside one allocation; *left: bytes from p to the allocation's end.
  bool contains(const void* p, uint64_t bytes, uint64_t* left) const;

  // What lies where: allocations and reserved ranges.
  struct Live {
    uint64_t offset;
    uint64_t bytes;
  };
  std::vector<Live> live() const;
  // Who is told of allocations and their end; null: nobody.
  void watch(Shadow* shadow);

  uint64_t used() const;
  uint64_t capacity() const;
  // What is in use stays, above it too.
  void set_capacity(uint64_t bytes);

 private:
  struct Range {
    uint64_t bytes;   // as asked for
    uint64_t span;    // addresses taken
    uint64_t mapped;  // bytes that count against the capacity
    bool reserved_only;
  };
  bool take(uint64_t bytes, uint64_t* offset);
  void give(uint64_t offset, uint64_t bytes) noexcept;
  bool open(uint64_t offset, uint64_t bytes) noexcept;
  void close(uint64_t offset, uint64_t bytes) noexcept;

  char* begin_ = nullptr;
  uint64_t span_ = 0;
  ptrdiff_t delta_ = 0;
  mutable std::mutex mutex_;
  uint64_t capacity_ = 0;
  uint64_t used_ = 0;
  Shadow* shadow_ = nullptr;
  std::map<uint64_t, uint64_t> free_;  // offset -> bytes
  std::map<uint64_t, Range> ranges_;   // offset -> what lies there
};

}  // namespace mill::sim
