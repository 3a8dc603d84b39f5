// What the kernel says about the machine, the limits of this process and what it has loaded.
#include <dirent.h>
#include <gnu/libc-version.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "profiler/cli/figures.h"
#include "profiler/cli/info.h"

namespace mill::cli {

namespace {

std::string read_text(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  if (file) text << file.rdbuf();
  return text.str();
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && static_cast<unsigned char>(text.front()) <= ' ') text.remove_prefix(1);
  while (!text.empty() && static_cast<unsigned char>(text.back()) <= ' ') text.remove_suffix(1);
  return text;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) out.push_back(line);
  return out;
}

// "MemTotal:       123 kB" in bytes.
uint64_t kilobytes_of(const std::string& text, std::string_view name) {
  for (const std::string& line : lines_of(text)) {
    const size_t at = line.find(name);
    if (at == std::string::npos || line.compare(at + name.size(), 1, ":") != 0) continue;
    return std::strtoull(line.c_str() + at + name.size() + 1, nullptr, 10) * 1024;
  }
  return 0;
}

uint64_t number_of(const std::string& text, std::string_view name) {
  return kilobytes_of(text, name) / 1024;
}

void read_cpus(System& system) {
  system.cpus_online = static_cast<uint32_t>(std::max(sysconf(_SC_NPROCESSORS_ONLN), 0L));
  for (const std::string& line : lines_of(read_text("/proc/cpuinfo"))) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const std::string_view key = trim(std::string_view(line).substr(0, colon));
    if (key == "model name" || key == "Model" || key == "cpu model") {
      system.cpu_model = trim(std::string_view(line).substr(colon + 1));
      break;
    }
  }
  std::set<std::string> cores;
  for (uint32_t cpu = 0; cpu < std::max(system.cpus_online, 1u) * 4; ++cpu) {
    const std::string folder = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
    const std::string siblings = read_text(folder + "thread_siblings_list");
    if (!siblings.empty()) cores.insert(siblings);
  }
  system.cores = static_cast<uint32_t>(cores.size());
}

void read_affinity(System& system) {
  // Machines with more CPUs than cpu_set_t has room for.
  for (int cpus = 1024; cpus <= 1 << 20; cpus *= 4) {
    struct Free {
      void operator()(cpu_set_t* set) const { CPU_FREE(set); }
    };
    const std::unique_ptr<cpu_set_t, Free> set(CPU_ALLOC(static_cast<size_t>(cpus)));
    const size_t bytes = CPU_ALLOC_SIZE(cpus);
    if (!set) return;
    CPU_ZERO_S(bytes, set.get());
    if (sched_getaffinity(0, bytes, set.get()) != 0) continue;
    system.cpus_allowed = static_cast<uint32_t>(CPU_COUNT_S(bytes, set.get()));
    for (int cpu = 0; cpu < cpus; ++cpu) {
      if (!CPU_ISSET_S(static_cast<size_t>(cpu), bytes, set.get())) continue;
      int last = cpu;
      while (last + 1 < cpus && CPU_ISSET_S(static_cast<size_t>(last) + 1, bytes, set.get()))
        ++last;
      if (!system.affinity.empty()) system.affinity += ',';
      system.affinity += std::to_string(cpu);
      if (last > cpu) system.affinity += '-' + std::to_string(last);
      cpu = last;
    }
    return;
  }
}

template <class T>
void lower(std::optional<T>& limit, T value) {
  if (!limit || value < *limit) limit = value;
}

// A group is bound by its own limits and those of all groups that it is in.
template <class F>
void up_from(const std::string& root, std::string path, F&& look) {
  for (;;) {
    look(root + path + (path.ends_with('/') ? "" : "/"));
    if (path.empty() || path == "/") return;
    const size_t slash = path.find_last_of('/');
    path.resize(slash == std::string::npos ? 0 : slash);
  }
}

void unified_limits(System& system, const std::string& path) {
  bool first = true;
  up_from("/sys/fs/cgroup", path, [&](const std::string& folder) {
    std::istringstream cpu(read_text(folder + "cpu.max"));
    std::string quota;
    double period = 0;
    if (cpu >> quota >> period && quota != "max" && period > 0)
      lower(system.cpu_limit, std::strtod(quota.c_str(), nullptr) / period);
    const std::string memory = read_text(folder + "memory.max");
    if (!memory.empty() && !memory.starts_with("max"))
      lower(system.memory_limit, static_cast<uint64_t>(std::strtoull(memory.c_str(), nullptr, 10)));
    const std::string used = read_text(folder + "memory.current");
    if (first && !used.empty()) system.memory_in_cgroup = std::strtoull(used.c_str(), nullptr, 10);
    first = false;
  });
}

void separate_limits(System& system, const std::string& controllers, const std::string& path) {
  const std::string padded = "," + controllers + ",";
  const std::string root = "/sys/fs/cgroup/" + controllers;
  if (padded.find(",cpu,") != std::string::npos) {
    up_from(root, path, [&](const std::string& folder) {
      const double quota = std::atof(read_text(folder + "cpu.cfs_quota_us").c_str());
      const double period = std::atof(read_text(folder + "cpu.cfs_period_us").c_str());
      if (quota > 0 && period > 0) lower(system.cpu_limit, quota / period);
    });
  }
  if (padded.find(",memory,") != std::string::npos) {
    up_from(root, path, [&](const std::string& folder) {
      const std::string text = read_text(folder + "memory.limit_in_bytes");
      const uint64_t limit = std::strtoull(text.c_str(), nullptr, 10);
      // What the kernel writes for "no limit" is near 2^63.
      if (!text.empty() && limit < uint64_t{1} << 62) lower(system.memory_limit, limit);
    });
  }
}

void read_limits(System& system) {
  for (const std::string& line : lines_of(read_text("/proc/self/cgroup"))) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    if (controllers.empty()) {
      unified_limits(system, path);
    } else {
      separate_limits(system, controllers, path);
    }
  }
  rlimit locked{};
  if (getrlimit(RLIMIT_MEMLOCK, &locked) == 0 && locked.rlim_cur != RLIM_INFINITY)
    system.locked_limit = locked.rlim_cur;
}

void read_memory(System& system) {
  const std::string text = read_text("/proc/meminfo");
  system.memory_bytes = kilobytes_of(text, "MemTotal");
  system.memory_available = kilobytes_of(text, "MemAvailable");
  system.huge_pages = number_of(text, "HugePages_Total");
  system.huge_page_bytes = kilobytes_of(text, "Hugepagesize");
  const std::string modes = read_text("/sys/kernel/mm/transparent_hugepage/enabled");
  const size_t open = modes.find('[');
  const size_t close = modes.find(']');
  if (open != std::string::npos && close != std::string::npos && close > open)
    system.transparent_huge_pages = modes.substr(open + 1, close - open - 1);
}

void read_nodes(System& system) {
  struct Close {
    void operator()(DIR* listing) const { closedir(listing); }
  };
  const std::string folder = "/sys/devices/system/node";
  const std::unique_ptr<DIR, Close> listing(opendir(folder.c_str()));
  while (const dirent* one = listing ? readdir(listing.get()) : nullptr) {
    const std::string name = one->d_name;
    const auto number =
        name.starts_with("node") ? parse_natural(std::string_view(name).substr(4)) : std::nullopt;
    if (!number || *number > UINT32_MAX) continue;
    NumaNode node;
    node.number = static_cast<uint32_t>(*number);
    const std::string about = std::string(folder).append("/").append(name);
    node.cpus = trim(read_text(about + "/cpulist"));
    node.memory_bytes = kilobytes_of(read_text(about + "/meminfo"), "MemTotal");
    system.nodes.push_back(node);
  }
  std::sort(system.nodes.begin(), system.nodes.end(),
            [](const NumaNode& a, const NumaNode& b) { return a.number < b.number; });
}

// "libdnnl.so.2.6": "2.6".
std::string version_in(const std::string& file) {
  const size_t at = file.rfind(".so.");
  if (at != std::string::npos) return file.substr(at + 4);
  // "libc-2.31.so"
  const size_t dash = file.find_last_of('-');
  const size_t end = file.rfind(".so");
  if (dash == std::string::npos || end == std::string::npos || dash + 1 >= end) return "";
  const std::string text = file.substr(dash + 1, end - dash - 1);
  return text.find_first_not_of("0123456789.") == std::string::npos ? text : "";
}

}  // namespace

System gather_system() {
  System system;
  read_cpus(system);
  read_affinity(system);
  read_limits(system);
  read_memory(system);
  read_nodes(system);
  utsname names{};
  if (uname(&names) == 0)
    system.kernel = std::string(names.sysname) + " " + names.release + " " + names.machine;
  system.glibc = gnu_get_libc_version();
  const std::vector<std::string> driver = lines_of(read_text("/proc/driver/nvidia/version"));
  if (!driver.empty()) {
    const std::string_view line = trim(driver.front());
    const size_t colon = line.find(':');
    system.nvidia_driver = trim(colon == std::string_view::npos ? line : line.substr(colon + 1));
  }
  return system;
}

std::vector<LoadedFile> loaded_files() {
  static constexpr std::string_view kFamilies[] = {
      "libmillrace", "libdnnl",   "libmkl",   "libcuda.",      "libcudart",  "libcublas",
      "libcudnn",    "libcupti",  "libnvrtc", "libnvToolsExt", "libnvidia-", "libz.",
      "libz-",       "libstdc++", "libgomp",  "libomp",        "libiomp",    "libtbb",
      "libasan",     "libtsan",   "libubsan"};
  std::vector<LoadedFile> out;
  std::set<std::string> seen;
  for (const std::string& line : lines_of(read_text("/proc/self/maps"))) {
    const size_t at = line.find('/');
    if (at == std::string::npos) continue;
    LoadedFile file;
    file.path = line.substr(at);
    constexpr std::string_view kDeleted = " (deleted)";
    if (file.path.ends_with(kDeleted)) {
      file.replaced = true;
      file.path.resize(file.path.size() - kDeleted.size());
    }
    const std::string name = file.path.substr(file.path.find_last_of('/') + 1);
    const bool known =
        std::any_of(std::begin(kFamilies), std::end(kFamilies),
                    [&](std::string_view family) { return name.starts_with(family); });
    if (!known || !seen.insert(file.path).second) continue;
    file.version = version_in(name);
    out.push_back(std::move(file));
  }
  return out;
}

std::vector<Variable> gather_environment() {
  static constexpr const char* kNames[] = {"CUDA_VISIBLE_DEVICES",  "CUDA_INJECTION64_PATH",
                                           "NVTX_INJECTION64_PATH", "CUDA_LAUNCH_BLOCKING",
                                           "OMP_NUM_THREADS",       "LD_PRELOAD",
                                           "LD_LIBRARY_PATH",       "MILLRACE_PROF"};
  std::vector<Variable> out;
  for (const char* name : kNames) {
    const char* value = std::getenv(name);
    out.push_back({name, value ? std::optional<std::string>(value) : std::nullopt});
  }
  return out;
}

}  // namespace mill::cli
