#include "io/idx.h"

// Makes zlib's input pointers const.
#define ZLIB_CONST
#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/dtype.h"
#include "base/error.h"
#include "io/bytes.h"
#include "io/file.h"

namespace mill {

namespace {

using ull = unsigned long long;

constexpr uint64_t kBufferBytes = 64 * 1024;
// Deflate's greatest ratio: a match of 258 bytes costs at least two bits (zlib's technical notes).
constexpr uint64_t kMaxDeflateRatio = 1032;
constexpr int kGzipWindow = 16 + MAX_WBITS;

struct TypeCode {
  uint8_t code;
  int32_t dtype;
};
constexpr TypeCode kTypeCodes[] = {{0x08, MILL_U8},  {0x09, MILL_I8},  {0x0b, MILL_I16},
                                   {0x0c, MILL_I32}, {0x0d, MILL_F32}, {0x0e, MILL_F64}};

int32_t dtype_of(uint8_t code) {
  for (const TypeCode& type : kTypeCodes) {
    if (type.code == code) return type.dtype;
  }
  return MILL_DTYPE_NONE;
}

uint8_t code_of(int32_t dtype) {
  for (const TypeCode& type : kTypeCodes) {
    if (type.dtype == dtype) return type.code;
  }
  return 0;
}

}  // namespace

// A stream of the file's contents. read() returns fewer bytes than asked for only at the end.
class IdxReader::Source {
 public:
  virtual ~Source() = default;
  virtual uint64_t read(void* to, uint64_t bytes) = 0;
};

class IdxReader::PlainSource : public Source {
 public:
  explicit PlainSource(std::unique_ptr<InputFile> file) : file_(std::move(file)) {}

  uint64_t read(void* to, uint64_t bytes) override {
    bytes = std::min(bytes, file_->size() - offset_);
    file_->read_at(offset_, to, bytes);
    offset_ += bytes;
    return bytes;
  }

 private:
  std::unique_ptr<InputFile> file_;
  uint64_t offset_ = 0;
};

class IdxReader::GzipSource : public Source {
 public:
  explicit GzipSource(std::unique_ptr<InputFile> file)
      : file_(std::move(file)), buffer_(kBufferBytes) {
    if (inflateInit2(&stream_, kGzipWindow) != Z_OK) {
      fail(MILL_E_MEMORY, "zlib cannot allocate its state");
    }
  }
  ~GzipSource() override { inflateEnd(&stream_); }

  uint64_t read(void* to, uint64_t bytes) override {
    auto* out = static_cast<Bytef*>(to);
    uint64_t done = 0;
    while (done < bytes && !ended_) {
      if (stream_.avail_in == 0) refill();
      const auto wanted = static_cast<uInt>(std::min<uint64_t>(bytes - done, 1u << 30));
      stream_.next_out = out + done;
      stream_.avail_out = wanted;
      const int result = inflate(&stream_, Z_NO_FLUSH);
      done += wanted - stream_.avail_out;
      if (result == Z_STREAM_END) {
        end_member();
      } else if (result != Z_OK) {
        fail_inflate(result);
      }
    }
    return done;
  }

 private:
  uint64_t left_in_file() const { return file_->size() - offset_; }

  void refill() {
    const uint64_t bytes = std::min(kBufferBytes, left_in_file());
    file_->read_at(offset_, buffer_.data(), bytes);
    offset_ += bytes;
    stream_.next_in = buffer_.data();
    stream_.avail_in = static_cast<uInt>(bytes);
  }

  // A gzip file is one or more members (RFC 1952, section 2.2).
  void end_member() {
    ++members_;
    member_start_ = offset_ - stream_.avail_in;
    if (stream_.avail_in == 0 && left_in_file() == 0) {
      ended_ = true;
    } else if (inflateReset(&stream_) != Z_OK) {
      fail(MILL_E_INTERNAL, "zlib refuses to reset its state");
    }
  }

  [[noreturn]] void fail_inflate(int result) const {
    const Shown name = shown(file_->path());
    if (result == Z_MEM_ERROR) {
      fail(MILL_E_MEMORY, "%s: zlib cannot allocate its window", name.text());
    }
    const char* reason = stream_.msg != nullptr ? stream_.msg : "no reason given";
    if (members_ != 0 && stream_.total_out == 0) {
      fail(MILL_E_FORMAT,
           "%s: the compressed data end at byte %llu, but the file has %llu bytes (%s)",
           name.text(), static_cast<ull>(member_start_), static_cast<ull>(file_->size()), reason);
    }
    if (result == Z_BUF_ERROR) {
      fail(MILL_E_FORMAT, "%s: the compressed data are cut off at byte %llu, the end of the file",
           name.text(), static_cast<ull>(file_->size()));
    }
    fail(MILL_E_FORMAT, "%s: the compressed data are damaged near byte %llu of %llu (%s)",
         name.text(), static_cast<ull>(offset_ - stream_.avail_in), static_cast<ull>(file_->size()),
         reason);
  }

  std::unique_ptr<InputFile> file_;
  std::vector<Bytef> buffer_;
  z_stream stream_ = {};
  uint64_t offset_ = 0;
  uint64_t member_start_ = 0;
  uint64_t members_ = 0;
  bool ended_ = false;
};

IdxReader::IdxReader(const std::string& path) : path_(path) {
  auto file = std::make_unique<InputFile>(path);
  const uint64_t size = file->size();
  uint8_t magic[2] = {};
  if (size >= sizeof magic) file->read_at(0, magic, sizeof magic);
  const bool compressed = magic[0] == 0x1f && magic[1] == 0x8b;
  if (compressed) {
    source_ = std::make_unique<GzipSource>(std::move(file));
  } else {
    source_ = std::make_unique<PlainSource>(std::move(file));
  }
  read_header(size, compressed);
}

IdxReader::~IdxReader() = default;

void IdxReader::read_header(uint64_t file_size, bool compressed) {
  const Shown name = shown(path_);
  uint8_t start[4];
  const uint64_t got = source_->read(start, sizeof start);
  if (got < sizeof start) {
    fail(MILL_E_FORMAT, "%s: holds %llu bytes, an IDX header has at least 8", name.text(),
         static_cast<ull>(got));
  }
  if (start[0] != 0 || start[1] != 0) {
    fail(MILL_E_FORMAT, "%s: is no IDX file: it begins with bytes %u and %u, not 0 and 0",
         name.text(), start[0], start[1]);
  }
  header_.dtype = dtype_of(start[2]);
  if (header_.dtype == MILL_DTYPE_NONE) {
    fail(MILL_E_FORMAT,
         "%s: element type 0x%02x is none of IDX's 0x08, 0x09, 0x0b, 0x0c, 0x0d and 0x0e",
         name.text(), start[2]);
  }
  header_.rank = start[3];
  if (header_.rank == 0 || header_.rank > MILL_MAX_RANK) {
    fail(MILL_E_FORMAT, "%s: rank %u is outside 1 to %d", name.text(), header_.rank, MILL_MAX_RANK);
  }
  uint8_t sizes[4 * MILL_MAX_RANK];
  const uint64_t size_bytes = 4 * uint64_t{header_.rank};
  const uint64_t size_got = source_->read(sizes, size_bytes);
  const uint64_t header_bytes = sizeof start + size_bytes;
  const uint64_t held_of_header = sizeof start + size_got;
  if (size_got < size_bytes) {
    fail(MILL_E_FORMAT, "%s: holds %llu bytes, a header of rank %u has %llu", name.text(),
         static_cast<ull>(held_of_header), header_.rank, static_cast<ull>(header_bytes));
  }
  for (uint32_t i = 0; i < header_.rank; ++i) header_.dims[i] = load_be32(sizes + 4 * i);
  if (!dense_bytes(header_.dtype, header_.rank, header_.dims, &header_.bytes)) {
    fail(MILL_E_FORMAT, "%s: the bytes of shape %s exceed the limit of %lld", name.text(),
         ShownDims(header_.rank, header_.dims).text(), static_cast<long long>(INT64_MAX));
  }
  const uint64_t held = file_size - std::min(file_size, header_bytes);
  if (!compressed && held != header_.bytes) {
    fail(MILL_E_FORMAT, "%s: header promises %llu bytes of data, the file holds %llu", name.text(),
         static_cast<ull>(header_.bytes), static_cast<ull>(held));
  }
  if (compressed && (header_.bytes + kMaxDeflateRatio - 1) / kMaxDeflateRatio > file_size) {
    const uint64_t most = file_size * kMaxDeflateRatio;
    fail(MILL_E_FORMAT,
         "%s: header promises %llu bytes of data, the %llu compressed bytes cannot hold more than "
         "%llu",
         name.text(), static_cast<ull>(header_.bytes), static_cast<ull>(file_size),
         static_cast<ull>(most));
  }
}

void IdxReader::read(void* to, uint64_t bytes) {
  const Shown name = shown(path_);
  if (consumed_) {
    fail(MILL_E_STATE, "%s: its elements were read before, they can be read once", name.text());
  }
  if (bytes != header_.bytes) {
    fail(MILL_E_ARG, "%s: the destination has %llu bytes, the data have %llu", name.text(),
         static_cast<ull>(bytes), static_cast<ull>(header_.bytes));
  }
  consumed_ = true;
  const uint64_t got = source_->read(to, bytes);
  if (got < bytes) {
    fail(MILL_E_FORMAT, "%s: header promises %llu bytes of data, the file holds %llu", name.text(),
         static_cast<ull>(bytes), static_cast<ull>(got));
  }
  char excess = 0;
  if (source_->read(&excess, 1) != 0) {
    const uint64_t at_least = bytes + 1;
    fail(MILL_E_FORMAT, "%s: header promises %llu bytes of data, the file holds at least %llu",
         name.text(), static_cast<ull>(bytes), static_cast<ull>(at_least));
  }
  swap_elements(to, to, bytes, dtype_size(header_.dtype));
}

namespace {

class Sink {
 public:
  Sink(const std::string& path, bool compress) : file_(path), compress_(compress) {
    if (!compress) return;
    buffer_.resize(kBufferBytes);
    if (deflateInit2(&stream_, Z_DEFAULT_COMPRESSION, Z_DEFLATED, kGzipWindow, 8,
                     Z_DEFAULT_STRATEGY) != Z_OK) {
      fail(MILL_E_MEMORY, "zlib cannot allocate its state");
    }
  }
  ~Sink() {
    if (compress_) deflateEnd(&stream_);
  }
  Sink(const Sink&) = delete;
  Sink& operator=(const Sink&) = delete;

  void write(const void* data, uint64_t bytes) {
    if (!compress_) {
      file_.write(data, bytes);
      return;
    }
    stream_.next_in = static_cast<const Bytef*>(data);
    stream_.avail_in = static_cast<uInt>(bytes);
    drain(Z_NO_FLUSH);
  }

  void finish() {
    if (compress_) drain(Z_FINISH);
    file_.commit();
  }

 private:
  void drain(int flush) {
    do {
      stream_.next_out = buffer_.data();
      stream_.avail_out = static_cast<uInt>(kBufferBytes);
      (void)deflate(&stream_, flush);  // fails only for an inconsistent stream
      file_.write(buffer_.data(), kBufferBytes - stream_.avail_out);
    } while (stream_.avail_out == 0);
  }

  AtomicFile file_;
  bool compress_;
  std::vector<Bytef> buffer_;
  z_stream stream_ = {};
};

}  // namespace

void write_idx(const std::string& path, int32_t dtype, uint32_t rank, const int64_t* dims,
               const void* data, bool compress) {
  const uint8_t code = code_of(dtype);
  if (code == 0) {
    fail(MILL_E_DTYPE,
         "dtype %s cannot be written as IDX, which knows u8, i8, i16, i32, f32 and f64",
         dtype_name(dtype));
  }
  if (rank == 0 || rank > MILL_MAX_RANK) {
    fail(MILL_E_SHAPE, "rank %u is outside 1 to %d", rank, MILL_MAX_RANK);
  }
  uint64_t bytes = 0;
  if (!dense_bytes(dtype, rank, dims, &bytes)) {
    fail(MILL_E_SHAPE, "shape %s has a negative size or too many bytes",
         ShownDims(rank, dims).text());
  }
  uint8_t header[4 + 4 * MILL_MAX_RANK] = {0, 0, code, static_cast<uint8_t>(rank)};
  for (uint32_t i = 0; i < rank; ++i) {
    if (dims[i] > int64_t{UINT32_MAX}) {
      fail(MILL_E_SHAPE, "size %lld of axis %u exceeds IDX's limit of %u",
           static_cast<long long>(dims[i]), i, UINT32_MAX);
    }
    store_be32(header + 4 + 4 * i, static_cast<uint32_t>(dims[i]));
  }
  Sink sink(path, compress);
  sink.write(header, 4 + 4 * uint64_t{rank});
  std::vector<char> chunk(std::min(bytes, kBufferBytes));
  const auto* from = static_cast<const char*>(data);
  for (uint64_t done = 0; done < bytes; done += chunk.size()) {
    const uint64_t part = std::min<uint64_t>(bytes - done, chunk.size());
    swap_elements(chunk.data(), from + done, part, dtype_size(dtype));
    sink.write(chunk.data(), part);
  }
  sink.finish();
}

}  // namespace mill
