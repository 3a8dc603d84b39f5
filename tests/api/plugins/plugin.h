/* What the planted plugins share: the plain parts of a plugin, for each to spoil one of them. */
#ifndef MILL_TESTS_API_PLUGINS_PLUGIN_H
#define MILL_TESTS_API_PLUGINS_PLUGIN_H

#include <millrace/plugin.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mill_status planted_count(void* self, uint32_t* out_count, mill_kernel_error* error) {
  (void)self, (void)error;
  *out_count = 1;
  return MILL_OK;
}

static mill_status planted_describe(void* self, uint32_t index, char* out, uint64_t capacity,
                                    mill_kernel_error* error) {
  (void)self, (void)index, (void)error;
  snprintf(out, capacity, "planted");
  return MILL_OK;
}

static mill_status planted_open(void* self, const char* spec, const mill_host_services* host,
                                const mill_device_table** out, mill_kernel_error* error) {
  (void)self, (void)spec, (void)host;
  *out = NULL;
  snprintf(error->text, sizeof error->text, "this one opens no device");
  return MILL_E_UNSUPPORTED;
}

static inline mill_plugin planted_plugin(const char* name) {
  mill_plugin plugin;
  memset(&plugin, 0, sizeof plugin);
  plugin.size = sizeof plugin;
  plugin.abi = MILL_PLUGIN_ABI;
  plugin.name = name;
  plugin.version = "0.0.1";
  plugin.description = "planted by the tests";
  plugin.count = planted_count;
  plugin.describe = planted_describe;
  plugin.open = planted_open;
  return plugin;
}

#endif
