// The plugins of the process: found beside the library or by path, loaded once, never unloaded.
#pragma once

#include <deque>
#include <mutex>
#include <string>
#include <vector>

#include "device/device.h"
#include "millrace/plugin.h"

namespace mill {

// A candidate that was looked at. Accepted when status is MILL_OK.
struct PluginEntry {
  std::string path;
  mill_status status = MILL_OK;
  std::string reason;  // why it was refused
  mill_plugin plugin{};
};

struct DeviceSpec {
  std::string plugin;  // a name, or a path
  std::string spec;    // what the plugin is to open
  bool is_path = false;
};

// "NAME[:SPEC]" or "PATH[:SPEC]", a path being what holds a '/' before any ':'. Throws MILL_E_ARG.
DeviceSpec parse_device(const std::string& text);

class Plugins {
 public:
  static Plugins& of_process();

  // The plugin of a name, from the library's own folder, or of a path; it stays where it is and as
  // it is. Throws why not.
  const PluginEntry& find(const DeviceSpec& spec);
  // Looks through the library's folder; what was seen since the process began, refusals included.
  // Copies: a refused file is looked at again whenever somebody asks for it.
  std::vector<PluginEntry> all();

 private:
  const PluginEntry& load(const std::string& path);
  const PluginEntry* known(const std::string& path) const;

  std::mutex mutex_;
  std::deque<PluginEntry> entries_;
};

// The sentence that a plugin has given for a failure, whatever it has made of the buffer.
std::string reason_of(const mill_kernel_error& error);

// Opens a device and checks that its tables are whole. Throws what the plugin reports.
TableOwner open_device(const PluginEntry& entry, const std::string& spec,
                       const mill_host_services* services);

}  // namespace mill
