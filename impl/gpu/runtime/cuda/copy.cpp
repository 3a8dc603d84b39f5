#include "gpu/runtime/cuda/device.h"

namespace mill::cuda {

namespace {

// Up to this many bytes the driver has taken a copy of pageable memory when the call returns (CUDA
// Runtime API, "API synchronization behavior").
constexpr uint64_t kTakenAtOnce = 64 * 1024;

mill_status wrong_side(mill_kernel_error* error, const char* side, const void* p,
                       const char* direction) {
  return refuse(error, MILL_E_ARG, "copy: %s 0x%llx is device memory, the copy is %s the host",
                side, shown(p), direction);
}

mill_status copy(void* self, void* stream, void* to, const void* from, uint64_t bytes, int32_t kind,
                 mill_kernel_error* error) {
  Device& device = device_of(self);
  if (const mill_status status = device.alive(error); status != MILL_OK) return status;
  if (bytes == 0) return MILL_OK;
  const Current current(device.index());
  cudaError_t code = current.status();
  const cudaStream_t native = stream_of(stream).native;
  cudaMemcpyKind direction = cudaMemcpyDeviceToDevice;
  bool pageable = false;
  if (kind != MILL_COPY_DEVICE_TO_DEVICE) {
    const bool to_device = kind == MILL_COPY_HOST_TO_DEVICE;
    direction = to_device ? cudaMemcpyHostToDevice : cudaMemcpyDeviceToHost;
    const void* host = to_device ? from : to;
    cudaPointerAttributes attributes{};
    if (code == cudaSuccess) code = cudaPointerGetAttributes(&attributes, host);
    if (code == cudaSuccess && attributes.type == cudaMemoryTypeDevice) {
      return to_device ? wrong_side(error, "source", from, "from")
                       : wrong_side(error, "destination", to, "to");
    }
    pageable = attributes.type == cudaMemoryTypeUnregistered;
  }
  if (code == cudaSuccess) code = cudaMemcpyAsync(to, from, bytes, direction, native);
  // The driver only "may" have finished with pageable memory at this point.
  if (code == cudaSuccess && pageable &&
      (direction == cudaMemcpyDeviceToHost || bytes > kTakenAtOnce))
    code = cudaStreamSynchronize(native);
  return device.check(error, code, "copy of %llu bytes from 0x%llx to 0x%llx", shown(bytes),
                      shown(from), shown(to));
}

mill_status fill(void* self, void* stream, void* to, int32_t value, uint64_t bytes,
                 mill_kernel_error* error) {
  Device& device = device_of(self);
  if (const mill_status status = device.alive(error); status != MILL_OK) return status;
  if (bytes == 0) return MILL_OK;
  const cudaError_t code =
      device.on([&] { return cudaMemsetAsync(to, value, bytes, stream_of(stream).native); });
  return device.check(error, code, "fill of %llu bytes at 0x%llx", shown(bytes), shown(to));
}

mill_status copy_peer(void* self, void* stream, void* to, void* from_self, const void* from,
                      uint64_t bytes, mill_kernel_error* error) {
  Device& device = device_of(self);
  const Device& source = device_of(from_self);
  if (const mill_status status = device.alive(error); status != MILL_OK) return status;
  if (const mill_status status = source.alive(error); status != MILL_OK) return status;
  if (bytes == 0) return MILL_OK;
  const cudaError_t code = device.on([&] {
    return cudaMemcpyPeerAsync(to, device.index(), from, source.index(), bytes,
                               stream_of(stream).native);
  });
  return device.check(error, code, "copy of %llu bytes from 0x%llx of %s to 0x%llx of %s",
                      shown(bytes), shown(from), source.name(), shown(to), device.name());
}

constexpr mill_copy_functions kCopies = {sizeof(mill_copy_functions), 0, copy, fill, copy_peer};

}  // namespace

const mill_copy_functions* copy_functions() {
  return &kCopies;
}

}  // namespace mill::cuda
