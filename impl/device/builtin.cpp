#include "device/builtin.h"

#include "base/error.h"

namespace mill::cpu {
// Defined by the CPU room, which this one does not otherwise know: a device is reached through its
// table.
const mill_device_table* create_cpu_device(int threads, const mill_host_services** host);
}  // namespace mill::cpu

namespace mill {

BuiltinDevice make_cpu_device(uint32_t threads, int32_t gemm) {
  constexpr uint32_t kMost = 1024;
  if (threads > kMost) fail(MILL_E_ARG, "threads is %u, it must be at most %u", threads, kMost);
  BuiltinDevice device;
  device.table.reset(cpu::create_cpu_device(static_cast<int>(threads), &device.services));
  mill_kernel_error error{};
  check(device.table->configure(device.table->self, "gemm", gemm, &error), error);
  return device;
}

}  // namespace mill
