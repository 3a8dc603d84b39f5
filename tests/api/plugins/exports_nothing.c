/* A plugin by its note, and nothing else. */
#include "plugin.h"

MILL_PLUGIN_NOTE(1);

MILL_PLUGIN_EXPORT mill_plugin exports_something_else(void);
mill_plugin exports_something_else(void) {
  return planted_plugin("nothing");
}
