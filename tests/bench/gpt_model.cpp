#include "bench/gpt_model.h"

namespace bench {

GptShape char_gpt_shape() {
  return {12, 64, 4, 4, 128, 65};
}

GptShape gpt2_shape() {
  return {4, 64, 12, 12, 768, 50257};
}

GptStart::GptStart(const GptShape& shape) {
  recipe = {1e-3, 0.99, 0.1, 1};
  const int64_t c = shape.width;
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
  ids = pick(shape.batch * shape.context, shape.symbols);
  labels = pick(shape.batch * shape.context, shape.symbols);
  label_dims = {shape.batch, shape.context};
}

MillGpt::MillGpt(Mill& mill, const GptShape& shape, const GptStart& start)
    : MillTrainer(mill, start), shape_(shape) {
  ids_ = keep(mill.tensor_i64({shape.batch, shape.context}, start.ids.data()));
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

}  // namespace bench
