// millrace prof calibrate: measures the link to a device and the host's memory.
#include "profiler/cli/calibrate.h"

#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "profiler/cli/commands.h"
#include "profiler/cli/figures.h"
#include "profiler/cli/info.h"
#include "profiler/cli/whole_file.h"

namespace mill::cli {

namespace {

constexpr Option kOptions[] = {
    {"device", 'd', "SPEC",
     "the device, such as cuda:0 or sim:rtx4090; cuda:0 unless told, where there is one; cpu: only "
     "the host's memory"},
    {"output", 'o', "FILE", "write the figures as JSON, for `millrace prof report --calibration`"},
    {"quick", 'q', nullptr, "copies up to 16 MiB and fewer repeats: some seconds"},
};

constexpr const char* kNotes =
    "Copies of 1 KiB to 256 MiB in both directions, from and to pageable memory (the command's "
    "own)\n"
    "and pinned memory (what the library reads into), become t(b) = alpha + b / rate by least "
    "squares\n"
    "of the relative error of the medians. \"low\" is the 10th percentile of the rates of copies "
    "of\n"
    "1 MiB and more. Times are the device's own records where it keeps them, else events around "
    "the\n"
    "copy, else the host's clock. Where times are modelled, so are the figures.\n\n"
    "Of the host: one thread copying, and the triad a = b + s c by all threads over arrays four\n"
    "times the size of the last cache (1 GiB at most), three accesses an element. Both are the "
    "best\n"
    "of their runs.\n\n"
    "  millrace prof calibrate -o link.json\n"
    "  millrace prof report trace.json.gz --calibration link.json\n";

std::string choose_device(Console& console) {
  for (const Plugin& plugin : gather_library({}).plugins) {
    if (plugin.name == "cuda" && plugin.devices > 0) return "cuda:0";
  }
  console.err << "millrace: no GPU was found; only the host's memory is measured (--device names "
                 "another device)\n";
  return "cpu";
}

void print_series(Output& out, const LinkFigures& link) {
  TextTable table;
  table.column("size", TextTable::Align::right);
  for (const Series& series : link.series) {
    const std::string name =
        std::string(series.pinned ? "pinned " : "pageable ") + (series.to_device ? "->" : "<-");
    table.column(name, TextTable::Align::right);
    table.column("rate", TextTable::Align::right);
  }
  std::vector<uint64_t> sizes;
  for (const Series& series : link.series)
    for (const Point& point : series.points) sizes.push_back(point.bytes);
  std::sort(sizes.begin(), sizes.end());
  sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
  for (const uint64_t bytes : sizes) {
    std::vector<std::string> cells = {size_text(bytes)};
    for (const Series& series : link.series) {
      const auto at = std::find_if(series.points.begin(), series.points.end(),
                                   [&](const Point& point) { return point.bytes == bytes; });
      const double ns = at == series.points.end() ? 0 : quantile(at->ns, 0.5);
      cells.push_back(ns > 0 ? time_text(ns) : "-");
      cells.push_back(ns > 0 ? rate_text(static_cast<double>(bytes) * 1e9 / ns) : "-");
    }
    table.row(cells);
  }
  table.print(out, 2);
}

void print_link(Output& out, const LinkFigures& link) {
  out << out.paint(Colour::bold, "Link to " + safe_text(link.device)) << " ("
      << safe_text(link.description) << ")\n";
  if (link.modelled) out << "  Modelled, not measured: the device's time is simulated.\n";
  out << "  -> to the device, <- to the host; medians, by "
      << timing_name(link.series.empty() ? Timing::host : link.series.front().timing) << "\n\n";
  print_series(out, link);
  out << "\n";
  TextTable lines;
  lines.column("line", TextTable::Align::left);
  lines.column("alpha", TextTable::Align::right);
  lines.column("rate", TextTable::Align::right);
  lines.column("low", TextTable::Align::right);
  lines.column("copies", TextTable::Align::right);
  std::vector<std::string> missing;
  for (const Series& series : link.series) {
    const std::string name = std::string(series.pinned ? "pinned" : "pageable") +
                             (series.to_device ? ", to the device" : ", to the host");
    const LineFit fit = fit_line(series.points);
    if (!(fit.bytes_per_s > 0)) {
      missing.push_back(name + ": not measured" +
                        (series.missing.empty() ? "" : ", " + series.missing));
      continue;
    }
    lines.row({name, time_text(fit.alpha_ns), rate_text(fit.bytes_per_s),
               rate_text(fit.bytes_per_s_low), count_text(fit.copies)});
  }
  lines.print(out, 2);
  for (const std::string& text : missing) out << "  " << safe_text(text) << "\n";
  if (link.both.to_device_bytes_per_s > 0 && link.both.to_host_bytes_per_s > 0) {
    out << "  both directions at once, pinned: " << rate_text(link.both.to_device_bytes_per_s)
        << " to the device, " << rate_text(link.both.to_host_bytes_per_s) << " to the host\n";
  } else {
    out << "  both directions at once: not measured, " << safe_text(link.both.missing) << "\n";
  }
  if (link.pin_ns >= 0) {
    out << "  page-locking: " << time_text(link.pin_ns) << " and "
        << time_text(link.pin_ns_per_byte * 1e6) << " per MB\n";
  }
  if (link.host_copy_bytes_per_s > 0)
    out << "  host copy into pinned memory, modelled: " << rate_text(link.host_copy_bytes_per_s)
        << "\n";
}

void print_host(Output& out, const HostFigures& host) {
  out << out.paint(Colour::bold, "Host memory")
      << "\n  copy by one thread: " << rate_text(host.copy_bytes_per_s) << "\n  triad by "
      << std::to_string(host.threads) << (host.threads == 1 ? " thread" : " threads")
      << " over three arrays of " << size_text(host.triad_bytes) << ": "
      << rate_text(host.triad_bytes_per_s) << "\n";
}

// As LinkModel::read takes it. Lines hold for any device: a program may number its devices
// otherwise than this command did.
std::string json_text(const LinkFigures* link, const HostFigures& host) {
  JsonWriter json;
  json.begin_object();
  json.key("millrace_link_calibration").natural(1);
  json.key("device").text(link ? link->device : "cpu");
  json.key("description").text(link ? link->description : "");
  json.key("modelled").boolean(link && link->modelled);
  json.key("lines").begin_array();
  if (link) {
    for (const Series& series : link->series) {
      const LineFit fit = fit_line(series.points);
      if (!(fit.bytes_per_s > 0)) continue;
      json.begin_object();
      json.key("device").null();
      json.key("kind").text(series.to_device ? "host_to_device" : "device_to_host");
      json.key("memory").text(series.pinned ? "pinned" : "pageable");
      json.key("alpha_ns").number(fit.alpha_ns);
      json.key("bytes_per_s").number(fit.bytes_per_s);
      json.key("bytes_per_s_low").number(fit.bytes_per_s_low);
      json.key("copies").natural(fit.copies);
      json.end_object();
    }
  }
  json.end_array();
  const bool modelled_copy = link && link->host_copy_bytes_per_s > 0;
  json.key("host_copy_bytes_per_s")
      .number(modelled_copy ? link->host_copy_bytes_per_s : host.copy_bytes_per_s);
  if (link && link->pin_ns >= 0) {
    json.key("pin_ns").number(link->pin_ns);
    json.key("pin_ns_per_byte").number(link->pin_ns_per_byte);
  }
  json.key("stream_bytes_per_s").number(host.triad_bytes_per_s);
  if (link && link->both.to_device_bytes_per_s > 0) {
    json.key("both_directions").begin_object();
    json.key("to_device_bytes_per_s").number(link->both.to_device_bytes_per_s);
    json.key("to_host_bytes_per_s").number(link->both.to_host_bytes_per_s);
    json.end_object();
  }
  json.end_object();
  return json.take();
}

int run(Console& console, const Arguments& arguments) {
  const bool quick = arguments.has("quick");
  std::string file = arguments.value("output", "");
  const bool to_output = file == "-";
  Output& out = to_output ? console.err : console.out;
  const auto given = arguments.value("device");
  const std::string device = given ? *given : choose_device(console);
  const System system = gather_system();
  uint64_t memory = system.memory_available;
  if (system.memory_limit) {
    const uint64_t used = system.memory_in_cgroup.value_or(0);
    memory = std::min(memory, *system.memory_limit - std::min(used, *system.memory_limit));
  }
  CalibrationLimits limits;
  if (quick) {
    limits.largest = uint64_t{16} << 20;
    limits.repeats = 5;
    limits.seconds = 0.1;
  }
  // Several buffers of the largest size are held at once, some of them twice.
  while (memory > 0 && limits.largest > memory / 16 && limits.largest > uint64_t{1} << 20)
    limits.largest /= 4;

  const auto progress = [&](const std::string& what) {
    if (!console.err.terminal()) return;
    console.err << "\r\033[K" << (what.empty() ? "" : "measuring: " + what);
    console.err.flush();
  };
  std::optional<LinkFigures> link;
  if (device != "cpu") {
    try {
      link = measure_link(device, limits, progress);
    } catch (...) {
      progress("");
      throw;
    }
  }
  progress("host memory");
  const long cache = std::max(sysconf(_SC_LEVEL3_CACHE_SIZE), sysconf(_SC_LEVEL2_CACHE_SIZE));
  const HostFigures host =
      measure_host(quick, memory, system.cpus_allowed, static_cast<uint64_t>(std::max(cache, 0L)));
  progress("");

  if (link) {
    print_link(out, *link);
    out << "\n";
  }
  print_host(out, host);
  const std::string text = json_text(link ? &*link : nullptr, host);
  if (to_output) {
    out.flush();
    console.out << text;
  } else if (!file.empty()) {
    WholeFile whole(file);
    whole.out() << text;
    whole.commit();
    out << "\nwrote " << safe_text(file) << "\n";
  }
  return kOk;
}

}  // namespace

Command calibrate_command() {
  return {
      "prof calibrate",
      "Measures copies between the host and a device, and the host's memory, for the advice that "
      "reports give.",
      "",
      0,
      0,
      false,
      kOptions,
      kNotes,
      run};
}

}  // namespace mill::cli
