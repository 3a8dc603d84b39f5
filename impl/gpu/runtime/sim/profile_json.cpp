// Reads a profile from JSON (RFC 8259): one object, strictly, without recursion.
#include <algorithm>
#include <bitset>
#include <charconv>
#include <cmath>
#include <cstdarg>
#include <cstdio>

#include "gpu/runtime/sim/profile.h"

namespace mill::sim {
namespace {

// RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF.
size_t utf8_bytes(std::string_view text) {
  const auto at = [&](size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  const auto follows = [&](size_t i) { return (at(i) & 0xc0u) == 0x80u; };
  const unsigned a = at(0);
  const unsigned b = at(1);
  if (a < 0x80) return 1;
  if (a >= 0xc2 && a <= 0xdf) return follows(1) ? 2 : 0;
  if (a >= 0xe0 && a <= 0xef) {
    const bool fits = !(a == 0xe0 && b < 0xa0) && !(a == 0xed && b > 0x9f);
    return fits && follows(1) && follows(2) ? 3 : 0;
  }
  if (a >= 0xf0 && a <= 0xf4) {
    const bool fits = !(a == 0xf0 && b < 0x90) && !(a == 0xf4 && b > 0x8f);
    return fits && follows(1) && follows(2) && follows(3) ? 4 : 0;
  }
  return 0;
}

void append_utf8(std::string* to, uint32_t code) {
  const auto put = [to](uint32_t byte) { to->push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xc0 | (code >> 6));
    put(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    put(0xe0 | (code >> 12));
    put(0x80 | ((code >> 6) & 0x3f));
    put(0x80 | (code & 0x3f));
  } else {
    put(0xf0 | (code >> 18));
    put(0x80 | ((code >> 12) & 0x3f));
    put(0x80 | ((code >> 6) & 0x3f));
    put(0x80 | (code & 0x3f));
  }
}

class Reader {
 public:
  Reader(std::string_view text, const char* origin, char* why, size_t n)
      : text_(text), origin_(origin), why_(why), n_(n) {}

  bool profile(Profile* out);

 private:
  __attribute__((format(printf, 2, 3))) bool refuse(const char* format, ...) {
    va_list values;
    va_start(values, format);
    if (n_ > 0) {
      const int head = std::snprintf(why_, n_, "profile %.200s: ", origin_);
      const auto used = std::min(static_cast<size_t>(std::max(head, 0)), n_ - 1);
      std::vsnprintf(why_ + used, n_ - used, format, values);
    }
    va_end(values);
    return false;
  }
  bool expected(const char* what) {
    if (at_ >= text_.size()) return refuse("the text ends at byte %zu, expected %s", at_, what);
    const auto byte = static_cast<unsigned char>(text_[at_]);
    if (byte >= 0x20 && byte < 0x7f)
      return refuse("'%c' at byte %zu, expected %s", static_cast<char>(byte), at_, what);
    return refuse("byte 0x%02x at byte %zu, expected %s", byte, at_, what);
  }
  void skip_space() {
    while (at_ < text_.size() &&
           (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r'))
      ++at_;
  }
  bool take(char symbol) {
    skip_space();
    if (at_ >= text_.size() || text_[at_] != symbol) return false;
    ++at_;
    return true;
  }
  bool hex4(uint32_t* out) {
    *out = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const char c = at_ < text_.size() ? text_[at_] : '\0';
      uint32_t digit = 0;
      if (c >= '0' && c <= '9')
        digit = static_cast<uint32_t>(c - '0');
      else if (c >= 'a' && c <= 'f')
        digit = static_cast<uint32_t>(c - 'a') + 10;
      else if (c >= 'A' && c <= 'F')
        digit = static_cast<uint32_t>(c - 'A') + 10;
      else
        return expected("four hexadecimal digits");
      *out = *out * 16 + digit;
    }
    return true;
  }
  bool escape(std::string* out);
  bool string(std::string* out, size_t limit);
  bool figure(const ProfileField& field, int64_t* out);
  bool text_value(const std::string& key, std::string* out, size_t limit);
  bool sources(std::array<std::string, kProfileFields>* out);
  bool member(const std::string& key);

  std::string_view text_;
  const char* origin_;
  char* why_;
  size_t n_;
  size_t at_ = 0;

  std::string name_, base_, description_, architecture_;
  std::array<int64_t, kProfileFields> values_{};
  std::array<std::string, kProfileFields> sources_;
  std::bitset<kProfileFields> given_;
  bool has_name_ = false, has_base_ = false, has_description_ = false, has_architecture_ = false,
       has_sources_ = false;
};

bool Reader::escape(std::string* out) {
  const char c = at_ < text_.size() ? text_[at_] : '\0';
  switch (c) {
    case '"':
    case '\\':
    case '/': out->push_back(c); break;
    case 'b': out->push_back('\b'); break;
    case 'f': out->push_back('\f'); break;
    case 'n': out->push_back('\n'); break;
    case 'r': out->push_back('\r'); break;
    case 't': out->push_back('\t'); break;
    case 'u': {
      ++at_;
      uint32_t code = 0;
      if (!hex4(&code)) return false;
      if (code >= 0xd800 && code < 0xdc00) {
        uint32_t low = 0;
        if (text_.substr(at_, 2) != "\\u") return expected("the second half of a surrogate pair");
        at_ += 2;
        if (!hex4(&low)) return false;
        if (low < 0xdc00 || low > 0xdfff)
          return refuse("the surrogate pair that ends at byte %zu is none", at_);
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
      } else if (code >= 0xdc00 && code < 0xe000) {
        return refuse("half a surrogate pair before byte %zu", at_);
      }
      if (code == 0) return refuse("a string with U+0000 before byte %zu", at_);
      append_utf8(out, code);
      return true;
    }
    default: return expected("one of \" \\ / b f n r t u after a backslash");
  }
  ++at_;
  return true;
}

bool Reader::string(std::string* out, size_t limit) {
  out->clear();
  if (!take('"')) return expected("a string");
  for (;;) {
    if (at_ >= text_.size()) return expected("the end of the string");
    if (out->size() > limit)
      return refuse("a string of more than %zu bytes before byte %zu", limit, at_);
    const auto c = static_cast<unsigned char>(text_[at_]);
    if (c == '"') {
      ++at_;
      return true;
    }
    if (c == '\\') {
      ++at_;
      if (!escape(out)) return false;
      continue;
    }
    if (c < 0x20) return expected("a character of the string");
    const size_t bytes = utf8_bytes(text_.substr(at_));
    if (bytes == 0) return refuse("byte 0x%02x at byte %zu is not UTF-8", c, at_);
    out->append(text_.substr(at_, bytes));
    at_ += bytes;
  }
}

bool Reader::figure(const ProfileField& field, int64_t* out) {
  skip_space();
  const size_t begin = at_;
  const auto digits = [this] {
    const size_t first = at_;
    while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') ++at_;
    return at_ - first;
  };
  if (at_ < text_.size() && text_[at_] == '-') ++at_;
  const size_t whole_at = at_;
  const size_t whole = digits();
  bool valid = whole > 0 && !(whole > 1 && text_[whole_at] == '0');
  if (valid && at_ < text_.size() && text_[at_] == '.') {
    ++at_;
    valid = digits() > 0;
  }
  if (valid && at_ < text_.size() && (text_[at_] == 'e' || text_[at_] == 'E')) {
    ++at_;
    if (at_ < text_.size() && (text_[at_] == '+' || text_[at_] == '-')) ++at_;
    valid = digits() > 0;
  }
  // What ends the token shows what it was: NaN, Infinity, true, "text", [ ... ].
  size_t end = at_;
  while (end < text_.size() && std::string_view(",}] \t\r\n").find(text_[end]) == std::string::npos)
    ++end;
  const std::string token(text_.substr(begin, std::min<size_t>(end - begin, 40)));
  if (!valid || end != at_) {
    std::string shown;
    for (const char c : token) shown.push_back(c >= 0x20 && c < 0x7f ? c : '?');
    return refuse("%s is %s, expected a whole number of %lld to %lld %s", field.key,
                  shown.empty() ? "missing" : shown.c_str(), static_cast<long long>(field.low),
                  static_cast<long long>(field.high), field.unit);
  }
  // Whole numbers are read as such: a double has 53 bits only.
  const char* first = text_.data() + begin;
  const char* last = text_.data() + end;
  int64_t value = 0;
  if (const auto read = std::from_chars(first, last, value);
      read.ec == std::errc() && read.ptr == last) {
    *out = value;
  } else {
    double real = 0;
    const auto parsed = std::from_chars(first, last, real);
    const bool small = std::abs(real) < 9.2e18 && parsed.ec == std::errc();
    if (small && real != std::floor(real))
      return refuse("%s is %s, expected a whole number of %lld to %lld %s", field.key,
                    token.c_str(), static_cast<long long>(field.low),
                    static_cast<long long>(field.high), field.unit);
    if (!small)
      return refuse("%s is %s, the limits are %lld to %lld %s", field.key, token.c_str(),
                    static_cast<long long>(field.low), static_cast<long long>(field.high),
                    field.unit);
    *out = static_cast<int64_t>(real);
  }
  if (*out < field.low || *out > field.high)
    return refuse("%s is %s, the limits are %lld to %lld %s", field.key, token.c_str(),
                  static_cast<long long>(field.low), static_cast<long long>(field.high),
                  field.unit);
  return true;
}

bool Reader::text_value(const std::string& key, std::string* out, size_t limit) {
  skip_space();
  if (at_ >= text_.size() || text_[at_] != '"')
    return refuse("%s is no string, at byte %zu", key.c_str(), at_);
  return string(out, limit);
}

bool Reader::sources(std::array<std::string, kProfileFields>* out) {
  if (!take('{')) return refuse("sources is no object, at byte %zu", at_);
  if (take('}')) return true;
  const auto fields = profile_fields();
  for (;;) {
    std::string key;
    if (!string(&key, 64)) return false;
    if (!take(':')) return expected("':'");
    size_t i = 0;
    while (i < fields.size() && key != fields[i].key) ++i;
    if (i == fields.size())
      return refuse("sources has \"%s\", which is no figure of a profile", key.c_str());
    if (!(*out)[i].empty()) return refuse("sources has \"%s\" twice", key.c_str());
    if (!text_value(key, &(*out)[i], 256)) return false;
    if ((*out)[i].empty()) return refuse("the source of %s is empty", key.c_str());
    if (take('}')) return true;
    if (!take(',')) return expected("',' or '}'");
  }
}

bool Reader::member(const std::string& key) {
  struct Text {
    const char* key;
    std::string* value;
    bool* given;
    size_t limit;
  };
  const Text texts[] = {{"name", &name_, &has_name_, 63},
                        {"base", &base_, &has_base_, 63},
                        {"description", &description_, &has_description_, 200},
                        {"architecture", &architecture_, &has_architecture_, 31}};
  for (const Text& text : texts) {
    if (key != text.key) continue;
    if (*text.given) return refuse("\"%s\" is there twice", text.key);
    *text.given = true;
    return text_value(key, text.value, text.limit);
  }
  if (key == "sources") {
    if (has_sources_) return refuse("\"sources\" is there twice");
    has_sources_ = true;
    return sources(&sources_);
  }
  const auto fields = profile_fields();
  for (size_t i = 0; i < fields.size(); ++i) {
    if (key != fields[i].key) continue;
    if (given_[i]) return refuse("\"%s\" is there twice", fields[i].key);
    given_.set(i);
    return figure(fields[i], &values_[i]);
  }
  return refuse("\"%s\" is no key of a profile", key.c_str());
}

bool Reader::profile(Profile* out) {
  if (!take('{')) return expected("'{'");
  if (!take('}')) {
    for (;;) {
      std::string key;
      if (!string(&key, 64)) return false;
      if (!take(':')) return expected("':'");
      if (!member(key)) return false;
      if (take('}')) break;
      if (!take(',')) return expected("',' or '}'");
    }
  }
  skip_space();
  if (at_ != text_.size()) return expected("nothing after the object");
  if (!has_name_) return refuse("there is no \"name\"");

  Profile made;
  if (has_base_ && !builtin_profile(base_, &made))
    return refuse("base is \"%s\", which is no built-in profile", base_.c_str());
  const std::string base_name = made.name;
  made.name = name_;
  if (has_description_)
    made.description = description_;
  else
    made.description = has_base_ ? "model on the base of " + base_name : "model";
  if (has_architecture_) made.architecture = architecture_;
  if (made.architecture.empty()) made.architecture = "unnamed";
  const auto fields = profile_fields();
  for (size_t i = 0; i < fields.size(); ++i) {
    if (given_[i]) {
      made.*fields[i].value = values_[i];
      made.sources[i] = std::string("file ") + origin_;
    } else if (!has_base_) {
      return refuse("there is no \"%s\", and no \"base\" to take it from", fields[i].key);
    }
    if (!sources_[i].empty()) made.sources[i] = sources_[i];
  }
  if (!check_profile(made, why_, n_)) return false;
  *out = std::move(made);
  return true;
}

}  // namespace

bool parse_profile(std::string_view json, const char* origin, Profile* out, char* why, size_t n) {
  return Reader(json, origin, why, n).profile(out);
}

}  // namespace mill::sim
