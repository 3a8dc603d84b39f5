// The profiles that need no file. "datasheet" is the vendor's product brief or architecture
// whitepaper; peaks are dense, at boost clock.
#include <cstring>

#include "gpu/runtime/sim/profile.h"

namespace mill::sim {
namespace {

struct Figure {
  int64_t Profile::*field;
  int64_t value;
  const char* source;
};
using P = Profile;

constexpr int64_t kGiB = int64_t{1} << 30;
constexpr int64_t kKiB = 1024;
constexpr int64_t kTera = 1'000'000'000'000;

constexpr const char* kCudaTable = "CUDA C++ programming guide, table of compute capabilities";
constexpr const char* kCall = "estimate: order of magnitude of driver calls in published traces";
constexpr const char* kOff = "off unless a profile asks for it";

// What holds for all unless a later group says otherwise.
constexpr Figure kCommon[] = {
    {&P::memory_efficiency_permille, 900,
     "estimate: 4.3 of 4.8 TB/s were measured on an H200; others taken to be alike"},
    {&P::flops_efficiency_permille, 800,
     "estimate: 788 of 989 TFLOP/s were measured on an H200 (bf16 matmul of 8192^3); others taken "
     "to be alike"},
    {&P::threads_per_block, 1024, "limit of the kernel vocabulary and of the vendors' APIs"},
    {&P::warp, 32, "logical warp of the kernel vocabulary on every device"},
    {&P::registers_per_sm, 65536, kCudaTable},
    {&P::staging_bandwidth, 12 * kGiga,
     "estimate: one host thread copying between two buffers in memory"},
    {&P::kernel_startup_ns, 1000, "estimate: gap between dependent small kernels of one stream"},
    {&P::call_launch_ns, 2000, "research notes: cudaLaunchKernel takes 1-3 us since CUDA 12"},
    {&P::call_copy_ns, 3000, kCall},
    {&P::call_fill_ns, 2000, kCall},
    {&P::call_event_create_ns, 500, kCall},
    {&P::call_event_record_ns, 800, kCall},
    {&P::call_event_wait_ns, 600, kCall},
    {&P::call_query_ns, 500, kCall},
    {&P::call_sync_ns, 2000, kCall},
    {&P::call_stream_create_ns, 10000, kCall},
    {&P::call_alloc_ns, 100000, kCall},
    {&P::call_free_ns, 100000, kCall},
    {&P::call_pinned_alloc_ns, 500000, "estimate: page locking, without its share per byte"},
    {&P::call_pinned_free_ns, 300000, "estimate: page unlocking, without its share per byte"},
    {&P::call_map_ns, 50000, "estimate: mapping and granting access to one 2 MiB handle"},
    {&P::call_host_ns, 3000, kCall},
    {&P::host_function_ns, 20000, "estimate: hand-over to a driver thread and back"},
    {&P::graph_launch_ns, 5000,
     "estimate: between the 2.5 us of a straight-line graph and a launch per node"},
    {&P::graph_node_ns, 40, "estimate: 3.5 us of processor time for 80 kernels, research notes"},
    {&P::jitter_ppm, 0, kOff},
    {&P::jitter_seed, 0, kOff},
};

// PCIe 5.0 x16.
constexpr Figure kPcie5[] = {
    {&P::h2d_pinned_latency_ns, 1500, "estimate: device time of the smallest pinned copy"},
    {&P::h2d_pinned_bandwidth, 55'600'000'000,
     "research notes: 55.6 GB/s in a published nvbandwidth run over PCIe 5.0 x16"},
    {&P::h2d_pageable_latency_ns, 6000, "estimate: staging set-up and hand-over per copy"},
    {&P::h2d_pageable_bandwidth, 25 * kGiga,
     "estimate: roughly half of pinned, research notes; the staging copy is the limit"},
    {&P::d2h_pinned_latency_ns, 1500, "estimate: as host to device"},
    {&P::d2h_pinned_bandwidth, 55'600'000'000, "estimate: as host to device"},
    {&P::d2h_pageable_latency_ns, 7000, "estimate: staging set-up and hand-over per copy"},
    {&P::d2h_pageable_bandwidth, 25 * kGiga, "estimate: as host to device"},
    {&P::link_duplex_bandwidth, 100 * kGiga,
     "estimate: nine tenths of both directions, limited by the root complex"},
    {&P::peer_latency_ns, 2000, "estimate: over the switch of the server's devices"},
    {&P::peer_bandwidth, 400 * kGiga,
     "estimate: nine tenths of NVLink 4, 450 GB/s per direction in the datasheet"},
};

// PCIe 4.0 x16, devices reach each other through it.
constexpr Figure kPcie4[] = {
    {&P::h2d_pinned_latency_ns, 1800, "estimate: device time of the smallest pinned copy"},
    {&P::h2d_pinned_bandwidth, 26 * kGiga,
     "estimate: 31.5 GB/s of PCIe 4.0 x16 less packet headers and flow control"},
    {&P::h2d_pageable_latency_ns, 7000, "estimate: staging set-up and hand-over per copy"},
    {&P::h2d_pageable_bandwidth, 14 * kGiga,
     "estimate: roughly half of pinned, research notes; the staging copy is the limit"},
    {&P::d2h_pinned_latency_ns, 1800, "estimate: as host to device"},
    {&P::d2h_pinned_bandwidth, 26 * kGiga, "estimate: as host to device"},
    {&P::d2h_pageable_latency_ns, 8000, "estimate: staging set-up and hand-over per copy"},
    {&P::d2h_pageable_bandwidth, 14 * kGiga, "estimate: as host to device"},
    {&P::link_duplex_bandwidth, 46 * kGiga,
     "estimate: nine tenths of both directions, limited by the root complex"},
    {&P::peer_latency_ns, 4000, "estimate: through the host's root complex"},
    {&P::peer_bandwidth, 20 * kGiga, "estimate: through the host's root complex"},
};

constexpr Figure kHopper[] = {
    {&P::memory_efficiency_permille, 896, "measured H200: copy of 4.3 TB/s, read and written"},
    {&P::f64_flops, 34 * kTera, "datasheet, vector units"},
    {&P::f32_flops, 67 * kTera, "datasheet"},
    {&P::tf32_flops, 494'700'000'000'000, "datasheet, dense: half of the sparse figure"},
    {&P::f16_flops, 989'400'000'000'000, "datasheet, dense: half of the sparse figure"},
    {&P::flops_efficiency_permille, 797,
     "measured H200: 788 TFLOP/s, bf16 matmul of 8192^3 on random data"},
    {&P::sm_count, 132, "datasheet"},
    {&P::blocks_per_sm, 32, kCudaTable},
    {&P::threads_per_sm, 2048, kCudaTable},
    {&P::shared_bytes_per_sm, 228 * kKiB, kCudaTable},
    {&P::shared_bytes_per_block, 48 * kKiB, kCudaTable},
    {&P::shared_bytes_per_block_optin, 227 * kKiB, kCudaTable},
};
constexpr Figure kH200[] = {
    {&P::memory_bytes, 139 * kGiB, "about 139 GiB seen on an H200; datasheet 141 GB"},
    {&P::memory_bandwidth, 4'800 * kGiga, "datasheet"},
};
constexpr Figure kH100[] = {
    {&P::memory_bytes, 80 * kGiB, "datasheet, of which the driver keeps about 1 %"},
    {&P::memory_bandwidth, 3'350 * kGiga, "datasheet"},
};
constexpr Figure kA100[] = {
    {&P::memory_bytes, 80 * kGiB, "datasheet of the 80 GB model, of which the driver keeps 1 %"},
    {&P::memory_bandwidth, 2'039 * kGiga, "datasheet of the 80 GB SXM model"},
    {&P::f64_flops, 9'700 * kGiga, "datasheet, vector units"},
    {&P::f32_flops, 19'500 * kGiga, "datasheet"},
    {&P::tf32_flops, 156 * kTera, "datasheet, dense"},
    {&P::f16_flops, 312 * kTera, "datasheet, dense"},
    {&P::sm_count, 108, "datasheet"},
    {&P::blocks_per_sm, 32, kCudaTable},
    {&P::threads_per_sm, 2048, kCudaTable},
    {&P::shared_bytes_per_sm, 164 * kKiB, kCudaTable},
    {&P::shared_bytes_per_block, 48 * kKiB, kCudaTable},
    {&P::shared_bytes_per_block_optin, 163 * kKiB, kCudaTable},
    {&P::peer_latency_ns, 2000, "estimate: over the switch of the server's devices"},
    {&P::peer_bandwidth, 270 * kGiga,
     "estimate: nine tenths of NVLink 3, 300 GB/s per direction in the datasheet"},
};
constexpr Figure kRtx4090[] = {
    {&P::memory_bytes, 24 * kGiB, "datasheet; what the desktop takes is not counted"},
    {&P::memory_bandwidth, 1'008 * kGiga, "datasheet"},
    {&P::f64_flops, 1'290 * kGiga, "datasheet: 1/64 of f32"},
    {&P::f32_flops, 82'600 * kGiga, "datasheet"},
    {&P::tf32_flops, 82'600 * kGiga, "datasheet, dense"},
    {&P::f16_flops, 165'200 * kGiga, "datasheet, dense, f32 accumulation"},
    {&P::sm_count, 128, "datasheet"},
    {&P::blocks_per_sm, 24, kCudaTable},
    {&P::threads_per_sm, 1536, kCudaTable},
    {&P::shared_bytes_per_sm, 100 * kKiB, kCudaTable},
    {&P::shared_bytes_per_block, 48 * kKiB, kCudaTable},
    {&P::shared_bytes_per_block_optin, 99 * kKiB, kCudaTable},
};
constexpr Figure kRtx3090[] = {
    {&P::memory_bytes, 24 * kGiB, "datasheet; what the desktop takes is not counted"},
    {&P::memory_bandwidth, 936 * kGiga, "datasheet"},
    {&P::f64_flops, 556 * kGiga, "datasheet: 1/64 of f32"},
    {&P::f32_flops, 35'600 * kGiga, "datasheet"},
    {&P::tf32_flops, 35'600 * kGiga, "datasheet, dense"},
    {&P::f16_flops, 71'200 * kGiga, "datasheet, dense, f32 accumulation"},
    {&P::sm_count, 82, "datasheet"},
    {&P::blocks_per_sm, 16, kCudaTable},
    {&P::threads_per_sm, 1536, kCudaTable},
    {&P::shared_bytes_per_sm, 100 * kKiB, kCudaTable},
    {&P::shared_bytes_per_block, 48 * kKiB, kCudaTable},
    {&P::shared_bytes_per_block_optin, 99 * kKiB, kCudaTable},
};
constexpr Figure kRx7900xtx[] = {
    {&P::memory_bytes, 24 * kGiB, "datasheet; what the desktop takes is not counted"},
    {&P::memory_bandwidth, 960 * kGiga, "datasheet"},
    {&P::f64_flops, 1'920 * kGiga, "datasheet: 1/32 of f32"},
    {&P::f32_flops, 61'400 * kGiga, "datasheet, two operations issued at once"},
    {&P::tf32_flops, 61'400 * kGiga, "estimate: has no such format, f32 takes its place"},
    {&P::f16_flops, 122'800 * kGiga, "datasheet, matrix instructions"},
    {&P::sm_count, 96, "datasheet: compute units"},
    {&P::blocks_per_sm, 16, "estimate: half of what two units of a work-group processor hold"},
    {&P::threads_per_sm, 1024, "RDNA 3 ISA guide: 2 SIMDs of 16 waves of 32 lanes"},
    {&P::shared_bytes_per_sm, 64 * kKiB, "RDNA 3 ISA guide: 128 KiB for two compute units"},
    {&P::shared_bytes_per_block, 64 * kKiB, "RDNA 3 ISA guide"},
    {&P::shared_bytes_per_block_optin, 64 * kKiB, "RDNA 3 ISA guide: no opt-in"},
    {&P::registers_per_sm, 98304, "RDNA 3 ISA guide: 2 SIMDs of 1,536 registers of 32 lanes"},
    {&P::kernel_startup_ns, 2000, "estimate: twice that of a CUDA device"},
    {&P::call_launch_ns, 4000, "estimate: twice that of a CUDA device"},
};
constexpr Figure kArcA770[] = {
    {&P::memory_bytes, 16 * kGiB, "datasheet; what the desktop takes is not counted"},
    {&P::memory_bandwidth, 560 * kGiga, "datasheet"},
    {&P::f64_flops, 500 * kGiga, "estimate: no f64 in hardware, emulation at about 1/32 of f32"},
    {&P::f32_flops, 17'200 * kGiga, "datasheet: 4,096 lanes at 2.1 GHz, two operations each"},
    {&P::tf32_flops, 17'200 * kGiga, "estimate: has no such format, f32 takes its place"},
    {&P::f16_flops, 131 * kTera, "estimate: half of the datasheet's 262 int8 TOP/s"},
    {&P::sm_count, 32, "datasheet: Xe cores"},
    {&P::blocks_per_sm, 32, "estimate: as other vendors' multiprocessors"},
    {&P::threads_per_sm, 2048, "estimate: 16 vector engines of 8 threads of 16 lanes"},
    {&P::shared_bytes_per_sm, 128 * kKiB, "estimate: share of the 192 KiB of L1 that can be local"},
    {&P::shared_bytes_per_block, 64 * kKiB, "limit that the vendor's OpenCL driver reports"},
    {&P::shared_bytes_per_block_optin, 64 * kKiB, "limit of the vendor's driver: no opt-in"},
    {&P::registers_per_sm, 131072, "estimate: 16 engines of 8 threads of 128 registers of 8 lanes"},
    {&P::kernel_startup_ns, 3000, "estimate: three times that of a CUDA device"},
    {&P::call_launch_ns, 6000, "estimate: three times that of a CUDA device"},
};

// For closed forms: no cost but what is moved and computed, at one byte and one operation per
// picosecond on the device and one byte per nanosecond on the link.
constexpr const char* kIdeal = "defined: for closed forms";
constexpr Figure kIdealRates[] = {
    {&P::memory_bytes, 16 * kGiB, kIdeal},
    {&P::memory_bandwidth, kTera, kIdeal},
    {&P::memory_efficiency_permille, 1000, kIdeal},
    {&P::f64_flops, kTera, kIdeal},
    {&P::f32_flops, kTera, kIdeal},
    {&P::tf32_flops, kTera, kIdeal},
    {&P::f16_flops, kTera, kIdeal},
    {&P::flops_efficiency_permille, 1000, kIdeal},
    {&P::sm_count, 64, kIdeal},
    {&P::blocks_per_sm, 16, kIdeal},
    {&P::threads_per_sm, 2048, kIdeal},
    {&P::shared_bytes_per_sm, 128 * kKiB, kIdeal},
    {&P::shared_bytes_per_block, 48 * kKiB, kIdeal},
    {&P::shared_bytes_per_block_optin, 96 * kKiB, kIdeal},
    {&P::registers_per_sm, 65536, kIdeal},
    {&P::h2d_pinned_bandwidth, kGiga, kIdeal},
    {&P::h2d_pageable_bandwidth, kGiga / 2, kIdeal},
    {&P::d2h_pinned_bandwidth, kGiga, kIdeal},
    {&P::d2h_pageable_bandwidth, kGiga / 2, kIdeal},
    {&P::staging_bandwidth, kGiga, kIdeal},
    {&P::link_duplex_bandwidth, 2 * kGiga, kIdeal},
    {&P::peer_bandwidth, kGiga, kIdeal},
};

struct Builtin {
  const char* name;
  const char* description;
  const char* architecture;
  std::span<const Figure> link;
  std::span<const Figure> generation;
  std::span<const Figure> device;
};

constexpr Builtin kBuiltins[] = {
    {"h200-sxm", "model of an NVIDIA H200 SXM, PCIe 5.0 x16", "sm_90", kPcie5, kHopper, kH200},
    {"h100-sxm", "model of an NVIDIA H100 SXM, PCIe 5.0 x16", "sm_90", kPcie5, kHopper, kH100},
    {"a100", "model of an NVIDIA A100 SXM 80 GB, PCIe 4.0 x16", "sm_80", kPcie4, {}, kA100},
    {"rtx4090", "model of an NVIDIA GeForce RTX 4090", "sm_89", kPcie4, {}, kRtx4090},
    {"rtx3090", "model of an NVIDIA GeForce RTX 3090", "sm_86", kPcie4, {}, kRtx3090},
    {"rx7900xtx", "model of an AMD Radeon RX 7900 XTX", "gfx1100", kPcie4, {}, kRx7900xtx},
    {"arc-a770", "model of an Intel Arc A770 16 GB", "xe-hpg", kPcie4, {}, kArcA770},
    {"ideal", "no costs and round rates, a model of no device", "ideal", {}, {}, kIdealRates},
};
constexpr const char* kNames[] = {"h200-sxm", "h100-sxm",  "a100",     "rtx4090",
                                  "rtx3090",  "rx7900xtx", "arc-a770", "ideal"};

void apply(std::span<const Figure> figures, Profile* out) {
  const auto fields = profile_fields();
  for (const Figure& figure : figures)
    for (size_t i = 0; i < fields.size(); ++i)
      if (fields[i].value == figure.field) {
        out->*figure.field = figure.value;
        out->sources[i] = figure.source;
      }
}

}  // namespace

std::span<const char* const> profile_names() {
  return kNames;
}

bool builtin_profile(std::string_view name, Profile* out) {
  for (const Builtin& it : kBuiltins) {
    if (name != it.name) continue;
    Profile made;
    made.name = it.name;
    made.description = it.description;
    made.architecture = it.architecture;
    apply(kCommon, &made);
    if (it.link.empty()) {
      // Every time is zero unless a group says otherwise.
      const auto fields = profile_fields();
      for (size_t i = 0; i < fields.size(); ++i)
        if (std::strcmp(fields[i].unit, "ns") == 0) {
          made.*fields[i].value = 0;
          made.sources[i] = kIdeal;
        }
    }
    apply(it.link, &made);
    apply(it.generation, &made);
    apply(it.device, &made);
    *out = std::move(made);
    return true;
  }
  return false;
}

}  // namespace mill::sim
