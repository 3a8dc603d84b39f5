// What an accelerator and its link are like, in figures: everything that the simulated device's
// times and limits are made of. A profile is a model of a device, not a measurement of one; every
// figure says where it comes from.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace mill::sim {

inline constexpr size_t kProfileFields = 50;
inline constexpr int64_t kGiga = 1'000'000'000;

// Sizes in bytes, rates per second, times in nanoseconds.
struct Profile {
  std::string name;
  std::string description;
  std::string architecture;  // "sm_90", "gfx1100"

  int64_t memory_bytes = 0;
  int64_t memory_bandwidth = 0;            // peak
  int64_t memory_efficiency_permille = 0;  // of the peak, that kernels reach
  int64_t f64_flops = 0;                   // peaks
  int64_t f32_flops = 0;
  int64_t tf32_flops = 0;  // matrix units, dense
  int64_t f16_flops = 0;   // and bf16: matrix units, dense, f32 accumulation
  int64_t flops_efficiency_permille = 0;

  int64_t sm_count = 0;
  int64_t blocks_per_sm = 0;
  int64_t threads_per_sm = 0;
  int64_t threads_per_block = 0;
  int64_t shared_bytes_per_sm = 0;
  int64_t shared_bytes_per_block = 0;
  int64_t shared_bytes_per_block_optin = 0;
  int64_t registers_per_sm = 0;
  int64_t warp = 0;

  // A copy of b bytes takes latency + b / bandwidth.
  int64_t h2d_pinned_latency_ns = 0;
  int64_t h2d_pinned_bandwidth = 0;
  int64_t h2d_pageable_latency_ns = 0;
  int64_t h2d_pageable_bandwidth = 0;
  int64_t d2h_pinned_latency_ns = 0;
  int64_t d2h_pinned_bandwidth = 0;
  int64_t d2h_pageable_latency_ns = 0;
  int64_t d2h_pageable_bandwidth = 0;
  int64_t staging_bandwidth = 0;      // host memcpy between pageable memory and staging buffers
  int64_t link_duplex_bandwidth = 0;  // both directions together
  int64_t peer_latency_ns = 0;        // between two devices of this kind
  int64_t peer_bandwidth = 0;

  int64_t kernel_startup_ns = 0;  // on the device, per kernel

  // Of the host, per call.
  int64_t call_launch_ns = 0;
  int64_t call_copy_ns = 0;
  int64_t call_fill_ns = 0;
  int64_t call_event_create_ns = 0;
  int64_t call_event_record_ns = 0;
  int64_t call_event_wait_ns = 0;  // a stream's wait for an event
  int64_t call_query_ns = 0;
  int64_t call_sync_ns = 0;  // entering and leaving a wait that blocks, without the wait
  int64_t call_stream_create_ns = 0;
  int64_t call_alloc_ns = 0;
  int64_t call_free_ns = 0;
  int64_t call_pinned_alloc_ns = 0;
  int64_t call_pinned_free_ns = 0;
  int64_t call_map_ns = 0;
  int64_t call_host_ns = 0;      // enqueueing a host function
  int64_t host_function_ns = 0;  // what a host function takes in its stream
  int64_t graph_launch_ns = 0;   // launching a captured graph
  int64_t graph_node_ns = 0;     // and on top per node

  int64_t jitter_ppm = 0;  // durations vary by up to so many millionths; 0: not at all
  int64_t jitter_seed = 0;

  std::array<std::string, kProfileFields> sources;  // in the order of profile_fields()
};

struct ProfileField {
  const char* key;
  int64_t Profile::*value;
  int64_t low;
  int64_t high;
  const char* unit;
};

// Every figure of a profile, in the order of the struct.
std::span<const ProfileField, kProfileFields> profile_fields();

// "" for a key that no profile has.
std::string_view profile_source(const Profile& profile, std::string_view key);

// The names of the built-in profiles; the first is the usual one.
std::span<const char* const> profile_names();

// spec: a built-in profile's name, or the path of a file that ends in ".json". False with one
// sentence in why[n] when there is none or it is not valid; *out is then as it was. Throws
// std::bad_alloc only.
bool find_profile(const char* spec, Profile* out, char* why, size_t n);

// JSON text, `origin` names it in messages and sources: an object with "name", with "base" (a
// built-in profile that the other figures come from; without it every figure must be given),
// figures by the keys of profile_fields() as whole numbers, and optionally "description",
// "architecture" and "sources" (an object: key to text). Anything else is refused.
bool parse_profile(std::string_view json, const char* origin, Profile* out, char* why, size_t n);

// Whether every figure is inside its limits and goes with the others.
bool check_profile(const Profile& profile, char* why, size_t n);

// False for a name that no built-in profile has.
bool builtin_profile(std::string_view name, Profile* out);

}  // namespace mill::sim
