#include <numbers>

#include "conformance/reference/reference.h"
#include "millrace/ops.h"

namespace mill_test {

namespace {

// A negative factor: output k is what input `pairs[k]` was.
template <class A>
bool skipped(RefCall<A>& c, size_t clip, std::initializer_list<size_t> pairs) {
  if (!c.in[clip].present || !(c.in[clip].v[0] < A(0))) return false;
  size_t k = 0;
  for (const size_t from : pairs) {
    if (c.in[from].present) c.make(k, c.in[from].dims) = c.in[from].v;
    ++k;
  }
  return true;
}

// The weights are input `weights`.
template <class A>
std::vector<A>& sgd(RefCall<A>& c, size_t weights) {
  const A momentum(c.real(0));
  const A decay(c.real(1));
  const bool nesterov = c.integer(2) != 0;
  const A rate = c.in[3].v[0];
  const A clip = c.in[4].present ? c.in[4].v[0] : A(1);
  std::vector<A>& param = c.make(0, c.in[0].dims);
  if (c.in[2].present) c.make(1, c.in[0].dims);
  for (size_t i = 0; i < param.size(); ++i) {
    const A p = c.in[weights].v[i];
    const A g = c.in[1].v[i] * clip + decay * p;
    const A before = c.in[2].present ? c.in[2].v[i] : A(0);
    const A velocity = momentum * before + g;
    if (c.in[2].present) c.out[1].v[i] = velocity;
    param[i] = p - rate * (nesterov ? g + momentum * velocity : velocity);
  }
  return param;
}

template <class A>
std::vector<A>& adamw(RefCall<A>& c, size_t weights) {
  const A beta1(c.real(0));
  const A beta2(c.real(1));
  const A eps(c.real(2));
  const A decay(c.real(3));
  const A rate = c.in[4].v[0];
  const A step(c.in[5].i[0]);
  const A clip = c.in[6].present ? c.in[6].v[0] : A(1);
  std::vector<A>& param = c.make(0, c.in[0].dims);
  std::vector<A>& m = c.make(1, c.in[0].dims);
  std::vector<A>& v = c.make(2, c.in[0].dims);
  const A correction1 = A(1) - pow(beta1, step);
  const A correction2 = A(1) - pow(beta2, step);
  for (size_t i = 0; i < param.size(); ++i) {
    const A g = c.in[1].v[i] * clip;
    m[i] = beta1 * c.in[2].v[i] + (A(1) - beta1) * g;
    v[i] = beta2 * c.in[3].v[i] + (A(1) - beta2) * g * g;
    const A shrunk = c.in[weights].v[i] * (A(1) - rate * decay);
    const A root = sqrt(v[i]) / sqrt(correction2) + eps;
    param[i] = shrunk - rate / correction1 * m[i] / root;
  }
  return param;
}

}  // namespace

template <class A>
void ref_sgd_step(RefCall<A>& c) {
  if (!skipped(c, 4, {0, 2})) sgd(c, 0);
}

template <class A>
void ref_sgd_master_step(RefCall<A>& c) {
  if (!skipped(c, 4, {0, 2, 5})) c.make(2, c.in[0].dims) = sgd(c, 5);
}

template <class A>
void ref_adamw_step(RefCall<A>& c) {
  if (!skipped(c, 6, {0, 2, 3})) adamw(c, 0);
}

template <class A>
void ref_adamw_master_step(RefCall<A>& c) {
  if (!skipped(c, 6, {0, 2, 3, 7})) c.make(3, c.in[0].dims) = adamw(c, 7);
}

template <class A>
void ref_scaler_update(RefCall<A>& c) {
  const A max_norm(c.real(3));
  const A scale = c.in[1].v[0];
  const A norm = sqrt(c.in[0].v[0]) / scale;
  const A clip = max_norm / (norm + A(1e-6L));
  const bool clips = A(0) < max_norm && clip < A(1);
  const bool grows = c.in[2].i[0] + 1 >= c.integer(2);
  const A grown = scale * A(c.real(0));
  c.make(0, c.in[0].dims)[0] = (clips ? clip : A(1)) / scale;
  c.make(1, c.in[0].dims)[0] = norm;
  c.make(2, c.in[1].dims)[0] = grows ? grown : scale;
  c.make_whole(3, c.in[2].dims)[0] = grows ? 0 : c.in[2].i[0] + 1;
  c.make_whole(4, c.in[3].dims)[0] = c.in[3].i[0] + 1;
}

template <class A>
void ref_squared_norm(RefCall<A>& c) {
  A sum(0);
  for (const Operand<A>& x : c.in) {
    for (const A value : x.v) sum += value * value;
  }
  c.make(0, {1})[0] = sum;
}

template <class A>
void ref_clip_factor(RefCall<A>& c) {
  const A norm = sqrt(c.in[0].v[0]);
  const A factor = A(c.real(0)) / (norm + A(1e-6L));
  c.make(0, c.in[0].dims)[0] = factor < A(1) ? factor : A(1);
  c.make(1, c.in[0].dims)[0] = norm;
}

template <class A>
void ref_schedule(RefCall<A>& c) {
  const int64_t step = c.in[0].i[0];
  const A base = c.in[1].v[0];
  const int64_t warmup = c.integer(1);
  const int64_t total = c.integer(2);
  const A floor(c.real(3));
  A rate = base;
  if (step <= warmup) {
    rate = base * A(step) / A(warmup);
  } else if (c.integer(0) == MILL_SCHEDULE_COSINE) {
    const A done = step >= total ? A(1) : A(step - warmup) / A(total - warmup);
    const A wave = (A(1) + cos(A(std::numbers::pi_v<long double>) * done)) / A(2);
    rate = base * (floor + (A(1) - floor) * wave);
  }
  c.make(0, c.in[1].dims)[0] = rate;
}

template <class A>
void ref_increment(RefCall<A>& c) {
  std::vector<int64_t>& out = c.make_whole(0, c.in[0].dims);
  for (size_t i = 0; i < out.size(); ++i) out[i] = c.in[0].i[i] + 1;
}

MILL_INSTANTIATE_REFERENCE(sgd_step)
MILL_INSTANTIATE_REFERENCE(adamw_step)
MILL_INSTANTIATE_REFERENCE(sgd_master_step)
MILL_INSTANTIATE_REFERENCE(adamw_master_step)
MILL_INSTANTIATE_REFERENCE(scaler_update)
MILL_INSTANTIATE_REFERENCE(squared_norm)
MILL_INSTANTIATE_REFERENCE(clip_factor)
MILL_INSTANTIATE_REFERENCE(schedule)
MILL_INSTANTIATE_REFERENCE(increment)

}  // namespace mill_test
