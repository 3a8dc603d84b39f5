// A program that is started and waited for, as a shell does it.
#pragma once

#include <signal.h>

#include <string>
#include <vector>

#include "profiler/cli/options.h"

namespace mill::cli {

// Holds back the signals that are handed on to a program, from before it begins until its recording
// has been delivered; what came in between then has its usual effect. Ignored ones stay so.
class HeldSignals {
 public:
  HeldSignals();
  ~HeldSignals();
  HeldSignals(const HeldSignals&) = delete;
  HeldSignals& operator=(const HeldSignals&) = delete;
  const sigset_t& held() const { return held_; }
  const sigset_t& before() const { return before_; }
  const struct sigaction& child_before() const { return child_before_; }

 private:
  sigset_t held_;
  sigset_t before_;
  struct sigaction child_before_ {};
};

struct Outcome {
  int status = 0;   // as a shell gives it
  int signal = 0;   // that ended the program
  int failure = 0;  // errno, where it could not be started
};

// Runs the command to its end, handing signals on to it. wait_for_all: then waits for the processes
// that it has left behind too, says so on the standard error where that takes a while, and stops
// waiting at an interrupt. Throws Failure.
Outcome run_program(const std::vector<std::string>& command, Console& console, bool wait_for_all,
                    const HeldSignals& signals);

}  // namespace mill::cli
