// Writes records as Chrome trace events: the JSON object format of "Trace Event Format" (Google,
// 2016), which Perfetto reads.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "millrace/trace.h"

namespace mill {

class Tracer;

// Holds one buffer, whatever is appended. Every method throws Error (MILL_E_IO with errno,
// MILL_E_STATE) or std::bad_alloc; after a failed write only destruction is left. The records may
// hold any values.
class ChromeWriter {
 public:
  // The tracer gives names of ops and strings and must outlive the writer.
  ChromeWriter(const Tracer& tracer, std::string_view path);
  ~ChromeWriter();
  ChromeWriter(const ChromeWriter&) = delete;
  ChromeWriter& operator=(const ChromeWriter&) = delete;

  void append(std::span<const mill_trace_record> records);
  void finish();

 private:
  void event(const mill_trace_record& record);
  void arguments(const mill_trace_record& record);
  void name_of(const mill_trace_record& record);
  void name_track(uint32_t track, const mill_trace_record& record);
  void separator();
  void put(std::string_view text) { buffer_ += text; }
  void put(uint64_t value);
  void put_microseconds(uint64_t ns);
  void put_string(std::string_view text);
  void put_text(std::string_view text);
  void field(const char* name, uint64_t value);
  void field(const char* name, std::string_view text);
  void require_open() const;
  void flush();

  const Tracer& tracer_;
  std::string path_;
  std::string buffer_;
  std::vector<uint32_t> named_;  // tracks that have their metadata, sorted
  int file_ = -1;
  uint32_t process_;
  bool first_event_ = true;
  bool first_field_ = true;
};

}  // namespace mill
