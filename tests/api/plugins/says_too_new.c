/* Its note is in order; only its own code finds that the engine is too old. */
#include "plugin.h"

MILL_PLUGIN_NOTE(1);

MILL_PLUGIN_EXPORT mill_status mill_plugin_open(uint32_t host_abi, mill_plugin* out,
                                                mill_kernel_error* error) {
  (void)out;
  snprintf(error->text, sizeof error->text, "works with plugin ABI %u and later, this is %u",
           host_abi + 1, host_abi);
  return MILL_E_TOO_NEW;
}
