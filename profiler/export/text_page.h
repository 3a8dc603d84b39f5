// Lines of text that fit a width: counted in code points, cut between them, and free of anything
// that a terminal would take for a command, since names in a trace are chosen by others.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "profiler/export/export.h"
#include "profiler/export/writer.h"

namespace mill::prof {

// Well-formed UTF-8 without control characters and without those that reverse the direction.
std::string printable(std::string_view text);
size_t code_points(std::string_view well_formed);
// At most `width` code points, with an ellipsis where something was cut.
std::string cut(std::string_view well_formed, size_t width);
// Each cut to `width`; where several that differ would look the same at their beginnings, what
// comes between is left out, so that those of a family of kernels can be told apart.
std::vector<std::string> cut_apart(const std::vector<std::string>& well_formed, size_t width);

class Page {
 public:
  // Below this no table can be read; it is the least.
  static constexpr size_t kLeastWidth = 40;

  Page(const Sink& sink, uint32_t width)
      : out_(sink), width_(width < kLeastWidth ? kLeastWidth : width) {}

  size_t width() const { return width_; }
  bool ok() const { return out_.ok(); }
  bool finish() { return out_.finish(); }

  void blank() { out_.put('\n'); }
  // One line, cut where it is too long.
  void line(std::string_view text);
  // A title of a section, after a blank line.
  void heading(std::string_view text);
  // Broken between words, `first` before the first line and as many spaces as `rest` before the
  // others.
  void paragraph(std::string_view first, size_t rest, std::string_view text);

 private:
  Writer out_;
  size_t width_;
};

// Columns of figures and one of names, the last, which gets the room that is left: names are cut
// apart. Where a page is
// too narrow the columns before the names go first.
class TextTable {
 public:
  // Of each column but the last; these are aligned to the right.
  explicit TextTable(std::vector<std::string> titles) : titles_(std::move(titles)) {}
  void row(std::vector<std::string> fields) { rows_.push_back(std::move(fields)); }
  bool empty() const { return rows_.empty(); }
  void print(Page& page) const;

 private:
  std::vector<std::string> titles_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace mill::prof
