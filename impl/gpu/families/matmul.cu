// matmul and linear. Every shape becomes a batch of two-dimensional products, computed by one of
// five methods. Method and cut follow from the sizes alone, wide accesses from strides and
// alignment: results repeat bit for bit.
#include "gpu/families/common.h"

namespace MILL_FLAVOUR {
namespace {

#include "kernels/block/matmul.inl"

#include "kernels/block/matmul_mma.inl"

#include "gpu/families/matmul_layout.h"

// Blocks that fill a large device (132 multiprocessors) twice.
constexpr int64_t kBlocksWanted = 264;
constexpr int64_t kMostBlocks = int64_t{1} << 30;
// Every tile's depth divides it.
constexpr int64_t kDepthUnit = 64;
constexpr int kDotThreads = 128;
// Columns that a warp takes together where there are many: it reads the row of a once for them.
constexpr int kDotCols = 4;

inline int64_t dot_cols(const MatmulGeometry& g) {
  return g.n >= 256 ? kDotCols : 1;
}

template <class T>
using LargeTile = MatmulTile<T, 128, 128, 16, 8, 8>;
template <class T>
using MediumTile = MatmulTile<T, 64, 64, 16, 8, 4>;
template <class T>
using SmallTile = MatmulTile<T, 32, 32, 32, 4, 4>;
template <class T>
using LargeMma = MmaTile<T, 128, 128, 64, 32>;
template <class T>
using MediumMma = MmaTile<T, 64, 64, 32, 32>;
template <class T>
using SmallMma = MmaTile<T, 32, 32, 32, 32>;

template <class T>
inline constexpr bool kHalf = std::is_same_v<T, bf16> || std::is_same_v<T, f16>;

enum class Method {
  nothing,
  zero,
  direct,
  dot,
  small,
  medium,
  large,
  small_mma,
  medium_mma,
  large_mma
};

struct Plan {
  MatmulLayout layout;
  Method method = Method::nothing;
  uint64_t workspace = 0;
};

// Cuts k where `items` blocks would leave the device idle: parts of at least `least`.
void cut_depth(MatmulGeometry* g, int64_t items, int64_t wanted, int64_t least, int64_t most) {
  int64_t parts = smaller(smaller(wanted / larger<int64_t>(items, 1), g->k / least), most);
  parts = larger<int64_t>(parts, 1);
  g->depth = ceil_div(ceil_div(g->k, parts), kDepthUnit) * kDepthUnit;
  g->splits = ceil_div(g->k, g->depth);
}

void cut_tiles(MatmulGeometry* g, int64_t rows, int64_t cols) {
  g->row_tiles = ceil_div(g->m, rows);
  g->col_tiles = ceil_div(g->n, cols);
  cut_depth(g, g->row_tiles * g->col_tiles * g->batch, kBlocksWanted, 256, 64);
}

template <class T>
Method choose(const MatmulGeometry& g) {
  // In double: sizes of broadcast operands can multiply to more than an int64 holds.
  const double work =
      static_cast<double>(g.m) * static_cast<double>(g.n) * static_cast<double>(g.k);
  if (g.m == 1 && g.k >= 64 && (g.b_col != 1 || g.n < 32)) return Method::dot;
  if (g.m == 1 || g.k <= 4 || work <= 1 << 13) return Method::direct;
  const auto tiles = [&](int64_t side) {
    return static_cast<double>(ceil_div(g.m, side)) * static_cast<double>(ceil_div(g.n, side)) *
           static_cast<double>(g.batch);
  };
  // Larger tiles read less; they have to fill the device and not stick out much.
  const auto pays = [&](int64_t side, double least) {
    return tiles(side) >= least && tiles(side) <= 0.375 * tiles(side / 2);
  };
  const bool large = pays(128, 66);
  const bool medium = pays(64, 16);
  if constexpr (kHalf<T>) {
    if (g.m < 16 || g.n < 16 || g.k < 16) return Method::small;
    return large ? Method::large_mma : medium ? Method::medium_mma : Method::small_mma;
  } else {
    if (large && sizeof(T) == 4) return Method::large;
    return medium || large ? Method::medium : Method::small;
  }
}

using LayoutOf = MatmulLayout (*)(const mill_kernel_args*);

// Reads sizes and strides only.
template <class T>
Plan make_plan(const mill_kernel_args* args, LayoutOf layout_of) {
  Plan plan;
  plan.layout = layout_of(args);
  settle(&plan.layout);
  MatmulGeometry& g = plan.layout.g;
  g.add = (args->flags & MILL_KERNEL_ACCUMULATE) != 0;
  g.splits = 1;
  g.depth = kDepthUnit;
  if (g.m == 0 || g.n == 0 || g.batch == 0) return plan;
  if (g.k == 0) {
    plan.method = Method::zero;
    return plan;
  }
  plan.method = choose<T>(g);
  constexpr int64_t kFit = static_cast<int64_t>(16 / sizeof(T));
  switch (plan.method) {
    case Method::nothing:
    case Method::zero: break;
    case Method::direct:
      cut_depth(&g, g.batch * g.m * ceil_div(g.n, kFit), kBlocksWanted * kThreads, 64, 64);
      break;
    case Method::dot:
      cut_depth(&g, g.batch * ceil_div(g.n, dot_cols(g)), kBlocksWanted * kDotThreads / kWarp, 1024,
                256);
      break;
    case Method::small: cut_tiles(&g, SmallTile<T>::kRows, SmallTile<T>::kCols); break;
    case Method::medium: cut_tiles(&g, MediumTile<T>::kRows, MediumTile<T>::kCols); break;
    case Method::large: cut_tiles(&g, LargeTile<T>::kRows, LargeTile<T>::kCols); break;
    case Method::small_mma: cut_tiles(&g, SmallMma<T>::kRows, SmallMma<T>::kCols); break;
    case Method::medium_mma: cut_tiles(&g, MediumMma<T>::kRows, MediumMma<T>::kCols); break;
    case Method::large_mma: cut_tiles(&g, LargeMma<T>::kRows, LargeMma<T>::kCols); break;
  }
  if (g.splits > 1) {
    plan.workspace = static_cast<uint64_t>(g.splits * g.batch * g.m * g.n) * sizeof(acc_t<T>);
  }
  return plan;
}

template <class T>
struct Operands {
  const mill_kernel_args* args;
  const MatmulGeometry& g;
  const T* a;
  const T* b;
  const T* bias;
  T* out;
  acc_t<T>* sums;
};

template <auto K, class T>
mill_status launch_on(const Operands<T>& p, int64_t blocks, int threads, const cost& c) {
  return launch<K>(p.args, shape{smaller(blocks, kMostBlocks), threads}, c, p.g, p.a, p.b, p.bias,
                   p.out, p.sums);
}

template <class Tile, class T>
mill_status tiled(const Operands<T>& p, const cost& c) {
  return launch_on<matmul_tiled<Tile, T, Tile::kThreads>>(
      p, p.g.row_tiles * p.g.col_tiles * p.g.splits * p.g.batch, Tile::kThreads, c);
}

template <class Tile, class T>
mill_status mma(const Operands<T>& p, const cost& c) {
  constexpr int kLanes = Tile::kThreads;
  const int64_t blocks = p.g.row_tiles * p.g.col_tiles * p.g.splits * p.g.batch;
  const auto run = [&]<bool Wide, bool AAlongK, bool BAlongK>() {
    return launch_on<matmul_mma<Tile, T, kLanes, Wide, AAlongK, BAlongK>>(p, blocks, kLanes, c);
  };
  if (!p.g.a_wide || !p.g.b_wide) return run.template operator()<false, true, true>();
  if (p.g.a_along_k) {
    return p.g.b_along_k ? run.template operator()<true, true, true>()
                         : run.template operator()<true, true, false>();
  }
  return p.g.b_along_k ? run.template operator()<true, false, true>()
                       : run.template operator()<true, false, false>();
}

template <class T>
mill_status direct(const Operands<T>& p, const cost& c) {
  constexpr int kFit = static_cast<int>(16 / sizeof(T));
  const bool wide = p.g.b_wide && !p.g.b_along_k && p.g.n >= kFit;
  const int64_t items = p.g.batch * p.g.splits * p.g.m * ceil_div(p.g.n, wide ? kFit : 1);
  // Tiny products get a block of their size.
  const int threads = items <= 64 ? 64 : kThreads;
  const int64_t blocks = blocks_for(items, threads);
  return wide ? launch_on<matmul_direct<kThreads, kFit, T>>(p, blocks, threads, c)
              : launch_on<matmul_direct<kThreads, 1, T>>(p, blocks, threads, c);
}

template <class T>
mill_status dot(const Operands<T>& p, const cost& c) {
  constexpr int kFit = static_cast<int>(16 / sizeof(T));
  const bool wide = p.g.a_wide && p.g.b_wide && p.g.a_along_k && p.g.b_along_k;
  const int64_t items = p.g.batch * p.g.splits * ceil_div(p.g.n, dot_cols(p.g));
  const int64_t blocks = ceil_div(items, kDotThreads / kWarp);
  if (dot_cols(p.g) > 1) {
    return wide ? launch_on<matmul_dot<kDotThreads, kDotCols, kFit, T>>(p, blocks, kDotThreads, c)
                : launch_on<matmul_dot<kDotThreads, kDotCols, 1, T>>(p, blocks, kDotThreads, c);
  }
  return wide ? launch_on<matmul_dot<kDotThreads, 1, kFit, T>>(p, blocks, kDotThreads, c)
              : launch_on<matmul_dot<kDotThreads, 1, 1, T>>(p, blocks, kDotThreads, c);
}

template <class T>
mill_status multiply(const Operands<T>& p, Method method, const cost& c) {
  switch (method) {
    case Method::direct: return direct<T>(p, c);
    case Method::dot: return dot<T>(p, c);
    case Method::small: return tiled<SmallTile<T>, T>(p, c);
    default: break;
  }
  if constexpr (kHalf<T>) {
    const cost on_cores{c.bytes, c.flops, unit::matrix};
    switch (method) {
      case Method::large_mma: return mma<LargeMma<T>, T>(p, on_cores);
      case Method::medium_mma: return mma<MediumMma<T>, T>(p, on_cores);
      default: return mma<SmallMma<T>, T>(p, on_cores);
    }
  } else {
    if constexpr (sizeof(T) == 4) {
      if (method == Method::large) return tiled<LargeTile<T>, T>(p, c);
    }
    return tiled<MediumTile<T>, T>(p, c);
  }
}

template <class T, LayoutOf layout_of>
mill_status run(const mill_kernel_args* args) {
  Plan plan = make_plan<T>(args, layout_of);
  MatmulGeometry& g = plan.layout.g;
  if (plan.method == Method::nothing) return MILL_OK;
  if (plan.workspace > args->workspace_bytes) {
    return refuse(args, MILL_E_INTERNAL, "the workspace has %llu bytes, %llu are needed",
                  static_cast<unsigned long long>(args->workspace_bytes),
                  static_cast<unsigned long long>(plan.workspace));
  }
  const bool swapped = plan.layout.swapped;
  const mill_kernel_tensor* bias = layout_of == layout_of_linear ? input(args, 2) : nullptr;
  const mill_kernel_tensor& out = *args->out[0];
  const Operands<T> p{args,
                      g,
                      data_of<const T>(args->in[swapped ? 1 : 0]),
                      data_of<const T>(args->in[swapped ? 0 : 1]),
                      data_of<const T>(bias),
                      data_of<T>(&out),
                      static_cast<acc_t<T>*>(args->workspace)};
  const uint64_t out_bytes = bytes_of(&out) * (g.add ? 2 : 1) + bytes_of(bias);
  int64_t parts = 0;
  if (plan.method != Method::zero) {
    find_wide(&g, p.a, p.b, p.out);
    const bool whole = g.splits == 1;
    const cost c{bytes_of(args->in[0]) + bytes_of(args->in[1]) + (whole ? out_bytes : 0),
                 2 * static_cast<uint64_t>(out.numel) * static_cast<uint64_t>(g.k),
                 sizeof(T) == 8 ? unit::f64 : unit::f32};
    const mill_status status = multiply<T>(p, plan.method, c);
    if (status != MILL_OK || whole) return status;
    parts = g.splits;
    g.splits = 1;
  }
  return launch<matmul_finish<kThreads, T>>(args, shape{blocks_for(out.numel), kThreads},
                                            cost{out_bytes}, g, parts, p.sums, p.bias, p.out);
}

template <LayoutOf layout_of>
mill_status run_any(const mill_kernel_args* args) {
  return with_float(args->out[0]->dtype, [&]<class T>() { return run<T, layout_of>(args); });
}

template <LayoutOf layout_of>
uint64_t workspace_any(const mill_kernel_args* args) {
  uint64_t bytes = 0;
  with_float(args->out[0]->dtype, [&]<class T>() {
    bytes = make_plan<T>(args, layout_of).workspace;
    return MILL_OK;
  });
  return bytes;
}

constexpr KernelEntry kEntries[] = {
    {MILL_OP_MATMUL, kFloatBits, {run_any<layout_of_matmul>, workspace_any<layout_of_matmul>}},
    {MILL_OP_LINEAR, kFloatBits, {run_any<layout_of_linear>, workspace_any<layout_of_linear>}},
};

}  // namespace

KernelList matmul_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace MILL_FLAVOUR
