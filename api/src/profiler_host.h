// What the profiler's plugin is given of the library.
#pragma once

#include "millrace/profiler_plugin.h"

namespace mill::api {

// The plugin's functions; loads it at the first call. Throws why it cannot be used.
const mill_profiler_table& need_profiler();

}  // namespace mill::api
