#include "io/file.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/error.h"
#include "io/bytes.h"

namespace mill {

namespace {

// One read or write call moves less than 2 GiB on Linux.
constexpr uint64_t kMaxTransfer = 1u << 30;

[[noreturn]] void fail_system(const std::string& path, const char* what, int code) {
  // strerror's text depends on the process's locale and its buffer may be shared.
  const char* reason = ::strerrordesc_np(code);
  const Shown name = shown(path);
  throw Error(MILL_E_IO, "%s: %s: %s", name.text(), what,
              reason != nullptr ? reason : "unknown error")
      .with_native(code);
}

void check_regular(const std::string& path, const struct stat& status) {
  if (S_ISREG(status.st_mode)) return;
  fail(MILL_E_IO, "%s: is %s, not a regular file", Shown(path, Shown::Keep::end).text(),
       S_ISDIR(status.st_mode) ? "a directory" : "a device, pipe or socket");
}

int open_retrying(const char* path, int flags, mode_t mode = 0) {
  int descriptor = -1;
  do {
    descriptor = ::open(path, flags | O_CLOEXEC, mode);
  } while (descriptor < 0 && errno == EINTR);
  return descriptor;
}

}  // namespace

std::string path_argument(const char* path, uint64_t length) {
  if (path == nullptr) fail(MILL_E_ARG, "path is NULL");
  if (length == MILL_NTS) length = std::strlen(path);
  if (length == 0) fail(MILL_E_ARG, "path is empty");
  if (length >= PATH_MAX) {
    fail(MILL_E_ARG, "path has %llu bytes, the limit is %d",
         static_cast<unsigned long long>(length), PATH_MAX - 1);
  }
  const void* end = std::memchr(path, 0, length);
  if (end != nullptr) {
    fail(MILL_E_ARG, "path of %llu bytes has a NUL at byte %lld",
         static_cast<unsigned long long>(length),
         static_cast<long long>(static_cast<const char*>(end) - path));
  }
  return std::string(path, length);
}

InputFile::InputFile(std::string path) : path_(std::move(path)) {
  // Opening a pipe without a writer would wait; O_NONBLOCK changes nothing for regular files.
  descriptor_ = open_retrying(path_.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (descriptor_ < 0) fail_system(path_, "cannot be opened", errno);
  struct stat status;
  try {
    if (::fstat(descriptor_, &status) != 0) fail_system(path_, "cannot be examined", errno);
    check_regular(path_, status);
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
  size_ = static_cast<uint64_t>(status.st_size);
}

InputFile::~InputFile() {
  ::close(descriptor_);
}

void InputFile::read_at(uint64_t offset, void* to, uint64_t bytes) const {
  auto* out = static_cast<char*>(to);
  uint64_t done = 0;
  while (done < bytes) {
    const size_t wanted = std::min(bytes - done, kMaxTransfer);
    const ssize_t got = ::pread(descriptor_, out + done, wanted, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_system(path_, "cannot be read", errno);
    if (got == 0) {
      const uint64_t end = offset + done;
      fail(MILL_E_FORMAT, "%s: ends at byte %llu, it had %llu bytes when it was opened",
           Shown(path_, Shown::Keep::end).text(), static_cast<unsigned long long>(end),
           static_cast<unsigned long long>(size_));
    }
    done += static_cast<uint64_t>(got);
  }
}

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)), target_(path_) {
  uint32_t mode = 0;
  inspect_target(&mode);
  const size_t slash = target_.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : target_.substr(0, slash + 1);
  try {
    // One may write to a folder that one may not read: its entry is then not forced to the disk.
    folder_ = open_retrying(folder.c_str(), O_RDONLY | O_DIRECTORY);
    if (folder_ < 0 && errno != EACCES) fail_system(path_, "its folder cannot be opened", errno);
    create_temporary(folder);
    if (mode != 0 && ::fchmod(descriptor_, mode) != 0) {
      fail_system(path_, "cannot be written", errno);
    }
  } catch (...) {
    discard();
    throw;
  }
}

AtomicFile::~AtomicFile() {
  discard();
}

void AtomicFile::discard() noexcept {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (folder_ >= 0) ::close(folder_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::inspect_target(uint32_t* mode) {
  struct stat status;
  if (::lstat(path_.c_str(), &status) != 0) {
    if (errno != ENOENT) fail_system(path_, "cannot be written", errno);
    return;
  }
  if (S_ISLNK(status.st_mode)) {
    char resolved[PATH_MAX];
    if (::realpath(path_.c_str(), resolved) == nullptr || ::stat(resolved, &status) != 0) {
      fail_system(path_, "the symbolic link cannot be followed", errno);
    }
    target_ = resolved;
  }
  check_regular(path_, status);
  *mode = status.st_mode & 07777u;
}

void AtomicFile::create_temporary(const std::string& folder) {
  // The name is independent of the target's, which may already have the greatest length a name can
  // have.
  constexpr int kAttempts = 1000;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    char name[64];
    std::snprintf(name, sizeof name, "/.millrace-%ld-%d.tmp", static_cast<long>(::getpid()),
                  attempt);
    std::string candidate = folder + name;
    descriptor_ = open_retrying(candidate.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0666);
    if (descriptor_ >= 0) {
      temporary_ = std::move(candidate);
      return;
    }
    if (errno != EEXIST) break;
  }
  fail_system(path_, "no temporary file can be made beside it", errno);
}

void AtomicFile::write(const void* data, uint64_t bytes) {
  const auto* from = static_cast<const char*>(data);
  uint64_t done = 0;
  while (done < bytes) {
    const ssize_t put = ::write(descriptor_, from + done, std::min(bytes - done, kMaxTransfer));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) fail_system(path_, "cannot be written", errno);
    done += static_cast<uint64_t>(put);
  }
}

void AtomicFile::commit(Durable durable) {
  if (durable == Durable::yes && ::fsync(descriptor_) != 0)
    fail_system(path_, "cannot be flushed to the disk", errno);
  const int closed = ::close(descriptor_);
  descriptor_ = -1;
  // After EINTR the descriptor is closed on Linux, and the data are on the disk already.
  if (closed != 0 && errno != EINTR) fail_system(path_, "cannot be closed", errno);
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) {
    fail_system(path_, "cannot be replaced", errno);
  }
  temporary_.clear();
  // The new file is in place: some file systems cannot flush a folder, and nothing could be undone.
  if (durable == Durable::yes && folder_ >= 0) (void)::fsync(folder_);
}

}  // namespace mill
