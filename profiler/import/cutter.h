// Cuts the text of a trace into JSON values without looking into them, so that one event that
// cannot be read is not the end of a file, and memory is that of one event.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "profiler/import/source.h"

namespace mill::prof {

class Cutter {
 public:
  // Longer or deeper values are passed over.
  static constexpr size_t kLongest = size_t{16} << 20;
  static constexpr uint32_t kDeepest = 1000;

  explicit Cutter(Source& source);

  enum class Cut : uint8_t { value, too_long, too_deep, ended };
  // Takes the value that begins at the next character, which peek() gave and which is no comma and
  // no closing bracket. `ended`: the text ends inside it. The view
  // lasts until the next call of anything but offset().
  Cut value(std::string_view* text);
  // The next character that is no white space, which stays; -1: the end.
  int peek();
  // Takes what peek() gave.
  void take() { ++at_; }
  // Of the next character in the uncompressed text.
  uint64_t offset() const { return base_ + at_; }

  // After a value that was cut but could not be read: goes back to the first line inside it, after
  // its first `from` bytes, that begins with a brace. A quote too many in one event makes the cut
  // run into those behind it. False where there is no such line, or where going back has already
  // cost too much for one file.
  bool resume_inside(size_t from);
  // Passes over a byte order mark.
  void skip_mark();

 private:
  // More text at the end of the window, whose first `from` bytes are no longer needed; false at the
  // end.
  bool fill(size_t from);

  Source& source_;
  std::vector<char> window_;
  size_t at_ = 0;
  size_t end_ = 0;
  uint64_t base_ = 0;  // of window_[0] in the text
  size_t cut_begin_ = 0;
  size_t cut_end_ = 0;
  uint64_t again_ = 0;  // bytes that were gone back
};

}  // namespace mill::prof
