// What net_bench knows of libtorch's side.
#pragma once

#include <memory>

#include "bench/net_model.h"
#include "bench/torch_peer.h"

namespace bench::peer {

class Net {
 public:
  Net(const NetShape& shape, const NetData& data, bool channels_last);
  ~Net();
  void reset(const NetData& data);
  void step(double* loss = nullptr);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace bench::peer
