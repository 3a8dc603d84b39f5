#include "device/plugin_file.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <vector>

#include "base/error.h"
#include "millrace/plugin.h"

namespace mill {

namespace {

constexpr uint64_t kMostHeaders = 256;
constexpr uint64_t kMostNotes = 1 << 20;

#if defined(__x86_64__)
constexpr uint16_t kMachine = EM_X86_64;
#elif defined(__aarch64__)
constexpr uint16_t kMachine = EM_AARCH64;
#else
constexpr uint16_t kMachine = EM_NONE;
#endif

class File {
 public:
  // Not blocking: a pipe would wait for somebody to write.
  explicit File(const std::string& path)
      : path_(path), fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    struct stat about {};
    if (fd_ < 0 || fstat(fd_, &about) != 0) {
      const int code = errno;
      if (fd_ >= 0) close(fd_);
      throw Error(MILL_E_IO, "\"%s\" cannot be read: %s", path.c_str(), std::strerror(code))
          .with_native(code);
    }
    if (!S_ISREG(about.st_mode)) {
      close(fd_);
      fail(MILL_E_IO, "\"%s\" is no file", path.c_str());
    }
    bytes_ = static_cast<uint64_t>(about.st_size);
  }
  ~File() { close(fd_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  uint64_t bytes() const { return bytes_; }
  const char* path() const { return path_.c_str(); }

  void read(uint64_t offset, void* to, uint64_t n) const {
    if (offset > bytes_ || n > bytes_ - offset) {
      fail(MILL_E_FORMAT, "\"%s\" is truncated: it has %llu bytes, its headers reach to %llu",
           path(), static_cast<unsigned long long>(bytes_),
           static_cast<unsigned long long>(offset) + n);
    }
    auto* at = static_cast<unsigned char*>(to);
    while (n > 0) {
      const ssize_t got = pread(fd_, at, n, static_cast<off_t>(offset));
      if (got <= 0) {
        throw Error(MILL_E_IO, "\"%s\" cannot be read: %s", path(),
                    got < 0 ? std::strerror(errno) : "it became shorter")
            .with_native(got < 0 ? errno : 0);
      }
      at += got;
      offset += static_cast<uint64_t>(got);
      n -= static_cast<uint64_t>(got);
    }
  }

 private:
  std::string path_;
  int fd_;
  uint64_t bytes_ = 0;
};

// The note among those of one PT_NOTE segment.
bool find_note(const std::vector<unsigned char>& notes, PluginNote* out) {
  size_t at = 0;
  while (notes.size() - at >= sizeof(Elf64_Nhdr)) {
    Elf64_Nhdr head;
    std::memcpy(&head, notes.data() + at, sizeof head);
    const uint64_t name = (uint64_t{head.n_namesz} + 3) & ~uint64_t{3};
    const uint64_t desc = (uint64_t{head.n_descsz} + 3) & ~uint64_t{3};
    const uint64_t all = sizeof head + name + desc;
    if (all > notes.size() - at) return false;
    mill_plugin_note note;
    if (all >= sizeof note) {
      std::memcpy(&note, notes.data() + at, sizeof note);
      if (note.name_bytes == sizeof note.name && note.type == MILL_PLUGIN_NOTE_TYPE &&
          std::memcmp(note.name, "Millrace\0\0\0", sizeof note.name) == 0 &&
          note.desc_bytes >= 2 * sizeof(uint32_t)) {
        *out = {note.abi, note.oldest_host};
        return true;
      }
    }
    at += static_cast<size_t>(all);
  }
  return false;
}

}  // namespace

PluginNote read_plugin_note(const std::string& path) {
  const File file(path);
  Elf64_Ehdr head;
  if (file.bytes() < sizeof head) {
    fail(MILL_E_FORMAT, "\"%s\" is truncated: it has %llu bytes, a shared library's header has %zu",
         file.path(), static_cast<unsigned long long>(file.bytes()), sizeof head);
  }
  file.read(0, &head, sizeof head);
  if (std::memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 || head.e_type != ET_DYN)
    fail(MILL_E_FORMAT, "\"%s\" is no shared library", file.path());
  if (head.e_ident[EI_CLASS] != ELFCLASS64 || head.e_machine != kMachine) {
    fail(MILL_E_UNSUPPORTED, "\"%s\" is for machine %u, this processor is %u", file.path(),
         head.e_machine, kMachine);
  }
  if (head.e_phentsize != sizeof(Elf64_Phdr) || head.e_phnum == 0 || head.e_phnum > kMostHeaders) {
    fail(MILL_E_FORMAT, "\"%s\" has %u program headers of %u bytes, 1 to %llu of %zu can be",
         file.path(), head.e_phnum, head.e_phentsize, static_cast<unsigned long long>(kMostHeaders),
         sizeof(Elf64_Phdr));
  }
  std::vector<Elf64_Phdr> segments(head.e_phnum);
  file.read(head.e_phoff, segments.data(), segments.size() * sizeof(Elf64_Phdr));
  bool loads = false;
  for (const Elf64_Phdr& segment : segments) {
    // The loader maps what is missing all the same, and the process dies at the first access.
    if (segment.p_offset > file.bytes() || segment.p_filesz > file.bytes() - segment.p_offset) {
      fail(MILL_E_FORMAT, "\"%s\" is truncated: it has %llu bytes, its segments reach to %llu",
           file.path(), static_cast<unsigned long long>(file.bytes()),
           static_cast<unsigned long long>(segment.p_offset) + segment.p_filesz);
    }
    if (segment.p_type == PT_LOAD) {
      loads = true;
      if (segment.p_memsz < segment.p_filesz || segment.p_vaddr + segment.p_memsz < segment.p_vaddr)
        fail(MILL_E_FORMAT, "\"%s\" has a segment of %llu bytes in the file and %llu in memory",
             file.path(), static_cast<unsigned long long>(segment.p_filesz),
             static_cast<unsigned long long>(segment.p_memsz));
    }
  }
  if (!loads) fail(MILL_E_FORMAT, "\"%s\" has nothing to load", file.path());
  PluginNote note;
  bool found = false;
  for (const Elf64_Phdr& segment : segments) {
    if (segment.p_type != PT_NOTE || segment.p_filesz > kMostNotes || found) continue;
    std::vector<unsigned char> notes(segment.p_filesz);
    file.read(segment.p_offset, notes.data(), notes.size());
    found = find_note(notes, &note);
  }
  if (!found) fail(MILL_E_UNSUPPORTED, "\"%s\" carries no note of a Millrace plugin", file.path());
  if (note.abi < MILL_PLUGIN_ABI_OLDEST) {
    fail(MILL_E_UNSUPPORTED, "\"%s\" is of plugin ABI %u, this library serves %u to %u",
         file.path(), note.abi, MILL_PLUGIN_ABI_OLDEST, MILL_PLUGIN_ABI);
  }
  if (note.oldest_host > MILL_PLUGIN_ABI) {
    fail(MILL_E_TOO_NEW, "\"%s\" needs a library of plugin ABI %u, this one is of %u", file.path(),
         note.oldest_host, MILL_PLUGIN_ABI);
  }
  return note;
}

std::string real_path(const std::string& path) {
  const std::unique_ptr<char, void (*)(void*)> found(realpath(path.c_str(), nullptr), free);
  return found ? std::string(found.get()) : path;
}

std::string library_folder() {
  Dl_info about{};
  if (dladdr(reinterpret_cast<const void*>(&library_folder), &about) == 0 || !about.dli_fname)
    return "";
  const std::string path = real_path(about.dli_fname);
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

}  // namespace mill
