// A program that is started and waited for, as a shell does it.
#pragma once

#include <string>
#include <vector>

#include "profiler/cli/options.h"

namespace mill::cli {

struct Outcome {
  int status = 0;   // as a shell gives it
  int signal = 0;   // that ended the program
  int failure = 0;  // errno, where it could not be started
};

// Runs the command to its end, handing signals on to it. wait_for_all: then waits for the processes
// that it has left behind too, says so on the standard error where that takes a while, and stops
// waiting at an interrupt. Throws Failure.
Outcome run_program(const std::vector<std::string>& command, Console& console, bool wait_for_all);

}  // namespace mill::cli
