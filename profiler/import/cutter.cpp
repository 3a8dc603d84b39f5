#include "profiler/import/cutter.h"

#include <array>
#include <cstring>

namespace mill::prof {

namespace {

constexpr size_t kWindow = size_t{64} << 10;
// Going back may read so much more than the file has.
constexpr uint64_t kAgainFree = uint64_t{64} << 20;

enum Class : uint8_t { kPlain, kQuote, kOpen, kClose, kSpace, kComma };

constexpr std::array<uint8_t, 256> make_classes() {
  std::array<uint8_t, 256> classes{};
  classes['"'] = kQuote;
  classes['{'] = kOpen;
  classes['['] = kOpen;
  classes['}'] = kClose;
  classes[']'] = kClose;
  classes[','] = kComma;
  for (const char c : {' ', '\t', '\n', '\r', '\0'}) classes[static_cast<uint8_t>(c)] = kSpace;
  return classes;
}
constexpr std::array<uint8_t, 256> kClasses = make_classes();

uint8_t class_of(char c) {
  return kClasses[static_cast<uint8_t>(c)];
}

}  // namespace

Cutter::Cutter(Source& source) : source_(source), window_(kWindow) {}

bool Cutter::fill(size_t from) {
  if (from > 0) {
    std::memmove(window_.data(), window_.data() + from, end_ - from);
    end_ -= from;
    at_ -= from;
    base_ += from;
  }
  if (end_ == window_.size()) window_.resize(window_.size() * 2);
  const size_t got = source_.read(window_.data() + end_, window_.size() - end_);
  end_ += got;
  return got > 0;
}

int Cutter::peek() {
  for (;;) {
    for (; at_ < end_; ++at_) {
      if (class_of(window_[at_]) != kSpace) return static_cast<uint8_t>(window_[at_]);
    }
    if (!fill(at_)) return -1;
  }
}

void Cutter::skip_mark() {
  while (end_ - at_ < 3 && fill(at_)) {
  }
  if (end_ - at_ >= 3 && std::memcmp(window_.data() + at_, "\xef\xbb\xbf", 3) == 0) at_ += 3;
}

Cutter::Cut Cutter::value(std::string_view* text) {
  *text = {};
  cut_begin_ = cut_end_ = at_;
  size_t i = at_;  // the next byte to look at; one past the end after a last backslash
  uint32_t depth = 0;
  bool in_string = false;
  bool whole = true;  // false: too long, the beginning is no longer there
  bool deep = false;
  bool done = false;
  const bool scalar = at_ < end_ && class_of(window_[at_]) == kPlain;
  while (!done) {
    if (i >= end_) {
      if (whole && end_ - at_ >= kLongest) whole = false;
      const size_t from = whole ? at_ : end_;
      if (!whole) at_ = end_;
      i -= from;
      if (!fill(from)) {
        cut_begin_ = at_;
        cut_end_ = end_;
        if (whole) *text = {window_.data() + at_, end_ - at_};
        at_ = end_;
        return Cut::ended;
      }
      continue;
    }
    const char* p = window_.data();
    if (in_string) {
      const char* quote = nullptr;
      bool looked = false;
      while (i < end_) {
        // The quote is looked for once, not again after each backslash before it.
        if (!looked || (quote != nullptr && quote < p + i)) {
          quote = static_cast<const char*>(std::memchr(p + i, '"', end_ - i));
          looked = true;
        }
        const size_t stop = quote != nullptr ? static_cast<size_t>(quote - p) : end_;
        const void* slash = std::memchr(p + i, '\\', stop - i);
        if (slash == nullptr) {
          in_string = quote == nullptr;
          i = in_string ? stop : stop + 1;
          break;
        }
        i = static_cast<size_t>(static_cast<const char*>(slash) - p) + 2;
      }
      done = !in_string && depth == 0;
      continue;
    }
    for (; i < end_; ++i) {
      const uint8_t c = class_of(p[i]);
      if (c == kPlain) continue;
      if (c == kQuote) {
        if (scalar) {  // it ends here
          done = true;
          break;
        }
        in_string = true;
        ++i;
        break;
      }
      if (c == kOpen) {
        if (scalar) {
          done = true;
          break;
        }
        deep = ++depth > kDeepest || deep;
      } else if (c == kClose) {
        if (depth <= 1) {
          i += depth;  // that of the surroundings stays
          done = true;
          break;
        }
        --depth;
      } else if (depth == 0) {
        done = true;
        break;
      }
    }
  }
  cut_begin_ = at_;
  cut_end_ = i;
  if (whole) *text = {window_.data() + at_, i - at_};
  at_ = i;
  if (!whole) return Cut::too_long;
  return deep ? Cut::too_deep : Cut::value;
}

bool Cutter::resume_inside(size_t from) {
  const char* p = window_.data();
  for (size_t i = cut_begin_ + from; i < cut_end_; ++i) {
    const void* line = std::memchr(p + i, '\n', cut_end_ - i);
    if (line == nullptr) return false;
    i = static_cast<size_t>(static_cast<const char*>(line) - p) + 1;
    while (i < cut_end_ && (p[i] == ' ' || p[i] == '\t')) ++i;
    if (i >= cut_end_) return false;
    if (p[i] != '{') {
      --i;  // it may be the end of a line
      continue;
    }
    if (again_ + (end_ - i) > kAgainFree + base_) return false;
    again_ += end_ - i;
    at_ = i;
    return true;
  }
  return false;
}

}  // namespace mill::prof
