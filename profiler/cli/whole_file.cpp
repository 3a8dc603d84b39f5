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

// Where a link leads: that is what is replaced, not the link.
std::string followed(const std::string& path) {
  char* const whole = realpath(path.c_str(), nullptr);
  std::string target = whole ? whole : path;
  std::free(whole);
  return target;
}

}  // namespace

bool replaceable(const std::string& path) {
  struct stat there {};
  return stat(path.c_str(), &there) != 0 || S_ISREG(there.st_mode);
}

WholeFile::WholeFile(std::string path, Packing packing) : path_(std::move(path)) {
  const bool gzip = packing == Packing::by_name && path_.ends_with(".gz");
  path_ = followed(path_);
  // A device or a pipe cannot be replaced.
  if (!replaceable(path_)) {
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
  if (gzip) out_->compress();
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
  const std::string target = followed(to);
  struct stat there {};
  const bool folder = stat(target.c_str(), &there) == 0 && S_ISDIR(there.st_mode);
  if (folder) fail("cannot create", to, EISDIR);
  if (replaceable(target)) {
    if (rename(from.c_str(), target.c_str()) == 0) return;
    if (errno != EXDEV) fail("cannot create", to, errno);
  }
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
