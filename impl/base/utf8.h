// Well-formed UTF-8 (RFC 3629): no surrogates, no overlong forms, nothing above U+10FFFF.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace mill {

// Bytes of the character that `text` begins with; 0 if it begins with none.
size_t utf8_length(std::string_view text);

// Where the first byte is that begins no character, npos if there is none.
size_t utf8_fault(std::string_view text);

inline bool is_utf8(std::string_view text) {
  return utf8_fault(text) == std::string_view::npos;
}

// Refuses an argument that is not UTF-8, by its name and the byte.
void need_utf8(std::string_view text, int32_t argument, const char* name);

}  // namespace mill
