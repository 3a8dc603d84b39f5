/* Cannot work here, and fills the buffer for the reason to its last byte. */
#include "plugin.h"

MILL_PLUGIN_NOTE(1);

MILL_PLUGIN_EXPORT mill_status mill_plugin_open(uint32_t host_abi, mill_plugin* out,
                                                mill_kernel_error* error) {
  (void)host_abi, (void)out;
  memset(error->text, '!', sizeof error->text);
  memcpy(error->text, "no such hardware", 16);
  return MILL_E_UNSUPPORTED;
}
