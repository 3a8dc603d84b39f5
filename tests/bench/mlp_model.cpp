#include "bench/mlp_model.h"

#include <cmath>

namespace bench {

MlpShape mlp(int64_t batch, std::vector<int64_t> widths) {
  MlpShape shape;
  shape.batch = batch;
  shape.widths = std::move(widths);
  return shape;
}

MlpShape char_mlp() {
  MlpShape shape = mlp(256, {16 * 24, 256, 256, 65});
  shape.gelu = true;
  shape.symbols = 65;
  shape.window = 16;
  shape.rate = 2e-3;
  shape.decay = 0.01;
  return shape;
}

MlpStart::MlpStart(const MlpShape& shape) {
  recipe.rate = shape.rate;
  recipe.decay = shape.decay;
  if (shape.symbols > 0) param({shape.symbols, shape.widths[0] / shape.window}, -1.0f, 1.0f);
  for (size_t k = 0; k + 1 < shape.widths.size(); ++k) {
    const float bound = 1.0f / std::sqrt(static_cast<float>(shape.widths[k]));
    param({shape.widths[k + 1], shape.widths[k]}, -bound, bound);
    param({shape.widths[k + 1]}, -bound, bound);
  }
  if (shape.symbols > 0) {
    ids = pick(shape.batch * shape.window, shape.symbols);
  } else {
    x = draw(shape.batch * shape.widths[0], 0, 1);
  }
  labels = pick(shape.batch, shape.widths.back());
  label_dims = {shape.batch};
}

MillMlp::MillMlp(Mill& mill, const MlpShape& shape, const MlpStart& start)
    : MillTrainer(mill, start), shape_(shape) {
  input_ = keep(shape.symbols > 0 ? mill.tensor_i64({shape.batch, shape.window}, start.ids.data())
                                  : mill.tensor({shape.batch, shape.widths[0]}, start.x.data()));
}

mill_tensor* MillMlp::logits() {
  const Api& api = mill_.api;
  mill_exec* exec = mill_.exec;
  mill_error* err = mill_.err;
  mill_tensor* x = input_;
  size_t at = 0;
  if (shape_.symbols > 0) {
    const int64_t flat[2] = {-1, shape_.widths[0]};
    mill_tensor *rows = nullptr, *joined = nullptr;
    mill_.check(api.mill_embedding(exec, params_[at++], x, &rows, err));
    mill_.check(api.mill_reshape(exec, rows, flat, 2, &joined, err));
    x = joined;
  }
  const size_t layers = shape_.widths.size() - 1;
  for (size_t k = 0; k < layers; ++k) {
    mill_tensor* y = nullptr;
    mill_.check(api.mill_linear(exec, x, params_[at], params_[at + 1], &y, err));
    at += 2;
    if (k + 1 == layers) return y;
    x = nullptr;
    mill_.check(shape_.gelu ? api.mill_gelu(exec, y, 0, &x, err) : api.mill_relu(exec, y, &x, err));
  }
  return x;
}

}  // namespace bench
