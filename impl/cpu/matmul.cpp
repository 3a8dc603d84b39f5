// matmul and linear. Reduces every shape to a batch of two-dimensional products, cuts those into
// one part per thread and computes each part by the cheapest of four methods. Which method and
// which cut depends on sizes, strides, thread count and loaded libraries only, so results repeat
// bit for bit.
#include <cstdint>
#include <cstdio>

#include "cpu/gemm_block.h"
#include "cpu/gemm_small.h"
#include "cpu/gemm_tiles.h"
#include "cpu/kernels.h"
#include "cpu/runtime/onednn.h"
#include "cpu/runtime/runtime.h"
#include "millrace/op_numbers.h"

namespace mill::cpu::MILL_TARGET {
namespace {

using namespace gemm;

// Multiply-adds that repay waking a thread: about ten microseconds of work. The matrix units that
// oneDNN uses for bf16 do four times as many.
constexpr double kWorkPerThread = 1 << 20;
constexpr double kBf16WorkPerThread = 1 << 22;
// Fewer are not worth setting up vectors.
constexpr double kScalarWork = 64;
constexpr int64_t kFewColumnsDepth = 32;
// A tile of the matrix units. Threads that share cache lines of the output slow each other by half
// at their speed, so rows are cut before columns.
constexpr int64_t kMatrixUnitRows = 16;
// What packing an element costs, in multiply-adds.
constexpr int64_t kPackCost = 12;

enum class Method { nothing, zero, scalar, row, dot, blocks, onednn };

// Strides of one batch axis in a, b and out.
struct BatchAxis {
  int64_t size, a, b, out;
};

// Sizes and strides of the whole launch, in elements.
struct Layout {
  int64_t m = 1, n = 1, k = 1;
  int64_t a_row = 0, a_col = 0, b_row = 0, b_col = 0, out_row = 0, out_col = 0;
  int64_t bias_row = 0, bias_col = 0;
  int64_t batch = 1;
  int32_t batch_rank = 0;
  BatchAxis axes[MILL_MAX_RANK];  // innermost first
  bool swapped = false;           // a and b, rows and columns have changed places
};

struct Plan {
  Method method = Method::nothing;
  int64_t batch_parts = 1, row_parts = 1, col_parts = 1;
  uint64_t part_bytes = 0;  // workspace of one part

  int64_t parts() const { return batch_parts * row_parts * col_parts; }
};

// A leading axis becomes part of the rows where its elements continue them; else it stays a batch
// axis.
MILL_INLINE void add_leading_axis(Layout* at, const BatchAxis& axis) {
  if (axis.size == 1) return;
  if (axis.b == 0 && at->batch_rank == 0) {
    if (at->m == 1) {
      at->m = axis.size;
      at->a_row = axis.a;
      at->out_row = axis.out;
      return;
    }
    if (axis.a == at->a_row * at->m && axis.out == at->out_row * at->m) {
      at->m *= axis.size;
      return;
    }
  }
  at->axes[at->batch_rank++] = axis;
  at->batch *= axis.size;
}

MILL_INLINE int64_t batch_stride(const mill_kernel_tensor& t, int32_t axis) {
  return axis < 0 || t.dims[axis] == 1 ? 0 : t.strides[axis];
}

void swap_sides(Layout* at) {
  const Layout old = *at;
  at->m = old.n;
  at->n = old.m;
  at->a_row = old.b_col;
  at->a_col = old.b_row;
  at->b_row = old.a_col;
  at->b_col = old.a_row;
  at->out_row = old.out_col;
  at->out_col = old.out_row;
  at->bias_row = old.bias_col;
  at->bias_col = old.bias_row;
  for (int32_t i = 0; i < at->batch_rank; ++i) {
    at->axes[i].a = old.axes[i].b;
    at->axes[i].b = old.axes[i].a;
  }
  at->swapped = !old.swapped;
}

// Strides of axes of one element say nothing; these values let the fast paths apply.
void settle_row(Layout* at) {
  if (at->m != 1) return;
  at->a_row = at->a_col == 1 ? at->k : 1;
  at->out_row = at->n;
}

// Turns a column into a row and a column-major result into a row-major one.
void settle(Layout* at) {
  if (at->k == 0) {  // nothing will be read: no address may be computed either
    at->a_row = at->a_col = at->b_row = at->b_col = 0;
    for (int32_t i = 0; i < at->batch_rank; ++i) at->axes[i].a = at->axes[i].b = 0;
  }
  if (at->k == 1) at->a_col = at->b_row = 1;
  settle_row(at);
  const bool column = at->n == 1;
  const bool column_major = at->out_col != 1 && at->out_row == 1 && at->m > 1 && at->n > 1;
  if (column) {
    at->b_col = at->b_row == 1 ? at->k : 1;
    at->out_col = 1;
  }
  // Few columns leave most of a vector empty; as few rows they do not.
  const bool few_columns = at->n <= kMaxDotRows && at->n < at->m && at->a_col == 1 &&
                           at->b_row == 1 && at->k >= kFewColumnsDepth;
  if ((column && at->m > 1) || column_major || few_columns) {
    swap_sides(at);
    settle_row(at);
  }
}

void layout_of_matmul(const mill_kernel_args* args, Layout* at) {
  const mill_kernel_tensor& a = *args->in[0];
  const mill_kernel_tensor& b = *args->in[1];
  const mill_kernel_tensor& out = *args->out[0];
  const int32_t a_matrix = a.rank > 1 ? 2 : 1;
  const int32_t b_matrix = b.rank > 1 ? 2 : 1;
  at->k = a.dims[a.rank - 1];
  at->a_col = a.strides[a.rank - 1];
  int32_t axis = out.rank - 1;
  if (b_matrix == 2) {
    at->n = b.dims[b.rank - 1];
    at->b_col = b.strides[b.rank - 1];
    at->out_col = out.strides[axis--];
  }
  at->b_row = b.strides[b.rank - b_matrix];
  if (a_matrix == 2) {
    at->m = a.dims[a.rank - 2];
    at->a_row = a.strides[a.rank - 2];
    at->out_row = out.strides[axis--];
  }
  const int32_t a_shift = a.rank - a_matrix - 1 - axis;
  const int32_t b_shift = b.rank - b_matrix - 1 - axis;
  for (; axis >= 0; --axis) {
    add_leading_axis(at, {out.dims[axis], batch_stride(a, axis + a_shift),
                          batch_stride(b, axis + b_shift), out.strides[axis]});
  }
}

void layout_of_linear(const mill_kernel_args* args, Layout* at) {
  const mill_kernel_tensor& x = *args->in[0];
  const mill_kernel_tensor& weight = *args->in[1];
  const mill_kernel_tensor* bias = args->n_in > 2 ? args->in[2] : nullptr;
  const mill_kernel_tensor& out = *args->out[0];
  at->k = weight.dims[1];
  at->n = weight.dims[0];
  at->a_col = x.strides[x.rank - 1];
  at->b_row = weight.strides[1];
  at->b_col = weight.strides[0];
  at->out_col = out.strides[out.rank - 1];
  at->bias_col = bias != nullptr ? bias->strides[0] : 0;
  for (int32_t axis = out.rank - 2; axis >= 0; --axis) {
    add_leading_axis(at, {out.dims[axis], x.strides[axis], 0, out.strides[axis]});
  }
}

struct BatchOffset {
  int64_t a = 0, b = 0, out = 0;
};

BatchOffset batch_offset(const Layout& at, int64_t index) {
  BatchOffset offset;
  for (int32_t i = 0; i < at.batch_rank; ++i) {
    const int64_t position = index % at.axes[i].size;
    index /= at.axes[i].size;
    offset.a += position * at.axes[i].a;
    offset.b += position * at.axes[i].b;
    offset.out += position * at.axes[i].out;
  }
  return offset;
}

// ---- the plan ----

MILL_INLINE bool lies_flat(int64_t rows, int64_t cols, int64_t row_stride, int64_t col_stride) {
  return (col_stride == 1 && row_stride >= cols) || (row_stride == 1 && col_stride >= rows);
}

// In double: sizes of broadcast operands can multiply to more than an int64 holds.
MILL_INLINE double multiply_adds(const Layout& at) {
  return static_cast<double>(at.m) * static_cast<double>(at.n) * static_cast<double>(at.k);
}

// Where oneDNN is the faster one; measured on Sapphire Rapids with oneDNN 2.6. It starts later, and
// turns to its slow paths when there are few rows.
bool onednn_pays(const Layout& at, int32_t dtype, bool cut) {
  const double work = multiply_adds(at);
  if (dtype == MILL_BF16) return at.m >= 2 && work >= 1 << 13;
  if (at.k < 8 || at.n < 8 || work < 1 << 20) return false;
  // Here it gains a tenth at most, which does not repay 20 ms for loading it and a heap call of its
  // own for each product: a program of small products never loads it.
  const bool compact = at.m >= 32 && at.n >= 32 && at.k <= 8 * max_of(at.m, at.n);
  if (compact && work < 1 << 23) return false;
  // Every thread packs a transposed b anew, and the kernels here are quicker at that.
  if (cut && at.b_col != 1 && work >= 2 * kWorkPerThread && work < 1 << 26) return false;
  return at.m > 8 || (at.m >= 4 && at.b_col == 1 && work >= 1 << 22);
}

bool use_onednn(const mill_kernel_args* args, const Layout& at) {
  const auto* runtime = static_cast<const Runtime*>(args->host->builtin);
  if (runtime == nullptr || runtime->onednn == nullptr) return false;
  const int32_t policy = __atomic_load_n(&runtime->gemm_policy, __ATOMIC_RELAXED);
  if (policy == kGemmOwn) return false;
  const int32_t dtype = args->out[0]->dtype;
  if (dtype == MILL_F64 || at.out_col != 1 || at.out_row < at.n) return false;
  if (at.bias_row != 0 || at.bias_col > 1) return false;
  if (!lies_flat(at.m, at.k, at.a_row, at.a_col)) return false;
  if (!lies_flat(at.k, at.n, at.b_row, at.b_col)) return false;
  if (policy == kGemmAutomatic && !onednn_pays(at, dtype, args->host->threads > 1)) return false;
  return runtime->onednn->supports(dtype);
}

// The cut of one product into at most `parts` that lets the slowest part end first: each part packs
// its own rows of a and columns of b.
template <class S>
void cut(const Layout& at, int64_t parts, Plan* plan) {
  const int64_t panels = ceil_div(at.n, kCols<Sum<S>>);
  int64_t best = INT64_MAX;
  // Of equals, the one with the fewest column cuts: threads then share no cache line of the output.
  for (int64_t cols = 1; cols <= min_of(parts, panels); ++cols) {
    const int64_t rows = min_of(parts / cols, ceil_div(at.m, 4));
    const int64_t width = ceil_div(panels, cols) * kCols<Sum<S>>;
    const int64_t height = ceil_div(at.m, rows);
    const int64_t cost = width * height + (width + height) * kPackCost;
    if (cost < best) {
      best = cost;
      plan->row_parts = rows;
      plan->col_parts = cols;
    }
  }
}

template <class S>
Plan make_plan(const mill_kernel_args* args, const Layout& at) {
  Plan plan;
  if (at.m == 0 || at.n == 0 || at.batch == 0) return plan;
  if (at.k == 0) {
    plan.method = Method::zero;
    return plan;
  }
  const double one = multiply_adds(at);
  if (one <= kScalarWork) {
    plan.method = Method::scalar;
  } else if (use_onednn(args, at)) {
    plan.method = Method::onednn;
  } else if (at.m <= kMaxDotRows && at.a_col == 1 && at.b_row == 1 && at.k >= 2 * kLanes<Sum<S>>) {
    plan.method = Method::dot;
  } else if (at.m == 1 && at.b_col == 1) {
    plan.method = Method::row;
  } else {
    plan.method = Method::blocks;
  }

  // A product with few rows is bound by reading b, so its parts pay sooner.
  const bool reads = plan.method == Method::dot || plan.method == Method::row;
  const bool matrix_units = plan.method == Method::onednn && args->out[0]->dtype == MILL_BF16;
  const double grain = reads          ? kWorkPerThread / 8
                       : matrix_units ? kBf16WorkPerThread
                                      : kWorkPerThread;
  const double worth = one * static_cast<double>(at.batch) / grain;
  const int64_t threads = max_of(1, static_cast<int64_t>(args->host->threads));
  const int64_t wanted =
      worth >= static_cast<double>(threads) ? threads : max_of(1, static_cast<int64_t>(worth));
  if (wanted > 1) {
    plan.batch_parts = min_of(at.batch, wanted);
    const int64_t left = wanted / plan.batch_parts;
    if (left > 1 && plan.method != Method::scalar) {
      if (reads) {
        plan.col_parts = min_of(left, ceil_div(at.n, kCols<Sum<S>>));
      } else if (matrix_units) {
        plan.row_parts = max_of(1, min_of(left, at.m / kMatrixUnitRows));
        plan.col_parts = max_of(1, min_of(left / plan.row_parts, ceil_div(at.n, kCols<Sum<S>>)));
      } else {
        cut<S>(at, left, &plan);
      }
    }
  }
  if (plan.method == Method::blocks) {
    const int64_t rows = ceil_div(at.m, plan.row_parts);
    const int64_t panels = ceil_div(at.n, kCols<Sum<S>>);
    const int64_t cols = min_of(at.n, ceil_div(panels, plan.col_parts) * kCols<Sum<S>>);
    // Parts may be one row shorter, which can turn reading b in place on: the larger of the two.
    const uint64_t longer = block_bytes<S>(rows, cols, at.k, at.b_col);
    const uint64_t shorter = block_bytes<S>(at.m / plan.row_parts, cols, at.k, at.b_col);
    const uint64_t bytes = longer > shorter ? longer : shorter;
    plan.part_bytes = (bytes + 63) / 64 * 64;
  }
  return plan;
}

// ---- the launch ----

template <class S>
void zero_product(const Product<S>& p) {
  for (int64_t i = 0; i < p.m; ++i) {
    for (int64_t j = 0; j < p.n; ++j) put(p, i, j, Sum<S>{0});
  }
}

struct Launch {
  const Layout* layout;
  const Plan* plan;
  const void* a;
  const void* b;
  const void* bias;
  void* out;
  unsigned char* workspace;
  OneDnn* onednn;
  int32_t dtype;
  bool add;
  uint32_t failed;  // set with __atomic builtins
};

struct Range {
  int64_t begin, end;
};
MILL_INLINE Range share(int64_t n, int64_t parts, int64_t index) {
  const int64_t length = n / parts;
  const int64_t longer = n % parts;
  const int64_t begin = index * length + min_of(index, longer);
  return {begin, begin + length + (index < longer ? 1 : 0)};
}

template <class S>
void run_product(Launch& launch, const Product<S>& p, int64_t part) {
  switch (launch.plan->method) {
    case Method::nothing: break;
    case Method::zero: zero_product(p); break;
    case Method::scalar: scalar_product(p); break;
    case Method::row: row_product(p); break;
    case Method::dot: dot_product(p); break;
    case Method::blocks:
      BlockedProduct<S>(
          p, reinterpret_cast<Sum<S>*>(launch.workspace +
                                       static_cast<uint64_t>(part) * launch.plan->part_bytes))
          .run();
      break;
    case Method::onednn: {
      const OneDnnProduct product{launch.dtype, p.add,   p.m,       p.n,    p.k,
                                  p.a,          p.a_row, p.a_col,   p.b,    p.b_row,
                                  p.b_col,      p.out,   p.out_row, p.bias, part};
      if (!launch.onednn->multiply(product)) __atomic_store_n(&launch.failed, 1u, __ATOMIC_RELAXED);
      break;
    }
  }
}

template <class S>
void run_parts(void* data, int64_t begin, int64_t end) {
  Launch& launch = *static_cast<Launch*>(data);
  const Layout& at = *launch.layout;
  const Plan& plan = *launch.plan;
  constexpr int64_t kWidth = kCols<Sum<S>>;
  for (int64_t part = begin; part < end; ++part) {
    const int64_t inner = part % (plan.row_parts * plan.col_parts);
    const Range batches =
        share(at.batch, plan.batch_parts, part / (plan.row_parts * plan.col_parts));
    const Range rows = share(at.m, plan.row_parts, inner / plan.col_parts);
    const Range panels = share(ceil_div(at.n, kWidth), plan.col_parts, inner % plan.col_parts);
    const int64_t col = panels.begin * kWidth;
    const int64_t cols = min_of(panels.end * kWidth, at.n) - col;
    for (int64_t batch = batches.begin; batch < batches.end; ++batch) {
      const BatchOffset offset = batch_offset(at, batch);
      const S* bias = static_cast<const S*>(launch.bias);
      const Product<S> product{
          rows.end - rows.begin,
          cols,
          at.k,
          static_cast<const S*>(launch.a) + offset.a + rows.begin * at.a_row,
          at.a_row,
          at.a_col,
          static_cast<const S*>(launch.b) + offset.b + col * at.b_col,
          at.b_row,
          at.b_col,
          static_cast<S*>(launch.out) + offset.out + rows.begin * at.out_row + col * at.out_col,
          at.out_row,
          at.out_col,
          bias == nullptr ? nullptr : bias + rows.begin * at.bias_row + col * at.bias_col,
          at.bias_row,
          at.bias_col,
          launch.add};
      run_product(launch, product, part);
    }
  }
}

using LayoutOf = void (*)(const mill_kernel_args*, Layout*);

template <LayoutOf layout_of>
Layout whole_layout(const mill_kernel_args* args) {
  Layout at;
  layout_of(args, &at);
  settle(&at);
  return at;
}

constexpr uint64_t kAlign = 64;

template <class S, LayoutOf layout_of>
uint64_t workspace(const mill_kernel_args* args) {
  const Layout at = whole_layout<layout_of>(args);
  const Plan plan = make_plan<S>(args, at);
  return plan.part_bytes == 0
             ? 0
             : static_cast<uint64_t>(plan.parts()) * plan.part_bytes + (kAlign - 1);
}

template <class S, LayoutOf layout_of>
mill_status launch(const mill_kernel_args* args) {
  const Layout at = whole_layout<layout_of>(args);
  const Plan plan = make_plan<S>(args, at);
  if (plan.method == Method::nothing) return MILL_OK;
  const uint64_t needed = static_cast<uint64_t>(plan.parts()) * plan.part_bytes;
  const uintptr_t start =
      (reinterpret_cast<uintptr_t>(args->workspace) + kAlign - 1) / kAlign * kAlign;
  if (needed > 0 &&
      (args->workspace == nullptr ||
       start + needed > reinterpret_cast<uintptr_t>(args->workspace) + args->workspace_bytes)) {
    std::snprintf(args->error->text, sizeof(args->error->text),
                  "the workspace has %llu bytes, %llu are needed",
                  static_cast<unsigned long long>(args->workspace_bytes),
                  static_cast<unsigned long long>(needed + kAlign - 1));
    return MILL_E_INTERNAL;
  }

  const mill_kernel_tensor* bias =
      layout_of == layout_of_linear && args->n_in > 2 ? args->in[2] : nullptr;
  const auto* runtime = static_cast<const Runtime*>(args->host->builtin);
  Launch job{&at,
             &plan,
             args->in[at.swapped ? 1 : 0]->data,
             args->in[at.swapped ? 0 : 1]->data,
             bias != nullptr ? bias->data : nullptr,
             args->out[0]->data,
             reinterpret_cast<unsigned char*>(start),
             runtime != nullptr ? runtime->onednn : nullptr,
             args->out[0]->dtype,
             (args->flags & MILL_KERNEL_ACCUMULATE) != 0,
             0};
  const int64_t parts = plan.parts();
  if (parts == 1) {
    run_parts<S>(&job, 0, 1);
  } else {
    args->host->parallel_for(args->host->self, parts, 1, run_parts<S>, &job);
  }
  if (job.failed == 0) return MILL_OK;
  std::snprintf(
      args->error->text, sizeof(args->error->text),
      "oneDNN could not multiply [%lld, %lld] by [%lld, %lld]: memory is short or it refused",
      static_cast<long long>(at.m), static_cast<long long>(at.k), static_cast<long long>(at.k),
      static_cast<long long>(at.n));
  return MILL_E_MEMORY;
}

template <class S, LayoutOf layout_of>
constexpr mill_kernel kKernel = {launch<S, layout_of>, workspace<S, layout_of>};

constexpr KernelEntry entry(int32_t op, int32_t dtype, const mill_kernel& kernel) {
  return {op, 1u << static_cast<uint32_t>(dtype), kernel};
}

constexpr KernelEntry kEntries[] = {
    entry(MILL_OP_MATMUL, MILL_F32, kKernel<float, layout_of_matmul>),
    entry(MILL_OP_MATMUL, MILL_F64, kKernel<double, layout_of_matmul>),
    entry(MILL_OP_MATMUL, MILL_BF16, kKernel<bf16, layout_of_matmul>),
    entry(MILL_OP_MATMUL, MILL_F16, kKernel<f16, layout_of_matmul>),
    entry(MILL_OP_LINEAR, MILL_F32, kKernel<float, layout_of_linear>),
    entry(MILL_OP_LINEAR, MILL_F64, kKernel<double, layout_of_linear>),
    entry(MILL_OP_LINEAR, MILL_BF16, kKernel<bf16, layout_of_linear>),
    entry(MILL_OP_LINEAR, MILL_F16, kKernel<f16, layout_of_linear>),
};

}  // namespace

KernelList matmul_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace mill::cpu::MILL_TARGET
