#include "auto_profile.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <vector>

#include "export_file.h"
#include "guard.h"
#include "profiler_host.h"

namespace mill::api {

namespace {

struct AutoProfile {
  mill_context* context;  // not kept: its end is what is waited for
  const mill_profiler_table* plugin;
  void* session;
  std::string path;
};

// Never destroyed: contexts may end after static destructors have run.
struct Registry {
  std::mutex mutex;
  std::vector<AutoProfile> all;
  int contexts = 0;
  bool at_exit = false;
  static Registry& of_process() {
    static Registry* const registry = new Registry;  // NOLINT
    return *registry;
  }
};

void write_error(const std::string& path, const std::string& text) {
  if (std::FILE* file = std::fopen((path + ".error").c_str(), "we")) {
    std::fprintf(file, "%s\n", text.c_str());
    std::fclose(file);
  }
}

// Stops the session and writes what it has. In a forked child the session belongs to the parent.
void finish(const AutoProfile& one) {
  if (one.context->fork_generation != fork_generation()) return;
  mill_kernel_error error{};
  one.context->profile.end();
  one.plugin->session_stop(one.session, &error);
  void* view = nullptr;
  mill_status status = one.plugin->session_snapshot(one.session, &view, &error);
  std::string why;
  if (status == MILL_OK) {
    try {
      ExportFile file(one.path);
      status = one.plugin->view_export(view, MILL_PROF_FORMAT_CHROME, "", ExportFile::write, &file,
                                       &error);
      file.rethrow();
      if (status == MILL_OK) file.commit();
    } catch (const Error& failure) {
      status = MILL_E_IO;
      why = failure.text();
    } catch (...) {
      status = MILL_E_MEMORY;
    }
    one.plugin->view_destroy(view);
  }
  if (status != MILL_OK) {
    if (why.empty()) why = error.text[0] != 0 ? error.text : "there is no memory to write it";
    write_error(one.path, why);
  }
  one.plugin->session_destroy(one.session);
}

bool finish_of(const mill_context* context) noexcept {
  try {
    Registry& registry = Registry::of_process();
    const std::lock_guard lock(registry.mutex);
    const auto found = std::find_if(registry.all.begin(), registry.all.end(),
                                    [&](const AutoProfile& one) { return one.context == context; });
    if (found == registry.all.end()) return false;
    const AutoProfile one = *found;
    registry.all.erase(found);
    finish(one);
    return true;
  } catch (...) {  // without memory there is no trace
    return false;
  }
}

void context_ends(mill_context* context) noexcept {
  finish_of(context);
}

void process_ends() {
  try {
    Registry& registry = Registry::of_process();
    const std::lock_guard lock(registry.mutex);
    for (const AutoProfile& one : registry.all) finish(one);
    registry.all.clear();
  } catch (...) {  // NOLINT(bugprone-empty-catch)
  }
}

// A program that another one replaced (exec) has its number, and counts its contexts anew.
bool is_taken(const std::string& pattern, const std::string& path) {
  return pattern.find("%p") != std::string::npos && pattern.find("%c") != std::string::npos &&
         (access(path.c_str(), F_OK) == 0 || access((path + ".error").c_str(), F_OK) == 0);
}

struct Settings {
  std::string pattern;
  std::string path;
  mill_prof_opts opts{};
};

Settings settings_of(const std::string& text, int number) {
  Settings out;
  out.opts.tier = 1;
  out.opts.interval_ms = 50;
  out.opts.store_bytes = uint64_t{256} << 20;
  out.opts.budget = 1;
  size_t at = text.find(',');
  const std::string pattern = text.substr(0, at);
  out.pattern = pattern;
  for (size_t k = 0; k < pattern.size(); ++k) {
    const char next = pattern[k] == '%' && k + 1 < pattern.size() ? pattern[k + 1] : '\0';
    if (next == 'p' || next == 'c') {
      out.path += std::to_string(next == 'p' ? static_cast<int>(getpid()) : number);
      ++k;
    } else {
      out.path += pattern[k];
    }
  }
  while (at != std::string::npos) {
    const size_t end = text.find(',', at + 1);
    const std::string one = text.substr(at + 1, end == std::string::npos ? end : end - at - 1);
    if (one.rfind("budget=", 0) == 0) {
      const double share = std::strtod(one.c_str() + 7, nullptr);
      if (share > 0) out.opts.budget = share;
    } else if (one.rfind("store=", 0) == 0) {
      const uint64_t bytes = std::strtoull(one.c_str() + 6, nullptr, 10);
      if (bytes >= uint64_t{1} << 20) out.opts.store_bytes = bytes;
    }
    at = end;
  }
  return out;
}

}  // namespace

bool yield_auto_profile(mill_context& context) noexcept {
  return finish_of(&context);
}

void begin_auto_profile(mill_context& context) noexcept {
  const char* const text = std::getenv("MILLRACE_PROF");
  if (!text || text[0] == 0) return;
  try {
    Registry& registry = Registry::of_process();
    const std::lock_guard lock(registry.mutex);
    Settings settings = settings_of(text, ++registry.contexts);
    while (is_taken(settings.pattern, settings.path))
      settings = settings_of(text, ++registry.contexts);
    try {
      const mill_profiler_table& plugin = need_profiler();
      mill_kernel_error error{};
      AutoProfile one{&context, &plugin, nullptr, settings.path};
      mill_status status = plugin.session_create(&context, &settings.opts, &one.session, &error);
      if (status == MILL_OK) {
        registry.all.push_back(one);
        status = plugin.session_start(one.session, &error);
        if (status != MILL_OK) {
          registry.all.pop_back();
          plugin.session_destroy(one.session);
        }
      }
      if (status != MILL_OK) {
        write_error(settings.path, error.text);
        return;
      }
      context.profile.begin(one.session, plugin.session_device_added);
      context.ending = context_ends;
      if (!registry.at_exit) registry.at_exit = std::atexit(process_ends) == 0;
    } catch (const Error& error) {
      write_error(settings.path, error.text());
    }
  } catch (...) {  // NOLINT(bugprone-empty-catch): without memory there is no trace
  }
}

}  // namespace mill::api
