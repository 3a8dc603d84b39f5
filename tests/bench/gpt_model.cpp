#include "bench/gpt_model.h"

#include <algorithm>
#include <string>

#include "bench/common.h"

namespace bench {

GptData::GptData(const GptShape& shape) {
  uint64_t seed = 1;
  const int64_t c = shape.width;
  const auto param = [&](std::vector<int64_t> size, float low, float high) {
    int64_t n = 1;
    for (const int64_t dim : size) n *= dim;
    std::vector<float> values(static_cast<size_t>(n));
    fill_random(values.data(), n, seed++, low, high);
    params.push_back(std::move(values));
    dims.push_back(std::move(size));
  };
  const auto matrix = [&](int64_t rows, int64_t cols) { param({rows, cols}, -0.035f, 0.035f); };
  const auto norm = [&] {
    param({c}, 0.9f, 1.1f);
    param({c}, -0.1f, 0.1f);
  };
  matrix(shape.symbols, c);
  matrix(shape.context, c);
  norm();
  for (int64_t l = 0; l < shape.layers; ++l) {
    norm();
    for (int k = 0; k < 4; ++k) matrix(c, c);
    norm();
    matrix(4 * c, c);
    matrix(c, 4 * c);
  }
  const auto pick = [&](std::vector<int64_t>& out) {
    std::vector<float> draw(static_cast<size_t>(shape.batch * shape.context));
    fill_random(draw.data(), static_cast<int64_t>(draw.size()), seed++, 0.0f,
                static_cast<float>(shape.symbols));
    for (const float value : draw)
      out.push_back(std::min(static_cast<int64_t>(value), shape.symbols - 1));
  };
  pick(ids);
  pick(labels);
}

MillGpt::MillGpt(Mill& mill, const GptShape& shape, const GptData& data)
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
  ids_ = mill.tensor_i64({shape.batch, shape.context}, data.ids.data());
  labels_ = mill.tensor_i64({shape.batch, shape.context}, data.labels.data());
  reset(data);
}

void MillGpt::reset(const GptData& data) {
  const Api& api = mill_.api;
  for (size_t k = 0; k < params_.size(); ++k) {
    mill_.check(api.mill_tensor_write(mill_.exec, params_[k], data.params[k].data(),
                                      data.params[k].size() * sizeof(float), mill_.err));
  }
  if (optimizer_) api.mill_optimizer_release(optimizer_);
  optimizer_ = nullptr;
  mill_.check(api.mill_optimizer_create_adamw(mill_.exec, group_, shape_.rate, 0.9, shape_.beta2,
                                              1e-8, shape_.decay, &optimizer_, mill_.err));
  mill_.check(api.mill_optimizer_set_clip_norm(optimizer_, 1, mill_.err));
}

MillGpt::~MillGpt() {
  const Api& api = mill_.api;
  for (mill_tensor* param : params_) api.mill_tensor_release(param);
  api.mill_tensor_release(ids_);
  api.mill_tensor_release(labels_);
  api.mill_tape_release(tape_);
  api.mill_optimizer_release(optimizer_);
  api.mill_group_release(group_);
}

mill_tensor* MillGpt::linear(mill_tensor* x, mill_tensor* weight) {
  mill_tensor* out = nullptr;
  mill_.check(mill_.api.mill_linear(mill_.exec, x, weight, nullptr, &out, mill_.err));
  return out;
}

mill_tensor* MillGpt::heads(mill_tensor* x, mill_tensor* weight) {
  const int64_t apart[4] = {shape_.batch, shape_.context, shape_.heads,
                            shape_.width / shape_.heads};
  const int64_t order[4] = {0, 2, 1, 3};
  mill_tensor* split = nullptr;
  mill_tensor* out = nullptr;
  mill_.check(mill_.api.mill_reshape(mill_.exec, linear(x, weight), apart, 4, &split, mill_.err));
  mill_.check(mill_.api.mill_permute(mill_.exec, split, order, 4, &out, mill_.err));
  return out;
}

mill_tensor* MillGpt::attend(mill_tensor* x, mill_tensor* const* layer) {
  const Api& api = mill_.api;
  mill_tensor* q = heads(x, layer[kQuery]);
  mill_tensor* k = heads(x, layer[kKey]);
  mill_tensor* v = heads(x, layer[kValue]);
  const int64_t order[4] = {0, 2, 1, 3};
  const int64_t joined[3] = {shape_.batch, shape_.context, shape_.width};
  mill_tensor* out = nullptr;
  mill_tensor* lse = nullptr;
  mill_tensor* back = nullptr;
  mill_tensor* flat = nullptr;
  mill_.check(api.mill_attention(mill_.exec, q, k, v, nullptr, nullptr, nullptr, 1, 0, 0, &out,
                                 &lse, mill_.err));
  mill_.check(api.mill_permute(mill_.exec, out, order, 4, &back, mill_.err));
  mill_.check(api.mill_reshape(mill_.exec, back, joined, 3, &flat, mill_.err));
  return linear(flat, layer[kJoin]);
}

mill_tensor* MillGpt::logits() {
  const Api& api = mill_.api;
  mill_tensor* what = nullptr;
  mill_tensor* x = nullptr;
  mill_tensor* added = nullptr;
  mill_.check(api.mill_embedding(mill_.exec, params_[kCharacters], ids_, &what, mill_.err));
  mill_.check(api.mill_add(mill_.exec, what, params_[kPositions], &x, mill_.err));
  // The norm of x and what the half before added to it.
  const auto norm = [&](mill_tensor* const* weight) {
    mill_tensor* y = nullptr;
    mill_tensor* sum = nullptr;
    mill_tensor* mean = nullptr;
    mill_tensor* rstd = nullptr;
    if (added) {
      mill_.check(api.mill_add_layer_norm(mill_.exec, x, added, weight[0], weight[1], 1, 1e-5, &y,
                                          &sum, &mean, &rstd, mill_.err));
      x = sum;
    } else {
      mill_.check(api.mill_layer_norm(mill_.exec, x, weight[0], weight[1], 1, 1e-5, &y, &mean,
                                      &rstd, mill_.err));
    }
    return y;
  };
  for (int64_t l = 0; l < shape_.layers; ++l) {
    mill_tensor* const* layer = &params_[static_cast<size_t>(kFirstLayer + l * kPerLayer)];
    added = attend(norm(layer + kNorm1Weight), layer);
    mill_tensor* bent = nullptr;
    mill_tensor* wide = linear(norm(layer + kNorm2Weight), layer[kUp]);
    mill_.check(api.mill_gelu(mill_.exec, wide, 0, &bent, mill_.err));
    added = linear(bent, layer[kDown]);
  }
  return linear(norm(&params_[kLastWeight]), params_[kCharacters]);
}

void MillGpt::step(double* loss_value) {
  const Api& api = mill_.api;
  mill_exec* exec = mill_.exec;
  mill_error* err = mill_.err;
  mill_.check(api.mill_exec_set_tape(exec, tape_, err));
  mill_.check(api.mill_scope_begin(exec, err));
  mill_tensor* loss = nullptr;
  mill_tensor* lse = nullptr;
  mill_.check(api.mill_cross_entropy(exec, logits(), labels_, 0, 0.0, -100, &loss, &lse, err));
  mill_.check(api.mill_tape_backward(tape_, exec, loss, nullptr, 0, err));
  mill_.check(api.mill_optimizer_step(optimizer_, exec, err));
  if (loss_value) mill_.check(api.mill_tensor_item(exec, loss, loss_value, err));
  mill_.check(api.mill_scope_end(exec, err));
  mill_.check(api.mill_exec_set_tape(exec, nullptr, err));
}

}  // namespace bench
