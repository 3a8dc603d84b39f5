// The engine of the pointwise kernels. A functor becomes a loop over contiguous runs of one compute
// type; operands that already are such runs are used where they lie, all others (strided, narrower
// types) pass through tiles on the stack.
#pragma once

#include "cpu/convert.h"
#include "cpu/past_cache.h"
#include "millrace/plugin.h"

namespace mill::cpu::MILL_TARGET {

inline constexpr int kMaxOperands = 4;         // the output and up to three inputs
inline constexpr int64_t kCheapGrain = 32768;  // elements that are worth waking a thread for
inline constexpr int64_t kCostlyGrain = 4096;  // the same for exp and its like
inline constexpr int64_t kShortRow =
    24;  // rows below this are gathered into tiles rather than run one by one

// ---- the loop nest -----------------------------------------------------------------------------

// Axis 0 is the innermost. Operand 0 is the output. Strides count elements.
struct Loops {
  int rank = 0;
  int64_t numel = 0;
  int64_t dims[MILL_MAX_RANK];
  int64_t strides[kMaxOperands][MILL_MAX_RANK];
};

// Orders axes by the strides of the output, then of the inputs, and merges those that run through
// memory as one.
inline void build_loops(Loops* loops, const mill_kernel_tensor* const* operands, int count) {
  const mill_kernel_tensor& shape = *operands[0];
  loops->numel = shape.numel;
  int order[MILL_MAX_RANK];
  int rank = 0;
  for (int axis = shape.rank - 1; axis >= 0; --axis) {
    if (shape.dims[axis] == 1) continue;
    int at = rank++;
    for (; at > 0; --at) {
      int sign = 0;
      for (int k = 0; k < count && sign == 0; ++k) {
        const int64_t before = operands[k]->strides[order[at - 1]];
        const int64_t here = operands[k]->strides[axis];
        sign = here < before ? -1 : here > before ? 1 : 0;
      }
      if (sign >= 0) break;
      order[at] = order[at - 1];
    }
    order[at] = axis;
  }
  int merged = 0;
  for (int i = 0; i < rank; ++i) {
    const int axis = order[i];
    bool joins = merged > 0;
    for (int k = 0; k < count && joins; ++k) {
      joins = operands[k]->strides[axis] == loops->strides[k][merged - 1] * loops->dims[merged - 1];
    }
    if (joins) {
      loops->dims[merged - 1] *= shape.dims[axis];
      continue;
    }
    loops->dims[merged] = shape.dims[axis];
    for (int k = 0; k < count; ++k) loops->strides[k][merged] = operands[k]->strides[axis];
    ++merged;
  }
  if (merged == 0) {
    loops->dims[0] = 1;
    for (int k = 0; k < count; ++k) loops->strides[k][0] = 1;
    merged = 1;
  }
  loops->rank = merged;
}

// A position in the loop nest that moves along whole or partial rows.
struct Cursor {
  int64_t at[MILL_MAX_RANK];
  int64_t offset[kMaxOperands];

  void seek(const Loops& loops, int count, int64_t position) {
    for (int k = 0; k < count; ++k) offset[k] = 0;
    for (int axis = 0; axis < loops.rank; ++axis) {
      at[axis] = position % loops.dims[axis];
      position /= loops.dims[axis];
      for (int k = 0; k < count; ++k) offset[k] += at[axis] * loops.strides[k][axis];
    }
  }

  int64_t left_in_row(const Loops& loops) const { return loops.dims[0] - at[0]; }

  // n <= left_in_row
  void advance(const Loops& loops, int count, int64_t n) {
    at[0] += n;
    for (int k = 0; k < count; ++k) offset[k] += n * loops.strides[k][0];
    for (int axis = 0; at[axis] == loops.dims[axis] && axis + 1 < loops.rank; ++axis) {
      for (int k = 0; k < count; ++k) {
        offset[k] += loops.strides[k][axis + 1] - loops.dims[axis] * loops.strides[k][axis];
      }
      at[axis] = 0;
      ++at[axis + 1];
    }
  }
};

// ---- running a functor over the nest -----------------------------------------------------------

// One contiguous run of the compute type. step 0: the same element throughout.
struct Run {
  const void* in[kMaxOperands - 1];
  int64_t step[kMaxOperands - 1];
  void* out;
  int64_t n;
};
using RunFn = void (*)(const void* functor, const Run& run);

struct Pointwise {
  Loops loops;
  int inputs = 0;
  char* data[kMaxOperands];
  int64_t size[kMaxOperands];  // bytes of a stored element
  ReadFn read[kMaxOperands - 1];
  WriteFn write = nullptr;
  RunFn run = nullptr;
  const void* functor = nullptr;
};

inline bool dense(const mill_kernel_tensor& t) {
  int64_t expected = 1;
  for (int axis = t.rank - 1; axis >= 0; --axis) {
    if (t.strides[axis] != expected && t.dims[axis] != 1) return false;
    expected *= t.dims[axis];
  }
  return true;
}

inline void pointwise_rows(const Pointwise& job, int64_t begin, int64_t end) {
  const int count = job.inputs + 1;
  Cursor cursor;
  cursor.seek(job.loops, count, begin);
  Run run{};
  for (int k = 0; k < job.inputs; ++k) run.step[k] = job.loops.strides[k + 1][0];
  while (begin < end) {
    run.n = smaller(end - begin, cursor.left_in_row(job.loops));
    for (int k = 0; k < job.inputs; ++k)
      run.in[k] = job.data[k + 1] + cursor.offset[k + 1] * job.size[k + 1];
    run.out = job.data[0] + cursor.offset[0] * job.size[0];
    job.run(job.functor, run);
    cursor.advance(job.loops, count, run.n);
    begin += run.n;
  }
}

// The same, for results that are written past the caches.
inline void pointwise_pieces(const Pointwise& job, int64_t begin, int64_t end) {
  const int count = job.inputs + 1;
  alignas(64) char piece[kPieceBytes];
  const int64_t most = kPieceBytes / job.size[0];
  Cursor cursor;
  cursor.seek(job.loops, count, begin);
  Run run{};
  for (int k = 0; k < job.inputs; ++k) run.step[k] = job.loops.strides[k + 1][0];
  run.out = piece;
  while (begin < end) {
    run.n = smaller(smaller(end - begin, most), cursor.left_in_row(job.loops));
    for (int k = 0; k < job.inputs; ++k)
      run.in[k] = job.data[k + 1] + cursor.offset[k + 1] * job.size[k + 1];
    job.run(job.functor, run);
    write_past_cache(piece, job.data[0] + cursor.offset[0] * job.size[0], run.n * job.size[0]);
    cursor.advance(job.loops, count, run.n);
    begin += run.n;
  }
  finish_past_cache();
}

// Every compute type has at most kTileBytes bytes.
inline constexpr int64_t kTileBytes = 16;

inline void pointwise_tiles(const Pointwise& job, int64_t begin, int64_t end, int64_t compute_size,
                            int64_t result_size) {
  const int count = job.inputs + 1;
  alignas(64) char tiles[kMaxOperands][static_cast<size_t>(kTile * kTileBytes)];
  // Wider elements get shorter tiles, so that four tiles stay within the first-level cache.
  const int64_t most = compute_size > 8 ? kTile / 2 : kTile;
  Run run{};
  for (int k = 0; k < job.inputs; ++k) {
    run.in[k] = tiles[k + 1];
    run.step[k] = 1;
  }
  run.out = tiles[0];
  Cursor from;
  from.seek(job.loops, count, begin);
  while (begin < end) {
    run.n = smaller(end - begin, most);
    Cursor cursor = from;
    for (int64_t done = 0; done < run.n;) {
      const int64_t n = smaller(run.n - done, cursor.left_in_row(job.loops));
      for (int k = 0; k < job.inputs; ++k) {
        const int64_t width = k == 0 && job.inputs == 3 ? 1 : compute_size;  // a condition is bytes
        job.read[k](job.data[k + 1] + cursor.offset[k + 1] * job.size[k + 1],
                    job.loops.strides[k + 1][0], n, tiles[k + 1] + done * width);
      }
      cursor.advance(job.loops, count, n);
      done += n;
    }
    job.run(job.functor, run);
    for (int64_t done = 0; done < run.n;) {
      const int64_t n = smaller(run.n - done, from.left_in_row(job.loops));
      job.write(tiles[0] + done * result_size, n, job.data[0] + from.offset[0] * job.size[0],
                job.loops.strides[0][0]);
      from.advance(job.loops, count, n);
      done += n;
    }
    begin += run.n;
  }
}

struct PointwiseShare {
  const Pointwise* job;
  int64_t compute_size;
  int64_t result_size;
  bool direct;
  bool past_cache;

  static void body(void* data, int64_t begin, int64_t end) {
    const auto* share = static_cast<const PointwiseShare*>(data);
    if (share->past_cache) {
      pointwise_pieces(*share->job, begin, end);
    } else if (share->direct) {
      pointwise_rows(*share->job, begin, end);
    } else {
      pointwise_tiles(*share->job, begin, end, share->compute_size, share->result_size);
    }
  }
};

// `converted`: some operand is not stored in the type that `run` works on. compute_size,
// result_size: bytes of an element that `run` reads and writes.
inline void run_pointwise(const mill_kernel_args* args, Pointwise* job, bool converted,
                          int64_t compute_size, int64_t result_size, int64_t grain) {
  const mill_kernel_tensor* operands[kMaxOperands];
  operands[0] = args->out[0];
  for (int k = 0; k < job->inputs; ++k) operands[k + 1] = args->in[k];
  for (int k = 0; k <= job->inputs; ++k) {
    job->data[k] = static_cast<char*>(operands[k]->data);
    job->size[k] = dtype_size(operands[k]->dtype);
  }
  build_loops(&job->loops, operands, job->inputs + 1);
  bool direct = !converted && job->loops.strides[0][0] == 1;
  for (int k = 0; k < job->inputs; ++k) {
    direct = direct && (job->loops.strides[k + 1][0] == 1 || job->loops.strides[k + 1][0] == 0);
  }
  direct = direct && (job->loops.rank == 1 || job->loops.dims[0] >= kShortRow);
  const bool past_cache = direct && job->loops.numel * job->size[0] >= kPastCacheBytes &&
                          job->loops.dims[0] * job->size[0] >= kPieceBytes;
  PointwiseShare share{job, compute_size, result_size, direct, past_cache};
  if (job->loops.numel <= grain) {
    PointwiseShare::body(&share, 0, job->loops.numel);
  } else {
    args->host->parallel_for(args->host->self, job->loops.numel, grain, &PointwiseShare::body,
                             &share);
  }
}

}  // namespace mill::cpu::MILL_TARGET
