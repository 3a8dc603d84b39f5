// What the names and categories of others' traces stand for.
#pragma once

#include <cstdint>
#include <string_view>

#include "profiler/timeline/trace.h"

namespace mill::prof {

// What the category of an event makes of it.
enum class EventClass : uint8_t {
  unknown,
  op,
  range,
  script,
  call,
  kernel,
  copy,
  fill,
  sync,
  overhead,
  engine,   // perhaps a record of Millrace's engine: its args tell
  ignored,  // known, and nothing of it is kept
  memory
};
EventClass class_of_category(std::string_view category);

struct CallClass {
  CallKind kind = CallKind::unknown;
  uint8_t flags = 0;  // kAsyncForm, kBlocking
};
// By the name of a function of the CUDA runtime or driver, or of HIP.
CallClass class_of_call(std::string_view name);

struct CopyClass {
  CopyKind kind = CopyKind::unknown;
  Memory host = Memory::unknown;
};
// "Memcpy HtoD (Pageable -> Device)", "CopyDeviceToHost".
CopyClass class_of_copy(std::string_view name);
// "Memset (Device)": of page-locked, managed and ordinary host memory; else unknown.
Memory memory_of_fill(std::string_view name);

OverheadKind overhead_of(std::string_view name);

// The number in a track's name such as "stream 7"; UINT64_MAX: there is none.
uint64_t stream_in(std::string_view track);

}  // namespace mill::prof
