// A plugin's tables as this library knows them. Either side may be the older one: what the plugin's
// tables are too short for is NULL or 0 here, so that nobody else has to look at a table's size.
#pragma once

#include "device/device.h"

namespace mill {

// Checks that the tables have what every device needs and takes the device over. One that lacks
// something is destroyed, as far as its table says how. Throws MILL_E_UNSUPPORTED.
TableOwner adopt_tables(const char* plugin, const mill_device_table* given);

}  // namespace mill
