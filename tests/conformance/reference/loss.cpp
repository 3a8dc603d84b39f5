#include "conformance/reference/reference.h"

namespace mill_test {

namespace {

enum : int64_t { kMean = 0, kSum = 1, kNone = 2 };

int64_t counted(const std::vector<int64_t>& labels, int64_t ignored) {
  return std::count_if(labels.begin(), labels.end(),
                       [=](int64_t label) { return label != ignored; });
}

}  // namespace

template <class A>
void ref_cross_entropy(RefCall<A>& c) {
  const int64_t reduction = c.integer(0);
  const A smoothing(c.real(1));
  const int64_t ignored = c.integer(2);
  const std::vector<int64_t>& labels = c.in[1].i;
  const auto classes = static_cast<size_t>(c.in[0].dims.back());
  std::vector<A>& lse = c.make(1, c.in[1].dims);
  std::vector<A> losses(labels.size(), A(0));
  for (size_t r = 0; r < labels.size(); ++r) {
    const A* x = c.in[0].v.data() + r * classes;
    A top = x[0];
    for (size_t k = 1; k < classes; ++k) top = x[k] > top ? x[k] : top;
    A sum(0);
    for (size_t k = 0; k < classes; ++k) sum += exp(x[k] - top);
    lse[r] = top + log(sum);
    if (labels[r] == ignored) continue;
    A spread(0);
    for (size_t k = 0; k < classes; ++k) spread += lse[r] - x[k];
    losses[r] = (A(1) - smoothing) * (lse[r] - x[labels[r]]) + smoothing * (spread / A(classes));
  }
  if (reduction == kNone) {
    c.make(0, c.in[1].dims) = losses;
    return;
  }
  A total(0);
  for (const A loss : losses) total += loss;
  c.make(0, {})[0] = reduction == kMean ? total / A(counted(labels, ignored)) : total;
}

template <class A>
void ref_cross_entropy_backward(RefCall<A>& c) {
  const int64_t reduction = c.integer(0);
  const A smoothing(c.real(1));
  const int64_t ignored = c.integer(2);
  const std::vector<A>& g = c.in[0].v;
  const std::vector<int64_t>& labels = c.in[2].i;
  const std::vector<A>& lse = c.in[3].v;
  const auto classes = static_cast<size_t>(c.in[1].dims.back());
  const A divisor(reduction == kMean ? counted(labels, ignored) : 1);
  std::vector<A>& out = c.make(0, c.in[1].dims);
  for (size_t r = 0; r < labels.size(); ++r) {
    if (labels[r] == ignored) continue;
    for (size_t k = 0; k < classes; ++k) {
      A target = smoothing / A(classes);
      if (static_cast<int64_t>(k) == labels[r]) target += A(1) - smoothing;
      const A p = exp(c.in[1].v[r * classes + k] - lse[r]);
      out[r * classes + k] = (p - target) * g[reduction == kNone ? r : 0] / divisor;
    }
  }
}

MILL_INSTANTIATE_REFERENCE(cross_entropy)
MILL_INSTANTIATE_REFERENCE(cross_entropy_backward)

}  // namespace mill_test
