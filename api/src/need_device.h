// The devices that calls name by number.
#pragma once

#include "guard.h"

namespace mill::api {

inline Device& need_device(mill_context& context, uint32_t index, int32_t argument) {
  if (index >= context.devices.size()) {
    fail_argument(MILL_E_ARG, argument, "device is %u, the context has %u", index,
                  context.devices.size());
  }
  return context.devices[index];
}

inline Timeline& need_timeline(const Device& device) {
  if (!device.table().timeline) {
    fail_argument(MILL_E_UNSUPPORTED, 1, "device %u, %s, has no timeline", device.index(),
                  device.name());
  }
  return device.timeline();
}

}  // namespace mill::api
