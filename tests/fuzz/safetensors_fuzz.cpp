#include "base/utf8.h"
#include "fuzz/fuzz.h"
#include "io/safetensors.h"

// 0: accepted. libFuzzer reads -1 as "do not keep this input", which fits a refused one.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const mill::fuzz::MemoryFile memory(data, size);
  try {
    const mill::SafetensorsFile file(memory.path());
    uint64_t total = 0;
    for (uint64_t i = 0; i < file.count(); ++i) {
      const mill::SafetensorsEntry& entry = file.entry(i);
      if (file.find(entry.name) != static_cast<int64_t>(i) || !mill::is_utf8(entry.name)) {
        std::abort();
      }
      total += entry.bytes;
    }
    // No hole and no overlap: the tensors are at most the file.
    if (total > size) std::abort();
    for (uint64_t i = 0; i < file.count(); ++i) {
      std::vector<char> bytes(file.entry(i).bytes);
      file.read(i, bytes.data(), bytes.size());
    }
    return 0;
  } catch (const mill::Error& error) {
    mill::fuzz::check_refusal(error);
    return -1;
  }
}

#ifndef MILL_LIBFUZZER
namespace {

void set_length(std::string& bytes, uint64_t length) {
  for (size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(length >> (8 * i));
}

std::string file_of(const std::string& header, size_t data) {
  std::string bytes(8, 0);
  set_length(bytes, header.size());
  return bytes + header + std::string(data, 1);
}

std::vector<std::string> seeds() {
  return {
      file_of("{}", 0),
      file_of("{}      ", 0),
      file_of(R"({"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})", 24),
      file_of(
          R"({"__metadata__":{"a":"b","c":"\u00e4\ud83d\ude00"},"m":{"dtype":"BOOL","shape":[],"data_offsets":[0,1]}})",
          1),
      file_of(
          R"({"b":{"shape":[0,7],"data_offsets":[6,6],"dtype":"I64"} , "a":{"dtype":"U8","shape":[6],"data_offsets":[0,6]}})",
          6),
      file_of(
          R"({"x":{"dtype":"BF16","shape":[1,1,1,1,1,1,1,2],"data_offsets":[0,4]},"y\n":{"dtype":"C64","shape":[1],"data_offsets":[4,12]}})",
          12),
  };
}

// Lets the header end with its last brace.
void repair(std::string& bytes) {
  const size_t end = bytes.rfind('}');
  if (end != std::string::npos && end >= 8) set_length(bytes, end - 7);
}

}  // namespace

int main(int argc, char** argv) {
  return mill::fuzz::run_mutations(seeds(), repair, argc, argv);
}
#endif
