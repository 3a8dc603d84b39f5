#include "gpu/runtime/cuda/driver.h"

#include <cuda_runtime_api.h>

namespace mill::cuda {

namespace {

// Where the virtual memory functions took the form that is used here.
constexpr unsigned kVersion = 12000;

template <class Function>
bool look_up(const char* name, Function& out) {
  void* address = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
  if (cudaGetDriverEntryPointByVersion(name, &address, kVersion, cudaEnableDefault, &found) !=
          cudaSuccess ||
      found != cudaDriverEntryPointSuccess || address == nullptr)
    return false;
  out = reinterpret_cast<Function>(address);
  return true;
}

}  // namespace

bool Driver::find(int device) {
  decltype(&cuDeviceGetAttribute) attribute = nullptr;
  int has = 0;
  return look_up("cuDeviceGetAttribute", attribute) &&
         attribute(&has, CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, device) ==
             CUDA_SUCCESS &&
         has != 0 && look_up("cuMemGetAllocationGranularity", granularity) &&
         look_up("cuMemAddressReserve", address_reserve) &&
         look_up("cuMemAddressFree", address_free) && look_up("cuMemCreate", create) &&
         look_up("cuMemRelease", release) && look_up("cuMemMap", map) &&
         look_up("cuMemUnmap", unmap) && look_up("cuMemSetAccess", set_access);
}

}  // namespace mill::cuda
