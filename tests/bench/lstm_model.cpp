#include "bench/lstm_model.h"

#include <cmath>

namespace bench {

LstmStart::LstmStart(const LstmShape& s) {
  const float bound = 1 / std::sqrt(static_cast<float>(s.hidden));
  param({4 * s.hidden, s.size}, -bound, bound);
  param({4 * s.hidden, s.hidden}, -bound, bound);
  param({4 * s.hidden}, -bound, bound);
  param({4 * s.hidden}, -bound, bound);
  param({s.classes, s.hidden}, -bound, bound);
  param({s.classes}, -bound, bound);
  x = draw(s.batch * s.size * s.size, -1, 1);
  labels = pick(s.batch, s.classes);
  label_dims = {s.batch};
}

MillLstm::MillLstm(Mill& mill, const LstmShape& shape, const LstmStart& start)
    : MillTrainer(mill, start), shape_(shape) {
  x_ = keep(mill.tensor({shape.size, shape.batch, shape.size}, start.x.data()));
}

mill_tensor* MillLstm::logits() {
  const Api& api = mill_.api;
  mill_tensor *y = nullptr, *h = nullptr, *last = nullptr, *out = nullptr;
  const int64_t dims[2] = {shape_.batch, shape_.hidden};
  mill_.check(api.mill_lstm(mill_.exec, x_, params_.data(), 4, nullptr, nullptr, nullptr, 0, 0, 0,
                            &y, &h, nullptr, mill_.err));
  mill_.check(api.mill_reshape(mill_.exec, h, dims, 2, &last, mill_.err));
  mill_.check(api.mill_linear(mill_.exec, last, params_[4], params_[5], &out, mill_.err));
  return out;
}

}  // namespace bench
