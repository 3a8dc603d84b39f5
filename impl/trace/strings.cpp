#include "trace/strings.h"

#include <bit>
#include <cstring>

#include "base/error.h"

namespace mill {
namespace {

constexpr std::size_t kBlockSize = 4096;
constexpr uint32_t kFirstIndex = 64;

// FNV-1a (Fowler, Noll, Vo), 32 bits.
uint32_t hash_of(std::string_view text) {
  uint32_t hash = 2166136261u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  return hash;
}

struct Place {
  uint32_t chunk;
  uint32_t offset;
};

// Ids from 1; chunk k covers 64 * (2^k - 1) + 1 to 64 * (2^(k+1) - 1).
Place place_of(uint32_t id, uint32_t first) {
  const uint32_t n = (id - 1) / first + 1;
  const auto chunk = static_cast<uint32_t>(std::bit_width(n >> 1));  // floor of the logarithm
  return {chunk, id - 1 - first * ((1u << chunk) - 1)};
}

}  // namespace

StringTable::~StringTable() {
  for (auto& chunk : chunks_) delete[] chunk.load(std::memory_order_relaxed);
}

const StringTable::Entry& StringTable::entry(uint32_t id) const {
  const Place place = place_of(id, kFirstChunk);
  return chunks_[place.chunk].load(std::memory_order_acquire)[place.offset];
}

std::string_view StringTable::text(uint32_t id) const {
  if (id == 0 || !contains(id)) return "";
  const Entry& e = entry(id);
  return {e.text, e.length};
}

uint32_t StringTable::find(const Index& index, std::string_view text, uint32_t hash) const {
  for (uint32_t i = hash & index.mask;; i = (i + 1) & index.mask) {
    const uint32_t id = index.slots[i].load(std::memory_order_acquire);
    if (id == 0) return 0;
    const Entry& e = entry(id);
    if (e.hash == hash && std::string_view(e.text, e.length) == text) return id;
  }
}

uint32_t StringTable::intern(std::string_view text) {
  if (text.empty()) return 0;
  if (text.size() > kMaxLength) {
    fail(MILL_E_ARG, "a trace name has %zu bytes, the limit is %zu", text.size(), kMaxLength);
  }
  const uint32_t hash = hash_of(text);
  if (const Index* index = index_.load(std::memory_order_acquire)) {
    if (const uint32_t id = find(*index, text, hash)) return id;
  }
  const std::lock_guard lock(mutex_);
  if (const Index* index = index_.load(std::memory_order_relaxed)) {
    if (const uint32_t id = find(*index, text, hash)) return id;
  }
  const uint32_t count = count_.load(std::memory_order_relaxed);
  if (count < kMaxStrings - 1) return add(text, hash);
  if (count == kMaxStrings - 1) add(kOther, hash_of(kOther));
  return kMaxStrings;
}

// Everything that can throw comes before anything becomes visible.
uint32_t StringTable::add(std::string_view text, uint32_t hash) {
  const uint32_t id = count_.load(std::memory_order_relaxed) + 1;
  const Index* index = index_.load(std::memory_order_relaxed);
  if (index == nullptr || id * 2 > index->mask + 1) {
    grow_index();
    index = index_.load(std::memory_order_relaxed);
  }
  const Place place = place_of(id, kFirstChunk);
  Entry* chunk = chunks_[place.chunk].load(std::memory_order_relaxed);
  if (chunk == nullptr) {
    chunk =
        std::make_unique<Entry[]>(static_cast<std::size_t>(kFirstChunk) << place.chunk).release();
    chunks_[place.chunk].store(chunk, std::memory_order_release);
  }
  chunk[place.offset] = {store(text), static_cast<uint32_t>(text.size()), hash};
  count_.store(id, std::memory_order_release);
  uint32_t i = hash & index->mask;
  while (index->slots[i].load(std::memory_order_relaxed) != 0) i = (i + 1) & index->mask;
  index->slots[i].store(id, std::memory_order_release);
  return id;
}

void StringTable::grow_index() {
  const Index* old = index_.load(std::memory_order_relaxed);
  auto grown = std::make_unique<Index>(old == nullptr ? kFirstIndex : (old->mask + 1) * 2);
  for (uint32_t id = 1; id <= count_.load(std::memory_order_relaxed); ++id) {
    uint32_t i = entry(id).hash & grown->mask;
    while (grown->slots[i].load(std::memory_order_relaxed) != 0) i = (i + 1) & grown->mask;
    grown->slots[i].store(id, std::memory_order_relaxed);
  }
  indexes_.push_back(std::move(grown));
  index_.store(indexes_.back().get(), std::memory_order_release);
}

char* StringTable::store(std::string_view text) {
  const std::size_t size = text.size() + 1;
  if (size > block_left_) {
    blocks_.push_back(std::make_unique<char[]>(kBlockSize));
    block_next_ = blocks_.back().get();
    block_left_ = kBlockSize;
  }
  char* at = block_next_;
  std::memcpy(at, text.data(), text.size());
  at[text.size()] = 0;
  block_next_ += size;
  block_left_ -= size;
  return at;
}

}  // namespace mill
