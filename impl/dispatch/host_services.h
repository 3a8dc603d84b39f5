// What the engine gives to a device that a plugin has opened.
#pragma once

#include <memory>
#include <mutex>
#include <unordered_map>

#include "device/device.h"
#include "tensor/storage.h"

struct mill_context;

namespace mill {

class HostServices {
 public:
  explicit HostServices(mill_context& context);
  HostServices(const HostServices&) = delete;
  HostServices& operator=(const HostServices&) = delete;

  const mill_host_services* table() const { return &table_; }
  // Once the device exists: until then it cannot allocate.
  void set_device(Device* device) { device_ = device; }
  // Before the device ends: what the plugin has not given back goes now.
  void close() noexcept;

 private:
  static void parallel_for(void* self, int64_t n, int64_t grain,
                           void (*body)(void* data, int64_t begin, int64_t end), void* data);
  static void log(void* self, int32_t level, const char* text);
  static void trace(void* self, const mill_trace_record* record);
  static mill_status allocate(void* self, uint64_t bytes, void* stream, void** out,
                              mill_kernel_error* error);
  static void free(void* self, void* data);
  static uint64_t op_instance(void* self);
  static mill_status cpu_kernel(void* self, int32_t op, const int32_t* dtypes, uint32_t n_in,
                                uint32_t n_out, mill_kernel* out,
                                const mill_host_services** out_services, mill_kernel_error* error);

  mill_context& context_;
  Device* device_ = nullptr;
  mill_host_services table_{};
  std::mutex mutex_;
  std::unordered_map<void*, Block*> blocks_;
};

}  // namespace mill
