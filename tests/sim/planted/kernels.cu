// Kernels that are wrong on purpose, one a file, and their launches.
#include "kernels.h"

#include "gpu/families/common.h"

namespace MILL_FLAVOUR {
namespace {

// What a launch passes in a struct: pointers in it are not translated.
struct Operands {
  dptr<const float> in;
  dptr<const float> absent;
};

struct plus {
  MILL_DEVICE float operator()(float a, float b) const { return a + b; }
};

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#include "barrier_in_branch.inl"
#include "block_race.inl"
#include "clean.inl"
#include "cleared_late.inl"
#include "divergent_shuffle.inl"
#include "dynamic_overflow.inl"
#include "early_return.inl"
#include "inner_index.inl"
#include "late_block.inl"
#include "misaligned.inl"
#include "missing_barrier.inl"
#include "missing_warp_sync.inl"
#include "mixed_atomic.inl"
#include "null_operand.inl"
#include "off_by_one.inl"
#include "read_by_blocks.inl"
#include "read_by_lanes.inl"
#include "read_by_warps.inl"
#include "shared_overflow.inl"
#include "short_buffer.inl"
#include "stencil.inl"
#include "two_writers.inl"
#include "under_run.inl"
#include "untranslated.inl"
#include "unwritten_global.inl"
#include "unwritten_shared.inl"
#include "wide_tail.inl"
#pragma GCC diagnostic pop

constexpr int kBlock = 64;

template <auto K, int Grid, int Dynamic = 0>
mill_status start(const mill_kernel_args* args) {
  const mill_kernel_tensor& in = *args->in[0];
  const Operands operands{{data_of<const float>(&in)}, {nullptr}};
  return launch<K>(args, {Grid, kBlock, Dynamic}, cost{bytes_of(&in)}, operands,
                   static_cast<int>(in.numel), data_of<const float>(&in),
                   data_of<float>(args->out[0]), static_cast<float*>(args->workspace),
                   data_of<int32_t>(args->out[1]));
}

mill_status start_two_stages(const mill_kernel_args* args) {
  const mill_status status = start<clean_parts, 3>(args);
  return status != MILL_OK ? status : start<clean_total, 3>(args);
}

constexpr int kDynamic = 64 * 4;

constexpr mill::sim::test::PlantedKernel kKernels[] = {
    {"barrier_in_branch", start<barrier_in_branch, 1>},
    {"block_race", start<block_race, 6>},
    {"cleared_late", start<cleared_late, 1>},
    {"divergent_shuffle", start<divergent_shuffle, 1>},
    {"dynamic_overflow", start<dynamic_overflow, 1, kDynamic>},
    {"early_return", start<early_return, 1>},
    {"inner_index", start<inner_index, 2>},
    {"late_block", start<late_block, 6>},
    {"misaligned", start<misaligned, 1>},
    {"missing_barrier", start<missing_barrier, 1>},
    {"missing_warp_sync", start<missing_warp_sync, 1>},
    {"mixed_atomic", start<mixed_atomic, 1>},
    {"null_operand", start<null_operand, 1>},
    {"off_by_one", start<off_by_one, 1>},
    {"read_by_blocks", start<read_by_blocks, 6>},
    {"read_by_lanes", start<read_by_lanes, 1>},
    {"read_by_warps", start<read_by_warps, 1>},
    {"shared_overflow", start<shared_overflow, 1>},
    {"short_buffer", start<short_buffer, 1>},
    {"stencil", start<stencil, 1>},
    {"two_writers", start<two_writers, 1>},
    {"under_run", start<under_run, 1>},
    {"untranslated", start<untranslated, 1>},
    {"unwritten_global", start<unwritten_global, 1>},
    {"unwritten_shared", start<unwritten_shared, 1>},
    {"wide_tail", start<wide_tail, 1>},
    {"clean_atomics", start<clean_atomics, 3>},
    {"clean_barriers", start<clean_barriers, 3>},
    {"clean_neighbours", start<clean_neighbours, 2>},
    {"clean_padding", start<clean_padding, 2>},
    {"clean_two_stages", start_two_stages},
    {"clean_vectors", start<clean_vectors, 3, kDynamic>},
    {"clean_warp_exchange", start<clean_warp_exchange, 3>},
};

}  // namespace

mill::sim::test::PlantedList planted_kernels() {
  return {kKernels, sizeof kKernels / sizeof kKernels[0]};
}

}  // namespace MILL_FLAVOUR
