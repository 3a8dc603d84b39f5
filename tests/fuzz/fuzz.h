// What the fuzzers share. Each defines LLVMFuzzerTestOneInput for libFuzzer (compile with
// -fsanitize=fuzzer and -DMILL_LIBFUZZER) and seeds(); elsewhere run_mutations() is its main:
// `<fuzzer> [runs] [seed]`.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace mill::fuzz {

// A file that lives in memory, with a path that any reader can open.
class MemoryFile {
 public:
  MemoryFile(const uint8_t* data, size_t size) : descriptor_(::memfd_create("fuzz", MFD_CLOEXEC)) {
    if (descriptor_ < 0 || ::write(descriptor_, data, size) != static_cast<ssize_t>(size)) {
      std::perror("memfd");
      std::exit(2);
    }
  }
  ~MemoryFile() { ::close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

// A reader either accepts a file or says MILL_E_FORMAT; anything else ends the process.
inline void check_refusal(const Error& error) {
  if (error.status() == MILL_E_FORMAT && error.text()[0] != 0) return;
  std::fprintf(stderr, "status %d: %s\n", error.status(), error.text());
  std::abort();
}

inline std::string mutate(std::string bytes, const std::vector<std::string>& seeds,
                          std::mt19937_64& random) {
  const auto below = [&](size_t bound) {
    return bound == 0 ? 0 : static_cast<size_t>(random() % bound);
  };
  const size_t edits = 1 + below(4);
  for (size_t i = 0; i < edits; ++i) {
    const size_t at = below(bytes.size() + 1);
    switch (below(8)) {
      case 0:
        if (at < bytes.size()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8)));
        break;
      case 1:
        if (at < bytes.size()) bytes[at] = static_cast<char>(random());
        break;
      case 2: bytes.insert(at, 1 + below(8), static_cast<char>(random())); break;
      case 3: bytes.erase(at, 1 + below(16)); break;
      case 4: bytes.resize(at); break;
      case 5: {
        const std::string& other = seeds[below(seeds.size())];
        const size_t from = below(other.size() + 1);
        bytes.insert(at, other, from, below(64));
        break;
      }
      case 6: {
        constexpr char interesting[] = "{}[]\",:\\0129eE-+.u\xff\x7f\x80";
        if (at < bytes.size()) bytes[at] = interesting[below(sizeof interesting)];
        break;
      }
      default:
        // Numbers in text grow a digit, or become a boundary value.
        if (at < bytes.size() && bytes[at] >= '0' && bytes[at] <= '9') {
          constexpr const char* numbers[] = {"9223372036854775807", "4294967296", "0",
                                             "18446744073709551615", "1"};
          bytes.replace(at, 1, numbers[below(5)]);
        }
    }
  }
  return bytes;
}

// `repair` makes every second mutant consistent again where the first check would hide all later
// ones.
inline int run_mutations(const std::vector<std::string>& seeds, void (*repair)(std::string&),
                         int argc, char** argv) {
  const long runs = argc > 1 ? std::strtol(argv[1], nullptr, 10) : 20000;
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  std::printf("%ld runs, seed %llu\n", runs, static_cast<unsigned long long>(seed));
  std::mt19937_64 random(seed);
  long accepted = 0;
  for (long i = 0; i < runs; ++i) {
    std::string bytes = mutate(seeds[random() % seeds.size()], seeds, random);
    if (i % 2 == 0) repair(bytes);
    accepted +=
        LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()) == 0;
  }
  std::printf("%ld accepted, %ld refused\n", accepted, runs - accepted);
  // A fuzzer whose inputs are all refused, or all accepted, reaches nothing.
  return runs >= 1000 && (accepted == 0 || accepted == runs) ? 1 : 0;
}

}  // namespace mill::fuzz
