// Cuts the text of a query into words.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "profiler/query/query.h"

namespace mill::prof {

struct Token {
  enum class Kind : uint8_t { end, word, name, number, text, symbol };
  Kind kind = Kind::end;
  size_t at = 1;             // from 1
  std::string_view written;  // as it stands in the query
  std::string text;          // of a word: in lower case; of names and texts: without quotes
  Literal number;
};

class Lexer {
 public:
  explicit Lexer(std::string_view query) : query_(query) {}
  // False with a sentence for what is no word of a query.
  bool next(Token* out, std::string* why);

 private:
  bool quoted(char quote, Token* out, std::string* why);
  bool number(Token* out, std::string* why);

  std::string_view query_;
  size_t at_ = 0;
};

std::string error_at(size_t at, std::string_view sentence);

}  // namespace mill::prof
