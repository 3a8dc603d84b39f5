#include "io/json.h"

#include <cstdio>

#include "base/error.h"
#include "base/utf8.h"
#include "io/bytes.h"

namespace mill {

namespace {

void append_utf8(std::string& to, uint32_t point) {
  const auto tail = [&](uint32_t shift) {
    to.push_back(static_cast<char>(0x80u | ((point >> shift) & 0x3fu)));
  };
  if (point < 0x80) {
    to.push_back(static_cast<char>(point));
  } else if (point < 0x800) {
    to.push_back(static_cast<char>(0xc0u | (point >> 6)));
    tail(0);
  } else if (point < 0x10000) {
    to.push_back(static_cast<char>(0xe0u | (point >> 12)));
    tail(6);
    tail(0);
  } else {
    to.push_back(static_cast<char>(0xf0u | (point >> 18)));
    tail(12);
    tail(6);
    tail(0);
  }
}

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

}  // namespace

void JsonCursor::skip_space() {
  while (at_ < text_.size() && is_space(text_[at_])) ++at_;
}

void JsonCursor::fail_here(const char* expected) const {
  const Shown source(source_, Shown::Keep::end);
  if (at_ >= text_.size()) {
    fail(MILL_E_FORMAT, "%s: the header ends at byte %zu where %s was expected", source.text(), at_,
         expected);
  }
  const auto byte = static_cast<unsigned char>(text_[at_]);
  fail(MILL_E_FORMAT,
       byte > 0x20 && byte < 0x7f ? "%s: byte %zu of the header is '%c' where %s was expected"
                                  : "%s: byte %zu of the header is %d where %s was expected",
       source.text(), at_, byte, expected);
}

bool JsonCursor::take(char symbol) {
  skip_space();
  if (at_ >= text_.size() || text_[at_] != symbol) return false;
  ++at_;
  return true;
}

void JsonCursor::expect(char symbol) {
  const char expected[] = {'\'', symbol, '\'', 0};
  if (!take(symbol)) fail_here(expected);
}

void JsonCursor::expect_end() {
  skip_space();
  if (at_ != text_.size()) fail_here("its end");
}

uint32_t JsonCursor::hex4() {
  uint32_t value = 0;
  for (int i = 0; i < 4; ++i, ++at_) {
    const char c = at_ < text_.size() ? text_[at_] : ' ';
    uint32_t digit = 0;
    if (is_digit(c)) {
      digit = static_cast<uint32_t>(c - '0');
    } else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')) {
      digit = static_cast<uint32_t>((c | 0x20) - 'a') + 10;
    } else {
      fail_here("a hexadecimal digit");
    }
    value = value * 16 + digit;
  }
  return value;
}

void JsonCursor::escape(std::string& to) {
  const char c = at_ < text_.size() ? text_[at_] : ' ';
  switch (c) {
    case '"':
    case '\\':
    case '/': to.push_back(c); break;
    case 'b': to.push_back('\b'); break;
    case 'f': to.push_back('\f'); break;
    case 'n': to.push_back('\n'); break;
    case 'r': to.push_back('\r'); break;
    case 't': to.push_back('\t'); break;
    case 'u': {
      ++at_;
      uint32_t point = hex4();
      if (point == 0) {
        --at_;
        fail_here("a character other than NUL");
      }
      if (point >= 0xdc00 && point <= 0xdfff) {
        --at_;
        fail_here("a high surrogate before a low one");
      }
      if (point >= 0xd800 && point <= 0xdbff) {
        if (text_.substr(at_, 2) != "\\u") fail_here("a low surrogate");
        at_ += 2;
        const uint32_t low = hex4();
        if (low < 0xdc00 || low > 0xdfff) {
          --at_;
          fail_here("a low surrogate");
        }
        point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
      }
      append_utf8(to, point);
      return;
    }
    default: fail_here("an escape");
  }
  ++at_;
}

void JsonCursor::string(std::string& to) {
  skip_space();
  if (at_ >= text_.size() || text_[at_] != '"') fail_here("a string");
  ++at_;
  to.clear();
  const size_t start = at_;
  while (true) {
    if (at_ >= text_.size()) fail_here("the end of a string");
    const auto byte = static_cast<unsigned char>(text_[at_]);
    if (byte == '"') break;
    if (byte < 0x20) fail_here("an escape instead of a control character");
    ++at_;
    if (byte == '\\') {
      escape(to);
    } else {
      to.push_back(static_cast<char>(byte));
    }
  }
  if (!is_utf8(text_.substr(start, at_ - start))) {
    fail(MILL_E_FORMAT, "%s: the string at bytes %zu to %zu of the header is not UTF-8",
         Shown(source_, Shown::Keep::end).text(), start, at_);
  }
  ++at_;
}

int64_t JsonCursor::number() {
  skip_space();
  if (at_ >= text_.size() || !is_digit(text_[at_])) fail_here("a whole number of at least 0");
  const size_t start = at_;
  int64_t value = 0;
  for (; at_ < text_.size() && is_digit(text_[at_]); ++at_) {
    if (at_ - start == 1 && text_[start] == '0') fail_here("a number without leading zeros");
    if (__builtin_mul_overflow(value, int64_t{10}, &value) ||
        __builtin_add_overflow(value, int64_t{text_[at_] - '0'}, &value)) {
      fail(MILL_E_FORMAT, "%s: the number at byte %zu of the header exceeds the limit of %lld",
           Shown(source_, Shown::Keep::end).text(), start, static_cast<long long>(INT64_MAX));
    }
  }
  return value;
}

void append_json_string(std::string& to, std::string_view text) {
  to.push_back('"');
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      to.push_back('\\');
      to.push_back(c);
    } else if (byte < 0x20) {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\u%04x", byte);
      to += escaped;
    } else {
      to.push_back(c);
    }
  }
  to.push_back('"');
}

}  // namespace mill
