// What the references make of a problem, and when a result is close enough to that.
#include <cstdio>

#include "conformance/problem.h"
#include "conformance/reference/reference.h"

namespace mill_test {

namespace {

using mill_cases::Reference;
using mill_cases::ResultType;

mill_dtype output_dtype(const Problem& p, size_t k) {
  const mill_dtype lead = !p.inputs.empty() && p.present[0] ? p.inputs[0].dtype : MILL_F32;
  switch (p.c->op->outputs[k].type) {
    case ResultType::same: return lead;
    case ResultType::second: return p.inputs[1].dtype;
    case ResultType::boolean: return MILL_BOOL;
    case ResultType::i64: return MILL_I64;
    case ResultType::f32: return MILL_F32;
    case ResultType::stat: return lead == MILL_F64 ? MILL_F64 : MILL_F32;
    case ResultType::attr: break;
  }
  for (const mill_attr& attr : p.attrs) {
    if (attr.kind == MILL_ATTR_DTYPE) return static_cast<mill_dtype>(attr.i);
  }
  return MILL_F32;
}

template <class A>
std::vector<Result<A>> run(const Problem& p) {
  RefCall<A> call;
  call.attrs = p.attrs;
  call.dtype = output_dtype(p, 0);
  call.input_dtype = p.inputs.empty() ? MILL_DTYPE_NONE : p.inputs[0].dtype;
  for (size_t k = 0; k < p.inputs.size(); ++k) {
    Operand<A> operand;
    operand.present = p.present[k];
    operand.dims = p.inputs[k].dims;
    operand.i = p.inputs[k].i;
    for (const double x : p.inputs[k].f) operand.v.push_back(A(x));
    if (p.inputs[k].f.empty()) {
      for (const int64_t x : p.inputs[k].i) operand.v.push_back(A(x));
    }
    call.in.push_back(std::move(operand));
  }
  call.out.resize(p.c->op->n_outputs);
  find_reference<A>(p.c->op->reference)(call);
  return std::move(call.out);
}

template <class A>
std::vector<long double> widen(const std::vector<A>& values) {
  std::vector<long double> out;
  for (const A value : values) out.push_back(static_cast<long double>(value.value()));
  return out;
}

struct Norms {
  long double error = 0;  // 2-norm
  long double worst = 0;  // largest absolute value
  size_t at = 0;
};

Norms distance(const std::vector<long double>& a, const std::vector<long double>& b) {
  Norms n;
  for (size_t i = 0; i < a.size(); ++i) {
    const long double d = std::fabs(a[i] - b[i]);
    if (std::isnan(d)) continue;
    n.error += d * d;
    if (d > n.worst) {
      n.worst = d;
      n.at = i;
    }
  }
  n.error = std::sqrt(n.error);
  return n;
}

template <class Format>
void naive_error(const Problem& p, const std::vector<Result<Number<Exact>>>& truth,
                 std::vector<Expected>& out, mill_dtype dtype) {
  std::vector<Result<Number<Format>>> results;
  for (size_t k = 0; k < out.size(); ++k) {
    if (!out[k].present || out[k].dtype != dtype) continue;
    if (results.empty()) results = run<Number<Format>>(p);
    // One operation of the processor is correctly rounded; by way of long double there would be two
    // roundings.
    if (dtype == MILL_F64 && !out[k].exact.empty() && out[k].naive_norm < 0) {
      for (size_t i = 0; i < results[k].v.size(); ++i)
        out[k].exact[i] = static_cast<double>(results[k].v[i].value());
    }
    const Norms n = distance(widen(results[k].v), widen(truth[k].v));
    out[k].naive_norm = std::max(out[k].naive_norm, n.error);
    out[k].naive_worst = std::max(out[k].naive_worst, n.worst);
  }
}

bool is_random(Reference reference) {
  return reference == Reference::uniform_ || reference == Reference::normal_ ||
         reference == Reference::dropout_;
}

void naive_errors(const Problem& p, const std::vector<Result<Number<Exact>>>& truth,
                  std::vector<Expected>& out) {
  naive_error<F64>(p, truth, out, MILL_F64);
  naive_error<F32>(p, truth, out, MILL_F32);
  // Draws and masks are defined in f32 for the narrow types.
  if (is_random(p.c->op->reference)) {
    naive_error<F32>(p, truth, out, MILL_BF16);
    naive_error<F32>(p, truth, out, MILL_F16);
  } else {
    naive_error<Bf16>(p, truth, out, MILL_BF16);
    naive_error<F16>(p, truth, out, MILL_F16);
  }
}

// The op's definition leaves one correct value: the exact one, rounded once.
bool exact(const mill_cases::CaseOp& op) {
  switch (op.reference) {
    case Reference::fill_:
    case Reference::arange_:
    case Reference::cast_:
    case Reference::copy_:
    case Reference::reshape_:
    case Reference::permute_:
    case Reference::slice_:
    case Reference::expand_:
    case Reference::concat_:
    case Reference::slice_backward_:
    case Reference::neg_:
    case Reference::sqrt_:
    case Reference::relu_:
    case Reference::abs_:
    case Reference::sign_:
    case Reference::relu_backward_:
    case Reference::add_:
    case Reference::sub_:
    case Reference::mul_:
    case Reference::div_:
    case Reference::maximum_:
    case Reference::minimum_:
    case Reference::where_:
    case Reference::max_:
    case Reference::embedding_: return true;
    default: return false;
  }
}

std::string number(long double x) {
  char text[64];
  std::snprintf(text, sizeof text, "%.17Lg", x);
  return text;
}

std::string judge_whole(const Expected& expected, const Host& got) {
  for (size_t i = 0; i < expected.i.size(); ++i) {
    if (got.i[i] != expected.i[i]) {
      return "element " + std::to_string(i) + " is " + std::to_string(got.i[i]) + ", must be " +
             std::to_string(expected.i[i]);
    }
  }
  return "";
}

}  // namespace

std::vector<Expected> expected_of(const Problem& p) {
  std::vector<Expected> out(p.c->op->n_outputs);
  const bool integers = !p.inputs.empty() && p.present[0] && !is_float(p.dtype) &&
                        p.c->op->outputs[0].type != ResultType::attr;
  const std::vector<Result<Number<Exact>>> truth = run<Number<Exact>>(p);
  std::vector<Result<Number<Integer>>> whole;
  if (integers) whole = run<Number<Integer>>(p);
  for (size_t k = 0; k < out.size(); ++k) {
    Expected& e = out[k];
    e.present = truth[k].present;
    if (!e.present) continue;
    e.dtype = output_dtype(p, k);
    e.dims = truth[k].dims;
    if (is_float(e.dtype)) {
      e.truth = widen(truth[k].v);
      if (exact(*p.c->op)) {
        for (const long double x : e.truth) e.exact.push_back(round_to(e.dtype, x));
      }
    } else if (truth[k].whole) {
      e.i = truth[k].i;
    } else {
      for (const Number<Integer> x : whole[k].v) e.i.push_back(x.value());
    }
    for (int64_t& x : e.i) x = wrap_to(e.dtype, x);
  }
  size_t smallest = SIZE_MAX;
  for (const Expected& e : out) smallest = std::min(smallest, e.truth.size());
  // Repeated values make the same error everywhere: as good as one element.
  const bool repeats = p.layout == Layout::broadcast || p.layout == Layout::mixed;
  const uint64_t draws = smallest < 64 || repeats ? 16 : 2;
  for (uint64_t draw = 0; draw < draws; ++draw) {
    if (draw == 0) {
      naive_errors(p, truth, out);
      continue;
    }
    const Problem other = make_problem(*p.c, p.dtype, p.layout, p.seed + draw);
    naive_errors(other, run<Number<Exact>>(other), out);
  }
  return out;
}

std::string judge(const mill_cases::CaseOp& op, const Expected& expected, mill_dtype dtype,
                  const Dims& dims, const Host& got) {
  if (dtype != expected.dtype)
    return std::string("dtype is ") + dtype_text(dtype) + ", must be " + dtype_text(expected.dtype);
  if (dims != expected.dims)
    return "dims are " + text_of(dims) + ", must be " + text_of(expected.dims);
  if (!is_float(dtype)) return judge_whole(expected, got);

  std::vector<long double> have;
  std::vector<long double> want;
  for (size_t i = 0; i < expected.truth.size(); ++i) {
    const long double truth = expected.truth[i];
    const auto value = static_cast<long double>(got.f[i]);
    if (std::isnan(truth) ? std::isnan(value) : std::isinf(truth) && value == truth) continue;
    if (!std::isfinite(truth) || !std::isfinite(value)) {
      return "element " + std::to_string(i) + " is " + number(value) + ", must be " + number(truth);
    }
    if (!expected.exact.empty() && got.f[i] != expected.exact[i]) {
      return "element " + std::to_string(i) + " is " + number(value) + ", must be exactly " +
             number(static_cast<long double>(expected.exact[i]));
    }
    have.push_back(value);
    want.push_back(truth);
  }
  const Norms error = distance(have, want);
  const Norms size = distance(want, std::vector<long double>(want.size(), 0));
  // A few units in the last place are always allowed; sums round more than once.
  const auto eps = static_cast<long double>(epsilon_of(dtype));
  const long double few = op.kind == mill_cases::OpKind::pointwise ? 2 : 4;
  const auto factor = static_cast<long double>(op.tolerance);
  const long double norm_limit = std::max(factor * expected.naive_norm, few * eps * size.error);
  const long double worst_limit =
      std::max(factor * expected.naive_worst, 2 * few * eps * size.worst);
  if (error.error <= norm_limit && error.worst <= worst_limit) return "";
  return "error " + number(error.error) + " (largest " + number(error.worst) + " at element " +
         std::to_string(error.at) + ": " + number(have[error.at]) + " for " +
         number(want[error.at]) + "), allowed " + number(norm_limit) + " (largest " +
         number(worst_limit) + "), a naive loop makes " + number(expected.naive_norm);
}

}  // namespace mill_test
