#include "profiler/cli/program.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>

namespace mill::cli {

namespace {

// What is passed on to the program. The terminal sends its own signals to both.
constexpr int kForwarded[] = {SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH};
constexpr int kEnding[] = {SIGTERM, SIGHUP, SIGINT, SIGQUIT};
constexpr int kQuietMilliseconds = 500;  // no word of a wait that is shorter

[[noreturn]] void begin(const std::vector<std::string>& command, const HeldSignals& signals,
                        bool pipe_was_ignored, int report) {
  std::vector<char*> words;
  words.reserve(command.size() + 1);
  for (const std::string& word : command) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  if (!pipe_was_ignored) signal(SIGPIPE, SIG_DFL);
  sigaction(SIGCHLD, &signals.child_before(), nullptr);
  sigprocmask(SIG_SETMASK, &signals.before(), nullptr);
  execvp(words[0], words.data());
  const int code = errno;
  // The parent reads 0 bytes where this fails too, and then sees the exit status.
  const ssize_t told = write(report, &code, sizeof code);
  _exit(told == sizeof code && code == ENOENT ? 127 : 126);
}

// Waits for the program and hands signals on. Others are its orphans, which have become ours.
Outcome wait_for(pid_t child, const sigset_t& signals) {
  for (;;) {
    int status = 0;
    const pid_t done = waitpid(-1, &status, WNOHANG);
    if (done == child) {
      if (WIFSIGNALED(status)) return {128 + WTERMSIG(status), WTERMSIG(status), 0};
      return {WEXITSTATUS(status), 0, 0};
    }
    if (done > 0) continue;
    if (done < 0 && errno != EINTR)
      throw Failure(std::string("cannot wait for the program: ") + std::strerror(errno));
    siginfo_t info{};
    const int number = sigwaitinfo(&signals, &info);
    // From the terminal (SI_KERNEL) it has reached the whole process group.
    if (number > 0 && number != SIGCHLD && info.si_code <= 0) kill(child, number);
    // One that was stopped could not obey.
    if (std::find(std::begin(kEnding), std::end(kEnding), number) != std::end(kEnding))
      kill(child, SIGCONT);
  }
}

// No child is left that has not been waited for.
bool all_gone() {
  for (;;) {
    const pid_t done = waitpid(-1, nullptr, WNOHANG);
    if (done == 0) return false;
    if (done < 0 && errno != EINTR) return true;
  }
}

void wait_for_orphans(Console& console, const sigset_t& signals) {
  const timespec quiet{kQuietMilliseconds / 1000, kQuietMilliseconds % 1000 * 1000000};
  bool said = false;
  while (!all_gone()) {
    const int number =
        said ? sigwaitinfo(&signals, nullptr) : sigtimedwait(&signals, nullptr, &quiet);
    if (number < 0 && errno == EAGAIN) {
      console.err << "millrace: the program has ended; waiting for processes that it left behind "
                     "(an interrupt ends the wait, --wait primary avoids it)\n";
      console.err.flush();
      said = true;
    }
    for (const int ending : kEnding) {
      if (number == ending) return;
    }
  }
}

}  // namespace

HeldSignals::HeldSignals() {
  sigemptyset(&held_);
  sigaddset(&held_, SIGCHLD);
  for (const int number : kForwarded) {
    struct sigaction now {};
    sigaction(number, nullptr, &now);
    if (now.sa_handler != SIG_IGN) sigaddset(&held_, number);
  }
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  sigaction(SIGCHLD, &standard, &child_before_);
  sigprocmask(SIG_BLOCK, &held_, &before_);
}

HeldSignals::~HeldSignals() {
  sigprocmask(SIG_SETMASK, &before_, nullptr);
}

Outcome run_program(const std::vector<std::string>& command, Console& console, bool wait_for_all,
                    const HeldSignals& signals) {
  // What the program leaves behind becomes a child of this process, and can be waited for.
  if (wait_for_all) prctl(PR_SET_CHILD_SUBREAPER, 1);

  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0)
    throw Failure(std::string("cannot make a pipe: ") + std::strerror(errno));
  const pid_t child = fork();
  if (child == 0) begin(command, signals, console.pipe_was_ignored, ends[1]);
  close(ends[1]);
  if (child < 0) {
    close(ends[0]);
    throw Failure(std::string("cannot start a process: ") + std::strerror(errno));
  }
  int code = 0;
  ssize_t n = 0;
  do n = read(ends[0], &code, sizeof code);
  while (n < 0 && errno == EINTR);
  close(ends[0]);
  Outcome outcome = wait_for(child, signals.held());
  if (n == sizeof code) outcome.failure = code;
  if (wait_for_all) wait_for_orphans(console, signals.held());
  return outcome;
}

}  // namespace mill::cli
