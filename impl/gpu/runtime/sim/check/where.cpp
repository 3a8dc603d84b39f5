#include "gpu/runtime/sim/check/where.h"

#if defined(MILL_SIM_BACKTRACE)
#include <backtrace.h>
#endif

namespace mill::sim {

bool is_vocabulary(const char* file) {
  const char* slash = std::strrchr(file, '/');
  const char* name = slash ? slash + 1 : file;
  return std::strcmp(name, "vocabulary.h") == 0 || std::strcmp(name, "fragment.h") == 0;
}

#if defined(MILL_SIM_BACKTRACE)

namespace {

struct Search {
  Site inner{nullptr, 0};  // the innermost of all, if no other comes
  Site body{nullptr, 0};
};

int take_frame(void* data, uintptr_t, const char* file, int line, const char*) {
  auto& search = *static_cast<Search*>(data);
  if (!file || line <= 0) return 0;
  if (!search.inner.file) search.inner = {file, line};
  if (is_vocabulary(file)) return 0;
  search.body = {file, line};
  return 1;
}

void ignore_error(void*, const char*, int) {}

}  // namespace

bool line_of(uintptr_t code, Site* out) {
  // One for the process: the library cannot release it. Threads may share it (second argument).
  static backtrace_state* const state = backtrace_create_state(nullptr, 1, ignore_error, nullptr);
  if (!state) return false;
  Search search;
  // The return address may be the first of the next line.
  backtrace_pcinfo(state, code - 1, take_frame, ignore_error, &search);
  const Site found = search.body.file ? search.body : search.inner;
  if (!found.file) return false;
  *out = found;
  return true;
}

#else

bool line_of(uintptr_t, Site*) {
  return false;
}

#endif

}  // namespace mill::sim
