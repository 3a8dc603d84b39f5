// A file that appears whole or not at all: written under a temporary name beside its own.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "profiler/cli/output.h"

namespace mill::cli {

class WholeFile {
 public:
  // by_name: what is written is compressed where the path ends in ".gz".
  enum class Packing : uint8_t { by_name, none };
  explicit WholeFile(std::string path, Packing packing = Packing::by_name);  // throws Failure
  ~WholeFile();
  WholeFile(const WholeFile&) = delete;
  WholeFile& operator=(const WholeFile&) = delete;
  Output& out() { return *out_; }
  void commit();

 private:
  std::string path_;
  std::string temporary_;
  int descriptor_ = -1;
  std::optional<Output> out_;
};

// False for a pipe or a device, which can only be written to, and for a folder.
bool replaceable(const std::string& path);
// Moves a file, to another file system too. Throws Failure.
void move_file(const std::string& from, const std::string& to);

}  // namespace mill::cli
