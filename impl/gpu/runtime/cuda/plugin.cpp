// The CUDA device as a plugin: what libmillrace_cuda.so exports.
#include "millrace/plugin.h"

#include <cstdlib>
#include <cstring>

#include "gpu/runtime/cuda/device.h"

MILL_PLUGIN_NOTE(1);

namespace mill::cuda {

namespace {

constexpr uint32_t kOldestHost = 1;

mill_status count(void*, uint32_t* out_count, mill_kernel_error* error) {
  return find_devices(out_count, error);
}

mill_status describe(void*, uint32_t index, char* out, uint64_t capacity,
                     mill_kernel_error* error) {
  return describe_device(index, out, capacity, error);
}

// "" or a number.
mill_status open(void*, const char* spec, const mill_host_services* host,
                 const mill_device_table** out, mill_kernel_error* error) {
  *out = nullptr;
  uint64_t index = 0;
  const size_t digits = std::strspn(spec, "0123456789");
  if (spec[digits] != 0 || digits > 9) {
    return refuse(error, MILL_E_ARG, "device is \"%.64s\", cuda takes a number such as 0", spec);
  }
  if (digits > 0) index = std::strtoul(spec, nullptr, 10);
  return guarded(error,
                 [&] { return Device::open(static_cast<uint32_t>(index), host, out, error); });
}

void close(void*) {}

}  // namespace

}  // namespace mill::cuda

extern "C" MILL_PLUGIN_EXPORT mill_status mill_plugin_open(uint32_t host_abi, mill_plugin* out,
                                                           mill_kernel_error* error) {
  using namespace mill::cuda;
  if (host_abi < kOldestHost) {
    return refuse(error, MILL_E_TOO_NEW, "the engine has plugin ABI %u, cuda needs %u", host_abi,
                  kOldestHost);
  }
  mill_plugin plugin{};
  plugin.size = sizeof plugin;
  plugin.abi = MILL_PLUGIN_ABI;
  plugin.name = "cuda";
  plugin.version = "0.1.0";
  plugin.description = "NVIDIA GPUs of compute capability 8.0 and newer";
  plugin.close = mill::cuda::close;
  plugin.count = mill::cuda::count;
  plugin.describe = describe;
  plugin.open = mill::cuda::open;
  if (out->size < plugin.size) plugin.size = out->size;
  std::memcpy(out, &plugin, plugin.size);
  return MILL_OK;
}
