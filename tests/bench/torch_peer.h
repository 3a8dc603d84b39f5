// What the programs know of libtorch. Its headers stay in NAME_torch.cpp: they take long to
// compile.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "bench/common.h"

namespace bench::peer {

std::string torch_name();
void set_threads(int omp, int blas);
// Every combination of one and two OpenMP and BLAS threads (one and all CPUs on larger machines).
std::vector<Config> thread_configs();
void measured(Case& c);  // gives the case's peer this name and these settings

// dispatch_torch.cpp
Side add_one();  // one element, no gradient
struct Chain {
  Side side;
  std::function<std::vector<float>()> gradient;
};
Chain mul_sum_backward(const std::vector<float>& x, const std::vector<float>& w);
// nodes elementwise ops in a row: mul by w, add b, mul by w, ...; then sum and backward.
Chain chain(const std::vector<float>& x, const std::vector<float>& w, const std::vector<float>& b,
            int nodes);

}  // namespace bench::peer
