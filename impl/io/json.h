// A cursor over JSON text (RFC 8259) for the few productions that a safetensors header consists of.
// It never recurses and accepts nothing that the RFC forbids; every failure is MILL_E_FORMAT with
// the byte's position.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mill {

class JsonCursor {
 public:
  // `source` names the text in messages; both views must outlive the cursor.
  JsonCursor(std::string_view source, std::string_view text) : source_(source), text_(text) {}

  // Skips white space, then answers whether `symbol` comes next and takes it if so.
  bool take(char symbol);
  void expect(char symbol);
  // Replaces `to` by the next string, unescaped. A string with U+0000 is refused: C callers could
  // not tell it from a shorter one.
  void string(std::string& to);
  // A whole number from 0 to INT64_MAX, without fraction or exponent.
  int64_t number();
  void expect_end();

 private:
  void skip_space();
  [[noreturn]] void fail_here(const char* expected) const;
  void escape(std::string& to);
  uint32_t hex4();

  std::string_view source_;
  std::string_view text_;
  size_t at_ = 0;
};

// Appends `text`, which is UTF-8, as a JSON string.
void append_json_string(std::string& to, std::string_view text);

}  // namespace mill
