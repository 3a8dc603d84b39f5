// Row look-up and its gradient. The gradient sorts positions by row (a stable counting sort), so
// that each row of the result is written once, by one thread, in the order of ids, with f32
// accumulation for two-byte dtypes.
#include "cpu/rows.h"

namespace mill::cpu::MILL_TARGET {
namespace {

mill_status embedding(const mill_kernel_args* args) {
  const mill_kernel_tensor* weight = args->in[0];
  const mill_kernel_tensor* ids = args->in[1];
  const mill_kernel_tensor* out = args->out[0];
  const mill_status status = check_indices(args, ids, weight->dims[0], nullptr, "id");
  if (status != MILL_OK || out->numel == 0) return status;
  const int64_t width = out->numel / ids->numel;
  const size_t bytes = static_cast<size_t>(width) * static_cast<size_t>(dtype_bytes(weight->dtype));
  const char* from = static_cast<const char*>(weight->data);
  char* to = static_cast<char*>(out->data);
  parallel(args, ids->numel, grain_of(width), [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      std::memcpy(to + static_cast<size_t>(i) * bytes,
                  from + static_cast<size_t>(read_index(ids, i)) * bytes, bytes);
    }
  });
  return MILL_OK;
}

// Workspace: where each row's positions begin (rows + 1, plus one used while sorting), then the
// sorted positions.
uint64_t embedding_backward_workspace(const mill_kernel_args* args) {
  const int64_t rows = args->out[0]->dims[0];
  return static_cast<uint64_t>(rows + 2 + args->in[1]->numel) * sizeof(int64_t);
}

// Sum of the rows of g at `positions`, columns [0, width), to `to`.
template <class S>
void add_rows(const S* g, int64_t stride, const int64_t* positions, int64_t n, S* to,
              int64_t width) {
  using C = Compute<S>;
  const Tag<C> d;
  constexpr int64_t kStep = kLanes<Tag<C>>;
  int64_t j = 0;
  // Four vectors of one result row stay in registers while g's rows stream by.
  for (; j + 4 * kStep <= width; j += 4 * kStep) {
    Vec<Tag<C>> a = hn::Zero(d);
    Vec<Tag<C>> b = a;
    Vec<Tag<C>> c = a;
    Vec<Tag<C>> e = a;
    for (int64_t k = 0; k < n; ++k) {
      const S* row = g + positions[k] * stride + j;
      a = hn::Add(a, get(d, row, Full{}));
      b = hn::Add(b, get(d, row + kStep, Full{}));
      c = hn::Add(c, get(d, row + 2 * kStep, Full{}));
      e = hn::Add(e, get(d, row + 3 * kStep, Full{}));
    }
    put(d, a, to + j, Full{});
    put(d, b, to + j + kStep, Full{});
    put(d, c, to + j + 2 * kStep, Full{});
    put(d, e, to + j + 3 * kStep, Full{});
  }
  each_vector(d, width - j, [&](int64_t i, auto part) MILL_LAMBDA_INLINE {
    Vec<Tag<C>> sum = hn::Zero(d);
    for (int64_t k = 0; k < n; ++k)
      sum = hn::Add(sum, get(d, g + positions[k] * stride + j + i, part));
    put(d, sum, to + j + i, part);
  });
}

template <class S>
mill_status embedding_backward(const mill_kernel_args* args) {
  const mill_kernel_tensor* ids = args->in[1];
  const mill_kernel_tensor* out = args->out[0];
  const int64_t rows = out->dims[0];
  const int64_t width = out->dims[1];
  const int64_t n = ids->numel;
  const mill_status status = check_indices(args, ids, rows, nullptr, "id");
  if (status != MILL_OK || out->numel == 0) return status;
  const uint64_t needed = embedding_backward_workspace(args);
  if (args->workspace_bytes < needed) return refuse_workspace(args, needed);

  // begin[r + 1] counts row r's ids, then holds where its next position goes, which ends as where
  // row r + 1 begins.
  int64_t* begin = static_cast<int64_t*>(args->workspace);
  int64_t* positions = begin + rows + 2;
  std::memset(begin, 0, static_cast<size_t>(rows + 2) * sizeof(int64_t));
  for (int64_t i = 0; i < n; ++i) ++begin[read_index(ids, i) + 2];
  for (int64_t r = 1; r <= rows; ++r) begin[r + 1] += begin[r];
  for (int64_t i = 0; i < n; ++i) positions[begin[read_index(ids, i) + 1]++] = i;

  const S* g = static_cast<const S*>(args->in[0]->data);
  S* to = static_cast<S*>(out->data);
  // A row costs its own write and the reads of what is added to it; on average this many elements.
  const int64_t cost = width * (1 + n / rows);
  parallel(args, rows, grain_of(cost), [=](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) {
      const int64_t count = begin[r + 1] - begin[r];
      if (count == 0) {
        std::memset(to + r * width, 0, static_cast<size_t>(width) * sizeof(S));
      } else {
        add_rows(g, width, positions + begin[r], count, to + r * width, width);
      }
    }
  });
  return MILL_OK;
}

constexpr uint32_t kAllBits = (1u << MILL_DTYPE_COUNT) - 2u;

constexpr KernelEntry kEntries[] = {
    {MILL_OP_EMBEDDING, kAllBits, {embedding, nullptr}},
    {MILL_OP_EMBEDDING_BACKWARD,
     bit(MILL_F32),
     {embedding_backward<float>, embedding_backward_workspace}},
    {MILL_OP_EMBEDDING_BACKWARD,
     bit(MILL_F64),
     {embedding_backward<double>, embedding_backward_workspace}},
    {MILL_OP_EMBEDDING_BACKWARD,
     bit(MILL_BF16),
     {embedding_backward<bf16>, embedding_backward_workspace}},
    {MILL_OP_EMBEDDING_BACKWARD,
     bit(MILL_F16),
     {embedding_backward<f16>, embedding_backward_workspace}},
};

}  // namespace

KernelList embedding_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace mill::cpu::MILL_TARGET
