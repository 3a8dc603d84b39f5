// What should work and does not.
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "profiler/cli/figures.h"
#include "profiler/cli/info.h"
#include "profiler/cli/output.h"

namespace mill::cli {

namespace {

std::string folder_of(const std::string& path) {
  return path.substr(0, path.find_last_of('/') + 1);
}

class Examiner {
 public:
  explicit Examiner(const Info& info) : info_(info), library_(info.library) {}

  std::vector<Check> run() {
    library();
    if (library_.context_error.empty()) {
      profiler();
      cpu();
      for (size_t k = 1; k < library_.devices.size(); ++k) device(library_.devices[k]);
      for (const Plugin& one : library_.plugins) plugin(one);
    }
    memory();
    environment();
    return std::move(out_);
  }

 private:
  void add(Grade grade, std::string subject, std::string text) {
    out_.push_back({grade, std::move(subject), std::move(text)});
  }

  void library() {
    if (library_.version != library_.header_version ||
        library_.api_level < library_.header_api_level) {
      add(Grade::fail, "library",
          "version " + library_.version + " (API level " + std::to_string(library_.api_level) +
              ") of " + library_.path + ", this command was made for " + library_.header_version +
              " (" + std::to_string(library_.header_api_level) + "): install both from one build");
    } else {
      add(Grade::ok, "library", library_.version + ", " + library_.path);
    }
    const auto copies =
        std::count_if(info_.files.begin(), info_.files.end(), [](const LoadedFile& file) {
          return file.path.find("/libmillrace.so") != std::string::npos;
        });
    if (copies > 1) {
      add(Grade::fail, "library",
          std::to_string(copies) +
              " copies of libmillrace.so are loaded; handles of one are "
              "refused by the other: look at LD_PRELOAD and LD_LIBRARY_PATH");
    }
    if (library_.context_error.empty()) {
      add(Grade::ok, "context", "can be made");
    } else {
      add(Grade::fail, "context", library_.context_error);
    }
  }

  void profiler() {
    for (size_t k = 0; k < library_.capabilities.size(); ++k) {
      const Capability& one = library_.capabilities[k];
      const std::string subject = k == 0 ? "profiler plugin" : "profiler: " + one.name;
      if (one.status == 0) {
        add(Grade::ok, subject, one.reason.empty() ? "works" : one.reason);
      } else if (k == 0) {
        add(Grade::fail, subject, one.reason);
      } else if ((one.name == "cupti" || one.name == "nvtx input") &&
                 info_.system.nvidia_driver.empty()) {
        // What only tells of NVIDIA's GPUs and tools is not missed where there are none.
        add(Grade::ok, subject, "not on this machine; " + one.reason);
      } else {
        add(Grade::warn, subject, one.reason);
      }
    }
  }

  void cpu() {
    const Device& device = library_.devices.front();
    if (device.status != 0) {
      add(Grade::fail, "device cpu", device.reason);
      return;
    }
    add(Grade::ok, "device cpu", device.description);
    // "..., oneDNN 2.6.3" where it is used; a sentence where it is not.
    const size_t at = device.description.rfind("oneDNN");
    const bool used = at != std::string::npos && device.description.find_first_not_of(
                                                     "oneDN 0123456789.", at) == std::string::npos;
    if (at != std::string::npos && !used)
      add(Grade::warn, "oneDNN", "not used: large matrix products are slower without it");
    if (info_.system.cpu_limit && device.threads > std::ceil(*info_.system.cpu_limit)) {
      add(Grade::warn, "threads",
          printf_text("%u threads on %.3g CPUs: the control group allows no more, and its "
                      "throttling stops all threads at once; ask for fewer threads",
                      device.threads, *info_.system.cpu_limit));
    }
  }

  void device(const Device& device) {
    if (device.status != 0) {
      add(Grade::fail, "device " + device.spec, device.reason);
    } else {
      add(Grade::ok, "device " + device.spec, device.description);
    }
  }

  void plugin(const Plugin& plugin) {
    // A name that was asked for; the device's own line says so.
    if (access(plugin.path.c_str(), F_OK) != 0) return;
    const std::string subject =
        "plugin " +
        (plugin.name.empty() ? plugin.path.substr(plugin.path.find_last_of('/') + 1) : plugin.name);
    const bool beside = folder_of(plugin.path) == folder_of(library_.path);
    if (plugin.status == 0) {
      add(Grade::ok, subject,
          count_text(plugin.devices) + (plugin.devices == 1 ? " device" : " devices"));
    } else if (plugin.name.empty()) {
      // Refused before it could say who it is: the file itself is at fault.
      add(beside ? Grade::fail : Grade::warn, subject, plugin.reason);
    } else if (plugin.name == "cuda" && info_.system.nvidia_driver.empty()) {
      add(Grade::ok, subject, "no device here: " + plugin.reason);
    } else {
      add(plugin.name == "cuda" ? Grade::fail : Grade::warn, subject, plugin.reason);
    }
  }

  void memory() {
    const System& system = info_.system;
    if (system.memory_limit && system.memory_in_cgroup &&
        static_cast<double>(*system.memory_in_cgroup) >
            0.95 * static_cast<double>(*system.memory_limit)) {
      add(Grade::warn, "memory",
          size_text(*system.memory_in_cgroup) + " of the " + size_text(*system.memory_limit) +
              " that the control group allows are in use, the page cache included");
    }
    for (const LoadedFile& file : info_.files) {
      if (file.replaced) add(Grade::warn, "loaded file", file.path + " has been replaced");
    }
  }

  void environment() {
    for (const Variable& variable : info_.environment) {
      if (!variable.value) continue;
      const std::string& name = variable.name;
      if (name == "CUDA_INJECTION64_PATH" && !variable.value->empty()) {
        add(Grade::warn, name, "names another tool; only one at a time can take the GPU's records");
      } else if (name == "CUDA_VISIBLE_DEVICES" && !info_.system.nvidia_driver.empty() &&
                 (variable.value->empty() || *variable.value == "-1")) {
        add(Grade::warn, name, "hides every GPU");
      } else if (name == "CUDA_LAUNCH_BLOCKING" && *variable.value == "1") {
        add(Grade::warn, name, "makes every launch wait: nothing overlaps");
      } else if (name == "MILLRACE_PROF" && !variable.value->empty()) {
        add(Grade::ok, name, "every context is recorded to " + *variable.value);
      }
    }
  }

  const Info& info_;
  const Library& library_;
  std::vector<Check> out_;
};

}  // namespace

const char* grade_name(Grade grade) {
  return grade == Grade::ok ? "ok" : grade == Grade::warn ? "warn" : "fail";
}

std::vector<Check> examine(const Info& info) {
  return Examiner(info).run();
}

}  // namespace mill::cli
