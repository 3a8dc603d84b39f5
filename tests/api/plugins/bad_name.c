/* Its name would not be one in a device spec. */
#include "plugin.h"

MILL_PLUGIN_NOTE(1);

MILL_PLUGIN_EXPORT mill_status mill_plugin_open(uint32_t host_abi, mill_plugin* out,
                                                mill_kernel_error* error) {
  (void)host_abi, (void)error;
  *out = planted_plugin("two words/and:more");
  return MILL_OK;
}
