#include "profiler/cli/whole_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

namespace mill::cli {

namespace {

[[noreturn]] void fail(const std::string& what, const std::string& path, int code) {
  throw Failure(what + " \"" + safe_text(path) + "\": " + std::strerror(code));
}

}  // namespace

WholeFile::WholeFile(std::string path, Packing packing) : path_(std::move(path)) {
  struct stat there {};
  // A device or a pipe cannot be replaced.
  if (stat(path_.c_str(), &there) == 0 && !S_ISREG(there.st_mode)) {
    descriptor_ = open(path_.c_str(), O_WRONLY | O_CLOEXEC);
  } else {
    temporary_ = path_ + ".XXXXXX";
    descriptor_ = mkostemp(temporary_.data(), O_CLOEXEC);
    if (descriptor_ >= 0) {
      const mode_t mask = umask(0);
      umask(mask);
      fchmod(descriptor_, 0666 & ~mask);
    }
  }
  if (descriptor_ < 0) {
    temporary_.clear();
    fail("cannot create", path_, errno);
  }
  out_.emplace(descriptor_, "\"" + safe_text(path_) + "\"");
  if (packing == Packing::by_name && path_.ends_with(".gz")) out_->compress();
}

WholeFile::~WholeFile() {
  out_.reset();
  if (descriptor_ >= 0) close(descriptor_);
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

void WholeFile::commit() {
  out_->finish();
  out_.reset();
  if (close(std::exchange(descriptor_, -1)) != 0) fail("cannot write", path_, errno);
  if (!temporary_.empty() && rename(temporary_.c_str(), path_.c_str()) != 0)
    fail("cannot create", path_, errno);
  temporary_.clear();
}

void move_file(const std::string& from, const std::string& to) {
  if (rename(from.c_str(), to.c_str()) == 0) return;
  if (errno != EXDEV) fail("cannot create", to, errno);
  std::FILE* in = std::fopen(from.c_str(), "rbe");
  if (!in) fail("cannot read", from, errno);
  struct Close {
    std::FILE* file;
    ~Close() { std::fclose(file); }
  } const close_in{in};
  WholeFile out(to, WholeFile::Packing::none);
  std::vector<char> piece(size_t{1} << 16);
  while (const size_t n = std::fread(piece.data(), 1, piece.size(), in))
    out.out() << std::string_view(piece.data(), n);
  if (std::ferror(in)) fail("cannot read", from, EIO);
  out.commit();
  unlink(from.c_str());
}

}  // namespace mill::cli
