// One CUDA device: its tables, streams, fault slots and kernels.
#pragma once

#include <cuda_runtime_api.h>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

#include "gpu/facade.h"
#include "gpu/guard.h"
#include "gpu/kernel_table.h"
#include "gpu/runtime/cuda/driver.h"
#include "gpu/runtime/cuda/gemm.h"
#include "gpu/runtime/cuda/launch_view.h"
#include "millrace/plugin.h"

namespace mill::cuda {

using gpu::refuse;
using gpu::shown;

class Device;

struct Stream : StreamView {
  Device* device;
  bool owned;  // not the caller's
  // Scratch memory of library calls, allocated by the first of them.
  std::once_flag workspace_once;
  void* workspace = nullptr;
  uint64_t workspace_bytes = 0;
};

inline Stream& stream_of(void* stream) {
  return *static_cast<Stream*>(static_cast<StreamView*>(stream));
}

// The device is the calling thread's current one while this lives. Whatever the thread had chosen
// for its own CUDA code is chosen again at the end.
class Current {
 public:
  // The runtime binds a thread that never named a device to the context when it needs one. The
  // driver's functions and cuBLASLt do not: they need it bound.
  enum class Need { runtime, bound };

  explicit Current(int device, Need need = Need::runtime) {
    int now = -1;
    status_ = cudaGetDevice(&now);
    if (status_ != cudaSuccess || (now == device && need == Need::runtime)) return;
    status_ = cudaSetDevice(device);
    if (status_ == cudaSuccess && now != device) before_ = now;
  }
  ~Current() {
    if (before_ >= 0) cudaSetDevice(before_);
  }
  Current(const Current&) = delete;
  Current& operator=(const Current&) = delete;
  cudaError_t status() const { return status_; }

 private:
  cudaError_t status_;
  int before_ = -1;
};

// How many devices there are; 0 with MILL_E_UNSUPPORTED and the reason where there can be none.
mill_status find_devices(uint32_t* out_count, mill_kernel_error* error);
mill_status describe_device(uint32_t index, char* out, uint64_t capacity, mill_kernel_error* error);

class Device {
 public:
  // Throws std::bad_alloc.
  static mill_status open(uint32_t index, const mill_host_services* host,
                          const mill_device_table** out, mill_kernel_error* error);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  int index() const { return index_; }
  const char* name() const { return name_; }
  const mill_device_limits& limits() const { return limits_; }
  const Driver& driver() const { return driver_; }
  uint64_t granularity() const { return granularity_; }
  const mill_host_services* host() const { return host_; }
  Gemm& gemm() { return gemm_; }

  // MILL_OK, or the sentence of a lost device.
  mill_status alive(mill_kernel_error* error) const;
  // MILL_OK for cudaSuccess. Else what the code means, "WHAT: its name and text" in the error; a
  // code after which the context is of no use marks the device as lost. The runtime's last error is
  // never asked: it is of the whole thread, and other code of the process shares it.
  __attribute__((format(printf, 4, 5))) mill_status check(mill_kernel_error* error,
                                                          cudaError_t code, const char* format,
                                                          ...);
  // The driver's codes have the same numbers.
  static cudaError_t of_driver(CUresult code) { return static_cast<cudaError_t>(code); }

  // f() with this device as the thread's current one, or why it could not be made that.
  template <class F>
  cudaError_t on(F&& f, Current::Need need = Current::Need::runtime) const {
    const Current current(index_, need);
    return current.status() == cudaSuccess ? f() : current.status();
  }

  mill_status configure(const char* name, int64_t value, mill_kernel_error* error);
  mill_status resolve(int32_t op, const int32_t* dtypes, uint32_t n_in, uint32_t n_out,
                      mill_kernel* out, mill_kernel_error* error) const;
  // Our own kernel of matmul or linear, behind the library's.
  const mill_kernel& own_gemm(int32_t op, int32_t dtype) const;

  // A slot is 64 bytes of pinned memory that kernels write to, zeroed. Throws std::bad_alloc.
  mill_status take_slot(gpu::fault_slot** out, mill_kernel_error* error);
  // What a stream had, once its work is done.
  void retire(Stream& stream);
  // Frees what belonged to destroyed streams whose work has finished; with `all`, after waiting.
  void reap(bool all);

 private:
  struct Retired {
    cudaEvent_t after;
    gpu::fault_slot* slot;
    void* workspace;
  };

  Device(uint32_t index, const mill_host_services* host);
  void free_leftovers(const Retired& retired);
  mill_status read_limits(mill_kernel_error* error);
  void fill_kernels();

  int index_;
  char name_[96] = {};
  char description_[192] = {};
  const mill_host_services* host_;
  Driver driver_;
  uint64_t granularity_ = 0;
  mill_device_limits limits_{};
  mill_device_table table_{};
  gpu::KernelTable kernels_;
  std::vector<mill_kernel> own_gemm_;
  std::atomic<bool> lost_{false};
  Gemm gemm_;
  std::mutex mutex_;
  std::vector<void*> pages_;
  std::vector<gpu::fault_slot*> free_slots_;
  std::vector<Retired> retired_;
};

inline Device& device_of(void* self) {
  return *static_cast<Device*>(self);
}

// No exception crosses a table.
template <class F>
mill_status guarded(mill_kernel_error* error, F&& f) noexcept {
  return gpu::guarded("cuda", error, std::forward<F>(f));
}

// The tables of memory.cpp, stream.cpp and copy.cpp; self is a Device.
const mill_memory_functions* memory_functions(bool virtual_memory);
const mill_stream_functions* stream_functions();
const mill_copy_functions* copy_functions();

}  // namespace mill::cuda
