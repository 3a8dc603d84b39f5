/* Exports the function of a plugin without the note of one: it must never run. */
#include "plugin.h"

MILL_PLUGIN_EXPORT mill_status mill_plugin_open(uint32_t host_abi, mill_plugin* out,
                                                mill_kernel_error* error) {
  (void)host_abi, (void)error;
  *out = planted_plugin("no_note");
  abort();
}
