/* Needs an engine of the next plugin ABI: it must never run. */
#include "plugin.h"

MILL_PLUGIN_NOTE(MILL_PLUGIN_ABI + 1);

MILL_PLUGIN_EXPORT mill_status mill_plugin_open(uint32_t host_abi, mill_plugin* out,
                                                mill_kernel_error* error) {
  (void)host_abi, (void)error;
  *out = planted_plugin("too_new");
  abort();
}
