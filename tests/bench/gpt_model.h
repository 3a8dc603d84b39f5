// A GPT as samples/c/char_gpt.c has it, one training step a call on one fixed batch: ours through
// the flat functions. The characters' table is also the last layer's weights; linear layers have no
// bias; gradients are clipped to norm 1.
#pragma once

#include <vector>

#include "bench/mill_api.h"

namespace bench {

struct GptShape {
  int64_t batch = 0, context = 0, layers = 0, heads = 0, width = 0, symbols = 0;
  double rate = 1e-3, beta2 = 0.99, decay = 0.1;
};

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

// Both sides' starting point.
struct GptData {
  explicit GptData(const GptShape& shape);
  std::vector<std::vector<float>> params;
  std::vector<std::vector<int64_t>> dims;
  std::vector<int64_t> ids;     // [batch, context]
  std::vector<int64_t> labels;  // the same
};

class MillGpt {
 public:
  MillGpt(Mill& mill, const GptShape& shape, const GptData& data);
  ~MillGpt();
  MillGpt(const MillGpt&) = delete;
  MillGpt& operator=(const MillGpt&) = delete;
  void reset(const GptData& data);  // parameters and optimizer state as at the start
  void step(double* loss = nullptr);

 private:
  mill_tensor* linear(mill_tensor* x, mill_tensor* weight);
  mill_tensor* heads(mill_tensor* x, mill_tensor* weight);
  mill_tensor* attend(mill_tensor* x, mill_tensor* const* layer);
  mill_tensor* logits();

  Mill& mill_;
  GptShape shape_;
  mill_group* group_ = nullptr;
  mill_optimizer* optimizer_ = nullptr;
  mill_tape* tape_ = nullptr;
  mill_tensor* ids_ = nullptr;
  mill_tensor* labels_ = nullptr;
  std::vector<mill_tensor*> params_;
};

}  // namespace bench
