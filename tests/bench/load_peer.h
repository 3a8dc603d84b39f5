// What load_bench knows of libtorch: a shared object that it opens, for a program that is linked
// with libtorch has loaded it before main.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench/gpt_model.h"
#include "bench/mlp_model.h"

namespace bench {

struct LoadPeer {
  std::string name;
  std::vector<Config> configs;  // thread counts; as they come when none is entered
  std::function<std::unique_ptr<peer::Trainer>(const MlpShape&, const MlpStart&)> mlp;
  std::function<std::unique_ptr<peer::Trainer>(const GptShape&, const GptStart&)> gpt;
};

// The shared object's one function, found by this name.
constexpr char kLoadPeer[] = "bench_load_peer";
using FillLoadPeer = void (*)(LoadPeer* out);

}  // namespace bench
