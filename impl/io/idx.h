// The IDX format of the MNIST distribution: two zero bytes, a type code, the rank, big-endian
// 32-bit sizes, then the elements, big-endian, row-major. Files may be compressed with gzip; that
// is seen from their first bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "millrace/types.h"

namespace mill {

struct IdxHeader {
  int32_t dtype = MILL_DTYPE_NONE;
  uint32_t rank = 0;
  int64_t dims[MILL_MAX_RANK] = {};
  uint64_t bytes = 0;  // of the elements
};

// Holds one buffer of 64 KiB beside what zlib needs, whatever the file's size. The constructor
// refuses a header that promises more than the file can hold, so header().bytes may be allocated
// without further checks.
class IdxReader {
 public:
  explicit IdxReader(const std::string& path);
  ~IdxReader();
  IdxReader(const IdxReader&) = delete;
  IdxReader& operator=(const IdxReader&) = delete;

  const IdxHeader& header() const { return header_; }

  // Reads all elements, in the machine's byte order, and checks that the file ends with them.
  // `bytes` is header().bytes. May be called once; after a failure the contents of `to` are
  // undefined.
  void read(void* to, uint64_t bytes);

 private:
  class Source;
  class PlainSource;
  class GzipSource;

  void read_header(uint64_t file_size, bool compressed);

  std::string path_;
  std::unique_ptr<Source> source_;
  IdxHeader header_;
  bool consumed_ = false;
};

// Writes a dense array as an IDX file that replaces `path` whole or not at all. IDX knows u8, i8,
// i16, i32, f32 and f64 with a rank of at least 1.
void write_idx(const std::string& path, int32_t dtype, uint32_t rank, const int64_t* dims,
               const void* data, bool compress);

}  // namespace mill
