// Texts for a page that may hold anything: names in a trace are chosen by others.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "profiler/export/export.h"

namespace mill::prof::html {

// `text` as HTML text or a quoted attribute's value. What is not UTF-8 becomes U+FFFD.
std::string escape(std::string_view text);

// At most `bytes` of it, cut between characters, with an ellipsis where something was cut.
std::string clip(std::string_view text, size_t bytes);

// Builds JSON that may stand inside a <script> element: no text can end the element, start a
// comment or a second script, or break a line of a program (U+2028).
class Json {
 public:
  Json& begin_object() { return open('{'); }
  Json& end_object() { return close('}'); }
  Json& begin_array() { return open('['); }
  Json& end_array() { return close(']'); }
  Json& key(std::string_view name);
  Json& text(std::string_view value);
  Json& number(double value);  // null where it is not finite
  Json& integer(int64_t value);
  Json& count(uint64_t value);
  Json& flag(bool value);

  Json& text(std::string_view name, std::string_view value) { return key(name).text(value); }
  Json& number(std::string_view name, double value) { return key(name).number(value); }
  Json& integer(std::string_view name, int64_t value) { return key(name).integer(value); }
  Json& count(std::string_view name, uint64_t value) { return key(name).count(value); }
  Json& flag(std::string_view name, bool value) { return key(name).flag(value); }

  // The members of another object, into this one.
  Json& members(const Json& object);

  const std::string& str() const { return out_; }

 private:
  Json& open(char bracket);
  Json& close(char bracket);
  void separate();
  std::string out_;
  bool first_ = true;
};

// Four characters for each three bytes.
constexpr uint64_t base64_size(uint64_t bytes) {
  return (bytes + 2) / 3 * 4;
}
bool write_base64(std::string_view bytes, const Sink& sink);

}  // namespace mill::prof::html
