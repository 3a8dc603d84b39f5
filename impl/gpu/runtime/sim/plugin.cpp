// The simulated accelerator as a plugin: what libmillrace_sim.so exports.
#include "millrace/plugin.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <span>
#include <string_view>
#include <system_error>

#include "gpu/guard.h"
#include "gpu/runtime/sim/device.h"

MILL_PLUGIN_NOTE(1);

namespace mill::sim {

namespace {

constexpr uint32_t kOldestHost = 1;

struct Option {
  const char* name;
  uint64_t low;
  uint64_t high;
  uint64_t value = 0;
  bool given = false;
};

const ProfileField& memory_field() {
  const auto fields = profile_fields();
  return *std::find_if(fields.begin(), fields.end(), [](const ProfileField& field) {
    return field.value == &Profile::memory_bytes;
  });
}

mill_status read_option(std::string_view text, std::span<Option> all, mill_kernel_error* error) {
  const auto refuse = [&](const char* format, auto... values) {
    std::snprintf(error->text, sizeof error->text, format, values...);
    return mill_status{MILL_E_ARG};
  };
  const auto shown = [](std::string_view part) {
    return static_cast<int>(std::min<size_t>(part.size(), 64));
  };
  const size_t equals = text.find('=');
  if (equals == std::string_view::npos)
    return refuse("option \"%.*s\" of the device, it must be name=number", shown(text),
                  text.data());
  const std::string_view name = text.substr(0, equals);
  const std::string_view digits = text.substr(equals + 1);
  const auto option =
      std::find_if(all.begin(), all.end(), [&](const Option& one) { return name == one.name; });
  if (option == all.end()) {
    return refuse(
        "option \"%.*s\" of the device is unknown; there are memory, seed, gemm, checked and async",
        shown(name), name.data());
  }
  if (option->given) return refuse("option %s of the device is given twice", option->name);
  option->given = true;
  const char* end = digits.data() + digits.size();
  const auto read = std::from_chars(digits.data(), end, option->value);
  if (read.ec == std::errc::invalid_argument || read.ptr != end) {
    return refuse("option %s of the device is \"%.*s\", it must be a whole number", option->name,
                  shown(digits), digits.data());
  }
  if (read.ec != std::errc() || option->value < option->low || option->value > option->high) {
    return refuse("option %s of the device is %.*s, the limits are %llu to %llu", option->name,
                  shown(digits), digits.data(), static_cast<unsigned long long>(option->low),
                  static_cast<unsigned long long>(option->high));
  }
  return MILL_OK;
}

// "profile,key=value,...": the profile's name goes to `profile`.
mill_status read_spec(const char* spec, char (&profile)[128], DeviceOptions* options,
                      mill_kernel_error* error) {
  const char* end = std::strchr(spec, ',');
  const size_t n = end ? static_cast<size_t>(end - spec) : std::strlen(spec);
  if (n >= sizeof profile) {
    return gpu::refuse(error, MILL_E_ARG, "profile name of %zu bytes, the limit is %zu", n,
                       sizeof profile - 1);
  }
  std::memcpy(profile, spec, n);
  profile[n] = 0;
  if (n == 0) std::snprintf(profile, sizeof profile, "%s", profile_names()[0]);
  const ProfileField& memory = memory_field();
  Option all[] = {{"memory", static_cast<uint64_t>(memory.low), static_cast<uint64_t>(memory.high)},
                  {"seed", 0, INT64_MAX},
                  {"gemm", 0, 1},
                  {"checked", 0, INT64_MAX},
                  {"async", 0, 1}};
  for (const char* at = end; at != nullptr;) {
    ++at;
    const char* next = std::strchr(at, ',');
    const std::string_view text(at, next ? static_cast<size_t>(next - at) : std::strlen(at));
    if (const mill_status status = read_option(text, all, error); status != MILL_OK) return status;
    at = next;
  }
  options->memory_bytes = all[0].value;
  options->seed = all[1].value;
  options->host_gemm = all[2].value != 0;
  options->checked = static_cast<int64_t>(all[3].value);
  options->async = all[4].value != 0;
  for (const Option* other : {&all[2], &all[3]}) {
    if (!options->async || other->value == 0) continue;
    return gpu::refuse(error, MILL_E_ARG,
                       "options async=1 and %s=%llu of the device: %s needs the virtual clock",
                       other->name, gpu::shown(other->value), other->name);
  }
  return MILL_OK;
}

mill_status count(void*, uint32_t* out_count, mill_kernel_error*) {
  *out_count = static_cast<uint32_t>(profile_names().size());
  return MILL_OK;
}

mill_status describe_device(void*, uint32_t index, char* out, uint64_t capacity,
                            mill_kernel_error* error) {
  const auto names = profile_names();
  if (index >= names.size()) {
    return gpu::refuse(error, MILL_E_ARG, "device is %u, sim has %zu", index, names.size());
  }
  return gpu::guarded("sim", error, [&] {
    Profile profile;
    builtin_profile(names[index], &profile);
    std::snprintf(out, capacity, "%s: %s (a model)", profile.name.c_str(),
                  profile.description.c_str());
    return mill_status{MILL_OK};
  });
}

mill_status open(void*, const char* spec, const mill_host_services* host,
                 const mill_device_table** out, mill_kernel_error* error) {
  *out = nullptr;
  try {
    char profile[128];
    DeviceOptions options;
    const mill_status status = read_spec(spec, profile, &options, error);
    if (status != MILL_OK) return status;
    Profile figures;
    if (!find_profile(profile, &figures, error->text, sizeof error->text)) return MILL_E_ARG;
    auto device = std::make_unique<Device>(figures, options, host);
    if (options.checked != 0) {
      const mill_status switched = device->configure("checked", options.checked, error);
      if (switched != MILL_OK) return switched;
    }
    *out = device.release()->table();
    return MILL_OK;
  } catch (const std::bad_alloc&) {
    return gpu::refuse(error, MILL_E_MEMORY,
                       "the system refused the addresses for the simulated memory");
  } catch (...) {
    return gpu::refuse(error, MILL_E_INTERNAL, "unexpected exception in the sim device");
  }
}

void close(void*) {}

}  // namespace

}  // namespace mill::sim

extern "C" MILL_PLUGIN_EXPORT mill_status mill_plugin_open(uint32_t host_abi, mill_plugin* out,
                                                           mill_kernel_error* error) {
  using mill::sim::kOldestHost;
  if (host_abi < kOldestHost) {
    return mill::gpu::refuse(error, MILL_E_TOO_NEW, "engine with plugin ABI %u, sim needs %u",
                             host_abi, kOldestHost);
  }
  mill_plugin plugin{};
  plugin.size = sizeof plugin;
  plugin.abi = MILL_PLUGIN_ABI;
  plugin.name = "sim";
  plugin.version = "0.1.0";
  plugin.description = "simulated accelerator: the GPU device's kernels on the host";
  plugin.close = mill::sim::close;
  plugin.count = mill::sim::count;
  plugin.describe = mill::sim::describe_device;
  plugin.open = mill::sim::open;
  const uint32_t room = out->size;
  std::memcpy(out, &plugin, room < sizeof plugin ? room : sizeof plugin);
  if (room < sizeof plugin) out->size = room;
  return MILL_OK;
}
