// Files as the formats need them: every failure names the path, reads are positioned, and a written
// file appears whole or not at all.
#pragma once

#include <cstdint>
#include <string>

#include "io/bytes.h"

namespace mill {

// The path argument of an exported function: `length` bytes, or up to the first NUL with MILL_NTS.
std::string path_argument(const char* path, uint64_t length);

// A path as a message shows it: its end says more than its beginning.
inline Shown shown(const std::string& path) {
  return Shown(path, Shown::Keep::end);
}

// A regular file opened for reading. Reads are positioned, so several threads may read one object.
// The file is read and not mapped: a file that another process cuts short is then an error and not
// a signal.
class InputFile {
 public:
  explicit InputFile(std::string path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  const std::string& path() const { return path_; }
  uint64_t size() const { return size_; }
  void read_at(uint64_t offset, void* to, uint64_t bytes) const;

 private:
  std::string path_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
};

// Writes a temporary file beside `path` and moves it there in commit(). Without commit(), or when
// anything fails, the temporary file is removed and what was at `path` is untouched. A symbolic
// link is followed, and an existing file's permissions are kept.
class AtomicFile {
 public:
  // yes: on the disk when commit() returns, also where the machine stops next.
  enum class Durable : uint8_t { no, yes };

  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, uint64_t bytes);
  void commit(Durable durable = Durable::yes);

 private:
  void discard() noexcept;
  void inspect_target(uint32_t* mode);
  void create_temporary(const std::string& folder);

  std::string path_;
  std::string target_;     // path_ with a final symbolic link resolved
  std::string temporary_;  // empty when there is nothing to remove
  int descriptor_ = -1;
  int folder_ = -1;
};

}  // namespace mill
