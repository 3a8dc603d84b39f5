// What gpt_bench knows of libtorch's side.
#pragma once

#include <memory>

#include "bench/gpt_model.h"
#include "bench/torch_peer.h"

namespace bench::peer {

class Gpt {
 public:
  Gpt(const GptShape& shape, const GptData& data);
  ~Gpt();
  void reset(const GptData& data);
  void step(double* loss = nullptr);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace bench::peer
