// The MLPs of A10, A11 and char_mlp: an embedding (if symbols > 0) and linear layers with an
// activation between them; AdamW.
#pragma once

#include "bench/trainer.h"

namespace bench {

struct MlpShape {
  int64_t batch = 0;
  std::vector<int64_t> widths;  // 784, 128, 10
  bool gelu = false;            // else relu
  int64_t symbols = 0;          // with an embedding: how many rows it has,
  int64_t window = 0;           // and ids a sample has; widths[0] = window * width of a row
  double rate = 1e-3;
  double decay = 0;
};

MlpShape mlp(int64_t batch, std::vector<int64_t> widths);
MlpShape char_mlp();  // samples/c/char_mlp.c as it comes, on tinyshakespeare's 65 characters

// Parameters in order: embedding; weight and bias of each layer.
struct MlpStart : Start {
  explicit MlpStart(const MlpShape& shape);
  std::vector<float> x;
  std::vector<int64_t> ids;
};

class MillMlp final : public MillTrainer {
 public:
  MillMlp(Mill& mill, const MlpShape& shape, const MlpStart& start);

 private:
  mill_tensor* logits() override;

  MlpShape shape_;
  mill_tensor* input_ = nullptr;
};

namespace peer {
std::unique_ptr<Trainer> mlp(const MlpShape& shape, const MlpStart& start);
}

}  // namespace bench
