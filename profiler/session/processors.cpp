#include "profiler/session/processors.h"

#include <dirent.h>
#include <sched.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <string>
#include <thread>

namespace mill::prof {

namespace {

// "0::/a/b" in a file of one line for each hierarchy.
std::string own_group() {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("0::")) return line.substr(3);
  }
  return "";
}

}  // namespace

double usable_processors() {
  double usable = std::max(1u, std::thread::hardware_concurrency());
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) usable = std::max(1, CPU_COUNT(&set));
  std::string group = own_group();
  for (;;) {
    std::ifstream file("/sys/fs/cgroup" + group + "/cpu.max");
    double quota = 0;
    double period = 0;
    // "max" is no number.
    if (file >> quota >> period && quota > 0 && period > 0)
      usable = std::min(usable, quota / period);
    if (group.empty()) return usable;
    group.resize(std::min(group.find_last_of('/'), group.size() - 1));
  }
}

double run_delay_ns(int without) {
  constexpr int kMostThreads = 256;  // each is a file to read
  const std::unique_ptr<DIR, int (*)(DIR*)> tasks(opendir("/proc/self/task"), closedir);
  if (tasks == nullptr) return -1;
  const std::string left_out = std::to_string(without);
  double sum = 0;
  int threads = 0;
  while (const dirent* const entry = readdir(tasks.get())) {
    if (entry->d_name[0] == '.' || left_out == entry->d_name) continue;
    if (++threads > kMostThreads) return -1;
    // "running waiting slices"; a thread that is gone by now has no file.
    std::ifstream file(std::string("/proc/self/task/") + entry->d_name + "/schedstat");
    double running = 0;
    double waiting = 0;
    if (file >> running >> waiting) sum += waiting;
  }
  return threads > 0 ? sum : -1;
}

}  // namespace mill::prof
