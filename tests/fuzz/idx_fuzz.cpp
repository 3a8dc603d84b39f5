#include <zlib.h>

#include "fuzz/fuzz.h"
#include "io/idx.h"

// 0: accepted. libFuzzer reads -1 as "do not keep this input", which fits a refused one.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const mill::fuzz::MemoryFile file(data, size);
  try {
    mill::IdxReader reader(file.path());
    const mill::IdxHeader& header = reader.header();
    if (header.rank == 0 || header.rank > MILL_MAX_RANK || header.bytes > 1032 * size) std::abort();
    // As large as promised and no larger, so that a sanitizer sees a write past the end.
    std::vector<char> elements(header.bytes);
    reader.read(elements.data(), elements.size());
    return 0;
  } catch (const mill::Error& error) {
    mill::fuzz::check_refusal(error);
    return -1;
  }
}

#ifndef MILL_LIBFUZZER
namespace {

std::string gzip(const std::string& bytes) {
  std::string out(compressBound(static_cast<uLong>(bytes.size())) + 64, 0);
  z_stream stream = {};
  deflateInit2(&stream, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::vector<std::string> seeds() {
  const std::string images =
      std::string("\0\0\x08\x03\0\0\0\x03\0\0\0\x04\0\0\0\x05", 16) + std::string(60, 'p');
  const std::string floats = std::string("\0\0\x0d\x01\0\0\0\x04", 8) + "0123456789abcdef";
  const std::string empty = std::string("\0\0\x0e\x02\0\0\0\0\0\0\0\x05", 12);
  const std::string large = std::string("\0\0\x0b\x01\0\0\x20\0", 8) + std::string(0x4000, 'x');
  return {
      images,       floats,      empty,       gzip(images),
      gzip(floats), gzip(empty), gzip(large), gzip(images.substr(0, 20)) + gzip(images.substr(20))};
}

// The checksum makes damaged compressed data alike: compress what was damaged instead.
void repair(std::string& bytes) {
  if (bytes.empty() || bytes[0] != 0x1f) bytes = gzip(bytes);
}

}  // namespace

int main(int argc, char** argv) {
  return mill::fuzz::run_mutations(seeds(), repair, argc, argv);
}
#endif
