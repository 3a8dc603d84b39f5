#include "autograd/gradcheck.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "autograd/backward.h"
#include "dispatch/transfer.h"
#include "millrace/ops.h"
#include "ops/calls.gen.h"

namespace mill {

namespace {

// A fixed sequence in [0.5, 1.5) with signs, so that no output's weight is small. The multiplier
// and increment are Knuth's (MMIX); only the upper bits are used.
class Weights {
 public:
  explicit Weights(uint64_t seed) : state_(seed) {}
  double next() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    const double unit = static_cast<double>(state_ >> 40) / static_cast<double>(uint64_t{1} << 24);
    return ((state_ >> 39) & 1u) != 0 ? 0.5 + unit : -0.5 - unit;
  }

 private:
  uint64_t state_;
};

struct Problem {
  Exec& exec;
  int32_t op;
  const mill_attr* attrs;
  uint32_t n_attrs;
  bool second;
  bool infinite = false;  // results hold infinities, which are constants to leave out
};

bool checked(const mill_tensor* tensor) {
  return tensor && is_floating(tensor->dtype());
}

// One weight per element, from a seed: the same for every evaluation.
TensorRef weights_like(Exec& exec, const mill_tensor& model, uint64_t seed) {
  std::vector<double> values(static_cast<size_t>(model.numel()));
  Weights weights(seed);
  for (double& value : values) value = weights.next();
  const RecorderScope quiet(exec, nullptr);
  TensorRef out =
      make_tensor(exec.device, MILL_F64, model.view.dims, model.rank(), exec.stream_id(), exec.tag);
  write_host(exec, *out, values.data(), values.size() * sizeof(double));
  return model.dtype() == MILL_F64 ? std::move(out) : op::cast(exec, out.get(), model.dtype());
}

// sum_k <weights, tensor_k> as a scalar on whatever tape records.
class Combination {
 public:
  Combination(Exec& exec, bool infinite) : exec_(exec), infinite_(infinite) {}
  void add(mill_tensor* tensor, uint64_t seed) {
    const TensorRef weights = weights_like(exec_, *tensor, seed);
    const TensorRef kept = infinite_ ? finite_part(tensor) : TensorRef::share(tensor);
    const TensorRef weighted = op::mul(exec_, kept.get(), weights.get());
    const TensorRef part = op::sum(exec_, weighted.get(), nullptr, 0, false);
    TensorRef wide = op::cast(exec_, part.get(), MILL_F64);
    sum_ = sum_ ? op::add(exec_, sum_.get(), wide.get()) : std::move(wide);
  }
  mill_tensor* get() const { return sum_.get(); }

 private:
  // With 0 in place of infinities, through which nothing flows back.
  TensorRef finite_part(mill_tensor* tensor) const {
    const TensorRef size = op::abs(exec_, tensor);
    const TensorRef limit =
        op::fill(exec_, nullptr, 0, static_cast<mill_dtype>(tensor->dtype()), HUGE_VAL);
    const TensorRef finite = op::compare(exec_, size.get(), limit.get(), MILL_COMPARE_NE);
    const TensorRef zero = op::fill(exec_, nullptr, 0, static_cast<mill_dtype>(tensor->dtype()), 0);
    return op::where(exec_, finite.get(), tensor, zero.get());
  }

  Exec& exec_;
  bool infinite_;
  TensorRef sum_;
};

TensorRef combine_outputs(const Problem& p, mill_tensor* const* in, uint32_t n_in) {
  mill_tensor* out[MILL_MAX_OP_OUTPUTS] = {};
  const OpRow& row = p.exec.context->row(p.op);
  invoke(p.exec, p.op, in, n_in, p.attrs, p.n_attrs, out, row.n_outputs);
  TensorRef owners[MILL_MAX_OP_OUTPUTS];
  for (uint32_t k = 0; k < row.n_outputs; ++k) owners[k] = TensorRef::adopt(out[k]);
  Combination combination(p.exec, p.infinite);
  for (uint32_t k = 0; k < row.n_outputs; ++k) {
    if (checked(out[k])) combination.add(out[k], 17 + k);
  }
  return TensorRef::share(combination.get());
}

std::vector<uint32_t> floating_inputs(mill_tensor* const* in, uint32_t n_in) {
  std::vector<uint32_t> out;
  for (uint32_t k = 0; k < n_in; ++k) {
    if (checked(in[k])) out.push_back(k);
  }
  return out;
}

// The value to differentiate (level 0: outputs; level 1: first gradients), and its gradients if
// asked for.
struct Evaluation {
  double value = 0;
  std::vector<TensorRef> gradients;
};

Evaluation evaluate(const Problem& p, mill_tensor* const* in, uint32_t n_in, bool want_gradients) {
  const Ref<mill_tape> tape = Ref<mill_tape>::adopt(slab_new<mill_tape>(p.exec.context.get()));
  const RecorderScope scope(p.exec, p.second || want_gradients ? &tape->face : nullptr);
  const std::vector<uint32_t> floating = floating_inputs(in, n_in);
  std::vector<mill_tensor*> watched;
  for (const uint32_t k : floating) {
    tape->watch(in[k]);
    watched.push_back(in[k]);
  }
  const auto n = static_cast<uint32_t>(watched.size());
  TensorRef scalar = combine_outputs(p, in, n_in);
  if (scalar && p.second) {
    const std::vector<TensorRef> first =
        gradient(*tape, p.exec, *scalar, nullptr, watched.data(), n);
    Combination combination(p.exec, p.infinite);
    for (uint32_t k = 0; k < n; ++k) {
      if (first[k]) combination.add(first[k].get(), 71 + k);
    }
    scalar = TensorRef::share(combination.get());
  }
  Evaluation out;
  out.gradients.resize(n);
  if (!scalar) return out;
  out.value = item(p.exec, *scalar);
  // A combination that is constant in all inputs is on no tape; its gradients are zero.
  if (want_gradients && tape->value_of(scalar.get()) != 0) {
    const RecorderScope quiet(p.exec, nullptr);
    out.gradients = gradient(*tape, p.exec, *scalar, nullptr, watched.data(), n);
  }
  return out;
}

}  // namespace

double gradcheck(Exec& exec, int32_t op, mill_tensor* const* in, uint32_t n_in,
                 const mill_attr* attrs, uint32_t n_attrs, bool second, double step) {
  Problem problem{exec, op, attrs, n_attrs, second};
  const std::vector<uint32_t> floating = floating_inputs(in, n_in);
  for (const uint32_t k : floating) {
    if (in[k]->dtype() != MILL_F64) {
      fail_argument(MILL_E_DTYPE, static_cast<int32_t>(k),
                    "input %u is %s, gradients are checked in f64", k, dtype_name(in[k]->dtype()));
    }
  }
  // The caller's tensors are watched through views of their own, in their own layout; the numbers
  // to compare with come from row-major copies, because changing one element of a broadcast view
  // would change several.
  std::vector<TensorRef> owners;
  std::vector<mill_tensor*> views(in, in + n_in);
  std::vector<mill_tensor*> copies(in, in + n_in);
  for (const uint32_t k : floating) {
    owners.push_back(make_view(in[k]->storage.get(), MILL_F64, in[k]->view.dims,
                               in[k]->view.strides, in[k]->rank(), in[k]->offset));
    views[k] = owners.back().get();
    owners.push_back(make_tensor(exec.device, MILL_F64, in[k]->view.dims, in[k]->rank(),
                                 exec.stream_id(), exec.tag));
    const RecorderScope quiet(exec, nullptr);
    op::copy(exec, in[k], owners.back().get());
    copies[k] = owners.back().get();
  }
  Evaluation analytic = evaluate(problem, views.data(), n_in, true);
  if (!std::isfinite(analytic.value)) {
    problem.infinite = true;
    analytic = evaluate(problem, views.data(), n_in, true);
  }
  double worst = 0;
  for (size_t j = 0; j < floating.size(); ++j) {
    const uint32_t k = floating[j];
    mill_tensor& copy = *copies[k];
    const auto n = static_cast<size_t>(copy.numel());
    std::vector<double> values(n);
    std::vector<double> gradients(n, 0.0);
    read_host(exec, copy, values.data(), n * sizeof(double));
    if (analytic.gradients[j]) {
      if (!same_dims(analytic.gradients[j]->view, copy.view)) return HUGE_VAL;
      read_host(exec, *analytic.gradients[j], gradients.data(), n * sizeof(double));
    }
    for (size_t e = 0; e < n; ++e) {
      const double x = values[e];
      const double h = step * std::max(1.0, std::fabs(x));
      values[e] = x + h;
      write_host(exec, copy, values.data(), n * sizeof(double));
      const double above = evaluate(problem, copies.data(), n_in, false).value;
      values[e] = x - h;
      write_host(exec, copy, values.data(), n * sizeof(double));
      const double below = evaluate(problem, copies.data(), n_in, false).value;
      values[e] = x;
      const double numeric = (above - below) / ((x + h) - (x - h));
      const double scale = std::max({1.0, std::fabs(numeric), std::fabs(gradients[e])});
      const double difference = std::fabs(numeric - gradients[e]) / scale;
      worst = std::isnan(difference) ? HUGE_VAL : std::max(worst, difference);
    }
    write_host(exec, copy, values.data(), n * sizeof(double));
  }
  return worst;
}

}  // namespace mill
