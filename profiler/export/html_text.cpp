#include "profiler/export/html_text.h"

#include <array>
#include <charconv>
#include <cmath>

namespace mill::prof::html {

namespace {

constexpr uint32_t kReplacement = 0xFFFD;

// The next character of UTF-8 (RFC 3629), moving *at past it; kReplacement for a byte that starts
// none.
uint32_t next_character(std::string_view text, size_t* at) {
  const auto byte = [&](size_t k) { return static_cast<uint8_t>(text[k]); };
  const uint8_t lead = byte(*at);
  if (lead < 0x80) return ++*at, lead;
  const int more = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : lead >= 0xC2 ? 1 : 0;
  if (more == 0 || lead > 0xF4) return ++*at, kReplacement;
  uint32_t character = lead & (0x3FU >> more);
  for (int k = 1; k <= more; ++k) {
    const size_t here = *at + static_cast<size_t>(k);
    if (here >= text.size() || (byte(here) & 0xC0) != 0x80) return ++*at, kReplacement;
    character = character << 6 | (byte(here) & 0x3FU);
  }
  constexpr std::array<uint32_t, 4> kSmallest = {0, 0x80, 0x800, 0x10000};
  const bool surrogate = character >= 0xD800 && character <= 0xDFFF;
  if (character < kSmallest[static_cast<size_t>(more)] || character > 0x10FFFF || surrogate) {
    return ++*at, kReplacement;
  }
  *at += static_cast<size_t>(more) + 1;
  return character;
}

template <class Number>
void append_number(std::string& out, Number value) {
  std::array<char, 40> buffer;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value).ptr;
  out.append(buffer.data(), end);
}

void append_unicode_escape(std::string& out, uint32_t character) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  out += "\\u";
  for (int shift = 12; shift >= 0; shift -= 4) out += kDigits[character >> shift & 15U];
}

}  // namespace

std::string escape(std::string_view text) {
  std::string out;
  out.reserve(text.size() + 16);
  for (size_t at = 0; at < text.size();) {
    const size_t from = at;
    const uint32_t character = next_character(text, &at);
    switch (character) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      case 0:
      case kReplacement: out += "\xEF\xBF\xBD"; break;
      default: out += text.substr(from, at - from);
    }
  }
  return out;
}

std::string clip(std::string_view text, size_t bytes) {
  if (text.size() <= bytes) return std::string(text);
  size_t at = 0;
  size_t end = 0;
  while (at < text.size()) {
    next_character(text, &at);
    if (at > bytes) break;
    end = at;
  }
  return std::string(text.substr(0, end)) + "\xE2\x80\xA6";
}

Json& Json::open(char bracket) {
  separate();
  out_ += bracket;
  first_ = true;
  return *this;
}

Json& Json::close(char bracket) {
  out_ += bracket;
  first_ = false;
  return *this;
}

void Json::separate() {
  if (!first_) out_ += ',';
  first_ = false;
}

Json& Json::key(std::string_view name) {
  text(name);
  out_ += ':';
  first_ = true;
  return *this;
}

Json& Json::text(std::string_view value) {
  separate();
  out_ += '"';
  for (size_t at = 0; at < value.size();) {
    const size_t from = at;
    const uint32_t character = next_character(value, &at);
    if (character == '"' || character == '\\') {
      out_ += '\\';
      out_ += static_cast<char>(character);
    } else if (character < 0x20 || character == '<' || character == '>' || character == '&' ||
               character == 0x7F || character == 0x2028 || character == 0x2029 ||
               character == kReplacement) {
      append_unicode_escape(out_, character);
    } else {
      out_ += value.substr(from, at - from);
    }
  }
  out_ += '"';
  return *this;
}

Json& Json::number(double value) {
  separate();
  if (std::isfinite(value)) {
    append_number(out_, value);
  } else {
    out_ += "null";
  }
  return *this;
}

Json& Json::integer(int64_t value) {
  separate();
  append_number(out_, value);
  return *this;
}

Json& Json::count(uint64_t value) {
  separate();
  append_number(out_, value);
  return *this;
}

Json& Json::flag(bool value) {
  separate();
  out_ += value ? "true" : "false";
  return *this;
}

Json& Json::members(const Json& object) {
  if (object.out_.size() <= 2) return *this;
  separate();
  out_.append(object.out_, 1, object.out_.size() - 2);
  return *this;
}

bool write_base64(std::string_view bytes, const Sink& sink) {
  constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  constexpr size_t kPiece = 48 * 1024;  // of bytes; a multiple of 3
  std::string piece;
  for (size_t from = 0; from < bytes.size(); from += kPiece) {
    const std::string_view part = bytes.substr(from, kPiece);
    piece.clear();
    for (size_t k = 0; k < part.size(); k += 3) {
      const auto byte = [&](size_t n) -> uint32_t {
        return k + n < part.size() ? static_cast<uint8_t>(part[k + n]) : 0;
      };
      const uint32_t bits = byte(0) << 16 | byte(1) << 8 | byte(2);
      piece += kAlphabet[bits >> 18];
      piece += kAlphabet[bits >> 12 & 63];
      piece += k + 1 < part.size() ? kAlphabet[bits >> 6 & 63] : '=';
      piece += k + 2 < part.size() ? kAlphabet[bits & 63] : '=';
    }
    if (!sink(piece)) return false;
  }
  return true;
}

}  // namespace mill::prof::html
