#include "io/bytes.h"

#include <cstdio>

namespace mill {

namespace {

template <class T, class Swap>
void swap_each(char* to, const char* from, uint64_t bytes, Swap swap) {
  for (uint64_t i = 0; i < bytes / sizeof(T); ++i) {
    T value;
    std::memcpy(&value, from + i * sizeof(T), sizeof(T));
    value = swap(value);
    std::memcpy(to + i * sizeof(T), &value, sizeof(T));
  }
}

bool is_continuation(char byte) {
  return (static_cast<unsigned char>(byte) & 0xc0u) == 0x80u;
}

}  // namespace

void swap_elements(void* to, const void* from, uint64_t bytes, int32_t width) {
  auto* out = static_cast<char*>(to);
  const auto* in = static_cast<const char*>(from);
  switch (width) {
    case 2:
      swap_each<uint16_t>(out, in, bytes, [](uint16_t v) { return __builtin_bswap16(v); });
      break;
    case 4:
      swap_each<uint32_t>(out, in, bytes, [](uint32_t v) { return __builtin_bswap32(v); });
      break;
    case 8:
      swap_each<uint64_t>(out, in, bytes, [](uint64_t v) { return __builtin_bswap64(v); });
      break;
    default:
      if (to != from && bytes != 0) std::memcpy(to, from, bytes);
  }
}

bool dense_bytes(int32_t dtype, uint32_t rank, const int64_t* dims, uint64_t* bytes) {
  int64_t product = dtype_size(dtype);
  bool empty = false;
  for (uint32_t i = 0; i < rank; ++i) {
    if (dims[i] < 0) return false;
    if (dims[i] == 0) {
      empty = true;
    } else if (__builtin_mul_overflow(product, dims[i], &product)) {
      return false;
    }
  }
  *bytes = empty ? 0 : static_cast<uint64_t>(product);
  return true;
}

Shown::Shown(std::string_view text, Keep keep) {
  size_t length = 0;
  const bool cut = text.size() > kLimit;
  if (cut && keep == Keep::end) {
    text.remove_prefix(text.size() - kLimit);
    while (!text.empty() && is_continuation(text.front())) text.remove_prefix(1);
    for (; length < 3; ++length) text_[length] = '.';
  } else if (cut) {
    size_t end = kLimit;
    while (end > 0 && is_continuation(text[end])) --end;
    text = text.substr(0, end);
  }
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    text_[length++] = byte < 0x20 || byte == 0x7f ? '?' : c;
  }
  if (cut && keep == Keep::beginning) {
    for (int i = 0; i < 3; ++i) text_[length++] = '.';
  }
  text_[length] = 0;
}

ShownDims::ShownDims(uint32_t rank, const int64_t* dims) {
  size_t length = 0;
  text_[length++] = '[';
  for (uint32_t i = 0; i < rank && i < MILL_MAX_RANK; ++i) {
    const int written = std::snprintf(text_ + length, sizeof text_ - length,
                                      i == 0 ? "%lld" : ",%lld", static_cast<long long>(dims[i]));
    length += static_cast<size_t>(written);
  }
  text_[length++] = ']';
  text_[length] = 0;
}

}  // namespace mill
