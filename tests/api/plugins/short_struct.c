/* Fills no more than the beginning of its description. */
#include "plugin.h"

MILL_PLUGIN_NOTE(1);

MILL_PLUGIN_EXPORT mill_status mill_plugin_open(uint32_t host_abi, mill_plugin* out,
                                                mill_kernel_error* error) {
  (void)host_abi, (void)error;
  out->size = 24;
  out->abi = MILL_PLUGIN_ABI;
  out->name = "short_struct";
  return MILL_OK;
}
