// The CNN of A12: two convolutions of 3 by 3, the largest of each 2 by 2, two linear layers; Adam.
#pragma once

#include "bench/trainer.h"

namespace bench {

struct NetShape {
  int64_t batch = 64, size = 28, first = 32, second = 64, hidden = 128, classes = 10;

  int64_t pooled() const { return (size - 4) / 2; }
  int64_t features() const { return second * pooled() * pooled(); }
};

// Parameters in order: weight and bias of each layer.
struct NetStart : Start {
  explicit NetStart(const NetShape& shape);
  std::vector<float> x;  // [batch, 1, size, size]

 private:
  void layer(std::vector<int64_t> size);
};

class MillNet final : public MillTrainer {
 public:
  MillNet(Mill& mill, const NetShape& shape, const NetStart& start);
  bool channels_last = false;

 private:
  mill_tensor* logits() override;

  NetShape shape_;
  mill_tensor* x_ = nullptr;
};

namespace peer {
std::unique_ptr<Trainer> net(const NetShape& shape, const NetStart& start, bool channels_last);
}

}  // namespace bench
