/* Says, against its note, that it is of an ABI before the first. */
#include "plugin.h"

MILL_PLUGIN_NOTE(1);

MILL_PLUGIN_EXPORT mill_status mill_plugin_open(uint32_t host_abi, mill_plugin* out,
                                                mill_kernel_error* error) {
  (void)host_abi, (void)error;
  *out = planted_plugin("too_old");
  out->abi = MILL_PLUGIN_ABI_OLDEST - 1;
  return MILL_OK;
}
