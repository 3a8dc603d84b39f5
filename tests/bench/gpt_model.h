// A GPT as samples/c/char_gpt.c has it. The characters' table is also the last layer's weights;
// linear layers have no bias; gradients are clipped to norm 1.
#pragma once

#include "bench/trainer.h"

namespace bench {

struct GptShape {
  int64_t batch = 0, context = 0, layers = 0, heads = 0, width = 0, symbols = 0;
};

GptShape char_gpt_shape();
GptShape gpt2_shape();  // 124M

// Parameters in order: characters, positions, last norm; and of each layer what GptLayer names.
enum GptPlace { kCharacters, kPositions, kLastWeight, kLastBias, kFirstLayer };
enum GptLayer {
  kNorm1Weight,
  kNorm1Bias,
  kQuery,
  kKey,
  kValue,
  kJoin,
  kNorm2Weight,
  kNorm2Bias,
  kUp,
  kDown,
  kPerLayer
};

struct GptStart : Start {
  explicit GptStart(const GptShape& shape);
  std::vector<int64_t> ids;  // [batch, context]
};

class MillGpt final : public MillTrainer {
 public:
  MillGpt(Mill& mill, const GptShape& shape, const GptStart& start);

 private:
  mill_tensor* linear(mill_tensor* x, mill_tensor* weight);
  mill_tensor* heads(mill_tensor* x, mill_tensor* weight);
  mill_tensor* attend(mill_tensor* x, mill_tensor* const* layer);
  mill_tensor* logits() override;

  GptShape shape_;
  mill_tensor* ids_ = nullptr;
};

namespace peer {
std::unique_ptr<Trainer> gpt(const GptShape& shape, const GptStart& start);
}

}  // namespace bench
