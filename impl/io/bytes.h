// Byte order, sizes of shapes, and text that is safe to put into a message.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "base/dtype.h"

namespace mill {

// The formats' readers and writers swap for big-endian files only.
static_assert(std::endian::native == std::endian::little, "Millrace runs on little-endian hosts");

inline uint32_t load_be32(const void* from) {
  uint32_t value;
  std::memcpy(&value, from, sizeof value);
  return __builtin_bswap32(value);
}

inline void store_be32(void* to, uint32_t value) {
  value = __builtin_bswap32(value);
  std::memcpy(to, &value, sizeof value);
}

inline uint64_t load_le64(const void* from) {
  uint64_t value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

// Reverses the bytes of each element of `width` bytes (1, 2, 4 or 8) in `bytes` bytes. `to` and
// `from` may be equal, and neither needs alignment.
void swap_elements(void* to, const void* from, uint64_t bytes, int32_t width);

// Bytes of a dense array. False when a size is negative or the byte count exceeds INT64_MAX; zero
// sizes count as one for that check, because the strides of an empty array must fit as well.
bool dense_bytes(int32_t dtype, uint32_t rank, const int64_t* dims, uint64_t* bytes);

// A name from a file or a caller, cut to fit a message and with control characters replaced. Long
// paths keep their end, long names their beginning.
class Shown {
 public:
  enum class Keep { beginning, end };
  explicit Shown(std::string_view text, Keep keep = Keep::beginning);
  const char* text() const { return text_; }

 private:
  static constexpr size_t kLimit = 200;
  char text_[kLimit + 4];
};

// "[2,3]", cut to fit a message.
class ShownDims {
 public:
  ShownDims(uint32_t rank, const int64_t* dims);
  const char* text() const { return text_; }

 private:
  char text_[176];
};

}  // namespace mill
