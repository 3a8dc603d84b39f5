// millrace info: what works here, and why not.
#include "profiler/cli/info.h"

#include <algorithm>
#include <string>
#include <vector>

#include "profiler/cli/commands.h"
#include "profiler/cli/figures.h"
#include "profiler/cli/options.h"

namespace mill::cli {

namespace {

constexpr Option kOptions[] = {
    {"device", 0, "SPEC", "open this device too (\"cuda:0\", \"sim:h200-sxm\"); may be repeated"},
    {"check", 0, nullptr, "say of each part whether it works; exit status 1 if one does not"},
    {"json", 0, nullptr, "one JSON object instead of text"},
};

constexpr const char* kNotes =
    "With --check, each line begins with ok, warn or fail. A part that this machine cannot have,\n"
    "such as the cuda device without an NVIDIA driver, is ok.\n\n"
    "  millrace info --check --device cuda:0\n";

// ---- text ---------------------------------------------------------------------------------------

class Page {
 public:
  explicit Page(Output& out) : out_(out) {}
  void title(const std::string& text) { out_ << out_.paint(Colour::bold, text) << "\n"; }
  void line(const std::string& name, const std::string& value) {
    constexpr size_t kIndent = 22;
    std::string label = "  " + fit_text(safe_text(name), kIndent - 3);
    label.append(kIndent - std::min(kIndent, text_width(label)), ' ');
    out_ << label << wrap_text(safe_text(value), out_.width(), kIndent, false) << "\n";
  }

 private:
  Output& out_;
};

void print_system(Page& page, const System& system) {
  page.title("Machine");
  page.line("CPU", system.cpu_model.empty() ? "unknown" : system.cpu_model);
  std::string cpus = count_text(system.cpus_online) + " online";
  if (system.cores > 0) cpus += ", " + count_text(system.cores) + " cores";
  cpus +=
      "; this process may use " + count_text(system.cpus_allowed) + " (" + system.affinity + ")";
  page.line("CPUs", cpus);
  if (system.cpu_limit)
    page.line("CPU limit", printf_text("%.3g CPUs, by control group", *system.cpu_limit));
  page.line("memory", size_text(system.memory_bytes) + ", " + size_text(system.memory_available) +
                          " available");
  if (system.memory_limit)
    page.line("memory limit", size_text(*system.memory_limit) + ", by control group");
  for (const NumaNode& node : system.nodes) {
    page.line("NUMA node " + std::to_string(node.number),
              size_text(node.memory_bytes) + ", CPUs " + (node.cpus.empty() ? "none" : node.cpus));
  }
  page.line("huge pages", (system.transparent_huge_pages.empty()
                               ? std::string("no transparent ones")
                               : "transparent: " + system.transparent_huge_pages) +
                              "; reserved: " + count_text(system.huge_pages) + " of " +
                              size_text(system.huge_page_bytes));
  page.line("locked memory", system.locked_limit
                                 ? "at most " + size_text(*system.locked_limit) + " (ulimit -l)"
                                 : "unlimited (ulimit -l)");
  page.line("kernel", system.kernel);
  page.line("glibc", system.glibc);
  page.line("NVIDIA driver", system.nvidia_driver.empty() ? "none" : system.nvidia_driver);
}

void print_text(Output& out, const Info& info) {
  Page page(out);
  const Library& library = info.library;
  page.title("Millrace");
  page.line("version", library.version + ", API level " + std::to_string(library.api_level));
  page.line("build", library.build);
  page.line("library", library.path);
  page.line("command", library.command);
  if (!library.context_error.empty()) page.line("context", library.context_error);

  out << "\n";
  page.title("Profiler");
  for (const Capability& one : library.capabilities)
    page.line(one.name,
              one.status == 0 ? (one.reason.empty() ? "works" : one.reason) : "no: " + one.reason);

  out << "\n";
  page.title("Devices");
  for (const Device& device : library.devices) {
    if (device.status != 0) {
      page.line(device.spec, "cannot be opened: " + device.reason);
      continue;
    }
    std::string text = device.description;
    if (device.memory_bytes > 0) text += "; " + size_text(device.memory_bytes);
    page.line(device.spec, text);
  }

  out << "\n";
  page.title("Device plugins");
  if (library.plugins.empty()) page.line("none", "there is no libmillrace_*.so beside the library");
  for (const Plugin& plugin : library.plugins) {
    const std::string name = plugin.name.empty() ? "refused" : plugin.name + " " + plugin.version;
    page.line(name, plugin.path);
    if (!plugin.description.empty()) page.line("", plugin.description);
    page.line("", plugin.status == 0
                      ? count_text(plugin.devices) + (plugin.devices == 1 ? " device" : " devices")
                      : plugin.reason);
  }

  out << "\n";
  page.title("Loaded files");
  for (const LoadedFile& file : info.files)
    page.line(file.version.empty() ? "-" : file.version,
              file.path + (file.replaced ? " (replaced since)" : ""));

  out << "\n";
  print_system(page, info.system);

  out << "\n";
  page.title("Environment");
  bool any = false;
  for (const Variable& variable : info.environment) {
    if (!variable.value) continue;
    any = true;
    page.line(variable.name, "\"" + *variable.value + "\"");
  }
  if (!any) page.line("nothing set", "of what matters to Millrace");
}

void print_checks(Output& out, const std::vector<Check>& checks) {
  for (const Check& one : checks) {
    const Colour colour = one.grade == Grade::ok     ? Colour::green
                          : one.grade == Grade::warn ? Colour::yellow
                                                     : Colour::red;
    const std::string name = grade_name(one.grade);
    out << out.paint(colour, name) << std::string(6 - name.size(), ' ')
        << wrap_text(safe_text(one.subject + ": " + one.text), out.width(), 6, false) << "\n";
  }
}

// ---- JSON ---------------------------------------------------------------------------------------

void status(JsonWriter& json, int32_t status, const std::string& reason) {
  json.key("ok").boolean(status == 0);
  json.key("status").integer(status);
  json.key("reason").text(reason);
}

template <class T>
void optional_number(JsonWriter& json, const char* key, const std::optional<T>& value) {
  json.key(key);
  if (!value) {
    json.null();
  } else if constexpr (std::is_floating_point_v<T>) {
    json.number(*value);
  } else {
    json.natural(*value);
  }
}

void write_library(JsonWriter& json, const Library& library) {
  json.key("library").begin_object();
  json.key("version").text(library.version);
  json.key("header_version").text(library.header_version);
  json.key("api_level").natural(library.api_level);
  json.key("header_api_level").natural(library.header_api_level);
  json.key("build").text(library.build);
  json.key("path").text(library.path);
  json.key("command").text(library.command);
  json.key("context_error").text(library.context_error);
  json.end_object();

  json.key("profiler").begin_object();
  json.key("loaded").boolean(!library.capabilities.empty() &&
                             library.capabilities.front().status == 0);
  json.key("capabilities").begin_array();
  for (const Capability& one : library.capabilities) {
    json.begin_object().key("name").text(one.name);
    status(json, one.status, one.reason);
    json.end_object();
  }
  json.end_array().end_object();

  json.key("devices").begin_array();
  for (const Device& device : library.devices) {
    json.begin_object().key("spec").text(device.spec);
    status(json, device.status, device.reason);
    json.key("name").text(device.name);
    json.key("description").text(device.description);
    json.key("memory_bytes").natural(device.memory_bytes);
    json.key("threads").natural(device.threads);
    json.key("host_memory").boolean(device.host_memory);
    json.end_object();
  }
  json.end_array();

  json.key("plugins").begin_array();
  for (const Plugin& plugin : library.plugins) {
    json.begin_object().key("name").text(plugin.name);
    status(json, plugin.status, plugin.reason);
    json.key("version").text(plugin.version);
    json.key("description").text(plugin.description);
    json.key("path").text(plugin.path);
    json.key("devices").natural(plugin.devices);
    json.end_object();
  }
  json.end_array();
}

void write_system(JsonWriter& json, const System& system) {
  json.key("system").begin_object();
  json.key("cpu_model").text(system.cpu_model);
  json.key("cpus_online").natural(system.cpus_online);
  json.key("cores").natural(system.cores);
  json.key("cpus_allowed").natural(system.cpus_allowed);
  json.key("affinity").text(system.affinity);
  optional_number(json, "cpu_limit", system.cpu_limit);
  json.key("memory_bytes").natural(system.memory_bytes);
  json.key("memory_available_bytes").natural(system.memory_available);
  optional_number(json, "memory_limit_bytes", system.memory_limit);
  json.key("numa_nodes").begin_array();
  for (const NumaNode& node : system.nodes) {
    json.begin_object().key("number").natural(node.number);
    json.key("cpus").text(node.cpus);
    json.key("memory_bytes").natural(node.memory_bytes).end_object();
  }
  json.end_array();
  json.key("transparent_huge_pages").text(system.transparent_huge_pages);
  json.key("huge_pages").natural(system.huge_pages);
  json.key("huge_page_bytes").natural(system.huge_page_bytes);
  optional_number(json, "locked_limit_bytes", system.locked_limit);
  json.key("kernel").text(system.kernel);
  json.key("glibc").text(system.glibc);
  json.key("nvidia_driver").text(system.nvidia_driver);
  json.end_object();
}

std::string json_text(const Info& info, const std::vector<Check>& checks) {
  JsonWriter json;
  json.begin_object().key("schema").natural(1);
  write_library(json, info.library);
  json.key("libraries").begin_array();
  for (const LoadedFile& file : info.files) {
    json.begin_object().key("path").text(file.path);
    json.key("version").text(file.version);
    json.key("replaced").boolean(file.replaced).end_object();
  }
  json.end_array();
  write_system(json, info.system);
  json.key("environment").begin_object();
  for (const Variable& variable : info.environment) {
    json.key(variable.name);
    variable.value ? json.text(*variable.value) : json.null();
  }
  json.end_object();
  json.key("checks").begin_array();
  for (const Check& one : checks) {
    json.begin_object().key("grade").text(grade_name(one.grade));
    json.key("subject").text(one.subject);
    json.key("text").text(one.text).end_object();
  }
  json.end_array().end_object();
  return json.take();
}

int run(Console& console, const Arguments& arguments) {
  Info info;
  info.library = gather_library(arguments.values("device"));
  info.system = gather_system();
  info.files = loaded_files();  // after all that loads something
  info.environment = gather_environment();
  const std::vector<Check> checks = examine(info);
  if (arguments.has("json")) {
    console.out << json_text(info, checks);
  } else if (arguments.has("check")) {
    print_checks(console.out, checks);
  } else {
    print_text(console.out, info);
  }
  if (!arguments.has("check")) return kOk;
  const bool failed = std::any_of(checks.begin(), checks.end(),
                                  [](const Check& one) { return one.grade == Grade::fail; });
  return failed ? kFailed : kOk;
}

}  // namespace

Command info_command() {
  return {"info",
          "Says what works here and why the rest does not: library, profiler, devices, "
          "plugins, what is loaded, the machine and its limits.",
          "",
          0,
          0,
          false,
          kOptions,
          kNotes,
          run};
}

}  // namespace mill::cli
