#include "base/utf8.h"

#include "base/error.h"

namespace mill {

// The ranges of the second byte are those of Unicode 15, table 3-7.
size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  const auto follows = [&](size_t i) { return (byte(i) & 0xc0u) == 0x80u; };
  const unsigned lead = byte(0);
  if (lead < 0x80) return text.empty() ? 0 : 1;
  if (lead >= 0xc2 && lead <= 0xdf) return follows(1) ? 2 : 0;
  if (lead >= 0xe0 && lead <= 0xef) {
    const bool second = lead == 0xe0 ? byte(1) >= 0xa0 : lead == 0xed ? byte(1) <= 0x9f : true;
    return second && follows(1) && follows(2) ? 3 : 0;
  }
  if (lead >= 0xf0 && lead <= 0xf4) {
    const bool second = lead == 0xf0 ? byte(1) >= 0x90 : lead == 0xf4 ? byte(1) <= 0x8f : true;
    return second && follows(1) && follows(2) && follows(3) ? 4 : 0;
  }
  return 0;
}

size_t utf8_fault(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t length = utf8_length(text.substr(at));
    if (length == 0) return at;
    at += length;
  }
  return std::string_view::npos;
}

void need_utf8(std::string_view text, int32_t argument, const char* name) {
  const size_t at = utf8_fault(text);
  if (at == std::string_view::npos) return;
  fail_argument(MILL_E_ARG, argument, "%s is not UTF-8: byte %zu is 0x%02x and begins no character",
                name, at, static_cast<unsigned>(static_cast<unsigned char>(text[at])));
}

}  // namespace mill
