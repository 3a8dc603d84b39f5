// Convolution and its gradients. A pass (kernels/conv_shape.h) is the convolution itself or a phase
// of its gradient by x; each runs as a plain matrix product where the kernel has one tap, with a
// vector of groups where groups are small, else as products of fields by packed weights. Which of
// them, and how threads share it, depends on sizes, strides and thread count only, so results
// repeat bit for bit.
#include <cstdint>

#include "cpu/conv_lanes.h"
#include "cpu/conv_panels.h"
#include "cpu/conv_patches.h"
#include "cpu/conv_planes.h"
#include "cpu/gemm_block.h"
#include "cpu/kernels.h"
#include "millrace/op_numbers.h"

namespace mill::cpu::MILL_TARGET {
namespace {

using kernels::conv_backward;
using kernels::conv_forward;
using kernels::conv_phases;
using kernels::conv_shape;
using kernels::ConvShape;

constexpr uint64_t kAlign = 64;

// ---- one tap ------------------------------------------------------------------------------------

// A pass whose kernel is a single tap that meets every element: per image and group, a product of
// the weight by the positions.
template <class S>
class TapPass {
  using T = gemm::Sum<S>;

 public:
  TapPass(const ConvPass& p, int64_t threads) : p_(p) {
    length_ = 1;
    from_step_ = p.from.space[2];
    to_step_ = p.to.space[2];
    fits_ = p.channels > 0;
    for (int i = kConvAxes - 1; i >= 0; --i) {
      const ConvWalk& w = p.axis[i];
      fits_ = fits_ && w.taps == 1 && w.kernel == 1 && w.first == 0 && w.unit * w.step == 1 &&
              w.size == w.n && w.place_step == 1;
      if (w.n == 1) continue;
      if (length_ == 1) {
        from_step_ = p.from.space[i];
        to_step_ = p.to.space[i];
      }
      fits_ =
          fits_ && p.from.space[i] == length_ * from_step_ && p.to.space[i] == length_ * to_step_;
      length_ *= w.n;
    }
    images_ = p.batch;
    if (p.from.batch == length_ * from_step_ && p.to.batch == length_ * to_step_) {
      length_ *= images_;
      images_ = 1;
    }
    // Vectors lie along what is adjacent in the result.
    rows_are_positions_ = p.to.channel == 1 || to_step_ != 1;
    const int64_t products = larger<int64_t>(1, images_ * p.groups);
    constexpr int64_t kFewCells = 64;
    cuts_ = larger<int64_t>(1, smaller(ceil_div(threads, products), length_ / kFewCells));
    slots_ = smaller(threads, products * cuts_);
  }
  // Short lines would leave vectors half empty that the field's way fills with channels.
  bool pays() const {
    return fits_ && (rows_are_positions_ || length_ >= 8 * kPanel<T> || length_ % kPanel<T> == 0);
  }

  struct Memory {
    unsigned char* blocks;
  };
  Memory carve(Carver* from) const {
    return {from->take<unsigned char>(slots_ * static_cast<int64_t>(part_bytes()))};
  }

  void run(const mill_kernel_args* args, Carver* memory, const S* from, const S* w, const S* bias,
           int64_t bias_step, S* to) const {
    const Memory m = carve(memory);
    parallel(args, slots_, 1, [&](int64_t begin, int64_t end) MILL_LAMBDA_INLINE {
      for (int64_t slot = begin; slot < end; ++slot) {
        const Span items = span_of(images_ * p_.groups * cuts_, slots_, slot);
        for (int64_t item = items.begin; item < items.end; ++item) {
          const Span cells = span_of(length_, cuts_, item % cuts_);
          const int64_t group = item / cuts_ % p_.groups;
          const int64_t image = item / cuts_ / p_.groups;
          const gemm::Product<S> product = product_of(
              cells.end - cells.begin,
              from + image * p_.from.batch + group * p_.from_group + cells.begin * from_step_,
              w + group * p_.w_group,
              bias == nullptr ? nullptr : bias + group * p_.outputs * bias_step, bias_step,
              to + image * p_.to.batch + group * p_.to_group + cells.begin * to_step_);
          gemm::BlockedProduct<S>(
              product, reinterpret_cast<T*>(m.blocks + slot * static_cast<int64_t>(part_bytes())))
              .run();
        }
      }
    });
  }

 private:
  gemm::Product<S> product_of(int64_t n, const S* from, const S* w, const S* bias,
                              int64_t bias_step, S* to) const {
    if (rows_are_positions_) {
      return {n,           p_.outputs,
              p_.channels, from,
              from_step_,  p_.from.channel,
              w,           p_.w.channel,
              p_.w.batch,  to,
              to_step_,    p_.to.channel,
              bias,        0,
              bias_step,   false};
    }
    return {
        p_.outputs, n,  p_.channels,   w,        p_.w.batch, p_.w.channel, from, p_.from.channel,
        from_step_, to, p_.to.channel, to_step_, bias,       bias_step,    0,    false};
  }
  // Parts may be one position shorter, which can turn reading in place on: the larger of the two.
  uint64_t part_bytes() const {
    const uint64_t longer = block_bytes_of(ceil_div(length_, cuts_));
    const uint64_t shorter = block_bytes_of(length_ / cuts_);
    return ((longer > shorter ? longer : shorter) + kAlign - 1) / kAlign * kAlign;
  }
  uint64_t block_bytes_of(int64_t n) const {
    return rows_are_positions_ ? gemm::block_bytes<S>(n, p_.outputs, p_.channels, p_.w.batch)
                               : gemm::block_bytes<S>(p_.outputs, n, p_.channels, from_step_);
  }

  ConvPass p_;
  int64_t length_, from_step_, to_step_, images_, cuts_, slots_;
  bool fits_, rows_are_positions_;
};

// ---- launches -----------------------------------------------------------------------------------

// use(way) with the way in which a pass runs.
template <class S, class Use>
MILL_INLINE void with_pass(const ConvPass& p, int64_t threads, Use&& use) {
  if (p.batch == 0 || p.outputs == 0) return;
  for (const ConvWalk& w : p.axis) {
    if (w.n == 0) return;
  }
  if (lanes_pay<gemm::Sum<S>>(p)) {
    use(LanePass<S>(p, threads));
    return;
  }
  if (planes_pay<gemm::Sum<S>>(p)) {
    use(PlanePass<S>(p, threads));
    return;
  }
  const TapPass<S> tap(p, threads);
  if (tap.pays()) {
    use(tap);
  } else {
    use(PanelPass<S>(p, threads));
  }
}

enum class Direction { forward, backward };

// The operands of a launch; backward, `from` is y and `to` is x.
struct Operands {
  const mill_kernel_tensor& from;
  const mill_kernel_tensor& w;
  const mill_kernel_tensor* bias;
  const mill_kernel_tensor& to;
  const mill_attr* window;  // its attributes
};

template <Direction direction, class Use>
MILL_INLINE void each_pass(const Operands& o, Use&& use) {
  if constexpr (direction == Direction::forward) {
    use(conv_forward(conv_shape(o.from, o.to, o.w, o.window)));
  } else {
    const ConvShape shape = conv_shape(o.to, o.from, o.w, o.window);
    const int64_t phases = conv_phases(shape);
    for (int64_t phase = 0; phase < phases; ++phase) use(conv_backward(shape, phase));
  }
}

template <class S, Direction direction>
uint64_t pass_workspace(const mill_kernel_args* args, const Operands& o) {
  uint64_t most = 0;
  each_pass<direction>(o, [&](const ConvPass& p) MILL_LAMBDA_INLINE {
    with_pass<S>(p, thread_count(args), [&](const auto& way) MILL_LAMBDA_INLINE {
      Carver carver(nullptr);
      way.carve(&carver);
      most = larger(most, carver.used());
    });
  });
  return most == 0 ? 0 : most + kAlign - 1;
}

// The workspace from its first cache line on; NULL if it is too small.
static void* aligned_workspace(const mill_kernel_args* args, uint64_t needed) {
  if (needed == 0) return nullptr;
  const uintptr_t start =
      (reinterpret_cast<uintptr_t>(args->workspace) + kAlign - 1) / kAlign * kAlign;
  const bool fits = args->workspace != nullptr && args->workspace_bytes >= needed;
  return fits ? reinterpret_cast<void*>(start) : nullptr;
}

template <class S, Direction direction>
mill_status run_passes(const mill_kernel_args* args, const Operands& o) {
  if (o.to.numel == 0) return MILL_OK;
  const uint64_t needed = pass_workspace<S, direction>(args, o);
  void* const memory = aligned_workspace(args, needed);
  if (needed > 0 && memory == nullptr) return refuse_workspace(args, needed);
  const auto* bias = o.bias == nullptr ? nullptr : static_cast<const S*>(o.bias->data);
  const int64_t bias_step = o.bias == nullptr ? 0 : o.bias->strides[0];
  each_pass<direction>(o, [&](const ConvPass& p) MILL_LAMBDA_INLINE {
    with_pass<S>(p, thread_count(args), [&](const auto& way) MILL_LAMBDA_INLINE {
      Carver carver(memory);
      way.run(args, &carver, static_cast<const S*>(o.from.data), static_cast<const S*>(o.w.data),
              bias, bias_step, static_cast<S*>(o.to.data));
    });
  });
  return MILL_OK;
}

// conv: x, weight, bias; window from attribute 0 on.
MILL_INLINE Operands conv_operands(const mill_kernel_args* args) {
  return {*args->in[0], *args->in[1], input(args, 2), *args->out[0], args->attr};
}
// conv_input_gradient: g, weight; window from attribute 1 on.
MILL_INLINE Operands gradient_operands(const mill_kernel_args* args) {
  return {*args->in[0], *args->in[1], nullptr, *args->out[0], args->attr + 1};
}

template <class S>
uint64_t conv_workspace(const mill_kernel_args* args) {
  return pass_workspace<S, Direction::forward>(args, conv_operands(args));
}
template <class S>
mill_status conv(const mill_kernel_args* args) {
  return run_passes<S, Direction::forward>(args, conv_operands(args));
}
template <class S>
uint64_t input_gradient_workspace(const mill_kernel_args* args) {
  return pass_workspace<S, Direction::backward>(args, gradient_operands(args));
}
template <class S>
mill_status input_gradient(const mill_kernel_args* args) {
  return run_passes<S, Direction::backward>(args, gradient_operands(args));
}
template <class S>
uint64_t transpose_workspace(const mill_kernel_args* args) {
  return pass_workspace<S, Direction::backward>(args, conv_operands(args));
}
template <class S>
mill_status transpose(const mill_kernel_args* args) {
  return run_passes<S, Direction::backward>(args, conv_operands(args));
}

// ---- the gradient by the weight -----------------------------------------------------------------

template <class S, class Use>
MILL_INLINE void with_weights(const mill_kernel_args* args, Use&& use) {
  const mill_kernel_tensor& g = *args->in[0];
  const mill_kernel_tensor& out = *args->out[0];
  if (out.numel == 0 || g.numel == 0) return;
  const ConvPass p = conv_forward(conv_shape(*args->in[1], g, out, args->attr + 1));
  if (lanes_pay<gemm::Sum<S>>(p)) {
    use(LaneWeights<S>(p, thread_count(args)));
    return;
  }
  const PatchWeights<S> patches(p, thread_count(args));
  if (patches.pays()) {
    use(patches);
  } else {
    use(PanelWeights<S>(p, thread_count(args)));
  }
}

template <class S>
uint64_t weight_gradient_workspace(const mill_kernel_args* args) {
  uint64_t bytes = 0;
  with_weights<S>(args, [&](const auto& way) MILL_LAMBDA_INLINE {
    Carver carver(nullptr);
    way.carve(&carver);
    bytes = carver.used() + kAlign - 1;
  });
  return bytes;
}

template <class S>
void clear_weights(const mill_kernel_tensor& out) {
  for (int64_t i = 0; i < out.numel; ++i) {
    int64_t rest = i;
    int64_t offset = 0;
    for (int32_t axis = out.rank; axis-- > 0;) {
      offset += rest % out.dims[axis] * out.strides[axis];
      rest /= out.dims[axis];
    }
    gemm::narrow(gemm::Sum<S>{0}, static_cast<S*>(out.data) + offset);
  }
}

template <class S>
mill_status weight_gradient(const mill_kernel_args* args) {
  const mill_kernel_tensor& out = *args->out[0];
  if (args->in[0]->numel == 0) clear_weights<S>(out);
  const uint64_t needed = weight_gradient_workspace<S>(args);
  void* const memory = aligned_workspace(args, needed);
  if (needed > 0 && memory == nullptr) return refuse_workspace(args, needed);
  with_weights<S>(args, [&](const auto& way) MILL_LAMBDA_INLINE {
    Carver carver(memory);
    way.run(args, &carver, static_cast<const S*>(args->in[1]->data),
            static_cast<const S*>(args->in[0]->data), static_cast<S*>(out.data));
  });
  return MILL_OK;
}

// ---- the list -----------------------------------------------------------------------------------

template <class S>
constexpr mill_kernel kConv = {conv<S>, conv_workspace<S>};
template <class S>
constexpr mill_kernel kInputGradient = {input_gradient<S>, input_gradient_workspace<S>};
template <class S>
constexpr mill_kernel kWeightGradient = {weight_gradient<S>, weight_gradient_workspace<S>};
template <class S>
constexpr mill_kernel kTranspose = {transpose<S>, transpose_workspace<S>};

#define MILL_CONV(op, kernel)                                              \
  {op, bit(MILL_F32), kernel<float>}, {op, bit(MILL_F64), kernel<double>}, \
      {op, bit(MILL_BF16), kernel<bf16>}, {                                \
    op, bit(MILL_F16), kernel<f16>                                         \
  }

constexpr KernelEntry kEntries[] = {
    MILL_CONV(MILL_OP_CONV, kConv),
    MILL_CONV(MILL_OP_CONV_INPUT_GRADIENT, kInputGradient),
    MILL_CONV(MILL_OP_CONV_WEIGHT_GRADIENT, kWeightGradient),
    MILL_CONV(MILL_OP_CONV_TRANSPOSE, kTranspose),
};

#undef MILL_CONV

}  // namespace

KernelList conv_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace mill::cpu::MILL_TARGET
