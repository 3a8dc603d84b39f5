// Numbers and texts as they stand in a trace.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace mill::prof {

// The decimal number `text` times 10^shift, rounded to the nearest; digits never go through a
// double. Nothing for what is no number or does not fit.
std::optional<int64_t> read_decimal(std::string_view text, int shift);
// A whole number from 0 on, also as 0x...; what a negative one is in two's complement.
std::optional<uint64_t> read_unsigned(std::string_view text);
std::optional<double> read_double(std::string_view text);

// a + b, or the nearest that fits.
int64_t add_clamped(int64_t a, int64_t b);

// The text with what is not UTF-8, and NUL, replaced by U+FFFD; *space holds it where it changed.
std::string_view clean_text(std::string_view text, std::string* space);

// A copy of a JSON text with what writers commonly get wrong set right: lone backslashes, halves of
// surrogate pairs and control characters in strings, and words such as nan and inf.
std::string mend_json(std::string_view json);

}  // namespace mill::prof
