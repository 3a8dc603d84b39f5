// Traces that others wrote: the Chrome trace event format, in both dialects of Kineto (2021 and
// 2023), plain, and as Millrace writes it; gzip or not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "profiler/timeline/trace.h"

namespace mill::prof {

struct ImportOptions {
  uint64_t store_bytes = uint64_t{2} << 30;  // of rows; what comes later is counted as lost
};

enum class ImportStatus : uint8_t {
  ok,
  not_found,   // or not readable: *why has errno's text
  not_a_trace  // not one event could be read: *why says what was met where
};

// Reads by pieces: memory grows with what is kept, not with the file. A file that ends in the
// middle gives what came before, with cut_off set. Times keep their nanoseconds: digits are never
// taken through a double. Events that cannot be read are counted in skipped and described in notes.
ImportStatus import_file(const std::string& path, const ImportOptions& options, Trace* out,
                         std::string* why);

// The same from a reader that fills up to n bytes and says how many; 0: the end.
ImportStatus import_stream(const std::function<size_t(char* to, size_t n)>& read,
                           const std::string& name, const ImportOptions& options, Trace* out,
                           std::string* why);

}  // namespace mill::prof
