// What load_bench knows of libtorch: a shared object that it opens, for a program that is linked
// with libtorch has loaded it before main.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench/common.h"
#include "bench/mill_api.h"

namespace bench {

class PeerModel {
 public:
  virtual ~PeerModel() = default;
  virtual void reset(const MlpData& data) = 0;
  virtual void step(double* loss) = 0;
};

struct LoadPeer {
  std::string name;
  std::vector<Config> configs;  // thread counts; as they come when none is entered
  std::function<std::unique_ptr<PeerModel>(const MlpShape&, const MlpData&)> model;
};

// The shared object's one function, found by this name.
constexpr char kLoadPeer[] = "bench_load_peer";
using FillLoadPeer = void (*)(LoadPeer* out);

}  // namespace bench
