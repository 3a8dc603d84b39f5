// What the library says about itself, its devices and its plugins.
#include <dlfcn.h>
#include <limits.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "profiler/cli/handles.h"
#include "profiler/cli/info.h"

namespace mill::cli {

namespace {

std::string real_path(const char* path) {
  char* real = path ? realpath(path, nullptr) : nullptr;
  std::string out = real ? real : path ? path : "";
  std::free(real);
  return out;
}

std::string own_path() {
  char path[PATH_MAX];
  const ssize_t n = readlink("/proc/self/exe", path, sizeof path);
  return n > 0 ? std::string(path, static_cast<size_t>(n)) : "";
}

// The file that a function of the library was linked to.
std::string library_path() {
  Dl_info where{};
  const auto* function = reinterpret_cast<const void*>(&mill_context_create);
  return dladdr(function, &where) != 0 ? real_path(where.dli_fname) : "";
}

void read_capabilities(mill_context* context, const Error& error, Library& library) {
  uint32_t n = 0;
  if (mill_prof_capability_count(context, &n, error) < 0) {
    library.capabilities.push_back({"plugin", mill_error_status(error), error.text()});
    return;
  }
  for (uint32_t k = 0; k < n; ++k) {
    auto info = sized<mill_prof_capability>(MILL_STRUCT_PROF_CAPABILITY);
    if (mill_prof_capability_query(context, k, &info, error) < 0) {
      library.capabilities.push_back({"", mill_error_status(error), error.text()});
      continue;
    }
    library.capabilities.push_back({info.name, info.status, info.reason});
  }
}

Device read_device(mill_context* context, uint32_t index, const std::string& spec,
                   const Error& error) {
  Device device;
  device.spec = spec;
  auto info = sized<mill_device_info>(MILL_STRUCT_DEVICE_INFO);
  if (mill_device_query(context, index, &info, error) < 0) {
    device.status = mill_error_status(error);
    device.reason = error.text();
    return device;
  }
  device.name = info.name;
  device.description = info.description;
  device.memory_bytes = info.memory_bytes;
  device.threads = info.threads;
  device.host_memory = info.host_memory != 0;
  return device;
}

void read_plugins(mill_context* context, const Error& error, Library& library) {
  uint32_t n = 0;
  if (mill_plugin_count(context, &n, error) < 0) return;
  for (uint32_t k = 0; k < n; ++k) {
    auto info = sized<mill_plugin_info>(MILL_STRUCT_PLUGIN_INFO);
    if (mill_plugin_query(context, k, &info, error) < 0) continue;
    library.plugins.push_back({info.name, info.version, info.description, info.path, info.status,
                               info.reason, info.devices});
  }
}

}  // namespace

Library gather_library(const std::vector<std::string>& specs) {
  Library library;
  uint32_t major = 0;
  uint32_t minor = 0;
  uint32_t patch = 0;
  mill_version(&major, &minor, &patch);
  library.version = printf_text("%u.%u.%u", major, minor, patch);
  library.header_version = printf_text("%d.%d.%d", int{MILL_VERSION_MAJOR}, int{MILL_VERSION_MINOR},
                                       int{MILL_VERSION_PATCH});
  library.api_level = mill_api_level();
  library.header_api_level = MILL_API_LEVEL;
  library.build = mill_build_info();
  library.path = library_path();
  library.command = own_path();

  const Error error;
  mill_context* made = nullptr;
  if (mill_context_create(nullptr, &made, error) < 0) {
    library.context_error = error.text();
    return library;
  }
  const ContextHandle context(made);
  library.devices.push_back(read_device(context.get(), 0, "cpu", error));
  for (const std::string& spec : specs) {
    if (spec == "cpu") continue;
    uint32_t index = 0;
    if (mill_device_open(context.get(), spec.data(), spec.size(), &index, error) < 0) {
      Device device;
      device.spec = spec;
      device.status = mill_error_status(error);
      device.reason = error.text();
      library.devices.push_back(std::move(device));
      continue;
    }
    library.devices.push_back(read_device(context.get(), index, spec, error));
  }
  read_plugins(context.get(), error, library);
  read_capabilities(context.get(), error, library);
  return library;
}

}  // namespace mill::cli
