// The LSTM of A13. The rows of an image are a sequence; a linear layer reads the state at its end;
// Adam.
#pragma once

#include "bench/trainer.h"

namespace bench {

struct LstmShape {
  int64_t batch = 64, size = 28, hidden = 128, classes = 10;
};

// Parameters in order: w_ih, w_hh, b_ih, b_hh; the linear layer's weight and bias.
struct LstmStart : Start {
  explicit LstmStart(const LstmShape& shape);
  std::vector<float> x;  // [size, batch, size]: time first, which is the fastest for both
};

class MillLstm final : public MillTrainer {
 public:
  MillLstm(Mill& mill, const LstmShape& shape, const LstmStart& start);

 private:
  mill_tensor* logits() override;

  LstmShape shape_;
  mill_tensor* x_ = nullptr;
};

namespace peer {
std::unique_ptr<Trainer> lstm(const LstmShape& shape, const LstmStart& start);
}

}  // namespace bench
