// Convolution and its gradients. The gradient by x runs as one convolution for each phase of the
// strides (kernels/conv_shape.h), or element by element. Which kernels and which cut follow from
// sizes and strides alone, so results repeat bit for bit.
#include "gpu/families/common.h"
#include "kernels/conv_shape.h"

namespace MILL_FLAVOUR {
namespace {

// clang-format off
#include "kernels/block/matmul.inl"
#include "kernels/block/conv.inl"
// clang-format on

using mill::kernels::conv_backward;
using mill::kernels::conv_forward;
using mill::kernels::conv_phases;
using mill::kernels::conv_shape;
using mill::kernels::ConvPass;
using mill::kernels::ConvShape;
using mill::kernels::ConvWalk;

constexpr int64_t kMostBlocks = int64_t{1} << 30;
// Blocks that fill a large device (132 multiprocessors) twice.
constexpr int64_t kBlocksWanted = 264;
constexpr int64_t kFewOutputs = 8;
constexpr int64_t kFewChannels = 16;
// More phases than these are not worth a launch each.
constexpr int64_t kMostPhases = 16;
constexpr int kDirectThreads = 128;

template <class T>
using LargeTile = MatmulTile<T, 128, 128, 16, 8, 8>;
template <class T>
using MediumTile = MatmulTile<T, 64, 64, 16, 8, 4>;

// Positions and offsets of taps are counted in 32 bits.
mill_status check_sizes(const mill_kernel_args* args, const ConvShape& s) {
  constexpr double kMost = 2147483647.0;
  double cells_x = 1, cells_y = 1;
  double taps = 1;
  const auto fits = [&](double size) { return size <= kMost; };
  bool all = true;
  for (const auto& a : s.axis) {
    cells_x *= static_cast<double>(a.in);
    cells_y *= static_cast<double>(a.out);
    taps *= static_cast<double>(a.kernel);
    all = all && fits(static_cast<double>(a.in) + static_cast<double>(a.low) +
                      static_cast<double>(a.kernel) * static_cast<double>(a.dilation) +
                      static_cast<double>(a.out) * static_cast<double>(a.stride));
  }
  const auto groups = static_cast<double>(s.groups);
  all = all && fits(cells_x * groups * static_cast<double>(s.in_channels)) &&
        fits(cells_y * groups * static_cast<double>(s.out_channels)) &&
        fits(taps * static_cast<double>(s.in_channels)) &&
        fits(taps * static_cast<double>(s.out_channels));
  if (all) return MILL_OK;
  return refuse(args, MILL_E_UNSUPPORTED,
                "one image of %.0f by %.0f elements and its taps are counted in 31 bits",
                groups * static_cast<double>(s.in_channels), cells_x);
}

inline fast_div divide_by(int64_t n) {
  return fast_div::by(static_cast<uint32_t>(larger<int64_t>(n, 1)));
}

// Everything but the cut into tiles.
ConvTile tile_of(const ConvPass& p) {
  ConvTile g = {};
  g.batch = p.batch;
  g.groups = p.groups;
  g.channels = static_cast<int32_t>(p.channels);
  g.outputs = static_cast<int32_t>(p.outputs);
  g.cells = 1;
  g.depth = p.channels;
  g.from_batch = p.from.batch;
  g.from_channel = p.from.channel;
  g.from_group = p.from_group;
  g.to_batch = p.to.batch;
  g.to_channel = p.to.channel;
  g.to_group = p.to_group;
  g.w_channel = p.w.channel;
  g.w_output = p.w.batch;
  g.w_group = p.w_group;
  for (int i = 0; i < 3; ++i) {
    const ConvWalk& w = p.axis[i];
    g.n[i] = static_cast<int32_t>(w.n);
    g.step[i] = static_cast<int32_t>(w.step * w.unit);
    g.first[i] = static_cast<int32_t>(w.first);
    g.delta[i] = static_cast<int32_t>(w.delta * w.unit);
    g.size[i] = static_cast<int32_t>(w.size);
    g.from[i] = p.from.space[i];
    g.to[i] = w.place_step * p.to.space[i];
    g.to_first += w.place * p.to.space[i];
    g.w_tap[i] = w.tap_step * p.w.space[i];
    g.w_first += w.tap * p.w.space[i];
    g.cells *= w.n;
    g.depth *= w.taps;
  }
  g.by_channels = divide_by(p.channels);
  g.by_taps[0] = divide_by(p.axis[2].taps);
  g.by_taps[1] = divide_by(p.axis[1].taps);
  g.by_cells = divide_by(g.cells);
  g.by_n[0] = divide_by(p.axis[2].n);
  g.by_n[1] = divide_by(p.axis[1].n);
  g.to_adjacent = p.to.channel == 1;
  return g;
}

// Whether channels of `from` can be read as vectors of `each`.
bool channels_aligned(const ConvTile& g, const void* data, int64_t each, size_t bytes) {
  return g.from_channel == 1 && g.channels % each == 0 && g.from_group % each == 0 &&
         g.from_batch % each == 0 && g.from[0] % each == 0 && g.from[1] % each == 0 &&
         g.from[2] % each == 0 && aligned(data, bytes);
}

template <class T>
unit unit_of() {
  return sizeof(T) == 8 ? unit::f64 : unit::f32;
}

uint64_t flops_of(const mill_kernel_tensor& y, const mill_kernel_tensor& w) {
  return w.dims[0] == 0
             ? 0
             : 2 * static_cast<uint64_t>(y.numel) * static_cast<uint64_t>(w.numel / w.dims[0]);
}

enum class Direction { forward, backward };

// The operands of a launch; backward, `from` is y and `to` is x.
struct Operands {
  const mill_kernel_args* args;
  Direction direction;
  const mill_kernel_tensor& from;
  const mill_kernel_tensor& w;
  const mill_kernel_tensor* bias;
  const mill_kernel_tensor& to;
  const mill_attr* window;

  ConvShape shape() const {
    return direction == Direction::forward ? conv_shape(from, to, w, window)
                                           : conv_shape(to, from, w, window);
  }
  bool forward() const { return direction == Direction::forward; }
  cost all_of(uint64_t launches, unit u) const {
    const uint64_t bytes = bytes_of(&from) + bytes_of(&w) + bytes_of(bias) + bytes_of(&to);
    return {bytes / launches, flops_of(forward() ? to : from, w) / launches, u};
  }
  int64_t bias_step() const { return bias != nullptr ? bias->strides[0] : 0; }
};

// Tiles would be mostly empty.
bool runs_direct(const Operands& o, const ConvShape& s) {
  const int64_t outputs = o.forward() ? s.out_channels : s.in_channels;
  const int64_t channels = o.forward() ? s.in_channels : s.out_channels;
  if (!o.forward() && conv_phases(s) > kMostPhases) return true;
  return outputs < kFewOutputs ||
         (s.groups > 1 && outputs < kFewChannels && channels < kFewChannels);
}

// ---- passes -------------------------------------------------------------------------------------

template <class T>
mill_status run_direct(const Operands& o, const ConvShape& s) {
  ConvDirect g = {};
  const bool forward = o.forward();
  const auto& from = forward ? s.x : s.y;
  const auto& to = forward ? s.y : s.x;
  const int64_t outputs = forward ? s.out_channels : s.in_channels;
  g.batch = s.batch;
  g.channels = static_cast<int32_t>(forward ? s.in_channels : s.out_channels);
  g.all = static_cast<int32_t>(outputs * s.groups);
  g.from_batch = from.batch;
  g.from_channel = from.channel;
  g.to_batch = to.batch;
  g.to_channel = to.channel;
  g.w_channel = forward ? s.w.channel : s.w.batch;
  g.w_output = forward ? s.w.batch : s.w.channel;
  g.w_group = s.out_channels * s.w.batch;
  int64_t count = g.all;
  for (int i = 0; i < 3; ++i) {
    const auto& a = s.axis[i];
    ConvDirectAxis& d = g.axis[i];
    const int64_t n = forward ? a.out : a.in;
    d.n = static_cast<int32_t>(n);
    d.taps = static_cast<int32_t>(a.kernel);
    d.step = forward ? static_cast<int32_t>(a.stride) : 1;
    d.first = static_cast<int32_t>(forward ? -a.low : a.low);
    d.delta = static_cast<int32_t>(forward ? a.dilation : -a.dilation);
    d.size = static_cast<int32_t>(forward ? a.in : a.out);
    d.divisor = divide_by(forward ? 1 : a.stride);
    d.by_n = divide_by(n);
    g.from[i] = from.space[i];
    g.to[i] = to.space[i];
    g.w[i] = s.w.space[i];
    count *= n;
  }
  g.count = static_cast<uint32_t>(count);
  g.blocks = ceil_div(count, kThreads);
  g.by_outputs = divide_by(outputs);
  g.by_all = divide_by(g.all);
  g.adjacent = to.channel == 1 && g.all > 1;
  return launch<conv_direct<kThreads, T>>(
      o.args, shape{smaller(g.batch * g.blocks, kMostBlocks), kThreads}, o.all_of(1, unit_of<T>()),
      g, data_of<const T>(&o.from), data_of<const T>(&o.w), data_of<const T>(o.bias), o.bias_step(),
      data_of<T>(&o.to));
}

template <class Tile, class T>
mill_status run_tiles(const Operands& o, ConvTile* g, const T* packed, const cost& c) {
  constexpr int kLanes = Tile::kThreads;
  constexpr int64_t kEach = sizeof(T) == 8 ? 2 : 4;
  g->row_tiles = ceil_div(g->batch * g->cells, Tile::kRows);
  g->col_tiles = ceil_div(g->outputs, Tile::kCols);
  const shape s{smaller(g->groups * g->row_tiles * g->col_tiles, kMostBlocks), kLanes};
  const T* from = data_of<const T>(&o.from);
  const T* bias = data_of<const T>(o.bias);
  T* to = data_of<T>(&o.to);
  if (g->from_channel == 1) {
    g->wide = channels_aligned(*g, from, kEach, kEach * sizeof(T));
    return launch<conv_tiled<Tile, T, kLanes, true>>(o.args, s, c, *g, from, packed, bias,
                                                     o.bias_step(), to);
  }
  return launch<conv_tiled<Tile, T, kLanes, false>>(o.args, s, c, *g, from, packed, bias,
                                                    o.bias_step(), to);
}

template <class T>
mill_status run_pass(const Operands& o, const ConvPass& p, uint64_t passes) {
  ConvTile g = tile_of(p);
  if (g.cells == 0) return MILL_OK;
  auto* packed = static_cast<T*>(o.args->workspace);
  const int64_t weights = g.groups * g.depth * g.outputs;
  if (weights > 0) {
    const mill_status status = launch<conv_pack<kThreads, T>>(
        o.args, shape{blocks_for(weights), kThreads},
        cost{2 * static_cast<uint64_t>(weights) * sizeof(T)}, g, data_of<const T>(&o.w), packed);
    if (status != MILL_OK) return status;
  }
  constexpr int64_t kFit = static_cast<int64_t>(16 / sizeof(T));
  g.w_wide = g.outputs % kFit == 0;
  const cost c = o.all_of(passes, unit_of<T>());
  // Larger tiles read less; they have to fill the device and not stick out much.
  if constexpr (sizeof(T) <= 4) {
    const int64_t tiles = g.groups * ceil_div(g.batch * g.cells, 128) * ceil_div(g.outputs, 128);
    if (tiles >= kBlocksWanted / 4 && (g.outputs % 128 == 0 || g.outputs % 128 > 64)) {
      return run_tiles<LargeTile<T>, T>(o, &g, packed, c);
    }
  }
  return run_tiles<MediumTile<T>, T>(o, &g, packed, c);
}

uint64_t pass_workspace(const Operands& o) {
  if (o.to.numel == 0 || runs_direct(o, o.shape())) return 0;
  return bytes_of(&o.w);
}

mill_status run_passes(const Operands& o) {
  if (o.to.numel == 0) return MILL_OK;
  const ConvShape s = o.shape();
  const mill_status status = check_sizes(o.args, s);
  if (status != MILL_OK) return status;
  const uint64_t needed = pass_workspace(o);
  if (needed > o.args->workspace_bytes) {
    return refuse(o.args, MILL_E_INTERNAL, "the workspace has %llu bytes, %llu are needed",
                  static_cast<unsigned long long>(o.args->workspace_bytes),
                  static_cast<unsigned long long>(needed));
  }
  return with_float(o.to.dtype, [&]<class T>() {
    if (runs_direct(o, s)) return run_direct<T>(o, s);
    if (o.forward()) return run_pass<T>(o, conv_forward(s), 1);
    const int64_t phases = conv_phases(s);
    for (int64_t phase = 0; phase < phases; ++phase) {
      const mill_status one =
          run_pass<T>(o, conv_backward(s, phase), static_cast<uint64_t>(phases));
      if (one != MILL_OK) return one;
    }
    return mill_status{MILL_OK};
  });
}

// x, weight, bias; window from attribute 0 on.
Operands conv_operands(const mill_kernel_args* args, Direction direction) {
  return {args, direction, *args->in[0], *args->in[1], input(args, 2), *args->out[0], args->attr};
}
// g, weight; window from attribute 1 on.
Operands gradient_operands(const mill_kernel_args* args) {
  return {args,    Direction::backward, *args->in[0],  *args->in[1],
          nullptr, *args->out[0],       args->attr + 1};
}

mill_status conv(const mill_kernel_args* args) {
  return run_passes(conv_operands(args, Direction::forward));
}
uint64_t conv_workspace(const mill_kernel_args* args) {
  return pass_workspace(conv_operands(args, Direction::forward));
}
mill_status transpose(const mill_kernel_args* args) {
  return run_passes(conv_operands(args, Direction::backward));
}
uint64_t transpose_workspace(const mill_kernel_args* args) {
  return pass_workspace(conv_operands(args, Direction::backward));
}
mill_status input_gradient(const mill_kernel_args* args) {
  return run_passes(gradient_operands(args));
}
uint64_t input_gradient_workspace(const mill_kernel_args* args) {
  return pass_workspace(gradient_operands(args));
}

// ---- the gradient by the weight -----------------------------------------------------------------

struct WeightPlan {
  ConvTile g;
  bool direct;
  uint64_t workspace;
};

template <class T>
WeightPlan weight_plan(const mill_kernel_args* args) {
  constexpr int64_t kDepthUnit = 64;
  constexpr int64_t kMostSplits = 256;
  constexpr int64_t kLeast = 256;  // positions of a part
  WeightPlan plan;
  const ConvShape s = conv_shape(*args->in[1], *args->in[0], *args->out[0], args->attr + 1);
  plan.g = tile_of(conv_forward(s));
  ConvTile& g = plan.g;
  plan.direct = s.groups > 1 && g.outputs < kFewChannels && g.channels < kFewChannels;
  const int64_t side = MediumTile<T>::kRows;
  g.row_tiles = ceil_div(g.outputs, side);
  g.col_tiles = ceil_div(g.depth, side);
  const int64_t items =
      plan.direct ? g.groups * g.outputs * g.depth : g.groups * g.row_tiles * g.col_tiles;
  const int64_t positions = args->in[0]->numel == 0 ? 0 : g.batch * g.cells;
  int64_t parts = smaller(kBlocksWanted / larger<int64_t>(items, 1), positions / kLeast);
  parts = larger<int64_t>(1, smaller(parts, kMostSplits));
  // Positions of a part are counted in 31 bits.
  parts = larger(parts, ceil_div(positions, int64_t{1} << 30));
  g.length = ceil_div(ceil_div(positions, parts), kDepthUnit) * kDepthUnit;
  g.splits = positions == 0 ? 0 : ceil_div(positions, g.length);
  plan.workspace =
      static_cast<uint64_t>(g.splits * g.groups * g.outputs * g.depth) * sizeof(acc_t<T>);
  return plan;
}

template <class T>
mill_status run_weights(const mill_kernel_args* args) {
  using Tile = MediumTile<T>;
  constexpr int kLanes = Tile::kThreads;
  const WeightPlan plan = weight_plan<T>(args);
  const ConvTile& g = plan.g;
  const mill_kernel_tensor& y = *args->in[0];
  const mill_kernel_tensor& x = *args->in[1];
  const mill_kernel_tensor& w = *args->out[0];
  if (plan.workspace > args->workspace_bytes) {
    return refuse(args, MILL_E_INTERNAL, "the workspace has %llu bytes, %llu are needed",
                  static_cast<unsigned long long>(args->workspace_bytes),
                  static_cast<unsigned long long>(plan.workspace));
  }
  auto* sums = static_cast<acc_t<T>*>(args->workspace);
  if (g.splits > 0) {
    const cost c{bytes_of(&x) + bytes_of(&y), flops_of(y, w), unit_of<T>()};
    const T* x_data = data_of<const T>(&x);
    const T* y_data = data_of<const T>(&y);
    mill_status status;
    if (plan.direct) {
      const int64_t blocks = g.groups * g.outputs * g.depth * g.splits;
      status = launch<conv_weight_direct<kDirectThreads, T>>(
          args, shape{smaller(blocks, kMostBlocks), kDirectThreads}, c, g, x_data, y_data, sums);
    } else {
      const int64_t blocks = g.groups * g.row_tiles * g.col_tiles * g.splits;
      const shape s{smaller(blocks, kMostBlocks), kLanes};
      status = g.from_channel == 1 && g.to_channel == 1
                   ? launch<conv_weight_tiled<Tile, T, kLanes, true>>(args, s, c, g, x_data, y_data,
                                                                      sums)
                   : launch<conv_weight_tiled<Tile, T, kLanes, false>>(args, s, c, g, x_data,
                                                                       y_data, sums);
    }
    if (status != MILL_OK) return status;
  }
  return launch<conv_weight_finish<kThreads, T>>(args, shape{blocks_for(w.numel), kThreads},
                                                 cost{bytes_of(&w)}, g, sums, data_of<T>(&w));
}

mill_status weight_gradient(const mill_kernel_args* args) {
  const mill_kernel_tensor& w = *args->out[0];
  if (w.numel == 0) return MILL_OK;
  const mill_status status =
      check_sizes(args, conv_shape(*args->in[1], *args->in[0], w, args->attr + 1));
  if (status != MILL_OK) return status;
  return with_float(w.dtype, [&]<class T>() { return run_weights<T>(args); });
}

uint64_t weight_gradient_workspace(const mill_kernel_args* args) {
  uint64_t bytes = 0;
  if (args->out[0]->numel == 0) return 0;
  with_float(args->out[0]->dtype, [&]<class T>() {
    bytes = weight_plan<T>(args).workspace;
    return mill_status{MILL_OK};
  });
  return bytes;
}

constexpr KernelEntry kEntries[] = {
    {MILL_OP_CONV, kFloatBits, {conv, conv_workspace}},
    {MILL_OP_CONV_INPUT_GRADIENT, kFloatBits, {input_gradient, input_gradient_workspace}},
    {MILL_OP_CONV_WEIGHT_GRADIENT, kFloatBits, {weight_gradient, weight_gradient_workspace}},
    {MILL_OP_CONV_TRANSPOSE, kFloatBits, {transpose, transpose_workspace}},
};

}  // namespace

KernelList conv_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace MILL_FLAVOUR
