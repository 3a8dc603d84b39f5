#include "gpu/runtime/sim/profile.h"

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

namespace mill::sim {
namespace {

constexpr int64_t kKilo = 1000;
constexpr int64_t kMega = 1'000'000;
constexpr int64_t kSecondNs = kGiga;
constexpr int64_t kRateLow = kMega;
constexpr int64_t kRateHigh = int64_t{1'000'000} * kGiga;       // 1 PB/s
constexpr int64_t kFlopsHigh = int64_t{1'000'000'000} * kGiga;  // 1 EFLOP/s
constexpr size_t kFileLimit = size_t{64} << 10;

#define MILL_FIELD(name, low, high, unit) \
  { #name, &Profile::name, low, high, unit }

// The limits are those of plausibility: nothing that could be built for a decade lies outside.
constexpr ProfileField kFields[] = {
    MILL_FIELD(memory_bytes, int64_t{1} << 20, int64_t{1} << 45, "bytes"),
    MILL_FIELD(memory_bandwidth, kRateLow, kRateHigh, "bytes/s"),
    MILL_FIELD(memory_efficiency_permille, 1, 1000, "permille"),
    MILL_FIELD(f64_flops, kMega, kFlopsHigh, "flop/s"),
    MILL_FIELD(f32_flops, kMega, kFlopsHigh, "flop/s"),
    MILL_FIELD(tf32_flops, kMega, kFlopsHigh, "flop/s"),
    MILL_FIELD(f16_flops, kMega, kFlopsHigh, "flop/s"),
    MILL_FIELD(flops_efficiency_permille, 1, 1000, "permille"),
    MILL_FIELD(sm_count, 1, 4096, "multiprocessors"),
    MILL_FIELD(blocks_per_sm, 1, 256, "blocks"),
    MILL_FIELD(threads_per_sm, 32, 65536, "threads"),
    MILL_FIELD(threads_per_block, 32, 1024, "threads"),
    MILL_FIELD(shared_bytes_per_sm, 1024, int64_t{16} << 20, "bytes"),
    MILL_FIELD(shared_bytes_per_block, 1024, int64_t{16} << 20, "bytes"),
    MILL_FIELD(shared_bytes_per_block_optin, 1024, int64_t{16} << 20, "bytes"),
    MILL_FIELD(registers_per_sm, 1024, int64_t{16} << 20, "registers"),
    MILL_FIELD(warp, 32, 32, "lanes"),
    MILL_FIELD(h2d_pinned_latency_ns, 0, kSecondNs, "ns"),
    MILL_FIELD(h2d_pinned_bandwidth, kRateLow, kRateHigh, "bytes/s"),
    MILL_FIELD(h2d_pageable_latency_ns, 0, kSecondNs, "ns"),
    MILL_FIELD(h2d_pageable_bandwidth, kRateLow, kRateHigh, "bytes/s"),
    MILL_FIELD(d2h_pinned_latency_ns, 0, kSecondNs, "ns"),
    MILL_FIELD(d2h_pinned_bandwidth, kRateLow, kRateHigh, "bytes/s"),
    MILL_FIELD(d2h_pageable_latency_ns, 0, kSecondNs, "ns"),
    MILL_FIELD(d2h_pageable_bandwidth, kRateLow, kRateHigh, "bytes/s"),
    MILL_FIELD(staging_bandwidth, kRateLow, kRateHigh, "bytes/s"),
    MILL_FIELD(link_duplex_bandwidth, kRateLow, kRateHigh, "bytes/s"),
    MILL_FIELD(peer_latency_ns, 0, kSecondNs, "ns"),
    MILL_FIELD(peer_bandwidth, kRateLow, kRateHigh, "bytes/s"),
    MILL_FIELD(kernel_startup_ns, 0, kSecondNs, "ns"),
    MILL_FIELD(call_launch_ns, 0, kSecondNs, "ns"),
    MILL_FIELD(call_copy_ns, 0, kSecondNs, "ns"),
    MILL_FIELD(call_fill_ns, 0, kSecondNs, "ns"),
    MILL_FIELD(call_event_create_ns, 0, kSecondNs, "ns"),
    MILL_FIELD(call_event_record_ns, 0, kSecondNs, "ns"),
    MILL_FIELD(call_event_wait_ns, 0, kSecondNs, "ns"),
    MILL_FIELD(call_query_ns, 0, kSecondNs, "ns"),
    MILL_FIELD(call_sync_ns, 0, kSecondNs, "ns"),
    MILL_FIELD(call_stream_create_ns, 0, kSecondNs, "ns"),
    MILL_FIELD(call_alloc_ns, 0, kSecondNs, "ns"),
    MILL_FIELD(call_free_ns, 0, kSecondNs, "ns"),
    MILL_FIELD(call_pinned_alloc_ns, 0, kSecondNs, "ns"),
    MILL_FIELD(call_pinned_free_ns, 0, kSecondNs, "ns"),
    MILL_FIELD(call_map_ns, 0, kSecondNs, "ns"),
    MILL_FIELD(call_host_ns, 0, kSecondNs, "ns"),
    MILL_FIELD(host_function_ns, 0, kSecondNs, "ns"),
    MILL_FIELD(graph_launch_ns, 0, kSecondNs, "ns"),
    MILL_FIELD(graph_node_ns, 0, kSecondNs, "ns"),
    MILL_FIELD(jitter_ppm, 0, 500 * kKilo, "millionths"),
    MILL_FIELD(jitter_seed, 0, INT64_MAX, ""),
};
#undef MILL_FIELD

__attribute__((format(printf, 3, 4))) bool refuse(char* why, size_t n, const char* format, ...) {
  va_list values;
  va_start(values, format);
  if (n > 0) std::vsnprintf(why, n, format, values);
  va_end(values);
  return false;
}

// One figure that must not exceed another.
struct Order {
  const char* small;
  int64_t Profile::*small_value;
  const char* large;
  int64_t Profile::*large_value;
};
#define MILL_ORDER(a, b) \
  { #a, &Profile::a, #b, &Profile::b }
constexpr Order kOrders[] = {
    MILL_ORDER(shared_bytes_per_block, shared_bytes_per_block_optin),
    MILL_ORDER(shared_bytes_per_block_optin, shared_bytes_per_sm),
    MILL_ORDER(threads_per_block, threads_per_sm),
    MILL_ORDER(h2d_pinned_bandwidth, link_duplex_bandwidth),
    MILL_ORDER(d2h_pinned_bandwidth, link_duplex_bandwidth),
    MILL_ORDER(h2d_pageable_bandwidth, h2d_pinned_bandwidth),
    MILL_ORDER(d2h_pageable_bandwidth, d2h_pinned_bandwidth),
};
#undef MILL_ORDER

bool is_name(std::string_view name) {
  return !name.empty() && name.size() < 64 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  });
}

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

}  // namespace

std::span<const ProfileField, kProfileFields> profile_fields() {
  return kFields;
}

std::string_view profile_source(const Profile& profile, std::string_view key) {
  for (size_t i = 0; i < kProfileFields; ++i)
    if (key == kFields[i].key) return profile.sources[i];
  return {};
}

bool check_profile(const Profile& profile, char* why, size_t n) {
  if (!is_name(profile.name))
    return refuse(why, n,
                  "profile: name \"%.80s\" is not 1 to 63 letters, digits, '-', '_' and '.'",
                  profile.name.c_str());
  for (const ProfileField& field : kFields) {
    const int64_t value = profile.*field.value;
    if (value < field.low || value > field.high)
      return refuse(why, n, "profile %s: %s is %lld, the limits are %lld to %lld %s",
                    profile.name.c_str(), field.key, static_cast<long long>(value),
                    static_cast<long long>(field.low), static_cast<long long>(field.high),
                    field.unit);
  }
  for (const Order& order : kOrders)
    if (profile.*order.small_value > profile.*order.large_value)
      return refuse(why, n, "profile %s: %s is %lld, the limit is %s, %lld", profile.name.c_str(),
                    order.small, static_cast<long long>(profile.*order.small_value), order.large,
                    static_cast<long long>(profile.*order.large_value));
  if (profile.threads_per_block % profile.warp != 0)
    return refuse(why, n, "profile %s: threads_per_block is %lld, no multiple of warp, %lld",
                  profile.name.c_str(), static_cast<long long>(profile.threads_per_block),
                  static_cast<long long>(profile.warp));
  return true;
}

bool find_profile(const char* spec, Profile* out, char* why, size_t n) {
  const std::string_view text = spec == nullptr ? "" : spec;
  if (!text.ends_with(".json")) {
    if (builtin_profile(text, out)) return true;
    std::string names;
    for (const char* name : profile_names()) {
      if (!names.empty()) names += ", ";
      names += name;
    }
    return refuse(why, n, "profile \"%.80s\": there are %s, and files that end in .json",
                  spec == nullptr ? "" : spec, names.c_str());
  }
  const std::unique_ptr<std::FILE, CloseFile> file(std::fopen(spec, "rbe"));
  if (file == nullptr) return refuse(why, n, "profile %.200s: %s", spec, std::strerror(errno));
  std::string json(kFileLimit + 1, '\0');
  const size_t bytes = std::fread(json.data(), 1, json.size(), file.get());
  if (std::ferror(file.get()) != 0)
    return refuse(why, n, "profile %.200s: %s", spec, std::strerror(errno));
  if (bytes > kFileLimit)
    return refuse(why, n, "profile %.200s: more than %zu bytes, which is the limit", spec,
                  kFileLimit);
  return parse_profile({json.data(), bytes}, spec, out, why, n);
}

}  // namespace mill::sim
