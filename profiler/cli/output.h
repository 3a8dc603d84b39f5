// What the command prints: buffered output that says when it fails, text made safe for a terminal,
// aligned tables, JSON.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace mill::cli {

// What main turns into an exit status.
enum ExitStatus : int {
  kOk = 0,
  kFailed = 1,   // what was asked for could not be done, or a check found a fault
  kUsage = 2,    // the command line is wrong
  kRefused = 3,  // the recording is so damaged that there is no advice
  kPipe = 141    // whoever read the output is gone: what SIGPIPE would have given
};

struct Failure : std::runtime_error {
  using runtime_error::runtime_error;
};
struct UsageError : std::runtime_error {
  using runtime_error::runtime_error;
};
struct PipeClosed {};

inline constexpr uint32_t kUsualWidth = 100;  // where the output is no terminal

enum class Colour : uint8_t { none, bold, dim, red, green, yellow };

// A descriptor that is written to. Throws Failure, or PipeClosed.
class Output {
 public:
  Output(int descriptor, std::string name);
  ~Output();
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  Output& operator<<(std::string_view text);
  void flush();
  // From here on what cannot be written is dropped without an exception.
  void give_up_quietly() { quiet_ = true; }
  // From here on what is written is compressed (gzip); finish() writes the end of it.
  void compress();
  void finish();

  bool terminal() const { return terminal_; }
  uint32_t width() const { return width_; }
  // The text, in colour where that is wanted.
  std::string paint(Colour colour, std::string_view text) const;

 private:
  void write_all(std::string_view data);
  void pack(int flush);

  struct Gzip;
  int descriptor_;
  std::string name_;
  std::unique_ptr<Gzip> gzip_;
  bool terminal_;
  bool coloured_;
  bool failed_ = false;
  bool quiet_ = false;
  uint32_t width_;
  std::string buffer_;
};

// Valid UTF-8 without control characters: names in a trace can hold anything, and a terminal obeys
// what it is sent.
std::string safe_text(std::string_view text);
// Columns that the text takes on a terminal.
size_t text_width(std::string_view text);
// At most `width` columns, with "..." where something was left out.
std::string fit_text(std::string_view text, size_t width);
// Lines of at most `width` columns, each after `indent` spaces; the first without them if asked.
std::string wrap_text(std::string_view text, size_t width, size_t indent, bool first_too = true);
std::string printf_text(const char* format, ...) __attribute__((format(printf, 1, 2)));

// Columns with a header line; the widest texts are cut until a row fits.
class TextTable {
 public:
  enum class Align : uint8_t { left, right };
  void column(std::string title, Align align);
  // Cells are made safe here.
  void row(const std::vector<std::string>& cells);
  size_t rows() const { return rows_.size(); }
  void print(Output& out, size_t indent = 0) const;

 private:
  struct Column {
    std::string title;
    Align align;
  };
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// One JSON value, indented. Keys and texts become valid UTF-8; numbers that are not finite, null.
class JsonWriter {
 public:
  JsonWriter& begin_object() { return open('{'); }
  JsonWriter& end_object() { return close('}'); }
  JsonWriter& begin_array() { return open('['); }
  JsonWriter& end_array() { return close(']'); }
  JsonWriter& key(std::string_view name);
  JsonWriter& text(std::string_view value);
  JsonWriter& number(double value);
  JsonWriter& integer(int64_t value);
  JsonWriter& natural(uint64_t value);
  JsonWriter& boolean(bool value);
  JsonWriter& null();
  // The text with a line break, once everything has been closed.
  std::string take();

 private:
  JsonWriter& open(char bracket);
  JsonWriter& close(char bracket);
  void before();
  void quote(std::string_view value);

  std::string text_;
  std::vector<bool> filled_;  // of each open bracket: it has a value already
  bool after_key_ = false;
};

}  // namespace mill::cli
