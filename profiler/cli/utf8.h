// Code points, one at a time, of text that may hold anything.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace mill::cli {

struct Utf8 {
  uint32_t code = 0;
  size_t bytes = 0;  // 0: the text does not begin with a code point
};

inline Utf8 next_utf8(std::string_view text) {
  const auto byte = [&](size_t k) { return static_cast<unsigned char>(text[k]); };
  const uint32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  const size_t bytes = lead >= 0xf0 && lead < 0xf5 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc2 ? 2 : 0;
  if (bytes == 0 || lead >= 0xf5 || text.size() < bytes) return {};
  uint32_t code = lead & (0xffu >> (bytes + 1));
  for (size_t k = 1; k < bytes; ++k) {
    if ((byte(k) & 0xc0) != 0x80) return {};
    code = code << 6 | (byte(k) & 0x3fu);
  }
  constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  if (code < kLeast[bytes] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return {};
  return {code, bytes};
}

// What moves a terminal's cursor or changes its state: C0, DEL, C1, and the marks that turn the
// direction of what follows.
inline bool is_control(uint32_t code) {
  return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x2028 || code == 0x2029 ||
         (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
}

// Wide: the blocks of East Asian scripts and of pictures.
inline size_t columns_of(uint32_t code) {
  if (code == 0x200b || code == 0x200d || code == 0xfeff || (code >= 0x300 && code < 0x370) ||
      (code >= 0xfe00 && code < 0xfe10))
    return 0;
  const bool wide = (code >= 0x1100 && code < 0x1160) || (code >= 0x2e80 && code < 0xa4d0) ||
                    (code >= 0xac00 && code < 0xd7a4) || (code >= 0xf900 && code < 0xfb00) ||
                    (code >= 0xfe30 && code < 0xfe70) || (code >= 0xff00 && code < 0xff61) ||
                    (code >= 0x1f300 && code < 0x1f650) || (code >= 0x1f900 && code < 0x1fa00) ||
                    (code >= 0x20000 && code < 0x40000);
  return wide ? 2 : 1;
}

}  // namespace mill::cli
