/* A good plugin on a machine without its hardware. */
#include "plugin.h"

MILL_PLUGIN_NOTE(1);

static mill_status none(void* self, uint32_t* out_count, mill_kernel_error* error) {
  (void)self;
  *out_count = 0;
  snprintf(error->text, sizeof error->text, "no driver for it");
  return MILL_E_UNSUPPORTED;
}

MILL_PLUGIN_EXPORT mill_status mill_plugin_open(uint32_t host_abi, mill_plugin* out,
                                                mill_kernel_error* error) {
  (void)host_abi, (void)error;
  *out = planted_plugin("no_devices");
  out->count = none;
  return MILL_OK;
}
