// The CPU device: implements the device table of plugin.h. Work is done on the calling thread and
// the threads of its pool and is complete when a call returns, so streams and events have nothing
// in them.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/thread_pool.h"
#include "cpu/kernels.h"
#include "cpu/runtime/onednn.h"
#include "cpu/runtime/runtime.h"
#include "millrace/plugin.h"

namespace mill::cpu {

// SIMD targets, as configure("simd", level) takes them.
enum SimdLevel : int32_t { kSimdBaseline = 0, kSimdAvx2 = 1, kSimdAvx512 = 2, kSimdLevels = 3 };

const char* simd_name(int32_t level);
// This build has kernels for the level and this processor runs them.
bool simd_available(int32_t level);
// The kernels that a device at this level would pick, as lists from the level down to baseline; for
// tests and tools.
KernelList kernels_of(int32_t level, size_t family);
size_t family_count();

// CPUs that this process may run on; at least 1.
int usable_cpus();

// Threads of the process: made by the constructor, ended by the destructor. Throws Error and
// std::bad_alloc. configure() knows
//   "gemm"  0 automatic, 1 own kernels only, 2 oneDNN wherever it can; at any time
//   "simd"  a SimdLevel; before the first resolve
class Device {
 public:
  // threads: how many one op may use, the caller included; 0 means one for each of usable_cpus().
  explicit Device(int threads);
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const mill_device_table* table() const { return &table_; }
  // What kernels of this device get as args->host.
  const mill_host_services* host() const { return &host_; }
  int32_t simd_level() const { return level_; }

  mill_status resolve(int32_t op, const int32_t* dtypes, uint32_t n_in, uint32_t n_out,
                      mill_kernel* out, mill_kernel_error* error);
  mill_status configure(const char* name, int64_t value, mill_kernel_error* error);
  const char* libraries() noexcept;

 private:
  void fill_kernels(int32_t level);
  void describe();

  OneDnn onednn_;
  Runtime runtime_;
  ThreadPool pool_;
  mill_host_services host_{};
  mill_device_limits limits_{};
  mill_device_table table_{};
  int32_t level_ = kSimdBaseline;
  int32_t op_count_ = 0;
  std::vector<mill_kernel> kernels_;  // [op][lead dtype]
  std::atomic<bool> resolved_{false};
  char description_[64] = {};
};

// A device that its table owns: table->destroy(table->self) ends it.
const mill_device_table* create_cpu_device(int threads, const mill_host_services** host);

}  // namespace mill::cpu
