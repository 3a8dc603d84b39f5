#include "profiler/import/text.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>

namespace mill::prof {

namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

bool is_tail(std::string_view text, size_t i) {
  return i < text.size() && (static_cast<uint8_t>(text[i]) & 0xc0) == 0x80;
}

// Bytes of the well-formed sequence at i (RFC 3629); 0: there is none.
size_t sequence(std::string_view text, size_t i) {
  const auto c = static_cast<uint8_t>(text[i]);
  if (c == 0) return 0;
  if (c < 0x80) return 1;
  if (c < 0xc2 || c > 0xf4 || !is_tail(text, i + 1)) return 0;
  if (c < 0xe0) return 2;
  const auto next = static_cast<uint8_t>(text[i + 1]);
  if (c < 0xf0) {
    if ((c == 0xe0 && next < 0xa0) || (c == 0xed && next > 0x9f)) return 0;
    return is_tail(text, i + 2) ? 3 : 0;
  }
  if ((c == 0xf0 && next < 0x90) || (c == 0xf4 && next > 0x8f)) return 0;
  return is_tail(text, i + 2) && is_tail(text, i + 3) ? 4 : 0;
}

bool plain_ascii(std::string_view text) {
  size_t i = 0;
  for (; i + 8 <= text.size(); i += 8) {
    uint64_t word;
    std::memcpy(&word, text.data() + i, 8);
    constexpr uint64_t kHigh = 0x8080808080808080u;
    // The second part finds a zero byte among bytes below 0x80.
    if ((word & kHigh) != 0 || ((word - 0x0101010101010101u) & kHigh) != 0) return false;
  }
  for (; i < text.size(); ++i) {
    if (text[i] <= 0) return false;
  }
  return true;
}

}  // namespace

std::optional<int64_t> read_decimal(std::string_view text, int shift) {
  size_t i = 0;
  const bool negative = !text.empty() && text[0] == '-';
  if (negative) ++i;
  const size_t whole = i;
  while (i < text.size() && is_digit(text[i])) ++i;
  const std::string_view digits = text.substr(whole, i - whole);
  std::string_view fraction;
  if (i < text.size() && text[i] == '.') {
    const size_t begin = ++i;
    while (i < text.size() && is_digit(text[i])) ++i;
    fraction = text.substr(begin, i - begin);
  }
  if (digits.empty() && fraction.empty()) return std::nullopt;
  int64_t exponent = 0;
  if (i < text.size() && (text[i] == 'e' || text[i] == 'E')) {
    ++i;
    const bool down = i < text.size() && text[i] == '-';
    if (i < text.size() && (text[i] == '-' || text[i] == '+')) ++i;
    const size_t begin = i;
    for (; i < text.size() && is_digit(text[i]); ++i)
      exponent = std::min<int64_t>(exponent * 10 + (text[i] - '0'), 1 << 30);
    if (i == begin) return std::nullopt;
    if (down) exponent = -exponent;
  }
  if (i != text.size()) return std::nullopt;

  // How many digits, of both parts in a row, stand before the point of the result.
  const int64_t before = static_cast<int64_t>(digits.size()) + exponent + shift;
  const auto count = static_cast<int64_t>(digits.size() + fraction.size());
  const auto digit = [&](int64_t k) {
    const auto at = static_cast<size_t>(k);
    return static_cast<uint64_t>((at < digits.size() ? digits[at] : fraction[at - digits.size()]) -
                                 '0');
  };
  const uint64_t limit =
      static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) + (negative ? 1 : 0);
  uint64_t value = 0;
  for (int64_t k = 0; k < before; ++k) {
    if (k >= count && value == 0) break;
    const uint64_t next = k < count ? digit(k) : 0;
    if (value > (limit - next) / 10) return std::nullopt;
    value = value * 10 + next;
  }
  if (before >= 0 && before < count && digit(before) >= 5) {
    if (value == limit) return std::nullopt;
    ++value;
  }
  return static_cast<int64_t>(negative ? 0 - value : value);
}

std::optional<uint64_t> read_unsigned(std::string_view text) {
  uint64_t value = 0;
  const bool hex = text.size() > 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
  const char* begin = text.data() + (hex ? 2 : 0);
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(begin, end, value, hex ? 16 : 10);
  if (error == std::errc() && stop == end && begin != end) return value;
  if (hex) return std::nullopt;
  const std::optional<int64_t> number = read_decimal(text, 0);
  if (!number) return std::nullopt;
  return static_cast<uint64_t>(*number);
}

std::optional<double> read_double(std::string_view text) {
  double value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || stop != text.data() + text.size()) return std::nullopt;
  // Neither NaN nor infinite.
  if (!(value - value == 0)) return std::nullopt;
  return value;
}

int64_t add_clamped(int64_t a, int64_t b) {
  int64_t sum = 0;
  if (!__builtin_add_overflow(a, b, &sum)) return sum;
  return a < 0 ? std::numeric_limits<int64_t>::min() : std::numeric_limits<int64_t>::max();
}

std::string_view clean_text(std::string_view text, std::string* space) {
  if (plain_ascii(text)) return text;
  size_t i = 0;
  while (i < text.size()) {
    const size_t n = sequence(text, i);
    if (n == 0) break;
    i += n;
  }
  if (i == text.size()) return text;
  space->assign(text.substr(0, i));
  while (i < text.size()) {
    const size_t n = sequence(text, i);
    space->append(n == 0 ? kReplacement : text.substr(i, n));
    i += std::max<size_t>(n, 1);
  }
  return *space;
}

namespace {

int hex4(std::string_view text, size_t i) {
  if (i + 4 > text.size()) return -1;
  unsigned value = 0;
  const auto [stop, error] = std::from_chars(text.data() + i, text.data() + i + 4, value, 16);
  return error == std::errc() && stop == text.data() + i + 4 ? static_cast<int>(value) : -1;
}

// Takes the escape at json[i], a backslash; gives where to go on.
size_t mend_escape(std::string_view json, size_t i, std::string& out) {
  const char c = i + 1 < json.size() ? json[i + 1] : '\0';
  if (c != 'u') {
    const bool known = c != '\0' && std::strchr("\"\\/bfnrt", c) != nullptr;
    out += known ? "\\" : "\\\\";
    if (!known) return i + 1;
    out += c;
    return i + 2;
  }
  const int unit = hex4(json, i + 2);
  if (unit < 0) {
    out += "\\\\";
    return i + 1;
  }
  if (unit < 0xd800 || unit > 0xdfff) {
    out += json.substr(i, 6);
    return i + 6;
  }
  if (unit < 0xdc00 && json.substr(i + 6, 2) == "\\u") {
    const int low = hex4(json, i + 8);
    if (low >= 0xdc00 && low <= 0xdfff) {
      out += json.substr(i, 12);
      return i + 12;
    }
  }
  out += "\\ufffd";
  return i + 6;
}

bool is_json_word(std::string_view word) {
  if (word == "true" || word == "false" || word == "null") return true;
  const char last = word.back();
  return is_digit(last) && word.find_first_not_of("+-.0123456789eE") == std::string_view::npos;
}

}  // namespace

std::string mend_json(std::string_view json) {
  std::string out;
  out.reserve(json.size() + 16);
  bool in_string = false;
  size_t i = 0;
  while (i < json.size()) {
    const char c = json[i];
    if (in_string) {
      if (c == '\\') {
        i = mend_escape(json, i, out);
        continue;
      }
      if (c == '"') in_string = false;
      out += c >= 0 && c < ' ' ? ' ' : c;
      ++i;
      continue;
    }
    if (c == '"') in_string = true;
    if (std::strchr("{}[]:,\" \t\n\r", c) != nullptr) {
      const size_t next = c == ',' ? json.find_first_not_of(" \t\n\r", i + 1) : json.size();
      // A comma after the last member.
      if (c != ',' || next >= json.size() || (json[next] != '}' && json[next] != ']'))
        out += c == '\0' ? ' ' : c;
      ++i;
      continue;
    }
    const size_t end = std::min(json.find_first_of("{}[]:,\" \t\n\r", i), json.size());
    const std::string_view word = json.substr(i, end - i);
    out += is_json_word(word) ? word : std::string_view("NaN");
    i = end;
  }
  return out;
}

}  // namespace mill::prof
