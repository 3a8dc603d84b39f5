// Cross entropy from logits, and its gradient by the logits. Row losses add up in f64 within chunks
// of rows and chunk by chunk; chunks depend on the shape alone.
#include "cpu/rows.h"

namespace mill::cpu::MILL_TARGET {
namespace {

enum Reduction : int64_t { kMean = 0, kSum = 1, kNone = 2 };

struct Options {
  int64_t reduction;
  double smoothing;
  int64_t ignored;
};

Options options_of(const mill_kernel_args* args) {
  return {args->attr[0].i, args->attr[1].f, args->attr[2].i};
}

int64_t counted_labels(const mill_kernel_tensor* labels, int64_t ignored) {
  int64_t counted = 0;
  for (int64_t i = 0; i < labels->numel; ++i) counted += read_index(labels, i) != ignored ? 1 : 0;
  return counted;
}

int64_t classes_of(const mill_kernel_tensor* logits) {
  return logits->dims[logits->rank - 1];
}

// ---- loss ---------------------------------------------------------------------------------------

int64_t chunk_rows(int64_t classes) {
  return grain_of(classes);
}

uint64_t cross_entropy_workspace(const mill_kernel_args* args) {
  if (args->attr[0].i == kNone) return 0;
  const int64_t rows = args->in[1]->numel;
  return static_cast<uint64_t>(ceil_div(rows, chunk_rows(classes_of(args->in[0])))) *
         sizeof(double);
}

// The row's log-sum-exp, and minus the log-probability of the smoothed target.
template <class S>
double row_loss(const S* x, int64_t classes, int64_t label, double smoothing, Compute<S>* lse) {
  using C = Compute<S>;
  const Tag<C> d;
  const C top = largest(d, x, classes);
  const Vec<Tag<C>> shift = hn::Set(d, top);
  const double sum = sum_terms(d, classes, [=](int64_t i, auto part) MILL_LAMBDA_INLINE {
    return exp_below_zero(d, hn::Sub(get(d, x + i, part), shift));
  });
  const double log_sum = std::log(sum);
  *lse = static_cast<C>(static_cast<double>(top) + log_sum);
  if (label < 0) return 0;
  const double chosen = static_cast<double>(element(x[label])) - static_cast<double>(top);
  if (smoothing == 0) return log_sum - chosen;
  const double distances = sum_terms(d, classes, [=](int64_t i, auto part) MILL_LAMBDA_INLINE {
    return hn::Sub(get(d, x + i, part), shift);
  });
  return log_sum - (1 - smoothing) * chosen -
         smoothing * (distances / static_cast<double>(classes));
}

template <class S>
mill_status cross_entropy(const mill_kernel_args* args) {
  using C = Compute<S>;
  const mill_kernel_tensor* logits = args->in[0];
  const mill_kernel_tensor* labels = args->in[1];
  const Options options = options_of(args);
  const int64_t classes = classes_of(logits);
  const int64_t rows = labels->numel;
  const mill_status status = check_indices(args, labels, classes, &options.ignored, "label");
  if (status != MILL_OK) return status;
  const uint64_t needed = cross_entropy_workspace(args);
  if (args->workspace_bytes < needed) return refuse_workspace(args, needed);

  const S* x = static_cast<const S*>(logits->data);
  C* loss = static_cast<C*>(args->out[0]->data);
  C* lse = static_cast<C*>(args->out[1]->data);
  double* partial = static_cast<double*>(args->workspace);
  const int64_t size = chunk_rows(classes);
  const int64_t chunks = ceil_div(rows, size);
  parallel(args, chunks, 1, [=](int64_t begin, int64_t end) {
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      double total = 0;
      for (int64_t r = chunk * size; r < smaller((chunk + 1) * size, rows); ++r) {
        const int64_t label = read_index(labels, r);
        const bool counts = label != options.ignored;
        // -1 asks for the log-sum-exp alone.
        const double value =
            row_loss(x + r * classes, classes, counts ? label : -1, options.smoothing, lse + r);
        if (options.reduction == kNone) {
          loss[r] = static_cast<C>(value);
        } else {
          total += value;
        }
      }
      if (options.reduction != kNone) partial[chunk] = total;
    }
  });
  if (options.reduction == kNone) return MILL_OK;
  double total = 0;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) total += partial[chunk];
  // 0 / 0 where no label counts: NaN.
  if (options.reduction == kMean)
    total /= static_cast<double>(counted_labels(labels, options.ignored));
  *loss = static_cast<C>(total);
  return MILL_OK;
}

// ---- gradient -----------------------------------------------------------------------------------

template <class S>
mill_status cross_entropy_backward(const mill_kernel_args* args) {
  using C = Compute<S>;
  const mill_kernel_tensor* logits = args->in[1];
  const mill_kernel_tensor* labels = args->in[2];
  const Options options = options_of(args);
  const int64_t classes = classes_of(logits);
  const mill_status status = check_indices(args, labels, classes, &options.ignored, "label");
  if (status != MILL_OK || args->out[0]->numel == 0) return status;

  const C* g = static_cast<const C*>(args->in[0]->data);
  const S* x = static_cast<const S*>(logits->data);
  const C* lse = static_cast<const C*>(args->in[3]->data);
  S* out = static_cast<S*>(args->out[0]->data);
  const bool each = options.reduction == kNone;
  const double divisor =
      options.reduction == kMean ? static_cast<double>(counted_labels(labels, options.ignored)) : 1;
  parallel(args, labels->numel, grain_of(classes), [=](int64_t begin, int64_t end) {
    const Tag<C> d;
    using V = Vec<Tag<C>>;
    for (int64_t r = begin; r < end; ++r) {
      const S* from = x + r * classes;
      S* to = out + r * classes;
      const int64_t label = read_index(labels, r);
      if (label == options.ignored) {
        std::memset(to, 0, static_cast<size_t>(classes) * sizeof(S));
        continue;
      }
      const C factor = static_cast<C>(static_cast<double>(g[each ? r : 0]) / divisor);
      const C spread = static_cast<C>(options.smoothing / static_cast<double>(classes));
      // out may be the logits.
      const C chosen = element(from[label]);
      const V shift = hn::Set(d, lse[r]);
      const V scale = hn::Set(d, factor);
      const V floor = hn::Set(d, spread);
      each_vector(d, classes, [=](int64_t i, auto part) MILL_LAMBDA_INLINE {
        const V probability = Math<Tag<C>>::exp(hn::Sub(get(d, from + i, part), shift));
        put(d, hn::Mul(hn::Sub(probability, floor), scale), to + i, part);
      });
      const C probability = hn::GetLane(Math<Tag<C>>::exp(hn::Set(d, chosen - lse[r])));
      to[label] =
          stored<S>((probability - static_cast<C>(1 - options.smoothing) - spread) * factor);
    }
  });
  return MILL_OK;
}

// The gradient is found by the dtype of g, which is f32 for all logits but f64.
mill_status cross_entropy_backward_f32(const mill_kernel_args* args) {
  switch (args->in[1]->dtype) {
    case MILL_F32: return cross_entropy_backward<float>(args);
    case MILL_BF16: return cross_entropy_backward<bf16>(args);
    case MILL_F16: return cross_entropy_backward<f16>(args);
    default:
      return refuse(args, MILL_E_DTYPE,
                    "g is f32, so logits are f32, bf16 or f16, not dtype number %d",
                    args->in[1]->dtype);
  }
}

mill_status cross_entropy_backward_f64(const mill_kernel_args* args) {
  if (args->in[1]->dtype != MILL_F64) {
    return refuse(args, MILL_E_DTYPE, "g is f64, so logits are f64, not dtype number %d",
                  args->in[1]->dtype);
  }
  return cross_entropy_backward<double>(args);
}

constexpr KernelEntry kEntries[] = {
    {MILL_OP_CROSS_ENTROPY, bit(MILL_F32), {cross_entropy<float>, cross_entropy_workspace}},
    {MILL_OP_CROSS_ENTROPY, bit(MILL_F64), {cross_entropy<double>, cross_entropy_workspace}},
    {MILL_OP_CROSS_ENTROPY, bit(MILL_BF16), {cross_entropy<bf16>, cross_entropy_workspace}},
    {MILL_OP_CROSS_ENTROPY, bit(MILL_F16), {cross_entropy<f16>, cross_entropy_workspace}},
    {MILL_OP_CROSS_ENTROPY_BACKWARD, bit(MILL_F32), {cross_entropy_backward_f32, nullptr}},
    {MILL_OP_CROSS_ENTROPY_BACKWARD, bit(MILL_F64), {cross_entropy_backward_f64, nullptr}},
};

}  // namespace

KernelList loss_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace mill::cpu::MILL_TARGET
