// The CNN of A12, one training step a call on one fixed batch: ours through the flat functions.
// Two convolutions of 3 by 3, the largest of each 2 by 2, two linear layers; Adam.
#pragma once

#include <vector>

#include "bench/mill_api.h"

namespace bench {

struct NetShape {
  int64_t batch = 64, size = 28, first = 32, second = 64, hidden = 128, classes = 10;
  double rate = 1e-3;

  int64_t pooled() const { return (size - 4) / 2; }
  int64_t features() const { return second * pooled() * pooled(); }
};

// Both sides' starting point: weight and bias of each layer.
struct NetData {
  explicit NetData(const NetShape& shape);
  std::vector<std::vector<float>> params;
  std::vector<std::vector<int64_t>> dims;
  std::vector<float> x;         // [batch, 1, size, size]
  std::vector<int64_t> labels;  // [batch]
};

class MillNet {
 public:
  MillNet(Mill& mill, const NetShape& shape, const NetData& data);
  ~MillNet();
  MillNet(const MillNet&) = delete;
  MillNet& operator=(const MillNet&) = delete;
  void reset(const NetData& data);  // parameters and optimizer state as at the start
  void step(double* loss = nullptr);
  bool channels_last = false;

 private:
  mill_tensor* logits();

  Mill& mill_;
  NetShape shape_;
  mill_group* group_ = nullptr;
  mill_optimizer* optimizer_ = nullptr;
  mill_tape* tape_ = nullptr;
  mill_tensor* x_ = nullptr;
  mill_tensor* labels_ = nullptr;
  std::vector<mill_tensor*> params_;
};

}  // namespace bench
