#include "gpu/runtime/cuda/device.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>

#include "base/dtype.h"
#include "millrace/op_numbers.h"

namespace mill::cuda_ {
#define MILL_DECLARE(family) [[gnu::weak]] mill::gpu::KernelList family##_kernels();
MILL_GPU_FAMILIES(MILL_DECLARE)
#undef MILL_DECLARE
}  // namespace mill::cuda_

namespace mill::cuda {

namespace {

using ListFn = gpu::KernelList (*)();
#define MILL_LIST(family) &mill::cuda_::family##_kernels,
constexpr ListFn kLists[] = {MILL_GPU_FAMILIES(MILL_LIST)};
#undef MILL_LIST

constexpr int kOldestArchitecture = 80;
constexpr size_t kSlotBytes = 64;
constexpr size_t kPageBytes = 4096;
static_assert(sizeof(gpu::fault_slot) <= kSlotBytes);

// Operations (a fused multiply-add is two) of one multiprocessor per clock, dense, sums in f32:
// CUDA Programming Guide 13.0, "Throughput of Native Arithmetic Instructions", and NVIDIA's
// architecture papers of A100, H100 and B200 for the matrix units. 0: not given here.
struct Rates {
  int architecture;
  int f32, f64, tf32, f16;
};
constexpr Rates kRates[] = {
    {80, 128, 64, 1024, 2048}, {86, 256, 4, 0, 0},         {87, 256, 4, 0, 0},
    {89, 256, 4, 0, 0},        {90, 256, 128, 2048, 4096}, {100, 256, 128, 4096, 8192},
    {103, 256, 0, 4096, 8192}, {110, 256, 0, 0, 0},        {120, 256, 4, 0, 0},
    {121, 256, 4, 0, 0},
};

mill_status status_of(cudaError_t code) {
  switch (code) {
    case cudaSuccess: return MILL_OK;
    case cudaErrorNotReady: return MILL_NOT_READY;
    case cudaErrorMemoryAllocation: return MILL_E_MEMORY;
    case cudaErrorInvalidValue:
    case cudaErrorInvalidHostPointer:
    case cudaErrorInvalidDevicePointer:
    case cudaErrorInvalidMemcpyDirection:
    case cudaErrorInvalidDevice:
    case cudaErrorInvalidResourceHandle: return MILL_E_ARG;
    case cudaErrorInsufficientDriver:
    case cudaErrorCallRequiresNewerDriver:
    case cudaErrorNoDevice:
    case cudaErrorDevicesUnavailable:
    case cudaErrorNotSupported:
    case cudaErrorNotPermitted:
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorInvalidPtx:
    case cudaErrorUnsupportedPtxVersion:
    case cudaErrorJitCompilerNotFound:
    case cudaErrorJitCompilationDisabled:
    case cudaErrorSystemNotReady:
    case cudaErrorSystemDriverMismatch:
    case cudaErrorCompatNotSupportedOnDevice:
    case cudaErrorPeerAccessUnsupported: return MILL_E_UNSUPPORTED;
    // After these every call on the context fails (CUDA Runtime API, "Data types": the process must
    // be ended and started again).
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorLaunchFailure:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorAssert:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorContained:
    case cudaErrorTensorMemoryLeak:
    case cudaErrorExternalDevice:
    case cudaErrorMpsClientTerminated:
    case cudaErrorMpsRpcFailure:
    case cudaErrorContextIsDestroyed: return MILL_E_DEVICE_LOST;
    default: return MILL_E_INTERNAL;
  }
}

// Appends ": cudaErrorName, text".
void append_code(mill_kernel_error* error, cudaError_t code) {
  const size_t n = std::strlen(error->text);
  std::snprintf(error->text + n, sizeof error->text - n, "%s%s, %s", n > 0 ? ": " : "",
                cudaGetErrorName(code), cudaGetErrorString(code));
}

int attribute(int device, cudaDeviceAttr which) {
  int value = 0;
  return cudaDeviceGetAttribute(&value, which, device) == cudaSuccess ? value : 0;
}

int architecture_of(int device) {
  return attribute(device, cudaDevAttrComputeCapabilityMajor) * 10 +
         attribute(device, cudaDevAttrComputeCapabilityMinor);
}

mill_status check_index(uint32_t index, mill_kernel_error* error) {
  uint32_t count = 0;
  if (const mill_status status = find_devices(&count, error); status != MILL_OK) return status;
  if (index < count) return MILL_OK;
  return refuse(error, MILL_E_ARG, "device is %u, cuda has %u", index, count);
}

void destroy(void* self) {
  delete static_cast<Device*>(self);
}
mill_status configure(void* self, const char* name, int64_t value, mill_kernel_error* error) {
  return device_of(self).configure(name, value, error);
}
const char* libraries(void* self) {
  return device_of(self).gemm().description();
}
mill_status resolve(void* self, int32_t op, const int32_t* dtypes, uint32_t n_in, uint32_t n_out,
                    uint32_t, mill_kernel* out, mill_kernel_error* error) {
  return device_of(self).resolve(op, dtypes, n_in, n_out, out, error);
}
constexpr mill_op_functions kOps = {sizeof(mill_op_functions), 0, resolve};

// Of an op's kernel in own_gemm_.
size_t own_place(int32_t op, int32_t dtype) {
  return (op == MILL_OP_LINEAR ? size_t{MILL_DTYPE_COUNT} : 0) + static_cast<size_t>(dtype);
}

// matmul and linear: the library's if it takes them, else ours.
template <int32_t Op>
mill_status launch_gemm(const mill_kernel_args* args) {
  Stream& stream = stream_of(args->stream);
  bool taken = false;
  const mill_status status = stream.device->gemm().run(Op, args, stream, &taken);
  return taken ? status : stream.device->own_gemm(Op, args->out[0]->dtype).launch(args);
}

}  // namespace

// ---- discovery ----------------------------------------------------------------------------------

mill_status find_devices(uint32_t* out_count, mill_kernel_error* error) {
  *out_count = 0;
  // Succeeds with 0 where no driver is installed; every other call then fails with a code that says
  // less.
  int version = 0;
  if (cudaDriverGetVersion(&version) != cudaSuccess || version == 0)
    return refuse(error, MILL_E_UNSUPPORTED, "no NVIDIA driver");
  int count = 0;
  const cudaError_t code = cudaGetDeviceCount(&count);
  if (code == cudaErrorInsufficientDriver) {
    return refuse(error, MILL_E_UNSUPPORTED,
                  "the NVIDIA driver serves CUDA %d.%d, this plugin needs %d.0 or newer",
                  version / 1000, version % 1000 / 10, CUDART_VERSION / 1000);
  }
  if (code == cudaErrorNoDevice || (code == cudaSuccess && count == 0))
    return refuse(error, MILL_E_UNSUPPORTED, "the NVIDIA driver sees no device");
  if (code != cudaSuccess) {
    refuse(error, MILL_E_UNSUPPORTED, "the devices cannot be counted");
    append_code(error, code);
    return MILL_E_UNSUPPORTED;
  }
  *out_count = static_cast<uint32_t>(count);
  return MILL_OK;
}

mill_status describe_device(uint32_t index, char* out, uint64_t capacity,
                            mill_kernel_error* error) {
  if (const mill_status status = check_index(index, error); status != MILL_OK) return status;
  cudaDeviceProp properties;
  const cudaError_t code = cudaGetDeviceProperties(&properties, static_cast<int>(index));
  if (code != cudaSuccess) {
    refuse(error, MILL_E_INTERNAL, "the properties of device %u", index);
    append_code(error, code);
    return status_of(code);
  }
  std::snprintf(out, capacity, "%s, sm_%d%d, %.0f GiB", properties.name, properties.major,
                properties.minor, static_cast<double>(properties.totalGlobalMem) * 0x1p-30);
  return MILL_OK;
}

// ---- the device ---------------------------------------------------------------------------------

Device::Device(uint32_t index, const mill_host_services* host)
    : index_(static_cast<int>(index)), host_(host) {}

mill_status Device::open(uint32_t index, const mill_host_services* host,
                         const mill_device_table** out, mill_kernel_error* error) {
  *out = nullptr;
  if (const mill_status status = check_index(index, error); status != MILL_OK) return status;
  std::unique_ptr<Device> device(new Device(index, host));
  if (const mill_status status =
          describe_device(index, device->description_, sizeof device->description_, error);
      status != MILL_OK)
    return status;
  std::snprintf(device->name_, sizeof device->name_, "cuda:%u", index);
  const int architecture = architecture_of(device->index_);
  if (architecture < kOldestArchitecture) {
    return refuse(error, MILL_E_UNSUPPORTED,
                  "device %u is of sm_%d, this plugin has code for sm_%d and newer", index,
                  architecture, kOldestArchitecture);
  }
  if (const mill_status status = device->read_limits(error); status != MILL_OK) return status;
  device->gemm_.set_device(device->index_, architecture);
  device->fill_kernels();

  mill_device_table& table = device->table_;
  table.size = sizeof table;
  table.abi = MILL_PLUGIN_ABI;
  table.name = "cuda";
  table.description = device->description_;
  table.self = device.get();
  table.limits = &device->limits_;
  table.memory = memory_functions(device->granularity_ != 0);
  table.streams = stream_functions();
  table.copies = copy_functions();
  table.ops = &kOps;
  table.destroy = destroy;
  table.configure = mill::cuda::configure;
  table.libraries = libraries;
  *out = &device.release()->table_;
  return MILL_OK;
}

mill_status Device::read_limits(mill_kernel_error* error) {
  // Makes the context: what cannot work here fails here.
  const Current current(index_, Current::Need::bound);
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  cudaError_t code = current.status();
  if (code == cudaSuccess) code = cudaMemGetInfo(&free_bytes, &total_bytes);
  if (code != cudaSuccess) {
    return check(error, code, "device %d cannot be opened", index_);
  }
  limits_.size = sizeof limits_;
  limits_.copy_engines =
      static_cast<uint32_t>(std::clamp(attribute(index_, cudaDevAttrAsyncEngineCount), 0, 2));
  limits_.processors = static_cast<uint32_t>(attribute(index_, cudaDevAttrMultiProcessorCount));
  limits_.threads_per_processor =
      static_cast<uint32_t>(attribute(index_, cudaDevAttrMaxThreadsPerMultiProcessor));
  limits_.threads_per_block =
      static_cast<uint32_t>(attribute(index_, cudaDevAttrMaxThreadsPerBlock));
  limits_.memory_bytes = total_bytes;
  limits_.shared_bytes_per_block =
      static_cast<uint64_t>(attribute(index_, cudaDevAttrMaxSharedMemoryPerBlockOptin));
  limits_.allocation_align = 256;
  // Rates in kilohertz and bits; memory moves on both edges of its clock.
  limits_.memory_bytes_per_second = 2.0 * 1e3 * attribute(index_, cudaDevAttrMemoryClockRate) *
                                    (attribute(index_, cudaDevAttrGlobalMemoryBusWidth) / 8.0);
  const int architecture = architecture_of(index_);
  const double clocks =
      1e3 * attribute(index_, cudaDevAttrClockRate) * static_cast<double>(limits_.processors);
  for (const Rates& rates : kRates) {
    if (rates.architecture != architecture) continue;
    limits_.f32_flops = clocks * rates.f32;
    limits_.f64_flops = clocks * rates.f64;
    limits_.tf32_flops = clocks * rates.tf32;
    limits_.f16_flops = clocks * rates.f16;
  }
  std::snprintf(limits_.architecture, sizeof limits_.architecture, "sm_%d", architecture);

  if (driver_.find(index_)) {
    CUmemAllocationProp wanted{};
    wanted.type = CU_MEM_ALLOCATION_TYPE_PINNED;
    wanted.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    wanted.location.id = index_;
    size_t step = 0;
    if (driver_.granularity(&step, &wanted, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED) == CUDA_SUCCESS)
      granularity_ = step;
  }
  return MILL_OK;
}

void Device::fill_kernels() {
  for (const ListFn list : kLists) {
    if (list) kernels_.add(list());
  }
  own_gemm_.assign(2 * MILL_DTYPE_COUNT, mill_kernel{});
  for (const int32_t op : {MILL_OP_MATMUL, MILL_OP_LINEAR}) {
    for (int32_t dtype = 0; dtype < MILL_DTYPE_COUNT; ++dtype) {
      const mill_kernel* own = kernels_.find(op, &dtype, 1);
      if (!own) continue;
      mill_kernel wrapped = *own;
      wrapped.launch =
          op == MILL_OP_MATMUL ? launch_gemm<MILL_OP_MATMUL> : launch_gemm<MILL_OP_LINEAR>;
      own_gemm_[own_place(op, dtype)] = *own;
      kernels_.replace(op, dtype, wrapped);
    }
  }
}

const mill_kernel& Device::own_gemm(int32_t op, int32_t dtype) const {
  return own_gemm_[own_place(op, dtype)];
}

Device::~Device() {
  const Current current(index_, Current::Need::bound);
  reap(true);
  gemm_.close();
  for (void* page : pages_) cudaFreeHost(page);
}

mill_status Device::alive(mill_kernel_error* error) const {
  if (!lost_.load(std::memory_order_relaxed)) [[likely]]
    return MILL_OK;
  return refuse(error, MILL_E_DEVICE_LOST,
                "%s was lost by an earlier failure; the process has to be started again to use it",
                name_);
}

mill_status Device::check(mill_kernel_error* error, cudaError_t code, const char* format, ...) {
  const mill_status status = status_of(code);
  if (status >= 0) [[likely]]
    return status;
  va_list values;
  va_start(values, format);
  std::vsnprintf(error->text, sizeof error->text, format, values);
  va_end(values);
  append_code(error, code);
  if (status == MILL_E_DEVICE_LOST) lost_.store(true, std::memory_order_relaxed);
  return status;
}

mill_status Device::configure(const char* name, int64_t value, mill_kernel_error* error) {
  const bool is_gemm = std::strcmp(name, "gemm") == 0;
  if (!is_gemm && std::strcmp(name, "tf32") != 0) {
    return refuse(error, MILL_E_ARG, "\"%.64s\" is no setting of cuda; there are gemm, tf32", name);
  }
  if (value < 0 || value > 1) {
    return refuse(error, MILL_E_ARG, "%s is %lld, it must be 0 or 1", name,
                  static_cast<long long>(value));
  }
  if (is_gemm) {
    gemm_.set_own_only(value == 1);
  } else {
    gemm_.set_tf32(value == 1);
  }
  return MILL_OK;
}

mill_status Device::resolve(int32_t op, const int32_t* dtypes, uint32_t n_in, uint32_t n_out,
                            mill_kernel* out, mill_kernel_error* error) const {
  return kernels_.resolve(op, dtypes, n_in + n_out, "cuda", out, error);
}

// ---- what streams leave behind ------------------------------------------------------------------

mill_status Device::take_slot(gpu::fault_slot** out, mill_kernel_error* error) {
  reap(false);
  const std::lock_guard lock(mutex_);
  if (free_slots_.empty()) {
    pages_.reserve(pages_.size() + 1);
    free_slots_.reserve((pages_.size() + 1) * (kPageBytes / kSlotBytes));
    void* page = nullptr;
    const cudaError_t code = on([&] {
      return cudaHostAlloc(&page, kPageBytes, cudaHostAllocPortable | cudaHostAllocMapped);
    });
    if (code != cudaSuccess)
      return check(error, code, "%zu bytes of pinned memory for faults", kPageBytes);
    pages_.push_back(page);
    for (size_t at = 0; at < kPageBytes; at += kSlotBytes)
      free_slots_.push_back(reinterpret_cast<gpu::fault_slot*>(static_cast<char*>(page) + at));
  }
  *out = free_slots_.back();
  free_slots_.pop_back();
  **out = {};
  return MILL_OK;
}

void Device::free_leftovers(const Retired& retired) {
  if (retired.after) cudaEventDestroy(retired.after);
  if (retired.workspace) host_->free(host_->self, retired.workspace);
  // Room was reserved when the page came.
  if (retired.slot) free_slots_.push_back(retired.slot);
}

void Device::retire(Stream& stream) {
  Retired retired{nullptr, stream.faults, stream.workspace};
  const bool busy = cudaStreamQuery(stream.native) == cudaErrorNotReady;
  const std::lock_guard lock(mutex_);
  if (busy) {
    if (cudaEventCreateWithFlags(&retired.after, cudaEventDisableTiming) == cudaSuccess &&
        cudaEventRecord(retired.after, stream.native) == cudaSuccess) {
      try {
        retired_.push_back(retired);
        return;
      } catch (const std::bad_alloc&) {
        cudaEventSynchronize(retired.after);
      }
    } else {
      cudaStreamSynchronize(stream.native);
    }
  }
  free_leftovers(retired);
}

void Device::reap(bool all) {
  const std::lock_guard lock(mutex_);
  std::erase_if(retired_, [&](const Retired& retired) {
    const cudaError_t code =
        all ? cudaEventSynchronize(retired.after) : cudaEventQuery(retired.after);
    if (code == cudaErrorNotReady) return false;
    free_leftovers(retired);
    return true;
  });
}

}  // namespace mill::cuda
