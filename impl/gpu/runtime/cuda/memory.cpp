#include <algorithm>

#include "gpu/runtime/cuda/device.h"

namespace mill::cuda {

namespace {

constexpr uint64_t kAlign = 256;  // of what cudaMalloc returns, at least (CUDA Programming Guide)

mill_status allocate(void* self, uint64_t bytes, uint64_t align, void** out,
                     mill_kernel_error* error) {
  Device& device = device_of(self);
  *out = nullptr;
  if (const mill_status status = device.alive(error); status != MILL_OK) return status;
  if (align > kAlign || (align & (align - 1)) != 0) {
    return refuse(error, MILL_E_ARG,
                  "allocate: alignment is %llu, it must be a power of two up to %llu", shown(align),
                  shown(kAlign));
  }
  const cudaError_t code = device.on([&] { return cudaMalloc(out, std::max<uint64_t>(bytes, 1)); });
  if (code != cudaSuccess) *out = nullptr;
  return device.check(error, code, "%llu bytes asked of %s", shown(bytes), device.name());
}

void free_memory(void* self, void* data, uint64_t) {
  const Current current(device_of(self).index());
  cudaFree(data);
}

mill_status info(void* self, uint64_t* out_free, uint64_t* out_total, mill_kernel_error* error) {
  Device& device = device_of(self);
  if (const mill_status status = device.alive(error); status != MILL_OK) return status;
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  const cudaError_t code = device.on([&] { return cudaMemGetInfo(&free_bytes, &total_bytes); });
  *out_free = free_bytes;
  *out_total = total_bytes;
  return device.check(error, code, "free memory of %s", device.name());
}

// Portable: pinned for every device of the process.
mill_status pinned_allocate(void* self, uint64_t bytes, void** out, mill_kernel_error* error) {
  Device& device = device_of(self);
  *out = nullptr;
  if (const mill_status status = device.alive(error); status != MILL_OK) return status;
  const cudaError_t code = device.on([&] {
    return cudaHostAlloc(out, std::max<uint64_t>(bytes, 1),
                         cudaHostAllocPortable | cudaHostAllocMapped);
  });
  if (code != cudaSuccess) *out = nullptr;
  return device.check(error, code, "%llu bytes of pinned memory", shown(bytes));
}

void pinned_free(void* self, void* data, uint64_t) {
  const Current current(device_of(self).index());
  cudaFreeHost(data);
}

int32_t classify(void* self, const void* data) {
  const Device& device = device_of(self);
  const Current current(device.index());
  cudaPointerAttributes attributes{};
  if (cudaPointerGetAttributes(&attributes, data) != cudaSuccess) return MILL_POINTER_UNKNOWN;
  switch (attributes.type) {
    case cudaMemoryTypeHost: return MILL_POINTER_PINNED;
    case cudaMemoryTypeManaged: return MILL_POINTER_MANAGED;
    case cudaMemoryTypeDevice:
      return attributes.device == device.index() ? MILL_POINTER_DEVICE : MILL_POINTER_OTHER;
    default: return MILL_POINTER_UNKNOWN;
  }
}

// ---- address ranges -----------------------------------------------------------------------------

uint64_t granularity(void* self) {
  return device_of(self).granularity();
}

CUdeviceptr address_of(const void* p) {
  return reinterpret_cast<CUdeviceptr>(p);
}

mill_status reserve(void* self, uint64_t bytes, void** out, mill_kernel_error* error) {
  Device& device = device_of(self);
  *out = nullptr;
  if (const mill_status status = device.alive(error); status != MILL_OK) return status;
  CUdeviceptr at = 0;
  const cudaError_t code = device.on(
      [&] { return Device::of_driver(device.driver().address_reserve(&at, bytes, 0, 0, 0)); },
      Current::Need::bound);
  if (code == cudaSuccess) *out = reinterpret_cast<void*>(at);
  return device.check(error, code, "reserve %llu bytes of addresses", shown(bytes));
}

void release(void* self, void* range, uint64_t bytes) {
  const Device& device = device_of(self);
  const Current current(device.index(), Current::Need::bound);
  // A range with memory in it cannot be given back; one without any makes this fail harmlessly.
  device.driver().unmap(address_of(range), bytes);
  device.driver().address_free(address_of(range), bytes);
}

// One physical block per call. The mapping keeps it alive, so its handle goes at once and unmap
// needs no book; the driver unmaps whole blocks only.
mill_status map(void* self, void* at, uint64_t bytes, mill_kernel_error* error) {
  Device& device = device_of(self);
  if (const mill_status status = device.alive(error); status != MILL_OK) return status;
  const uint64_t step = device.granularity();
  if (bytes == 0 || bytes % step != 0 || address_of(at) % step != 0) {
    return refuse(error, MILL_E_ARG, "map: %llu bytes at 0x%llx, both must be multiples of %llu",
                  shown(bytes), shown(at), shown(step));
  }
  const Driver& driver = device.driver();
  CUmemAllocationProp wanted{};
  wanted.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  wanted.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  wanted.location.id = device.index();
  CUmemGenericAllocationHandle block = 0;
  const Current current(device.index(), Current::Need::bound);
  cudaError_t code = current.status();
  if (code == cudaSuccess) code = Device::of_driver(driver.create(&block, bytes, &wanted, 0));
  if (code != cudaSuccess)
    return device.check(error, code, "%llu bytes asked of %s", shown(bytes), device.name());
  code = Device::of_driver(driver.map(address_of(at), bytes, 0, block, 0));
  driver.release(block);
  if (code == cudaSuccess) {
    CUmemAccessDesc access{};
    access.location = wanted.location;
    access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
    code = Device::of_driver(driver.set_access(address_of(at), bytes, &access, 1));
    if (code != cudaSuccess) driver.unmap(address_of(at), bytes);
  }
  return device.check(error, code, "map %llu bytes at 0x%llx", shown(bytes), shown(at));
}

mill_status unmap(void* self, void* at, uint64_t bytes, mill_kernel_error* error) {
  Device& device = device_of(self);
  const cudaError_t code =
      device.on([&] { return Device::of_driver(device.driver().unmap(address_of(at), bytes)); },
                Current::Need::bound);
  return device.check(error, code, "unmap %llu bytes at 0x%llx, which must be whole mapped blocks",
                      shown(bytes), shown(at));
}

constexpr mill_memory_functions functions(bool ranges) {
  mill_memory_functions table{};
  table.size = sizeof table;
  table.allocate = allocate;
  table.free = free_memory;
  table.info = info;
  table.pinned_allocate = pinned_allocate;
  table.pinned_free = pinned_free;
  table.classify = classify;
  if (!ranges) return table;
  table.granularity = granularity;
  table.reserve = reserve;
  table.release = release;
  table.map = map;
  table.unmap = unmap;
  return table;
}
constexpr mill_memory_functions kPlain = functions(false);
constexpr mill_memory_functions kVirtual = functions(true);

}  // namespace

const mill_memory_functions* memory_functions(bool virtual_memory) {
  return virtual_memory ? &kVirtual : &kPlain;
}

}  // namespace mill::cuda
