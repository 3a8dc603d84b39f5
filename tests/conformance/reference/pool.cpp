#include "conformance/reference/reference.h"

namespace mill_test {

namespace {

// Windows as the row describes them, over any number of spatial axes.
struct Windows {
  Dims in;  // spatial sizes of x
  Dims out;
  Dims kernel, stride, low, high, dilation;

  // use(position in the input's plane) for every tap of window `at` that falls into the input;
  // returns how many fall into it or its padding.
  template <class Use>
  int64_t taps(const Dims& at, Use&& use) const {
    int64_t counted = 0;
    each_position(kernel, [&](const Dims& tap, size_t) {
      int64_t place = 0;
      bool inside = true;
      bool padded = true;
      for (size_t i = 0; i < in.size(); ++i) {
        const int64_t p = at[i] * stride[i] - low[i] + tap[i] * dilation[i];
        inside = inside && p >= 0 && p < in[i];
        padded = padded && p < in[i] + high[i];
        place = place * in[i] + p;
      }
      counted += padded ? 1 : 0;
      if (inside) use(static_cast<size_t>(place));
    });
    return counted;
  }
};

template <class A>
Windows windows_of(const RefCall<A>& c, const Dims& x, size_t at) {
  Windows w;
  w.in.assign(x.begin() + 2, x.end());
  const size_t n = w.in.size();
  const auto filled = [&](size_t k, const Dims& usual) {
    const Dims given = c.ints(k);
    return given.empty() ? usual : given;
  };
  w.kernel = c.ints(at);
  w.stride = filled(at + 1, w.kernel);
  Dims padding = filled(at + 2, Dims(2 * n, 0));
  if (padding.size() == n) padding.insert(padding.end(), padding.begin(), padding.end());
  w.low.assign(padding.begin(), padding.begin() + static_cast<std::ptrdiff_t>(n));
  w.high.assign(padding.begin() + static_cast<std::ptrdiff_t>(n), padding.end());
  w.dilation = filled(at + 3, Dims(n, 1));
  for (size_t i = 0; i < n; ++i) {
    // Windows are counted one by one: in ceil mode the last one may reach beyond.
    int64_t count = 0;
    for (int64_t start = -w.low[i];; start += w.stride[i], ++count) {
      const int64_t last = start + (w.kernel[i] - 1) * w.dilation[i];
      const bool fits = last < w.in[i] + w.high[i];
      const bool reaches =
          c.integer(at + 4) != 0 && start < w.in[i] && last - w.stride[i] < w.in[i] + w.high[i] - 1;
      if (!fits && !reaches) break;
    }
    w.out.push_back(count);
  }
  return w;
}

Dims joined(const Dims& x, const Dims& space) {
  Dims dims = {x[0], x[1]};
  dims.insert(dims.end(), space.begin(), space.end());
  return dims;
}

// use(window's position, number of the plane, number of the output) for all outputs.
template <class Use>
void each_window(const Windows& w, int64_t planes, Use&& use) {
  const auto size = static_cast<size_t>(elements(w.out));
  for (size_t p = 0; p < static_cast<size_t>(planes); ++p)
    each_position(w.out, [&](const Dims& at, size_t i) { use(at, p, p * size + i); });
}

}  // namespace

template <class A>
void ref_max_pool(RefCall<A>& c) {
  const Dims& x = c.in[0].dims;
  const Windows w = windows_of(c, x, 0);
  std::vector<A>& out = c.make(0, joined(x, w.out));
  std::vector<int64_t>& index = c.make_whole(1, joined(x, w.out));
  const auto plane = static_cast<size_t>(elements(w.in));
  each_window(w, x[0] * x[1], [&](const Dims& at, size_t p, size_t i) {
    bool any = false;
    w.taps(at, [&](size_t place) {
      const A v = c.in[0].v[p * plane + place];
      if (any && !(v > out[i])) return;
      any = true;
      out[i] = v;
      index[i] = static_cast<int64_t>(place);
    });
  });
}

template <class A>
void ref_max_pool_backward(RefCall<A>& c) {
  const Dims x = c.ints(0);
  const Windows w = windows_of(c, x, 1);
  std::vector<A>& out = c.make(0, x);
  const auto plane = static_cast<size_t>(elements(w.in));
  each_window(w, x[0] * x[1], [&](const Dims& at, size_t p, size_t i) {
    w.taps(at, [&](size_t place) {
      if (static_cast<int64_t>(place) == c.in[1].i[i]) out[p * plane + place] += c.in[0].v[i];
    });
  });
}

template <class A>
void ref_avg_pool(RefCall<A>& c) {
  const Dims& x = c.in[0].dims;
  const Windows w = windows_of(c, x, 0);
  std::vector<A>& out = c.make(0, joined(x, w.out));
  const auto plane = static_cast<size_t>(elements(w.in));
  each_window(w, x[0] * x[1], [&](const Dims& at, size_t p, size_t i) {
    int64_t seen = 0;
    A sum(0);
    const int64_t counted = w.taps(at, [&](size_t place) {
      sum += c.in[0].v[p * plane + place];
      ++seen;
    });
    out[i] = sum / A(c.integer(5) != 0 ? counted : seen);
  });
}

template <class A>
void ref_avg_pool_backward(RefCall<A>& c) {
  const Dims x = c.ints(0);
  const Windows w = windows_of(c, x, 1);
  std::vector<A>& out = c.make(0, x);
  const auto plane = static_cast<size_t>(elements(w.in));
  each_window(w, x[0] * x[1], [&](const Dims& at, size_t p, size_t i) {
    int64_t seen = 0;
    const int64_t counted = w.taps(at, [&](size_t) { ++seen; });
    const A share = c.in[0].v[i] / A(c.integer(6) != 0 ? counted : seen);
    w.taps(at, [&](size_t place) { out[p * plane + place] += share; });
  });
}

MILL_INSTANTIATE_REFERENCE(max_pool)
MILL_INSTANTIATE_REFERENCE(max_pool_backward)
MILL_INSTANTIATE_REFERENCE(avg_pool)
MILL_INSTANTIATE_REFERENCE(avg_pool_backward)

}  // namespace mill_test
