// The simulated device behind the plugin's tables.
#pragma once

#include "millrace/plugin.h"

namespace mill::sim {

// Sets every table of a device whose self is a mill::sim::Device.
void fill_tables(mill_device_table* table);

}  // namespace mill::sim
