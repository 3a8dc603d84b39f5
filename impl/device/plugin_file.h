// What can be known of a plugin's file without running any of its code.
#pragma once

#include <cstdint>
#include <string>

namespace mill {

struct PluginNote {
  uint32_t abi = 0;          // that it was built with
  uint32_t oldest_host = 0;  // the oldest engine ABI that it works with
};

// Reads the note of a shared library and checks that the file is whole, for this processor, and of
// an ABI that this engine serves. Throws Error: MILL_E_IO (not readable), MILL_E_FORMAT (not a
// shared library, truncated, inconsistent), MILL_E_UNSUPPORTED (no note, another processor, too
// old), MILL_E_TOO_NEW (wants a newer engine).
PluginNote read_plugin_note(const std::string& path);

// Without symbolic links, or as it is where that cannot be told.
std::string real_path(const std::string& path);
// Where this library lies; "" when that cannot be told.
std::string library_folder();

}  // namespace mill
