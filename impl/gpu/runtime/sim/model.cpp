#include "gpu/runtime/sim/model.h"

#include <algorithm>

namespace mill::sim {
namespace {

__extension__ typedef unsigned __int128 uint128;
constexpr uint64_t kSecond = 1'000'000'000'000;

// Picoseconds for `amount` * `times` at `rate` a second, of which `permille` are reached.
Time time_for(uint64_t amount, uint64_t times, int64_t rate, int64_t permille) {
  const uint128 divisor = static_cast<uint128>(static_cast<uint64_t>(std::max<int64_t>(rate, 1))) *
                          static_cast<uint64_t>(std::max<int64_t>(permille, 1));
  const uint128 most = (~uint128{0} - divisor) / kSecond / 1000;
  const uint128 total = static_cast<uint128>(amount) * times;
  if (total > most) return kEndOfTime;
  const uint128 picoseconds = (total * kSecond * 1000 + (divisor - 1)) / divisor;
  return picoseconds >= static_cast<uint128>(kEndOfTime) ? kEndOfTime
                                                         : static_cast<Time>(picoseconds);
}

int64_t peak(const Profile& profile, Arithmetic arithmetic) {
  switch (arithmetic) {
    case Arithmetic::f64: return profile.f64_flops;
    case Arithmetic::f32: return profile.f32_flops;
    case Arithmetic::tf32: return profile.tf32_flops;
    case Arithmetic::f16: return profile.f16_flops;
  }
  return profile.f32_flops;
}

}  // namespace

int64_t resident_blocks(const Profile& profile, int32_t threads, int32_t shared_bytes) {
  const int64_t lanes =
      (std::max<int64_t>(threads, 1) + profile.warp - 1) / profile.warp * profile.warp;
  int64_t per_sm = std::min(profile.blocks_per_sm, profile.threads_per_sm / lanes);
  if (shared_bytes > 0) per_sm = std::min(per_sm, profile.shared_bytes_per_sm / shared_bytes);
  return per_sm * profile.sm_count;
}

Operation kernel_operation(const Profile& profile, const KernelWork& work) {
  Operation op;
  op.kind = OpKind::kernel;
  op.engine = Engine::compute;
  op.bytes = work.bytes;
  op.flops = work.flops;
  const int64_t resident =
      std::max<int64_t>(1, resident_blocks(profile, work.threads, work.shared_bytes));
  const int64_t blocks = std::clamp<int64_t>(work.blocks, 1, resident);
  // Rounded down, so that n kernels of an n-th each fit side by side.
  op.share = std::max<uint32_t>(
      1, static_cast<uint32_t>(static_cast<uint64_t>(kFullShare) * static_cast<uint64_t>(blocks) /
                               static_cast<uint64_t>(resident)));
  // flops / (F * blocks / resident); F * blocks stays far below 2^63 (limits of the profile).
  const int64_t rate = peak(profile, work.arithmetic);
  const Time compute = blocks == resident
                           ? time_for(work.flops, 1, rate, profile.flops_efficiency_permille)
                           : time_for(work.flops, static_cast<uint64_t>(resident), rate,
                                      profile.flops_efficiency_permille * blocks);
  const Time memory =
      time_for(work.bytes, 1, profile.memory_bandwidth, profile.memory_efficiency_permille);
  const Time link = time_for(work.link_bytes, 1, profile.h2d_pinned_bandwidth, 1000);
  op.latency = after(from_ns(profile.kernel_startup_ns), std::max({compute, memory, link}));
  return op;
}

Operation copy_operation(const Profile& profile, Direction direction, bool pinned, uint64_t bytes) {
  Operation op;
  op.kind = OpKind::copy;
  op.bytes = bytes;
  if (direction == Direction::host_to_device) {
    op.engine = Engine::host_to_device;
    op.latency = from_ns(pinned ? profile.h2d_pinned_latency_ns : profile.h2d_pageable_latency_ns);
    op.rate = pinned ? profile.h2d_pinned_bandwidth : profile.h2d_pageable_bandwidth;
  } else {
    op.engine = Engine::device_to_host;
    op.latency = from_ns(pinned ? profile.d2h_pinned_latency_ns : profile.d2h_pageable_latency_ns);
    op.rate = pinned ? profile.d2h_pinned_bandwidth : profile.d2h_pageable_bandwidth;
  }
  if (!pinned) op.rate = std::min(op.rate, profile.staging_bandwidth);
  return op;
}

Operation device_copy_operation(const Profile& profile, uint64_t bytes) {
  Operation op = fill_operation(profile, bytes > UINT64_MAX / 2 ? UINT64_MAX : 2 * bytes);
  op.kind = OpKind::copy;
  op.bytes = bytes;
  return op;
}

Operation fill_operation(const Profile& profile, uint64_t bytes) {
  Operation op;
  op.kind = OpKind::fill;
  op.engine = Engine::compute;
  op.bytes = bytes;
  op.latency =
      after(from_ns(profile.kernel_startup_ns),
            time_for(bytes, 1, profile.memory_bandwidth, profile.memory_efficiency_permille));
  return op;
}

Operation record_operation(EventId event) {
  Operation op;
  op.kind = OpKind::record;
  op.records = event;
  return op;
}

Operation wait_operation(std::span<const EventId> events) {
  Operation op;
  op.kind = OpKind::wait;
  op.waits = events;
  return op;
}

Operation host_operation(const Profile& profile) {
  Operation op;
  op.kind = OpKind::host_call;
  op.latency = from_ns(profile.host_function_ns);
  return op;
}

Time call_cost(const Profile& profile, Call call) {
  constexpr int64_t Profile::*kCosts[] = {
      &Profile::call_launch_ns,        &Profile::call_copy_ns,
      &Profile::call_fill_ns,          &Profile::call_event_create_ns,
      &Profile::call_event_record_ns,  &Profile::call_event_wait_ns,
      &Profile::call_query_ns,         &Profile::call_sync_ns,
      &Profile::call_stream_create_ns, &Profile::call_alloc_ns,
      &Profile::call_free_ns,          &Profile::call_pinned_alloc_ns,
      &Profile::call_pinned_free_ns,   &Profile::call_map_ns,
      &Profile::call_host_ns,          &Profile::graph_launch_ns,
  };
  static_assert(std::size(kCosts) == static_cast<size_t>(Call::count));
  return call < Call::count ? from_ns(profile.*kCosts[static_cast<size_t>(call)]) : 0;
}

ClockOptions clock_options(const Profile& profile) {
  ClockOptions options;
  options.duplex_rate = profile.link_duplex_bandwidth;
  options.jitter_ppm = static_cast<uint32_t>(profile.jitter_ppm);
  options.jitter_seed = static_cast<uint64_t>(profile.jitter_seed);
  return options;
}

}  // namespace mill::sim
