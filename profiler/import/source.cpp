#include "profiler/import/source.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <new>

namespace mill::prof {

namespace {
constexpr size_t kRawBytes = size_t{64} << 10;
constexpr int kGzipWindow = 15 + 16;  // 15: the largest window; 16: gzip and nothing else
}  // namespace

struct Source::Inflate {
  z_stream stream{};
  bool between_members = false;

  Inflate() {
    if (inflateInit2(&stream, kGzipWindow) != Z_OK) throw std::bad_alloc();
  }
  ~Inflate() { inflateEnd(&stream); }
  Inflate(const Inflate&) = delete;
  Inflate& operator=(const Inflate&) = delete;
};

Source::Source(const ReadFunction& read) : read_(read), raw_(kRawBytes) {
  if (!read_) raw_ended_ = true;
  // A pipe may give its first bytes one by one.
  while (end_ < 6 && !raw_ended_) {
    const size_t got = std::min(read_(raw_.data() + end_, raw_.size() - end_), raw_.size() - end_);
    if (got == 0) raw_ended_ = true;
    end_ += got;
  }
  const auto begins = [&](const char* magic, size_t n) {
    return end_ >= n && std::memcmp(raw_.data(), magic, n) == 0;
  };
  if (begins("\x1f\x8b", 2)) {
    inflate_ = std::make_unique<Inflate>();
  } else if (begins("\x28\xb5\x2f\xfd", 4)) {
    foreign_ = "compressed with zstd";
  } else if (begins("\xfd\x37\x7a\x58\x5a", 5)) {
    foreign_ = "compressed with xz";
  } else if (begins("BZh", 3)) {
    foreign_ = "compressed with bzip2";
  } else if (begins("PK\x03\x04", 4)) {
    foreign_ = "a zip archive";
  } else if (begins("SQLite", 6)) {
    foreign_ = "an SQLite database";
  } else if (begins("\xff\xfe", 2) || begins("\xfe\xff", 2)) {
    foreign_ = "UTF-16 text";
  }
}

Source::~Source() = default;

bool Source::fill() {
  if (at_ < end_) return true;
  if (raw_ended_) return false;
  at_ = 0;
  end_ = std::min(read_(raw_.data(), raw_.size()), raw_.size());
  if (end_ == 0) raw_ended_ = true;
  return end_ != 0;
}

size_t Source::read_raw(char* to, size_t n) {
  if (!fill()) return 0;
  const size_t took = std::min(n, end_ - at_);
  std::memcpy(to, raw_.data() + at_, took);
  at_ += took;
  return took;
}

size_t Source::read(char* to, size_t n) {
  if (n == 0 || done_) return 0;
  const size_t got = inflate_ ? inflate_some(to, n) : read_raw(to, n);
  if (got == 0) done_ = true;
  return got;
}

size_t Source::inflate_some(char* to, size_t n) {
  z_stream& z = inflate_->stream;
  n = std::min<size_t>(n, size_t{1} << 30);
  z.next_out = reinterpret_cast<Bytef*>(to);
  z.avail_out = static_cast<uInt>(n);
  while (z.avail_out == n) {
    if (!fill()) {
      if (!inflate_->between_members) damaged_ = true;
      break;
    }
    z.next_in = reinterpret_cast<Bytef*>(raw_.data() + at_);
    z.avail_in = static_cast<uInt>(end_ - at_);
    const int status = inflate(&z, Z_NO_FLUSH);
    at_ = end_ - z.avail_in;
    if (status == Z_STREAM_END) {
      // Writers that append make files of several members.
      inflate_->between_members = true;
      inflateReset(&z);
    } else if (status == Z_OK) {
      // Of one byte nothing says yet whether it begins a member or is padding.
      if (z.total_in > 1) inflate_->between_members = false;
    } else {
      // Padding after the last member is no damage.
      if (!inflate_->between_members) damaged_ = true;
      done_ = true;
      break;
    }
  }
  return n - z.avail_out;
}

}  // namespace mill::prof
