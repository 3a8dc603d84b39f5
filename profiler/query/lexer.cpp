#include "profiler/query/lexer.h"

#include <array>
#include <charconv>
#include <cmath>

namespace mill::prof {

namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}
char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

std::string lowered(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = lower(c);
  return out;
}

struct Suffix {
  std::string_view text;  // in lower case
  uint64_t factor;
  Measure measure;
};
constexpr std::array kSuffixes = {
    Suffix{"ns", 1, Measure::time},
    Suffix{"us", 1000, Measure::time},
    Suffix{"ms", 1000000, Measure::time},
    Suffix{"s", 1000000000, Measure::time},
    Suffix{"min", 60000000000, Measure::time},
    Suffix{"b", 1, Measure::bytes},
    Suffix{"kb", 1000, Measure::bytes},
    Suffix{"mb", 1000000, Measure::bytes},
    Suffix{"gb", 1000000000, Measure::bytes},
    Suffix{"tb", 1000000000000, Measure::bytes},
    Suffix{"kib", uint64_t{1} << 10, Measure::bytes},
    Suffix{"mib", uint64_t{1} << 20, Measure::bytes},
    Suffix{"gib", uint64_t{1} << 30, Measure::bytes},
    Suffix{"tib", uint64_t{1} << 40, Measure::bytes},
};

// digits[.digits] x factor / divisor as an integer, where it is one.
bool exact_value(std::string_view whole, std::string_view fraction, uint64_t factor,
                 uint64_t divisor, uint64_t* out) {
  while (!fraction.empty() && fraction.back() == '0') fraction.remove_suffix(1);
  uint64_t value = 0;
  for (const std::string_view part : {whole, fraction}) {
    for (const char c : part) {
      if (__builtin_mul_overflow(value, uint64_t{10}, &value) ||
          __builtin_add_overflow(value, static_cast<uint64_t>(c - '0'), &value))
        return false;
    }
  }
  for (size_t k = 0; k < fraction.size(); ++k) {
    if (__builtin_mul_overflow(divisor, uint64_t{10}, &divisor)) return false;
  }
  if (__builtin_mul_overflow(value, factor, &value) || value % divisor != 0) return false;
  *out = value / divisor;
  return true;
}

}  // namespace

std::string error_at(size_t at, std::string_view sentence) {
  return "at " + std::to_string(at) + ": " + std::string(sentence);
}

bool Lexer::next(Token* out, std::string* why) {
  while (at_ < query_.size() && is_space(query_[at_])) ++at_;
  *out = Token{};
  out->at = at_ + 1;
  if (at_ == query_.size()) return true;
  const char c = query_[at_];
  const auto take = [&](size_t n) {
    out->written = query_.substr(at_, n);
    at_ += n;
  };
  if (is_letter(c)) {
    size_t n = 1;
    while (at_ + n < query_.size() && (is_letter(query_[at_ + n]) || is_digit(query_[at_ + n])))
      ++n;
    out->kind = Token::Kind::word;
    take(n);
    out->text = lowered(out->written);
    return true;
  }
  if (is_digit(c) || (c == '.' && at_ + 1 < query_.size() && is_digit(query_[at_ + 1])))
    return number(out, why);
  if (c == '\'' || c == '"') return quoted(c, out, why);
  const std::string_view two = query_.substr(at_, 2);
  out->kind = Token::Kind::symbol;
  for (const std::string_view symbol : {"!=", "<>", "<=", ">=", "!~", "=="}) {
    if (two == symbol) {
      take(2);
      out->text = two == "<>" ? "!=" : two == "==" ? "=" : two;
      return true;
    }
  }
  if (std::string_view("(),*-=<>~;").find(c) != std::string_view::npos) {
    take(1);
    out->text = out->written;
    return true;
  }
  const auto byte = static_cast<unsigned char>(c);
  *why = error_at(out->at, byte >= 0x20 && byte < 0x7F
                               ? "\"" + std::string(1, c) + "\" is not part of a query"
                               : "byte " + std::to_string(byte) + " is not part of a query");
  return false;
}

bool Lexer::quoted(char quote, Token* out, std::string* why) {
  const size_t from = at_++;
  while (at_ < query_.size()) {
    if (query_[at_] != quote) {
      out->text.push_back(query_[at_++]);
    } else if (at_ + 1 < query_.size() && query_[at_ + 1] == quote) {
      out->text.push_back(quote);
      at_ += 2;
    } else {
      ++at_;
      out->kind = quote == '"' ? Token::Kind::name : Token::Kind::text;
      out->written = query_.substr(from, at_ - from);
      return true;
    }
  }
  *why = error_at(out->at, quote == '"' ? "the name has no closing double quote"
                                        : "the text has no closing single quote");
  return false;
}

bool Lexer::number(Token* out, std::string* why) {
  const size_t from = at_;
  const auto digits = [&] {
    const size_t first = at_;
    while (at_ < query_.size() && is_digit(query_[at_])) ++at_;
    return query_.substr(first, at_ - first);
  };
  const std::string_view whole = digits();
  std::string_view fraction;
  if (at_ < query_.size() && query_[at_] == '.') {
    ++at_;
    fraction = digits();
  }
  bool power = false;
  if (at_ < query_.size() && lower(query_[at_]) == 'e') {
    size_t next = at_ + 1;
    if (next < query_.size() && (query_[next] == '-' || query_[next] == '+')) ++next;
    if (next < query_.size() && is_digit(query_[next])) {
      at_ = next;
      digits();
      power = true;
    }
  }
  const std::string_view plain = query_.substr(from, at_ - from);
  Literal& literal = out->number;
  literal.at = out->at;
  const auto [end, error] =
      std::from_chars(plain.data(), plain.data() + plain.size(), literal.real);
  if (error == std::errc::result_out_of_range || !std::isfinite(literal.real)) {
    *why = error_at(out->at, "the number is too large or too small");
    return false;
  }

  size_t last = at_;
  while (last < query_.size() && (is_letter(query_[last]) || is_digit(query_[last]))) ++last;
  // The micro sign and the Greek letter.
  const std::string_view rest = query_.substr(at_);
  std::string suffix = lowered(query_.substr(at_, last - at_));
  if (rest.starts_with("\xC2\xB5s") || rest.starts_with("\xCE\xBCs")) {
    suffix = "us";
    last = at_ + 3;
  }
  uint64_t factor = 1;
  uint64_t divisor = 1;
  if (rest.starts_with('%')) {
    ++last;
    divisor = 100;
    literal.measure = Measure::share;
    literal.real /= 100;
  } else if (!suffix.empty()) {
    const Suffix* found = nullptr;
    for (const Suffix& one : kSuffixes) {
      if (one.text == suffix) found = &one;
    }
    if (found == nullptr) {
      *why = error_at(at_ + 1, "no unit \"" + suffix.substr(0, 40) +
                                   "\"; times take ns, us, ms, s, sizes B, KB, MB, GB, KiB, MiB, "
                                   "GiB");
      return false;
    }
    factor = found->factor;
    literal.measure = found->measure;
    literal.real *= static_cast<double>(factor);
    if (found->measure == Measure::bytes && query_.substr(last).size() >= 2 &&
        query_[last] == '/' && lower(query_[last + 1]) == 's') {
      literal.measure = Measure::rate;
      last += 2;
    }
  }
  at_ = last;
  if (!power) literal.exact = exact_value(whole, fraction, factor, divisor, &literal.magnitude);
  out->kind = Token::Kind::number;
  out->written = query_.substr(from, at_ - from);
  return true;
}

}  // namespace mill::prof
