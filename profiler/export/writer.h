// Text that goes out in pieces of 64 KiB: numbers, JSON strings, UTF-8 made whole.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "profiler/export/export.h"

namespace mill::prof {

// Length of the well-formed UTF-8 sequence that `text` begins with; 0: there is none.
size_t utf8_sequence(std::string_view text);
// Every byte that belongs to no well-formed sequence becomes U+FFFD.
std::string well_formed(std::string_view text);
// Appends a JSON string with its quotes; ill-formed bytes become U+FFFD.
void append_json(std::string& to, std::string_view text);
std::string json_string(std::string_view text);
// Microseconds with three decimals: every nanosecond, never by way of a double.
std::string micros_text(int64_t ns);

class Writer {
 public:
  static constexpr size_t kPiece = 65536;

  explicit Writer(const Sink& sink) : sink_(sink) { buffer_.reserve(kPiece); }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  // False once the sink has refused a piece; what comes after that is dropped.
  bool ok() const { return ok_; }

  void put(char c) {
    if (buffer_.size() == kPiece) flush();
    buffer_.push_back(c);
  }
  void put(std::string_view text) {
    if (text.size() <= kPiece - buffer_.size()) {
      buffer_.append(text);
    } else {
      put_long(text);
    }
  }
  void integer(int64_t value);
  void natural(uint64_t value);
  // The shortest text that reads back as the same value.
  void real(double value);
  void json(std::string_view text);
  // As real, but null where it is not finite.
  void json_real(double value);
  // A key, as it is to stand there, and its JSON value.
  void flag(std::string_view key, bool value);
  void count(std::string_view key, uint64_t value);
  void text(std::string_view key, std::string_view value);
  void figure(std::string_view key, double value);
  void micros(int64_t ns);
  void micros_natural(uint64_t ns);

  // Hands over what is left; false if the sink refused anything.
  bool finish();

 private:
  void put_long(std::string_view text);
  void flush();

  const Sink& sink_;
  std::string buffer_;
  std::string scratch_;
  bool ok_ = true;
};

}  // namespace mill::prof
