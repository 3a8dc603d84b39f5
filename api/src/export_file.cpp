#include "export_file.h"

#include <zlib.h>

#include <algorithm>
#include <vector>

#include "base/error.h"

namespace mill::api {

class ExportFile::Gzip {
 public:
  explicit Gzip(AtomicFile& file) : file_(file), out_(kBuffer) {
    // RFC 1952 by zlib: a window of 2^15 bytes, 16 added for gzip's header and checksum. Level 1
    // packs a trace to a tenth, at some 200 MB/s; the ninth would halve that and take ten times as
    // long, while a program waits for its end.
    if (deflateInit2(&stream_, Z_BEST_SPEED, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
      fail(MILL_E_MEMORY, "zlib cannot allocate its state");
  }
  ~Gzip() { deflateEnd(&stream_); }
  Gzip(const Gzip&) = delete;
  Gzip& operator=(const Gzip&) = delete;

  void write(const char* data, uint64_t bytes) {
    while (bytes > 0) {
      const auto part = static_cast<uInt>(std::min<uint64_t>(bytes, 1u << 30));
      pass(data, part, Z_NO_FLUSH);
      data += part;
      bytes -= part;
    }
  }
  void finish() { pass(nullptr, 0, Z_FINISH); }

 private:
  static constexpr size_t kBuffer = size_t{1} << 16;

  void pass(const char* data, uInt bytes, int flush) {
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data));
    stream_.avail_in = bytes;
    do {
      stream_.next_out = out_.data();
      stream_.avail_out = static_cast<uInt>(out_.size());
      deflate(&stream_, flush);  // with room in both, it cannot fail
      if (const size_t made = out_.size() - stream_.avail_out; made > 0)
        file_.write(out_.data(), made);
    } while (stream_.avail_out == 0);
  }

  AtomicFile& file_;
  z_stream stream_{};
  std::vector<Bytef> out_;
};

ExportFile::ExportFile(const std::string& path)
    : file_(path), gzip_(path.ends_with(".gz") ? std::make_unique<Gzip>(file_) : nullptr) {}

ExportFile::~ExportFile() = default;

mill_status ExportFile::write(void* file, const char* data, uint64_t bytes) noexcept {
  auto& self = *static_cast<ExportFile*>(file);
  try {
    if (self.gzip_) {
      self.gzip_->write(data, bytes);
    } else {
      self.file_.write(data, bytes);
    }
    return MILL_OK;
  } catch (...) {
    self.failure_ = std::current_exception();
    return MILL_E_IO;
  }
}

void ExportFile::commit() {
  if (gzip_) gzip_->finish();
  file_.commit(AtomicFile::Durable::no);
}

}  // namespace mill::api
