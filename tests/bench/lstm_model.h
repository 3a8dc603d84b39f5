// The LSTM of A13, one training step a call on one fixed batch: ours through the flat functions.
// The rows of an image are a sequence; a linear layer reads the state at its end; Adam.
#pragma once

#include <vector>

#include "bench/mill_api.h"

namespace bench {

struct LstmShape {
  int64_t batch = 64, size = 28, hidden = 128, classes = 10;
  double rate = 1e-3;
};

// Both sides' starting point: w_ih, w_hh, b_ih, b_hh; the linear layer's weight and bias.
struct LstmData {
  explicit LstmData(const LstmShape& shape);
  std::vector<std::vector<float>> params;
  std::vector<std::vector<int64_t>> dims;
  std::vector<float> x;         // [size, batch, size]: time first, which is the fastest for both
  std::vector<int64_t> labels;  // [batch]
};

class MillLstm {
 public:
  MillLstm(Mill& mill, const LstmShape& shape, const LstmData& data);
  ~MillLstm();
  MillLstm(const MillLstm&) = delete;
  MillLstm& operator=(const MillLstm&) = delete;
  void reset(const LstmData& data);  // parameters and optimizer state as at the start
  void step(double* loss = nullptr);

 private:
  mill_tensor* logits();

  Mill& mill_;
  LstmShape shape_;
  mill_group* group_ = nullptr;
  mill_optimizer* optimizer_ = nullptr;
  mill_tape* tape_ = nullptr;
  mill_tensor* x_ = nullptr;
  mill_tensor* labels_ = nullptr;
  std::vector<mill_tensor*> params_;
};

}  // namespace bench
