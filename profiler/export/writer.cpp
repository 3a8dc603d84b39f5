#include "profiler/export/writer.h"

#include <charconv>
#include <cmath>

namespace mill::prof {

namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

char* write_micros(char* to, char* end, uint64_t ns) {
  to = std::to_chars(to, end, ns / 1000).ptr;
  const auto rest = static_cast<unsigned>(ns % 1000);
  *to++ = '.';
  *to++ = static_cast<char>('0' + rest / 100);
  *to++ = static_cast<char>('0' + rest / 10 % 10);
  *to++ = static_cast<char>('0' + rest % 10);
  return to;
}

uint64_t magnitude(int64_t value) {
  return value < 0 ? uint64_t{0} - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
}

}  // namespace

// The ranges of table 3-7 of the Unicode standard: no overlong forms, no surrogates, nothing above
// U+10FFFF.
size_t utf8_sequence(std::string_view text) {
  if (text.empty()) return 0;
  const auto byte = [&](size_t k) { return static_cast<unsigned char>(text[k]); };
  const auto within = [&](size_t k, unsigned low, unsigned high) {
    return k < text.size() && byte(k) >= low && byte(k) <= high;
  };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return within(1, 0x80, 0xBF) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const unsigned low = first == 0xE0 ? 0xA0 : 0x80;
    const unsigned high = first == 0xED ? 0x9F : 0xBF;
    return within(1, low, high) && within(2, 0x80, 0xBF) ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const unsigned low = first == 0xF0 ? 0x90 : 0x80;
    const unsigned high = first == 0xF4 ? 0x8F : 0xBF;
    return within(1, low, high) && within(2, 0x80, 0xBF) && within(3, 0x80, 0xBF) ? 4 : 0;
  }
  return 0;
}

std::string well_formed(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const size_t n = utf8_sequence(text);
    out.append(n > 0 ? text.substr(0, n) : kReplacement);
    text.remove_prefix(n > 0 ? n : 1);
  }
  return out;
}

void append_json(std::string& to, std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  to.push_back('"');
  size_t from = 0;
  const auto copy_until = [&](size_t at) { to.append(text.substr(from, at - from)); };
  for (size_t at = 0; at < text.size();) {
    const auto c = static_cast<unsigned char>(text[at]);
    if (c >= 0x20 && c != '"' && c != '\\' && c < 0x80) {
      ++at;
      continue;
    }
    if (c >= 0x80) {
      const size_t n = utf8_sequence(text.substr(at));
      if (n > 0) {
        at += n;
        continue;
      }
      copy_until(at);
      to.append(kReplacement);
    } else {
      copy_until(at);
      switch (c) {
        case '"': to.append("\\\""); break;
        case '\\': to.append("\\\\"); break;
        case '\n': to.append("\\n"); break;
        case '\t': to.append("\\t"); break;
        case '\r': to.append("\\r"); break;
        default:
          to.append("\\u00");
          to.push_back(kHex[c >> 4]);
          to.push_back(kHex[c & 15]);
      }
    }
    from = ++at;
  }
  copy_until(text.size());
  to.push_back('"');
}

std::string json_string(std::string_view text) {
  std::string out;
  out.reserve(text.size() + 2);
  append_json(out, text);
  return out;
}

std::string micros_text(int64_t ns) {
  char text[32];
  char* to = text;
  if (ns < 0) *to++ = '-';
  to = write_micros(to, text + sizeof text, magnitude(ns));
  return {text, to};
}

void Writer::integer(int64_t value) {
  char text[24];
  put(std::string_view(text, std::to_chars(text, text + sizeof text, value).ptr));
}

void Writer::natural(uint64_t value) {
  char text[24];
  put(std::string_view(text, std::to_chars(text, text + sizeof text, value).ptr));
}

void Writer::real(double value) {
  char text[40];
  put(std::string_view(text, std::to_chars(text, text + sizeof text, value).ptr));
}

void Writer::json(std::string_view text) {
  scratch_.clear();
  append_json(scratch_, text);
  put(scratch_);
}

void Writer::json_real(double value) {
  if (std::isfinite(value)) {
    real(value);
  } else {
    put("null");
  }
}

void Writer::flag(std::string_view key, bool value) {
  put(key);
  put(value ? "true" : "false");
}

void Writer::count(std::string_view key, uint64_t value) {
  put(key);
  natural(value);
}

void Writer::text(std::string_view key, std::string_view value) {
  put(key);
  json(value);
}

void Writer::figure(std::string_view key, double value) {
  put(key);
  json_real(value);
}

void Writer::micros(int64_t ns) {
  if (ns < 0) put('-');
  micros_natural(magnitude(ns));
}

void Writer::micros_natural(uint64_t ns) {
  char text[32];
  put(std::string_view(text, write_micros(text, text + sizeof text, ns)));
}

bool Writer::finish() {
  if (!buffer_.empty()) flush();
  return ok_;
}

void Writer::put_long(std::string_view text) {
  while (!text.empty()) {
    if (buffer_.size() == kPiece) flush();
    const size_t n = text.size() < kPiece - buffer_.size() ? text.size() : kPiece - buffer_.size();
    buffer_.append(text.substr(0, n));
    text.remove_prefix(n);
  }
}

void Writer::flush() {
  if (ok_) ok_ = sink_(buffer_);
  buffer_.clear();
}

}  // namespace mill::prof
