// What lstm_bench knows of libtorch's side.
#pragma once

#include <memory>

#include "bench/lstm_model.h"
#include "bench/torch_peer.h"

namespace bench::peer {

class Lstm {
 public:
  Lstm(const LstmShape& shape, const LstmData& data);
  ~Lstm();
  void reset(const LstmData& data);
  void step(double* loss = nullptr);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace bench::peer
