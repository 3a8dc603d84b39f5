// libtorch's name and its two thread pools. Part of every program that has a NAME_torch.cpp.
#include <ATen/Parallel.h>
#include <dlfcn.h>
#include <torch/version.h>

#include <string>
#include <thread>
#include <vector>

#include "bench/torch_peer.h"

namespace bench::peer {

std::string torch_name() {
  return "libtorch " + std::string(TORCH_VERSION);
}

void set_threads(int omp, int blas) {
  using SetThreads = void (*)(int);
  at::set_num_threads(omp);
  static const auto set_omp =
      reinterpret_cast<SetThreads>(dlsym(RTLD_DEFAULT, "omp_set_num_threads"));
  if (set_omp) set_omp(omp);
  static const auto set_blas =
      reinterpret_cast<SetThreads>(dlsym(RTLD_DEFAULT, "openblas_set_num_threads"));
  if (set_blas) set_blas(blas);
}

std::vector<Config> thread_configs() {
  const int all = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  std::vector<int> counts = {1};
  if (all > 1) counts.push_back(all);
  std::vector<Config> out;
  for (const int omp : counts) {
    for (const int blas : counts) {
      Config config;
      config.name = "OMP " + std::to_string(omp) + ", BLAS " + std::to_string(blas);
      config.enter = [omp, blas] { set_threads(omp, blas); };
      config.settle = omp == 1 && blas == 1 ? 0.002 : 0.03;
      out.push_back(config);
    }
  }
  return out;
}

void measured(Case& c) {
  c.peer.name = torch_name();
  c.peer.configs = thread_configs();
}

}  // namespace bench::peer
