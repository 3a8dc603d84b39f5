#include "bench/lstm_model.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "bench/common.h"

namespace bench {

LstmData::LstmData(const LstmShape& s) {
  uint64_t seed = 1;
  const auto draw = [&](int64_t n, float bound) {
    std::vector<float> values(static_cast<size_t>(n));
    fill_random(values.data(), n, seed++, -bound, bound);
    return values;
  };
  const auto add = [&](std::vector<int64_t> size) {
    int64_t n = 1;
    for (const int64_t dim : size) n *= dim;
    params.push_back(draw(n, 1 / std::sqrt(static_cast<float>(s.hidden))));
    dims.push_back(size);
  };
  add({4 * s.hidden, s.size});
  add({4 * s.hidden, s.hidden});
  add({4 * s.hidden});
  add({4 * s.hidden});
  add({s.classes, s.hidden});
  add({s.classes});
  x = draw(s.batch * s.size * s.size, 1);
  for (const float value : draw(s.batch, 0.5f)) {
    const auto label = static_cast<int64_t>((value + 0.5f) * static_cast<float>(s.classes));
    labels.push_back(std::min(label, s.classes - 1));
  }
}

MillLstm::MillLstm(Mill& mill, const LstmShape& shape, const LstmData& data)
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
  x_ = mill.tensor({shape.size, shape.batch, shape.size}, data.x.data());
  labels_ = mill.tensor_i64({shape.batch}, data.labels.data());
  reset(data);
}

void MillLstm::reset(const LstmData& data) {
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

MillLstm::~MillLstm() {
  const Api& api = mill_.api;
  for (mill_tensor* param : params_) api.mill_tensor_release(param);
  api.mill_tensor_release(x_);
  api.mill_tensor_release(labels_);
  api.mill_tape_release(tape_);
  api.mill_optimizer_release(optimizer_);
  api.mill_group_release(group_);
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

void MillLstm::step(double* loss_value) {
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
