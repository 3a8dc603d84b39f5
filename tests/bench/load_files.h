// Shared objects as files: what they export, how large they are, which ones a process has loaded.
// Definitions: included by load_bench.cpp alone.
#pragma once

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

extern char** environ;

namespace bench {

namespace {

uint64_t file_size(const std::string& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0 ? static_cast<uint64_t>(info.st_size) : 0;
}

// Paths of the objects in this process; the first, unnamed one is the program itself.
std::vector<std::string> loaded_objects() {
  std::vector<std::string> out;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* data) {
        if (info->dlpi_name && info->dlpi_name[0] == '/')
          static_cast<std::vector<std::string>*>(data)->emplace_back(info->dlpi_name);
        return 0;
      },
      &out);
  return out;
}

struct Exports {
  uint64_t functions = 0;
  uint64_t objects = 0;              // and whatever else is no function
  std::vector<std::string> foreign;  // names that do not begin with the prefix
};

// The defined symbols of .dynsym that other objects can bind to.
Exports exports_of(const std::string& path, const std::string& prefix) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  const auto read = [&](uint64_t at, void* to, uint64_t bytes) {
    file.seekg(static_cast<std::streamoff>(at));
    file.read(static_cast<char*>(to), static_cast<std::streamsize>(bytes));
    if (!file) throw std::runtime_error(path + " ends too early for what its headers say");
  };
  ElfW(Ehdr) head{};
  read(0, &head, sizeof head);
  if (std::memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 || head.e_shentsize != sizeof(ElfW(Shdr)))
    throw std::runtime_error(path + " is no ELF file of this machine's kind");
  std::vector<ElfW(Shdr)> sections(head.e_shnum);
  read(head.e_shoff, sections.data(), sections.size() * sizeof(ElfW(Shdr)));
  Exports out;
  for (const ElfW(Shdr) & section : sections) {
    if (section.sh_type != SHT_DYNSYM) continue;
    std::vector<ElfW(Sym)> symbols(section.sh_size / sizeof(ElfW(Sym)));
    read(section.sh_offset, symbols.data(), symbols.size() * sizeof(ElfW(Sym)));
    const ElfW(Shdr)& strings = sections.at(section.sh_link);
    std::string names(strings.sh_size, '\0');
    read(strings.sh_offset, names.data(), names.size());
    for (const ElfW(Sym) & symbol : symbols) {
      // Version nodes stand in the table as absolute symbols; nothing binds to them.
      if (symbol.st_shndx == SHN_UNDEF || symbol.st_shndx == SHN_ABS) continue;
      const int binding = symbol.st_info >> 4;
      if (binding != STB_GLOBAL && binding != STB_WEAK && binding != STB_GNU_UNIQUE) continue;
      const int type = symbol.st_info & 15;
      ++(type == STT_FUNC || type == STT_GNU_IFUNC ? out.functions : out.objects);
      if (symbol.st_name >= names.size()) throw std::runtime_error(path + " has a wrong name");
      const char* const name = names.c_str() + symbol.st_name;
      if (std::strncmp(name, prefix.c_str(), prefix.size()) != 0) out.foreign.emplace_back(name);
    }
  }
  return out;
}

// Bytes that a stripped copy has; 0 where strip is missing or fails.
uint64_t stripped_size(const std::string& path) {
  const char* folder = std::getenv("TMPDIR");
  std::string copy = std::string(folder && *folder ? folder : "/tmp") + "/load_bench.XXXXXX";
  const int made = mkstemp(copy.data());
  if (made < 0) return 0;
  close(made);
  std::string command[] = {"strip", "-o", copy, path};
  char* arguments[] = {command[0].data(), command[1].data(), command[2].data(), command[3].data(),
                       nullptr};
  pid_t child = 0;
  int status = 1;
  if (posix_spawnp(&child, "strip", nullptr, nullptr, arguments, environ) == 0)
    waitpid(child, &status, 0);
  const uint64_t size = status == 0 ? file_size(copy) : 0;
  unlink(copy.c_str());
  return size;
}

}  // namespace

}  // namespace bench
