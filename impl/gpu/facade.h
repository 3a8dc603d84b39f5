// What launch code says about a kernel, and how a family hands its launch functions to a device.
// Both builds of the GPU device implement launch<>() with these types.
#pragma once

#include <cstddef>
#include <cstdint>

#include "gpu/families.gen.h"
#include "millrace/plugin.h"

namespace mill::gpu {

// A grid of blocks in one dimension. block is a multiple of 32, at most 1024.
struct shape {
  int64_t grid;
  int block;
  int dynamic = 0;  // bytes of dynamic shared memory
};

enum class unit : uint8_t { f32, f64, matrix };

// What a launch moves and computes: what clocks and shares of the roof are worked out from, since
// nothing else can supply it.
struct cost {
  uint64_t bytes;
  uint64_t flops = 0;
  gpu::unit unit = gpu::unit::f32;
};

// Where a kernel says that a value it read from a tensor is no valid index. The first to raise it
// wins; waits on the stream report it. Host memory that the device can write.
struct fault_slot {
  uint32_t state;  // 0 none, 1 being written, 2 raised
  int32_t op;
  int32_t argument;
  int32_t reserved;
  int64_t position;
  int64_t value;
  int64_t low;
  int64_t high;
};

struct KernelEntry {
  int32_t op;       // MILL_OP_...
  uint32_t dtypes;  // bit d set: runs when its lead dtype is d. Lead = first input present, else
                    // first output.
  mill_kernel kernel;
};

struct KernelList {
  const KernelEntry* entries;
  size_t count;
};

}  // namespace mill::gpu
