#include "bench/net_model.h"

#include <cmath>

namespace bench {

void NetStart::layer(std::vector<int64_t> size) {
  int64_t inputs = 1;
  for (size_t k = 1; k < size.size(); ++k) inputs *= size[k];
  const float bound = 1 / std::sqrt(static_cast<float>(inputs));
  const int64_t outputs = size[0];
  param(std::move(size), -bound, bound);
  param({outputs}, -bound, bound);
}

NetStart::NetStart(const NetShape& s) {
  layer({s.first, 1, 3, 3});
  layer({s.second, s.first, 3, 3});
  layer({s.hidden, s.features()});
  layer({s.classes, s.hidden});
  x = draw(s.batch * s.size * s.size, -1, 1);
  labels = pick(s.batch, s.classes);
  label_dims = {s.batch};
}

MillNet::MillNet(Mill& mill, const NetShape& shape, const NetStart& start)
    : MillTrainer(mill, start), shape_(shape) {
  x_ = keep(mill.tensor({shape.batch, shape.size, shape.size, 1}, start.x.data()));
}

mill_tensor* MillNet::logits() {
  const Api& api = mill_.api;
  mill_exec* exec = mill_.exec;
  mill_error* err = mill_.err;
  const int64_t first[4] = {shape_.batch, 1, shape_.size, shape_.size};
  const int64_t last[4] = {0, 3, 1, 2};
  mill_tensor* x = nullptr;
  if (channels_last) {
    mill_.check(api.mill_permute(exec, x_, last, 4, &x, err));
  } else {
    mill_.check(api.mill_reshape(exec, x_, first, 4, &x, err));
  }
  for (size_t k = 0; k < 2; ++k) {
    mill_tensor *y = nullptr, *z = nullptr;
    mill_.check(api.mill_conv(exec, x, params_[2 * k], params_[2 * k + 1], nullptr, 0, nullptr, 0,
                              nullptr, 0, 1, &y, err));
    mill_.check(api.mill_relu(exec, y, &z, err));
    x = z;
  }
  const int64_t window[2] = {2, 2}, flat[2] = {shape_.batch, shape_.features()};
  mill_tensor *pooled = nullptr, *index = nullptr, *f = nullptr, *h = nullptr, *r = nullptr,
              *out = nullptr;
  mill_.check(api.mill_max_pool(exec, x, window, 2, nullptr, 0, nullptr, 0, nullptr, 0, 0, &pooled,
                                &index, err));
  mill_.check(api.mill_reshape(exec, pooled, flat, 2, &f, err));
  mill_.check(api.mill_linear(exec, f, params_[4], params_[5], &h, err));
  mill_.check(api.mill_relu(exec, h, &r, err));
  mill_.check(api.mill_linear(exec, r, params_[6], params_[7], &out, err));
  return out;
}

}  // namespace bench
