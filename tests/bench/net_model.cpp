#include "bench/net_model.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "bench/common.h"

namespace bench {

NetData::NetData(const NetShape& s) {
  uint64_t seed = 1;
  const auto draw = [&](int64_t n, float bound) {
    std::vector<float> values(static_cast<size_t>(n));
    fill_random(values.data(), n, seed++, -bound, bound);
    return values;
  };
  const auto layer = [&](std::vector<int64_t> size) {
    int64_t n = 1;
    for (const int64_t dim : size) n *= dim;
    const float bound = 1 / std::sqrt(static_cast<float>(n / size[0]));
    params.push_back(draw(n, bound));
    params.push_back(draw(size[0], bound));
    dims.push_back(size);
    dims.push_back({size[0]});
  };
  layer({s.first, 1, 3, 3});
  layer({s.second, s.first, 3, 3});
  layer({s.hidden, s.features()});
  layer({s.classes, s.hidden});
  x = draw(s.batch * s.size * s.size, 1);
  for (const float value : draw(s.batch, 0.5f)) {
    const auto label = static_cast<int64_t>((value + 0.5f) * static_cast<float>(s.classes));
    labels.push_back(std::min(label, s.classes - 1));
  }
}

MillNet::MillNet(Mill& mill, const NetShape& shape, const NetData& data)
    : mill_(mill), shape_(shape) {
  const Api& api = mill.api;
  mill.check(api.mill_group_create(mill.context, MILL_F32, &group_, mill.err));
  for (size_t k = 0; k < data.params.size(); ++k) {
    const std::string name = "p" + std::to_string(k);
    mill.check(api.mill_group_add(group_, name.c_str(), data.dims[k].data(),
                                  static_cast<uint32_t>(data.dims[k].size()), nullptr, mill.err));
  }
  mill.check(api.mill_group_build(group_, mill.exec, mill.err));
  params_.resize(data.params.size());
  for (size_t k = 0; k < params_.size(); ++k)
    mill.check(api.mill_group_param(group_, static_cast<uint32_t>(k), &params_[k], mill.err));
  mill.check(api.mill_tape_create(mill.context, &tape_, mill.err));
  x_ = mill.tensor({shape.batch, shape.size, shape.size, 1}, data.x.data());
  labels_ = mill.tensor_i64({shape.batch}, data.labels.data());
  reset(data);
}

void MillNet::reset(const NetData& data) {
  const Api& api = mill_.api;
  for (size_t k = 0; k < params_.size(); ++k) {
    mill_.check(api.mill_tensor_write(mill_.exec, params_[k], data.params[k].data(),
                                      data.params[k].size() * sizeof(float), mill_.err));
  }
  if (optimizer_) api.mill_optimizer_release(optimizer_);
  optimizer_ = nullptr;
  mill_.check(api.mill_optimizer_create_adamw(mill_.exec, group_, shape_.rate, 0.9, 0.999, 1e-8, 0,
                                              &optimizer_, mill_.err));
}

MillNet::~MillNet() {
  const Api& api = mill_.api;
  for (mill_tensor* param : params_) api.mill_tensor_release(param);
  api.mill_tensor_release(x_);
  api.mill_tensor_release(labels_);
  api.mill_tape_release(tape_);
  api.mill_optimizer_release(optimizer_);
  api.mill_group_release(group_);
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

void MillNet::step(double* loss_value) {
  const Api& api = mill_.api;
  mill_exec* exec = mill_.exec;
  mill_error* err = mill_.err;
  mill_.check(api.mill_exec_set_tape(exec, tape_, err));
  mill_.check(api.mill_scope_begin(exec, err));
  mill_tensor *loss = nullptr, *lse = nullptr;
  mill_.check(api.mill_cross_entropy(exec, logits(), labels_, 0, 0.0, -100, &loss, &lse, err));
  mill_.check(api.mill_tape_backward(tape_, exec, loss, nullptr, 0, err));
  mill_.check(api.mill_optimizer_step(optimizer_, exec, err));
  if (loss_value) mill_.check(api.mill_tensor_item(exec, loss, loss_value, err));
  mill_.check(api.mill_scope_end(exec, err));
  mill_.check(api.mill_exec_set_tape(exec, nullptr, err));
}

}  // namespace bench
