// What `millrace info` knows: what was found here, and what is wrong with it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mill::cli {

// ---- the machine --------------------------------------------------------------------------------

struct LoadedFile {
  std::string path;
  std::string version;    // as the file's name says; "" if it does not
  bool replaced = false;  // the file has been deleted or replaced since
};

struct NumaNode {
  uint32_t number = 0;
  std::string cpus;
  uint64_t memory_bytes = 0;
};

struct System {
  std::string cpu_model;
  uint32_t cpus_online = 0;
  uint32_t cores = 0;    // 0: unknown
  std::string affinity;  // "0-3,8"
  uint32_t cpus_allowed = 0;
  std::optional<double> cpu_limit;           // of the cgroup, in CPUs
  std::optional<uint64_t> memory_limit;      // of the cgroup, in bytes
  std::optional<uint64_t> memory_in_cgroup;  // used
  std::vector<NumaNode> nodes;
  uint64_t memory_bytes = 0;
  uint64_t memory_available = 0;
  std::string transparent_huge_pages;  // "madvise"
  uint64_t huge_pages = 0;
  uint64_t huge_page_bytes = 0;
  std::optional<uint64_t> locked_limit;  // bytes; nothing: unlimited
  std::string kernel;
  std::string glibc;
  std::string nvidia_driver;  // "" if there is none
};
System gather_system();

// Files mapped into this process that matter to Millrace.
std::vector<LoadedFile> loaded_files();

struct Variable {
  std::string name;
  std::optional<std::string> value;
};
std::vector<Variable> gather_environment();

// ---- the library --------------------------------------------------------------------------------

struct Capability {
  std::string name;
  int32_t status = 0;
  std::string reason;
};

struct Device {
  std::string spec;  // as it was asked for
  int32_t status = 0;
  std::string reason;
  std::string name;
  std::string description;
  uint64_t memory_bytes = 0;
  uint32_t threads = 0;
  bool host_memory = false;
};

struct Plugin {
  std::string name;
  std::string version;
  std::string description;
  std::string path;
  int32_t status = 0;
  std::string reason;
  uint32_t devices = 0;
};

struct Library {
  std::string version;
  std::string header_version;
  uint32_t api_level = 0;
  uint32_t header_api_level = 0;
  std::string build;
  std::string path;
  std::string command;
  std::string context_error;  // why no context could be made; "" if one was
  std::vector<Capability> capabilities;
  std::vector<Device> devices;  // the CPU first
  std::vector<Plugin> plugins;
};
// Opens the devices that `specs` names, and what they load.
Library gather_library(const std::vector<std::string>& specs);

// ---- what is wrong ------------------------------------------------------------------------------

enum class Grade : uint8_t { ok, warn, fail };
const char* grade_name(Grade grade);

struct Check {
  Grade grade = Grade::ok;
  std::string subject;
  std::string text;
};

struct Info {
  Library library;
  System system;
  std::vector<LoadedFile> files;
  std::vector<Variable> environment;
};
std::vector<Check> examine(const Info& info);

}  // namespace mill::cli
