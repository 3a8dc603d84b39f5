#include "bench/fc_model.h"

#include <cmath>

namespace bench {

FcStart::FcStart(const FcShape& s) {
  const auto layer = [&](int64_t inputs, int64_t outputs) {
    const float bound = 1 / std::sqrt(static_cast<float>(inputs));
    param({outputs, inputs}, -bound, bound);
    param({outputs}, -bound, bound);
  };
  layer(s.inputs, s.hidden);
  layer(s.hidden, s.classes);
  x = draw(s.samples * s.inputs, 0, 1);
  of_all = pick(s.samples, s.classes);
  labels.assign(of_all.begin(), of_all.begin() + s.batch);
  label_dims = {s.batch};
}

MillFc::MillFc(Mill& mill, const FcShape& shape, const FcStart& start)
    : MillTrainer(mill, start), shape_(shape), start_(start) {
  x_ = keep(mill.tensor({shape.batch, shape.inputs}, start.x.data()));
  const float share = 1 / static_cast<float>(shape.per_step);
  share_ = keep(mill.tensor({}, &share));
}

mill_tensor* MillFc::logits() {
  const Api& api = mill_.api;
  mill_tensor *h = nullptr, *r = nullptr, *out = nullptr;
  mill_.check(api.mill_linear(mill_.exec, x_, params_[0], params_[1], &h, mill_.err));
  mill_.check(api.mill_relu(mill_.exec, h, &r, mill_.err));
  mill_.check(api.mill_linear(mill_.exec, r, params_[2], params_[3], &out, mill_.err));
  return out;
}

double MillFc::epoch() {
  const Api& api = mill_.api;
  const FcShape& s = shape_;
  const auto row = static_cast<size_t>(s.batch);
  const size_t width = row * static_cast<size_t>(s.inputs);
  const int64_t batches = s.samples / s.batch;
  double sum = 0;
  for (int64_t k = 0; k < batches; ++k) {
    const auto at = static_cast<size_t>(k);
    mill_.check(api.mill_tensor_write(mill_.exec, x_, &start_.x[at * width], width * sizeof(float),
                                      mill_.err));
    mill_.check(api.mill_tensor_write(mill_.exec, labels_, &start_.of_all[at * row],
                                      row * sizeof(int64_t), mill_.err));
    double loss = 0;
    pass(&loss, share_, (k + 1) % s.per_step == 0);
    sum += loss;
  }
  return sum / static_cast<double>(batches);
}

}  // namespace bench
