// The profiler's plugin: found beside the library, loaded once, never unloaded.
#pragma once

#include "millrace/profiler_plugin.h"

namespace mill {

// Loads it at the first call. host must last as long as the process, and be the same every time.
// Throws why it cannot be used: MILL_E_UNSUPPORTED (not there, of another age, refuses),
// MILL_E_FORMAT, MILL_E_IO, MILL_E_TOO_NEW. A file that was refused is looked at again next time.
const mill_profiler_table& profiler_plugin(const mill_profiler_host& host);

}  // namespace mill
