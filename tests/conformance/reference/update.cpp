#include <numbers>

#include "conformance/reference/reference.h"
#include "millrace/ops.h"

namespace mill_test {

namespace {

// A negative factor: output k is what input `pairs[k]` was.
template <class A>
bool left_alone(RefCall<A>& c, size_t clip, std::initializer_list<size_t> pairs) {
  if (!c.in[clip].present || !(c.in[clip].v[0] < A(0))) return false;
  size_t k = 0;
  for (const size_t from : pairs) {
    if (c.in[from].present) c.make(k, c.in[from].dims) = c.in[from].v;
    ++k;
  }
  return true;
}

template <class A>
A one_or(const Operand<A>& x) {
  return x.present ? x.v[0] : A(1);
}

// Makes output k where input `from` is given; its elements then begin as that input's.
template <class A>
std::vector<A> state_of(RefCall<A>& c, size_t k, size_t from) {
  if (!c.in[from].present) return std::vector<A>(c.in[0].size(), A(0));
  c.make(k, c.in[from].dims);
  return c.in[from].v;
}

template <class A>
void give(RefCall<A>& c, size_t k, const std::vector<A>& values) {
  if (c.out[k].present) c.out[k].v = values;
}

// The weights that a step starts from: master's where there is one.
template <class A>
const std::vector<A>& weights(const RefCall<A>& c, size_t master) {
  return c.in[master].present ? c.in[master].v : c.in[0].v;
}

template <class A>
void give_weights(RefCall<A>& c, size_t master_out, size_t master, const std::vector<A>& p) {
  c.make(0, c.in[0].dims) = p;
  if (c.in[master].present) c.make(master_out, c.in[0].dims) = p;
}

}  // namespace

template <class A>
void ref_adam_step(RefCall<A>& c) {
  if (left_alone(c, 7, {0, 2, 3, 4, 8})) return;
  const A beta1(c.real(0));
  const A beta2(c.real(1));
  const A eps(c.real(2));
  const A decay(c.real(3));
  const bool decoupled = c.integer(4) != 0;
  const A rate = c.in[5].v[0];
  const A step(c.in[6].i[0]);
  const A clip = one_or(c.in[7]);
  std::vector<A> p = weights(c, 8);
  std::vector<A> m = state_of(c, 1, 2);
  std::vector<A> v = state_of(c, 2, 3);
  std::vector<A> most = state_of(c, 3, 4);
  const A correction1 = A(1) - pow(beta1, step);
  const A correction2 = A(1) - pow(beta2, step);
  for (size_t i = 0; i < p.size(); ++i) {
    A g = c.in[1].v[i] * clip;
    if (!decoupled) g = g + decay * p[i];
    const A start = decoupled ? p[i] * (A(1) - rate * decay) : p[i];
    m[i] = beta1 * m[i] + (A(1) - beta1) * g;
    v[i] = beta2 * v[i] + (A(1) - beta2) * g * g;
    if (most[i] < v[i]) most[i] = v[i];
    const A used = c.in[4].present ? most[i] : v[i];
    p[i] = start - rate / correction1 * m[i] / (sqrt(used) / sqrt(correction2) + eps);
  }
  give(c, 1, m);
  give(c, 2, v);
  give(c, 3, most);
  give_weights(c, 4, 8, p);
}

template <class A>
void ref_rmsprop_step(RefCall<A>& c) {
  if (left_alone(c, 6, {0, 2, 3, 4, 7})) return;
  const A alpha(c.real(0));
  const A eps(c.real(1));
  const A momentum(c.real(2));
  const A decay(c.real(3));
  const A rate = c.in[5].v[0];
  const A clip = one_or(c.in[6]);
  std::vector<A> p = weights(c, 7);
  std::vector<A> square = state_of(c, 1, 2);
  std::vector<A> mean = state_of(c, 2, 3);
  std::vector<A> velocity = state_of(c, 3, 4);
  for (size_t i = 0; i < p.size(); ++i) {
    const A g = c.in[1].v[i] * clip + decay * p[i];
    square[i] = alpha * square[i] + (A(1) - alpha) * g * g;
    mean[i] = alpha * mean[i] + (A(1) - alpha) * g;
    A spread = square[i];
    if (c.in[3].present) spread = spread - mean[i] * mean[i];
    if (spread < A(0)) spread = A(0);
    A direction = g / (sqrt(spread) + eps);
    velocity[i] = momentum * velocity[i] + direction;
    if (c.in[4].present) direction = velocity[i];
    p[i] = p[i] - rate * direction;
  }
  give(c, 1, square);
  give(c, 2, mean);
  give(c, 3, velocity);
  give_weights(c, 4, 7, p);
}

template <class A>
void ref_adagrad_step(RefCall<A>& c) {
  if (left_alone(c, 5, {0, 2, 6})) return;
  const A rate_decay(c.real(0));
  const A eps(c.real(1));
  const A decay(c.real(2));
  const A rate = c.in[3].v[0] / (A(1) + A(c.in[4].i[0] - 1) * rate_decay);
  const A clip = one_or(c.in[5]);
  std::vector<A> p = weights(c, 6);
  std::vector<A> sum = state_of(c, 1, 2);
  for (size_t i = 0; i < p.size(); ++i) {
    const A g = c.in[1].v[i] * clip + decay * p[i];
    sum[i] = sum[i] + g * g;
    p[i] = p[i] - rate * g / (sqrt(sum[i]) + eps);
  }
  give(c, 1, sum);
  give_weights(c, 2, 6, p);
}

template <class A>
void ref_lion_step(RefCall<A>& c) {
  if (left_alone(c, 4, {0, 2, 5})) return;
  const A beta1(c.real(0));
  const A beta2(c.real(1));
  const A decay(c.real(2));
  const A rate = c.in[3].v[0];
  const A clip = one_or(c.in[4]);
  std::vector<A> p = weights(c, 5);
  std::vector<A> m = state_of(c, 1, 2);
  for (size_t i = 0; i < p.size(); ++i) {
    const A g = c.in[1].v[i] * clip;
    const A way = beta1 * m[i] + (A(1) - beta1) * g;
    const A sign = way < A(0) ? A(-1) : A(0) < way ? A(1) : A(0);
    p[i] = p[i] * (A(1) - rate * decay) - rate * sign;
    m[i] = beta2 * m[i] + (A(1) - beta2) * g;
  }
  give(c, 1, m);
  give_weights(c, 2, 5, p);
}

template <class A>
void ref_momentum_step(RefCall<A>& c) {
  if (left_alone(c, 5, {0, 2, 6})) return;
  const A momentum(c.real(0));
  const A dampening(c.real(1));
  const A decay(c.real(2));
  const bool nesterov = c.integer(3) != 0;
  const A rate = c.in[3].v[0];
  const bool first = c.in[4].i[0] == 1;
  const A clip = one_or(c.in[5]);
  std::vector<A> p = weights(c, 6);
  std::vector<A> velocity = state_of(c, 1, 2);
  for (size_t i = 0; i < p.size(); ++i) {
    const A g = c.in[1].v[i] * clip + decay * p[i];
    velocity[i] = first ? g : momentum * velocity[i] + (A(1) - dampening) * g;
    p[i] = p[i] - rate * (nesterov ? g + momentum * velocity[i] : velocity[i]);
  }
  give(c, 1, velocity);
  give_weights(c, 2, 6, p);
}

template <class A>
void ref_clamp_gradient(RefCall<A>& c) {
  const A limit = A(c.real(0)) * one_or(c.in[1]);
  std::vector<A>& out = c.make(0, c.in[0].dims);
  for (size_t i = 0; i < out.size(); ++i) {
    const A g = c.in[0].v[i];
    out[i] = limit < g ? limit : g < -limit ? -limit : g;
  }
}

template <class A>
void ref_average_step(RefCall<A>& c) {
  std::vector<A>& out = c.make(0, c.in[1].dims);
  out = c.in[1].v;
  if (c.in[3].present && c.in[3].v[0] < A(0)) return;
  A decay(c.real(0));
  const A warm = A(1 + c.in[2].i[0]) / A(10 + c.in[2].i[0]);
  if (c.integer(1) != 0 && warm < decay) decay = warm;
  for (size_t i = 0; i < out.size(); ++i) out[i] = decay * out[i] + (A(1) - decay) * c.in[0].v[i];
}

template <class A>
void ref_rate_schedule(RefCall<A>& c) {
  const int64_t shape = c.integer(0);
  const int64_t step = c.in[0].i[0];
  const A base = c.in[1].v[0];
  const int64_t warmup = c.integer(1);
  const int64_t total = c.integer(2);
  const A floor(c.real(3));
  const A start(c.real(4));
  const int64_t period = c.integer(5);
  const A factor(c.real(6));
  const auto wave = [](A p) { return (A(1) + cos(A(std::numbers::pi_v<long double>) * p)) / A(2); };
  const auto at_least = [&](A x) { return x < floor ? floor : x; };
  A rate(1);
  if (step <= warmup) {
    if (shape == MILL_SCHEDULE_ONE_CYCLE) {
      const A p = warmup == 1 ? A(1) : A(step - 1) / A(warmup - 1);
      rate = A(1) + (start - A(1)) * wave(p);
    } else {
      rate = start + (A(1) - start) * A(step) / A(warmup);
    }
  } else {
    const int64_t done = step - warmup;
    const A progress =
        step >= total ? A(1) : A(done) / A(total > warmup ? total - warmup : int64_t{1});
    switch (shape) {
      case MILL_SCHEDULE_COSINE:
      case MILL_SCHEDULE_ONE_CYCLE: rate = floor + (A(1) - floor) * wave(progress); break;
      case MILL_SCHEDULE_LINEAR: rate = A(1) - (A(1) - floor) * progress; break;
      case MILL_SCHEDULE_POLYNOMIAL:
        rate = floor + (A(1) - floor) * pow(A(1) - progress, factor);
        break;
      case MILL_SCHEDULE_RESTARTS: {
        int64_t into = done;
        int64_t length = period;
        while (into >= length) {
          into -= length;
          length *= static_cast<int64_t>(c.real(6));
        }
        rate = floor + (A(1) - floor) * wave(A(into) / A(length));
        break;
      }
      case MILL_SCHEDULE_STEPS: rate = at_least(pow(factor, A(done / period))); break;
      case MILL_SCHEDULE_EXPONENTIAL: rate = at_least(pow(factor, A(done) / A(period))); break;
      case MILL_SCHEDULE_INVERSE_ROOT:
        rate = at_least(sqrt(A(std::max<int64_t>(warmup, 1)) / A(step)));
        break;
      default: break;
    }
  }
  c.make(0, c.in[1].dims)[0] = base * rate;
}

MILL_INSTANTIATE_REFERENCE(adam_step)
MILL_INSTANTIATE_REFERENCE(rmsprop_step)
MILL_INSTANTIATE_REFERENCE(adagrad_step)
MILL_INSTANTIATE_REFERENCE(lion_step)
MILL_INSTANTIATE_REFERENCE(momentum_step)
MILL_INSTANTIATE_REFERENCE(clamp_gradient)
MILL_INSTANTIATE_REFERENCE(average_step)
MILL_INSTANTIATE_REFERENCE(rate_schedule)

}  // namespace mill_test
