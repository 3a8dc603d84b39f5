/* Has everything but the function that opens a device. It is told that it is not wanted. */
#include "plugin.h"

MILL_PLUGIN_NOTE(1);

static int closed;
MILL_PLUGIN_EXPORT int no_functions_closed(void);
int no_functions_closed(void) {
  return closed;
}

static void close_it(void* self) {
  (void)self;
  closed++;
}

MILL_PLUGIN_EXPORT mill_status mill_plugin_open(uint32_t host_abi, mill_plugin* out,
                                                mill_kernel_error* error) {
  (void)host_abi, (void)error;
  *out = planted_plugin("no_functions");
  out->open = NULL;
  out->close = close_it;
  return MILL_OK;
}
