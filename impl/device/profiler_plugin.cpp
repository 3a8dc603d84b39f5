#include "device/profiler_plugin.h"

#include <dlfcn.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <mutex>
#include <string>

#include "base/error.h"
#include "device/plugin_file.h"
#include "device/plugins.h"

namespace mill {

namespace {

constexpr char kFile[] = "libmillrace_profiler.so";

// Every member from the first function to the last is a pointer.
bool is_whole(const mill_profiler_table& table) {
  const auto* first = reinterpret_cast<const unsigned char*>(&table.capability_count);
  const auto* end = reinterpret_cast<const unsigned char*>(&table + 1);
  for (const unsigned char* at = first; at != end; at += sizeof(void*)) {
    void* function = nullptr;
    std::memcpy(&function, at, sizeof function);
    if (!function) return false;
  }
  return true;
}

void load(const mill_profiler_host& host, mill_profiler_table& table) {
  const std::string folder = library_folder();
  if (folder.empty()) fail(MILL_E_UNSUPPORTED, "profiler: the library's own folder is unknown");
  const std::string path = folder + "/" + kFile;
  if (access(path.c_str(), F_OK) != 0) {
    fail(MILL_E_UNSUPPORTED, "profiler: there is no %s beside the library, in \"%.400s\"", kFile,
         folder.c_str());
  }
  read_plugin_note(path);
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (!library) {
    const char* why = dlerror();
    fail(MILL_E_UNSUPPORTED, "profiler: \"%s\" cannot be loaded: %s", path.c_str(),
         why ? why : "?");
  }
  const auto open =
      reinterpret_cast<mill_profiler_open_function>(dlsym(library, "mill_profiler_open"));
  if (!open)
    fail(MILL_E_UNSUPPORTED, "profiler: \"%s\" exports no mill_profiler_open", path.c_str());
  mill_profiler_table filled{};
  filled.size = sizeof filled;
  mill_kernel_error error{};
  const mill_status status = open(&host, &filled, &error);
  if (status != MILL_OK) {
    fail(status < 0 ? status : mill_status{MILL_E_UNSUPPORTED}, "profiler: \"%s\": %s",
         path.c_str(), reason_of(error).c_str());
  }
  if (filled.abi != MILL_PROFILER_ABI || filled.size < sizeof filled || !is_whole(filled)) {
    fail(
        MILL_E_UNSUPPORTED,
        "profiler: \"%s\" is of profiler ABI %u and fills %u bytes, this library serves ABI %d and "
        "needs all of %zu bytes",
        path.c_str(), filled.abi, filled.size, int{MILL_PROFILER_ABI}, sizeof filled);
  }
  table = filled;
}

}  // namespace

const mill_profiler_table& profiler_plugin(const mill_profiler_host& host) {
  static mill_profiler_table table;  // NOLINT: set once, before `ready`
  static std::atomic<bool> ready{false};
  if (ready.load(std::memory_order_acquire)) [[likely]]
    return table;
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  if (!ready.load(std::memory_order_relaxed)) {
    load(host, table);
    ready.store(true, std::memory_order_release);
  }
  return table;
}

}  // namespace mill
