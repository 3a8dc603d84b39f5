// What an operation costs on a device with a given profile: the bridge from figures to times.
//
//   copy    latency + bytes / bandwidth of (direction, host memory kind); pageable host memory at
//           the slower of link and staging copy
//   kernel  start-up + the longest of flops / (F * width), bytes / B, link bytes / link bandwidth,
//           where width = min(1, blocks / resident blocks) is also the share of the compute engine
//           that it takes, so that small kernels overlap
//   fill, copy on the device   as a kernel of full width that moves the bytes
//
// F and B are the profile's peaks times its efficiencies. Every duration is rounded up to the
// picosecond once.
#pragma once

#include <cstdint>

#include "gpu/runtime/sim/clock.h"
#include "gpu/runtime/sim/profile.h"

namespace mill::sim {

enum class Direction : uint8_t { host_to_device, device_to_host };
enum class Arithmetic : uint8_t { f64, f32, tf32, f16 };

enum class Call : uint8_t {
  launch,
  copy,
  fill,
  event_create,
  event_record,
  event_wait,
  query,
  sync,
  stream_create,
  allocate,
  free,
  pinned_allocate,
  pinned_free,
  map,
  host_function,
  graph_launch,
  count
};

struct KernelWork {
  uint64_t bytes = 0;
  uint64_t flops = 0;
  Arithmetic arithmetic = Arithmetic::f32;
  int64_t blocks = 1;
  int32_t threads = 256;
  int32_t shared_bytes = 0;
  uint64_t link_bytes = 0;  // of `bytes`, those in pinned or mapped host memory
};

// Submission time, stream, events, name and correlation are left to the caller.
Operation kernel_operation(const Profile& profile, const KernelWork& work);
Operation copy_operation(const Profile& profile, Direction direction, bool pinned, uint64_t bytes);
Operation device_copy_operation(const Profile& profile, uint64_t bytes);  // reads and writes them
Operation fill_operation(const Profile& profile, uint64_t bytes);
Operation record_operation(EventId event);
Operation wait_operation(std::span<const EventId> events);
Operation host_operation(const Profile& profile);

// How many blocks of such a kernel the device holds at a time; 0: it cannot run one.
int64_t resident_blocks(const Profile& profile, int32_t threads, int32_t shared_bytes);

Time call_cost(const Profile& profile, Call call);
ClockOptions clock_options(const Profile& profile);

}  // namespace mill::sim
