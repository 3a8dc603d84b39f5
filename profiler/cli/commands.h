// The commands, one file each.
#pragma once

#include "profiler/cli/options.h"

namespace mill::cli {

Command info_command();
Command report_command();
Command run_command();
Command diff_command();
Command calibrate_command();

}  // namespace mill::cli
