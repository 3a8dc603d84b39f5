#include "profiler/cli/output.h"

#include <sys/ioctl.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "profiler/cli/utf8.h"

namespace mill::cli {

namespace {

constexpr size_t kBuffer = size_t{1} << 16;

uint32_t terminal_width(int descriptor) {
  winsize size{};
  if (ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20) return size.ws_col;
  return kUsualWidth;
}

bool wants_colour() {
  const char* refused = std::getenv("NO_COLOR");
  const char* kind = std::getenv("TERM");
  return (!refused || !*refused) && kind && std::strcmp(kind, "dumb") != 0;
}

}  // namespace

struct Output::Gzip {
  z_stream stream{};
  char made[kBuffer];
  ~Gzip() { deflateEnd(&stream); }
};

Output::Output(int descriptor, std::string name)
    : descriptor_(descriptor),
      name_(std::move(name)),
      terminal_(isatty(descriptor) == 1),
      coloured_(terminal_ && wants_colour()),
      width_(terminal_ ? terminal_width(descriptor) : kUsualWidth) {}

Output::~Output() {
  try {
    flush();
  } catch (...) {  // NOLINT: whoever wanted to know has asked before
  }
}

Output& Output::operator<<(std::string_view text) {
  buffer_ += text;
  if (buffer_.size() >= kBuffer) flush();
  return *this;
}

void Output::flush() {
  if (gzip_) {
    pack(Z_NO_FLUSH);
  } else {
    write_all(buffer_);
  }
  buffer_.clear();
}

void Output::compress() {
  flush();
  gzip_ = std::make_unique<Gzip>();
  // A window of 2^15 bytes; 16 more asks for gzip's header and checksum.
  if (deflateInit2(&gzip_->stream, Z_BEST_SPEED, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) !=
      Z_OK) {
    throw Failure("out of memory");
  }
}

void Output::finish() {
  if (gzip_) {
    pack(Z_FINISH);
    buffer_.clear();
    gzip_.reset();
  } else {
    flush();
  }
}

void Output::pack(int flush) {
  z_stream& stream = gzip_->stream;
  stream.next_in = reinterpret_cast<Bytef*>(buffer_.data());
  stream.avail_in = static_cast<uInt>(buffer_.size());
  do {
    stream.next_out = reinterpret_cast<Bytef*>(gzip_->made);
    stream.avail_out = sizeof gzip_->made;
    deflate(&stream, flush);  // with room in both, it cannot fail
    write_all({gzip_->made, sizeof gzip_->made - stream.avail_out});
  } while (stream.avail_out == 0);
}

void Output::write_all(std::string_view data) {
  while (!data.empty() && !failed_) {
    const ssize_t n = write(descriptor_, data.data(), data.size());
    if (n >= 0) {
      data.remove_prefix(static_cast<size_t>(n));
      continue;
    }
    if (errno == EINTR) continue;
    const int code = errno;
    failed_ = true;
    buffer_.clear();
    if (quiet_) return;
    if (code == EPIPE) throw PipeClosed{};
    throw Failure("cannot write to " + name_ + ": " + std::strerror(code));
  }
}

std::string Output::paint(Colour colour, std::string_view text) const {
  if (!coloured_ || colour == Colour::none) return std::string(text);
  static constexpr const char* kCodes[] = {"",         "\033[1m",  "\033[2m",
                                           "\033[31m", "\033[32m", "\033[33m"};
  std::string out = kCodes[static_cast<size_t>(colour)];
  out += text;
  out += "\033[0m";
  return out;
}

std::string safe_text(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Utf8 next = next_utf8(text);
    if (next.bytes == 0) {
      out += "\xef\xbf\xbd";
      text.remove_prefix(1);
      continue;
    }
    if (is_control(next.code)) {
      out += next.code == '\n' || next.code == '\t' ? ' ' : '?';
    } else {
      out += text.substr(0, next.bytes);
    }
    text.remove_prefix(next.bytes);
  }
  return out;
}

size_t text_width(std::string_view text) {
  size_t width = 0;
  while (!text.empty()) {
    const Utf8 next = next_utf8(text);
    width += next.bytes == 0 ? 1 : columns_of(next.code);
    text.remove_prefix(std::max<size_t>(next.bytes, 1));
  }
  return width;
}

std::string fit_text(std::string_view text, size_t width) {
  if (text_width(text) <= width) return std::string(text);
  const size_t dots = std::min<size_t>(width, 3);
  const size_t room = width - dots;
  std::string out;
  size_t used = 0;
  while (!text.empty()) {
    const Utf8 next = next_utf8(text);
    const size_t columns = next.bytes == 0 ? 1 : columns_of(next.code);
    if (used + columns > room) break;
    used += columns;
    out += text.substr(0, std::max<size_t>(next.bytes, 1));
    text.remove_prefix(std::max<size_t>(next.bytes, 1));
  }
  return out + std::string(dots, '.');
}

std::string wrap_text(std::string_view text, size_t width, size_t indent, bool first_too) {
  const size_t room = width > indent + 20 ? width - indent : 20;
  std::string out = first_too ? std::string(indent, ' ') : std::string();
  size_t used = 0;
  while (!text.empty()) {
    const size_t space = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, space);
    text.remove_prefix(std::min(space + 1, text.size()));
    if (word.empty()) continue;
    const size_t columns = text_width(word);
    if (used > 0 && used + 1 + columns > room) {
      out += '\n';
      out.append(indent, ' ');
      used = 0;
    }
    if (used > 0) {
      out += ' ';
      ++used;
    }
    out += word;
    used += columns;
  }
  return out;
}

std::string printf_text(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  va_list again;
  va_copy(again, arguments);
  const int n = std::vsnprintf(nullptr, 0, format, arguments);
  va_end(arguments);
  std::string out(static_cast<size_t>(std::max(n, 0)), '\0');
  std::vsnprintf(out.data(), out.size() + 1, format, again);
  va_end(again);
  return out;
}

// ---- tables -------------------------------------------------------------------------------------

void TextTable::column(std::string title, Align align) {
  columns_.push_back({std::move(title), align});
}

void TextTable::row(const std::vector<std::string>& cells) {
  std::vector<std::string>& made = rows_.emplace_back();
  for (size_t k = 0; k < columns_.size(); ++k)
    made.push_back(k < cells.size() ? safe_text(cells[k]) : std::string());
}

void TextTable::print(Output& out, size_t indent) const {
  if (columns_.empty()) return;
  std::vector<size_t> widths;
  for (size_t k = 0; k < columns_.size(); ++k) {
    size_t width = text_width(columns_[k].title);
    for (const std::vector<std::string>& row : rows_) width = std::max(width, text_width(row[k]));
    widths.push_back(width);
  }
  // Two spaces between columns; texts give way, numbers do not.
  size_t total = indent + 2 * (columns_.size() - 1);
  for (const size_t width : widths) total += width;
  while (total > out.width()) {
    size_t widest = columns_.size();
    for (size_t k = 0; k < columns_.size(); ++k) {
      if (columns_[k].align == Align::left && widths[k] > 12 &&
          (widest == columns_.size() || widths[k] > widths[widest]))
        widest = k;
    }
    if (widest == columns_.size()) break;
    const size_t cut = std::min(total - out.width(), widths[widest] - 12);
    // The next widest is due before this one becomes narrower than it.
    size_t second = 12;
    for (size_t k = 0; k < columns_.size(); ++k) {
      if (k != widest && columns_[k].align == Align::left) second = std::max(second, widths[k]);
    }
    const size_t step = widths[widest] > second ? std::min(cut, widths[widest] - second) : 1;
    widths[widest] -= std::max<size_t>(step, 1);
    total -= std::max<size_t>(step, 1);
  }
  const auto line = [&](auto&& cell) {
    std::string text(indent, ' ');
    for (size_t k = 0; k < columns_.size(); ++k) {
      const std::string fitted = fit_text(cell(k), widths[k]);
      const std::string pad(widths[k] - std::min(widths[k], text_width(fitted)), ' ');
      if (columns_[k].align == Align::right) text += pad;
      text += fitted;
      if (columns_[k].align == Align::left) text += pad;
      text += "  ";
    }
    text.erase(text.find_last_not_of(' ') + 1);
    return text;
  };
  out << out.paint(Colour::bold, line([&](size_t k) { return columns_[k].title; })) << "\n";
  for (const std::vector<std::string>& row : rows_)
    out << line([&](size_t k) { return row[k]; }) << "\n";
}

// ---- JSON ---------------------------------------------------------------------------------------

void JsonWriter::before() {
  if (std::exchange(after_key_, false)) return;
  if (filled_.empty()) return;
  if (filled_.back()) text_ += ',';
  filled_.back() = true;
  text_ += '\n';
  text_.append(2 * filled_.size(), ' ');
}

JsonWriter& JsonWriter::open(char bracket) {
  before();
  text_ += bracket;
  filled_.push_back(false);
  return *this;
}

JsonWriter& JsonWriter::close(char bracket) {
  const bool filled = filled_.back();
  filled_.pop_back();
  if (filled) {
    text_ += '\n';
    text_.append(2 * filled_.size(), ' ');
  }
  text_ += bracket;
  return *this;
}

void JsonWriter::quote(std::string_view value) {
  text_ += '"';
  while (!value.empty()) {
    const Utf8 next = next_utf8(value);
    if (next.bytes == 0) {
      text_ += "\xef\xbf\xbd";
      value.remove_prefix(1);
      continue;
    }
    if (next.code == '"' || next.code == '\\') {
      text_ += '\\';
      text_ += static_cast<char>(next.code);
    } else if (next.code == '\n') {
      text_ += "\\n";
    } else if (next.code == '\t') {
      text_ += "\\t";
    } else if (next.code < 0x20 || next.code == 0x7f) {
      text_ += printf_text("\\u%04x", static_cast<unsigned>(next.code));
    } else {
      text_ += value.substr(0, next.bytes);
    }
    value.remove_prefix(next.bytes);
  }
  text_ += '"';
}

JsonWriter& JsonWriter::key(std::string_view name) {
  before();
  quote(name);
  text_ += ": ";
  after_key_ = true;
  return *this;
}

JsonWriter& JsonWriter::text(std::string_view value) {
  before();
  quote(value);
  return *this;
}

JsonWriter& JsonWriter::number(double value) {
  if (!std::isfinite(value)) return null();
  before();
  char digits[40];
  text_.append(digits, std::to_chars(digits, digits + sizeof digits, value).ptr);
  return *this;
}

JsonWriter& JsonWriter::integer(int64_t value) {
  before();
  text_ += std::to_string(value);
  return *this;
}

JsonWriter& JsonWriter::natural(uint64_t value) {
  before();
  text_ += std::to_string(value);
  return *this;
}

JsonWriter& JsonWriter::boolean(bool value) {
  before();
  text_ += value ? "true" : "false";
  return *this;
}

JsonWriter& JsonWriter::null() {
  before();
  text_ += "null";
  return *this;
}

std::string JsonWriter::take() {
  text_ += '\n';
  return std::move(text_);
}

}  // namespace mill::cli
