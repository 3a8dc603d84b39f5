// Imports texts for tests.
#pragma once

#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "profiler/import/import.h"

namespace mill::prof::test {

struct Imported {
  ImportStatus status = ImportStatus::ok;
  Trace trace;
  std::string why;
};

// The text in pieces of at most `piece` bytes.
inline Imported import_text(std::string_view text, size_t piece = SIZE_MAX,
                            const ImportOptions& options = {}) {
  Imported out;
  size_t at = 0;
  const auto read = [&](char* to, size_t n) {
    n = std::min({n, piece, text.size() - at});
    std::memcpy(to, text.data() + at, n);
    at += n;
    return n;
  };
  out.status = import_stream(read, "test", options, &out.trace, &out.why);
  return out;
}

// {"traceEvents":[events]}
inline Imported import_events(std::string_view events) {
  return import_text("{\"traceEvents\":[" + std::string(events) + "]}");
}

inline std::string gzip(std::string_view text) {
  z_stream z{};
  EXPECT_EQ(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(deflateBound(&z, static_cast<uLong>(text.size())) + 64, '\0');
  std::string in(text);
  z.next_in = reinterpret_cast<Bytef*>(in.data());
  z.avail_in = static_cast<uInt>(in.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&z, Z_FINISH), Z_STREAM_END);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

template <class Column, class Enumerator>
bool is(const Column& column, uint32_t row, Enumerator wanted) {
  return column.at(row) == static_cast<uint8_t>(wanted);
}

inline std::string notes_of(const Trace& trace) {
  std::string all;
  for (const std::string& note : trace.notes) all += note + "\n";
  return all;
}

}  // namespace mill::prof::test
