// The bytes of a trace file: as they are, or out of gzip.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace mill::prof {

// Fills up to n bytes and says how many; 0: the end.
using ReadFunction = std::function<size_t(char* to, size_t n)>;

class Source {
 public:
  // Looks at the first bytes to tell what they are.
  explicit Source(const ReadFunction& read);
  ~Source();
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;

  size_t read(char* to, size_t n);
  // The compressed data ended in the middle, or could not be decoded any further.
  bool damaged() const { return damaged_; }
  // What the bytes are when they are certainly no text, such as "zstd"; nullptr otherwise.
  const char* foreign() const { return foreign_; }

 private:
  struct Inflate;
  // False at the end of the raw bytes.
  bool fill();
  size_t read_raw(char* to, size_t n);
  size_t inflate_some(char* to, size_t n);

  const ReadFunction& read_;
  std::vector<char> raw_;
  size_t at_ = 0;
  size_t end_ = 0;
  bool raw_ended_ = false;
  bool damaged_ = false;
  bool done_ = false;
  const char* foreign_ = nullptr;
  std::unique_ptr<Inflate> inflate_;
};

}  // namespace mill::prof
