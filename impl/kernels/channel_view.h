// What normalisation over channels sees of its operands on every device: for each channel a walk
// over the positions that belong to it.
#pragma once

#include <cstdint>

#include "millrace/plugin.h"

namespace mill::kernels {

inline constexpr int kChannelOperands = 3;

// Up to three operands [batch, channels, ...] of the same dims. The positions of a channel are
// numbered along the walk, whose axis 0 is the fastest.
struct ChannelView {
  int64_t channels;
  int64_t positions;
  int64_t channel[kChannelOperands];  // strides
  int32_t rank;                       // at least 1
  int64_t size[MILL_MAX_RANK];
  int64_t stride[MILL_MAX_RANK][kChannelOperands];
  bool last;   // the channels of a position lie side by side in every operand
  bool dense;  // the positions along axis 0 do
};

// Static: a copy compiled for one SIMD target must not serve another.

static inline void channel_view_finish(ChannelView* v, int operands) {
  v->positions = 1;
  for (int32_t i = 0; i < v->rank; ++i) v->positions *= v->size[i];
  v->dense = true;
  v->last = v->channels > 1;
  for (int k = 0; k < operands; ++k) {
    v->dense = v->dense && (v->stride[0][k] == 1 || v->size[0] == 1);
    v->last = v->last && v->channel[k] == 1;
  }
  // Where both hold, one of the two has a single element in each run.
  if (v->last) v->dense = false;
}

// Of the first `operands` of t; they have the dims of the first.
static inline ChannelView channel_view(const mill_kernel_tensor* const (&t)[kChannelOperands],
                                       int operands) {
  ChannelView v{};
  const mill_kernel_tensor& shape = *t[0];
  v.channels = shape.dims[1];
  for (int k = 0; k < operands; ++k) v.channel[k] = t[k]->strides[1];
  // Axes by the sum of their strides, fastest first; equal ones keep the last axis first.
  int32_t order[MILL_MAX_RANK];
  int64_t key[MILL_MAX_RANK];
  int32_t n = 0;
  for (int32_t i = shape.rank; i-- > 0;) {
    if (i == 1 || shape.dims[i] == 1) continue;
    key[i] = 0;
    for (int k = 0; k < operands; ++k) key[i] += t[k]->strides[i];
    int32_t at = n++;
    for (; at > 0 && key[order[at - 1]] > key[i]; --at) order[at] = order[at - 1];
    order[at] = i;
  }
  for (int32_t j = 0; j < n; ++j) {
    const int32_t axis = order[j];
    bool joins = v.rank > 0;
    for (int k = 0; k < operands && joins; ++k)
      joins = t[k]->strides[axis] == v.stride[v.rank - 1][k] * v.size[v.rank - 1];
    if (joins) {
      v.size[v.rank - 1] *= shape.dims[axis];
      continue;
    }
    v.size[v.rank] = shape.dims[axis];
    for (int k = 0; k < operands; ++k) v.stride[v.rank][k] = t[k]->strides[axis];
    ++v.rank;
  }
  if (v.rank == 0) {
    v.rank = 1;
    v.size[0] = 1;
  }
  channel_view_finish(&v, operands);
  return v;
}

// Row-major rows of n elements as channels with n positions each.
static inline ChannelView row_view(int64_t rows, int64_t n) {
  ChannelView v{};
  v.channels = rows;
  v.rank = 1;
  v.size[0] = n;
  for (int k = 0; k < kChannelOperands; ++k) {
    v.channel[k] = n;
    v.stride[0][k] = 1;
  }
  v.positions = n;
  v.dense = true;
  return v;
}

// ---- plans --------------------------------------------------------------------------------------

// Both norms: statistics over a view of x, and cells that have one statistic and one weight each.
struct ChannelPlan {
  ChannelView whole;    // a statistic each, as whole runs of x and g
  ChannelView cells;    // cell c has statistic c / per_stat and parameter c % params
  ChannelView applied;  // the cells with the result as well
  int64_t per_stat;
  int64_t params;
};

// Batch norm: every channel is a statistic and a cell. Where the result lies does not change what
// is summed in which order; g may be null.
static inline ChannelPlan batch_norm_plan(const mill_kernel_tensor* out,
                                          const mill_kernel_tensor* x,
                                          const mill_kernel_tensor* g) {
  const mill_kernel_tensor* const given[kChannelOperands] = {x, x, g == nullptr ? x : g};
  const mill_kernel_tensor* const all[kChannelOperands] = {out, given[1], given[2]};
  const ChannelView v = channel_view(given, kChannelOperands);
  return {v, v, channel_view(all, kChannelOperands), 1, v.channels > 0 ? v.channels : 1};
}

// Group norm of row-major operands: a group of a sample is a row, and so is a channel of one.
static inline ChannelPlan group_norm_plan(const mill_kernel_tensor* x, int64_t groups) {
  const int64_t inside = x->dims[1] / groups;
  int64_t space = 1;
  for (int32_t i = 2; i < x->rank; ++i) space *= x->dims[i];
  const ChannelView cells = row_view(x->dims[0] * x->dims[1], space);
  return {row_view(x->dims[0] * groups, inside * space), cells, cells, inside > 0 ? inside : 1,
          x->dims[1] > 0 ? x->dims[1] : 1};
}

}  // namespace mill::kernels
