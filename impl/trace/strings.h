// Texts that records refer to by number. Looking a text or a number up takes no lock; only a text
// never seen before does.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

namespace mill {

// Ids are 1, 2, ... in order of first use and never change; 0 is "". Bounded: kMaxStrings texts of
// kMaxLength bytes; what comes later gets the id of "(other)", so a program that names every step
// cannot grow without end.
class StringTable {
 public:
  static constexpr uint32_t kMaxStrings = 65472;
  static constexpr std::size_t kMaxLength = 1000;
  static constexpr std::string_view kOther = "(other)";

  StringTable() = default;
  ~StringTable();
  StringTable(const StringTable&) = delete;
  StringTable& operator=(const StringTable&) = delete;

  // Throws Error (MILL_E_ARG) for a text over kMaxLength, std::bad_alloc.
  uint32_t intern(std::string_view text);
  bool contains(uint32_t id) const { return id <= count_.load(std::memory_order_acquire); }
  // "" for an id that does not exist. NUL-terminated; valid as long as the table.
  std::string_view text(uint32_t id) const;
  uint32_t size() const { return count_.load(std::memory_order_acquire); }

 private:
  struct Entry {
    const char* text;
    uint32_t length;
    uint32_t hash;
  };
  // Open addressing; a slot holds an id, 0 = free. Full at one half. A table that was outgrown
  // stays alive for readers that still probe it: all together they take no more than the newest.
  struct Index {
    explicit Index(uint32_t size)
        : mask(size - 1), slots(std::make_unique<std::atomic<uint32_t>[]>(size)) {}
    const uint32_t mask;
    const std::unique_ptr<std::atomic<uint32_t>[]> slots;
  };
  // Chunk k holds kFirstChunk << k entries, so a reader needs no moving array; ten of them hold
  // kMaxStrings.
  static constexpr uint32_t kFirstChunk = 64;
  static constexpr uint32_t kChunks = 10;

  uint32_t find(const Index& index, std::string_view text, uint32_t hash) const;
  const Entry& entry(uint32_t id) const;
  uint32_t add(std::string_view text, uint32_t hash);
  void grow_index();
  char* store(std::string_view text);

  std::atomic<uint32_t> count_{0};
  std::atomic<const Index*> index_{nullptr};
  std::atomic<Entry*> chunks_[kChunks] = {};
  std::mutex mutex_;  // everything below
  std::vector<std::unique_ptr<Index>> indexes_;
  std::vector<std::unique_ptr<char[]>> blocks_;
  std::size_t block_left_ = 0;
  char* block_next_ = nullptr;
};

}  // namespace mill
