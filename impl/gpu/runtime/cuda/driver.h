// Functions of the NVIDIA driver that the runtime API does not have, found at run time: the plugin
// links no driver library, so it loads where there is none.
#pragma once

#include <cuda.h>

namespace mill::cuda {

struct Driver {
  decltype(&cuMemGetAllocationGranularity) granularity = nullptr;
  decltype(&cuMemAddressReserve) address_reserve = nullptr;
  decltype(&cuMemAddressFree) address_free = nullptr;
  decltype(&cuMemCreate) create = nullptr;
  decltype(&cuMemRelease) release = nullptr;
  decltype(&cuMemMap) map = nullptr;
  decltype(&cuMemUnmap) unmap = nullptr;
  decltype(&cuMemSetAccess) set_access = nullptr;

  // True when the driver has all of them and the device can use them. Only after a device was
  // found.
  bool find(int device);
};

}  // namespace mill::cuda
