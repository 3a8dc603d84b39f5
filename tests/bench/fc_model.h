// The fully connected network of ggml's MNIST example: 784-500-10, two batches of 500 a step of
// AdamW. An epoch is what is measured, from samples in the program's memory.
#pragma once

#include "bench/trainer.h"

namespace bench {

struct FcShape {
  int64_t samples = 60000, batch = 500, per_step = 2, inputs = 784, hidden = 500, classes = 10;
};

// Parameters in order: weight and bias of each layer. `labels` are those of the first batch.
struct FcStart : Start {
  explicit FcStart(const FcShape& shape);
  std::vector<float> x;         // [samples, inputs]
  std::vector<int64_t> of_all;  // [samples]
};

class MillFc final : public MillTrainer {
 public:
  MillFc(Mill& mill, const FcShape& shape, const FcStart& start);
  double epoch();  // mean of the batches' losses

 private:
  mill_tensor* logits() override;

  FcShape shape_;
  const FcStart& start_;
  mill_tensor* x_ = nullptr;
  mill_tensor* share_ = nullptr;  // of a batch in its step
};

namespace peer {

class Epochs {
 public:
  virtual ~Epochs() = default;
  virtual void reset() = 0;  // parameters and optimizer state as at the start
  virtual void use(int threads) = 0;
  virtual double epoch() = 0;
};
std::unique_ptr<Epochs> fc(const FcShape& shape, const FcStart& start);
std::string ggml_name();

}  // namespace peer

}  // namespace bench
