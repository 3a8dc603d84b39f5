// A file that the profiler's exports go to: it appears whole or not at all, and compressed (gzip)
// where its name ends in ".gz".
#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <string>

#include "io/file.h"
#include "millrace/profiler.h"

namespace mill::api {

class ExportFile {
 public:
  explicit ExportFile(const std::string& path);  // throws Error
  ~ExportFile();

  // A mill_prof_writer whose user is the file. A failure is kept for rethrow().
  static mill_status write(void* file, const char* data, uint64_t bytes) noexcept;
  void rethrow() const {
    if (failure_) std::rethrow_exception(failure_);
  }
  void commit();

 private:
  class Gzip;

  AtomicFile file_;
  std::unique_ptr<Gzip> gzip_;  // null: as it comes
  std::exception_ptr failure_;
};

}  // namespace mill::api
