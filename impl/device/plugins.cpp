#include "device/plugins.h"

#include <dirent.h>
#include <dlfcn.h>
#include <limits.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>

#include "base/error.h"
#include "device/plugin_file.h"
#include "device/tables.h"

namespace mill {

namespace {

constexpr char kPrefix[] = "libmillrace_";
constexpr char kSuffix[] = ".so";
constexpr size_t kNameLimit = 31;  // as mill_plugin_info has room for

// The profiler is a plugin of another kind.
bool is_candidate(const std::string& name) {
  return name.size() > sizeof kPrefix + sizeof kSuffix - 2 &&
         name.compare(0, sizeof kPrefix - 1, kPrefix) == 0 &&
         name.compare(name.size() - (sizeof kSuffix - 1), std::string::npos, kSuffix) == 0 &&
         name != "libmillrace_profiler.so";
}

bool is_name(const std::string& text) {
  return !text.empty() && text.size() <= kNameLimit &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '_';
         });
}

// A plugin that returns something else than a failure where it did not succeed.
mill_status failure(mill_status status) {
  return status < 0 ? status : mill_status{MILL_E_UNSUPPORTED};
}

void check_plugin(const std::string& path, const mill_plugin& plugin) {
  if (plugin.abi < MILL_PLUGIN_ABI_OLDEST) {
    fail(MILL_E_UNSUPPORTED,
         "\"%s\" says that it is of plugin ABI %u, this library serves %u to %u", path.c_str(),
         plugin.abi, MILL_PLUGIN_ABI_OLDEST, MILL_PLUGIN_ABI);
  }
  if (plugin.size < offsetof(mill_plugin, open) + sizeof plugin.open || !plugin.name ||
      !plugin.count || !plugin.describe || !plugin.open) {
    fail(MILL_E_UNSUPPORTED, "\"%s\" fills %u bytes of mill_plugin, or lacks a function of it",
         path.c_str(), plugin.size);
  }
  const std::string name(plugin.name, strnlen(plugin.name, kNameLimit + 1));
  if (!is_name(name)) {
    fail(MILL_E_UNSUPPORTED, "\"%s\" has the name \"%s\"; 1 to %zu letters, digits and '_' can be",
         path.c_str(), name.c_str(), kNameLimit);
  }
}

void load_into(PluginEntry& entry) {
  read_plugin_note(entry.path);
  void* library = dlopen(entry.path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (!library) {
    const char* why = dlerror();
    fail(MILL_E_UNSUPPORTED, "\"%s\" cannot be loaded: %s", entry.path.c_str(), why ? why : "?");
  }
  const auto open = reinterpret_cast<mill_plugin_open_function>(dlsym(library, "mill_plugin_open"));
  if (!open) fail(MILL_E_UNSUPPORTED, "\"%s\" exports no mill_plugin_open", entry.path.c_str());
  mill_plugin plugin{};
  plugin.size = sizeof plugin;
  mill_kernel_error error{};
  const mill_status status = open(MILL_PLUGIN_ABI, &plugin, &error);
  if (status != MILL_OK)
    fail(failure(status), "\"%s\": %s", entry.path.c_str(), reason_of(error).c_str());
  try {
    check_plugin(entry.path, plugin);
  } catch (...) {
    if (plugin.size >= offsetof(mill_plugin, close) + sizeof plugin.close && plugin.close)
      plugin.close(plugin.self);
    throw;
  }
  entry.plugin = plugin;
}

}  // namespace

DeviceSpec parse_device(const std::string& text) {
  DeviceSpec spec;
  spec.is_path = text.find('/') < text.find(':');
  const size_t colon = text.find(':', spec.is_path ? text.rfind('/') : 0);
  spec.plugin = text.substr(0, colon);
  if (colon != std::string::npos) spec.spec = text.substr(colon + 1);
  if (spec.plugin.empty()) {
    fail(MILL_E_ARG, "device is \"%.200s\", it must begin with a plugin's name or path",
         text.c_str());
  }
  return spec;
}

Plugins& Plugins::of_process() {
  // Never destroyed: devices may outlive static destructors.
  static Plugins* const plugins = new Plugins;  // NOLINT
  return *plugins;
}

const PluginEntry* Plugins::known(const std::string& path) const {
  for (const PluginEntry& entry : entries_) {
    if (entry.path == path) return &entry;
  }
  return nullptr;
}

// A refused file is looked at again each time, because it may have been replaced.
const PluginEntry& Plugins::load(const std::string& path) {
  const std::string real = real_path(path);
  auto* entry = const_cast<PluginEntry*>(known(real));
  if (entry && entry->status == MILL_OK) return *entry;
  if (!entry) {
    // Refused until it is known to be good: memory may run out on the way.
    PluginEntry looked;
    looked.path = real;
    looked.status = MILL_E_MEMORY;
    entries_.push_back(std::move(looked));
    entry = &entries_.back();
  }
  try {
    load_into(*entry);
    entry->reason.clear();
    entry->status = MILL_OK;
  } catch (const Error& error) {
    entry->status = error.status();
    entry->reason = error.text();
  }
  return *entry;
}

const PluginEntry& Plugins::find(const DeviceSpec& spec) {
  const std::lock_guard lock(mutex_);
  std::string path = spec.plugin;
  if (!spec.is_path) {
    if (!is_name(spec.plugin)) {
      fail(MILL_E_ARG,
           "plugin name is \"%.64s\", of %zu bytes; 1 to %zu letters, digits and '_' can be",
           spec.plugin.c_str(), spec.plugin.size(), kNameLimit);
    }
    const std::string folder = library_folder();
    if (folder.empty())
      fail(MILL_E_UNSUPPORTED, "the library's own folder is unknown; give the plugin's path");
    path = folder + "/" + kPrefix + spec.plugin + kSuffix;
  }
  if (path.size() >= PATH_MAX) {
    fail(MILL_E_IO, "\"%.64s...\" cannot be read: the path has %zu bytes, the limit is %d",
         path.c_str(), path.size(), PATH_MAX - 1);
  }
  const PluginEntry& entry = load(path);
  if (entry.status != MILL_OK) fail(entry.status, "%s", entry.reason.c_str());
  return entry;
}

std::vector<PluginEntry> Plugins::all() {
  const std::lock_guard lock(mutex_);
  const std::string folder = library_folder();
  std::vector<std::string> names;
  struct Close {
    void operator()(DIR* listing) const { closedir(listing); }
  };
  const std::unique_ptr<DIR, Close> listing(folder.empty() ? nullptr : opendir(folder.c_str()));
  while (const dirent* one = listing ? readdir(listing.get()) : nullptr) {
    if (is_candidate(one->d_name)) names.emplace_back(one->d_name);
  }
  std::sort(names.begin(), names.end());
  std::string path;
  for (const std::string& name : names) {
    path = folder;
    path += '/';
    path += name;
    load(path);
  }
  return {entries_.begin(), entries_.end()};
}

std::string reason_of(const mill_kernel_error& error) {
  const std::string text(error.text, strnlen(error.text, sizeof error.text - 1));
  return text.empty() ? "the plugin gives no reason" : text;
}

TableOwner open_device(const PluginEntry& entry, const std::string& spec,
                       const mill_host_services* services) {
  const mill_device_table* table = nullptr;
  mill_kernel_error error{};
  const mill_status status =
      entry.plugin.open(entry.plugin.self, spec.c_str(), services, &table, &error);
  if (status != MILL_OK) {
    fail(failure(status), "plugin %s, device \"%.100s\": %s", entry.plugin.name, spec.c_str(),
         reason_of(error).c_str());
  }
  return adopt_tables(entry.plugin.name, table);
}

}  // namespace mill
