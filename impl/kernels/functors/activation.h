// Functors of the activation family. Gradients take the incoming gradient g and the saved input x.
#pragma once

#include "kernels/functors/vocabulary.h"

namespace mill::functors {

// Beyond 1000 in size the sigmoid is 0 or 1 in every precision; the bound keeps infinity from
// meeting zero. A NaN stays.
struct Silu {
  template <class M>
  MILL_FN typename M::V operator()(M, typename M::V x) const {
    const typename M::V above = M::at_least(x, M::set(-1000));
    return M::mul(above, M::sigmoid(above));
  }
};

// s (1 + x (1 - s)) with s the sigmoid.
struct SiluBackward {
  template <class M>
  MILL_FN typename M::V operator()(M, typename M::V g, typename M::V x) const {
    const typename M::V within = M::at_most(M::at_least(x, M::set(-1000)), M::set(1000));
    const typename M::V s = M::sigmoid(within);
    const typename M::V bend = M::mul(within, M::sub(M::set(1), s));
    return M::mul(g, M::mul(s, M::add(M::set(1), bend)));
  }
};

struct LeakyRelu {
  double slope;
  double unused;
  template <class M>
  MILL_FN typename M::V operator()(M, typename M::V x) const {
    return M::select(M::gt(x, M::set(0)), x, M::mul(x, M::set(slope)));
  }
};

struct LeakyReluBackward {
  double slope;
  double unused;
  template <class M>
  MILL_FN typename M::V operator()(M, typename M::V g, typename M::V x) const {
    return M::select(M::gt(x, M::set(0)), g, M::mul(g, M::set(slope)));
  }
};

struct Elu {
  double alpha;
  double unused;
  template <class M>
  MILL_FN typename M::V operator()(M, typename M::V x) const {
    const typename M::V below = M::expm1(M::at_most(x, M::set(0)));
    return M::select(M::gt(x, M::set(0)), x, M::mul(below, M::set(alpha)));
  }
};

struct EluBackward {
  double alpha;
  double unused;
  template <class M>
  MILL_FN typename M::V operator()(M, typename M::V g, typename M::V x) const {
    const typename M::V slope = M::mul(M::exp(M::at_most(x, M::set(0))), M::set(alpha));
    return M::select(M::gt(x, M::set(0)), g, M::mul(g, slope));
  }
};

struct Clamp {
  double low;
  double high;
  template <class M>
  MILL_FN typename M::V operator()(M, typename M::V x) const {
    return M::at_most(M::at_least(x, M::set(low)), M::set(high));
  }
};

// The gradient passes where the input does, the bounds included.
struct ClampBackward {
  double low;
  double high;
  template <class M>
  MILL_FN typename M::V operator()(M, typename M::V g, typename M::V x) const {
    const typename M::V not_below = M::select(M::lt(x, M::set(low)), M::set(0), g);
    return M::select(M::gt(x, M::set(high)), M::set(0), not_below);
  }
};

}  // namespace mill::functors
