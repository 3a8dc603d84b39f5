// A training step of libtorch, to which a model adds its layers. Included by NAME_torch.cpp.
#pragma once

#include <torch/torch.h>

#include "bench/trainer.h"

namespace bench::peer {

inline torch::Tensor copy_of(const std::vector<float>& values, const std::vector<int64_t>& dims) {
  return torch::from_blob(const_cast<float*>(values.data()), dims).clone();
}

inline torch::Tensor copy_of(const std::vector<int64_t>& values, const std::vector<int64_t>& dims) {
  return torch::from_blob(const_cast<int64_t*>(values.data()), dims, torch::kInt64).clone();
}

class TorchTrainer : public Trainer {
 public:
  // A model's constructor ends with reset(start).
  explicit TorchTrainer(const Start& start) : labels_(copy_of(start.labels, start.label_dims)) {}

  void reset(const Start& start) override {
    params_.clear();
    for (size_t k = 0; k < start.params.size(); ++k) {
      params_.push_back(laid_out(copy_of(start.params[k], start.dims[k])));
      params_.back().requires_grad_(true);
    }
    const Recipe& recipe = start.recipe;
    clip_ = recipe.clip;
    if (recipe.decay > 0) {
      optimizer_ =
          std::make_unique<torch::optim::AdamW>(params_, torch::optim::AdamWOptions(recipe.rate)
                                                             .betas({0.9, recipe.beta2})
                                                             .eps(1e-8)
                                                             .weight_decay(recipe.decay));
    } else {
      optimizer_ = std::make_unique<torch::optim::Adam>(
          params_, torch::optim::AdamOptions(recipe.rate).betas({0.9, recipe.beta2}).eps(1e-8));
    }
  }

  void step(double* loss_value) override {
    optimizer_->zero_grad();
    const torch::Tensor scores = logits();
    const torch::Tensor loss =
        torch::cross_entropy_loss(scores.view({-1, scores.size(-1)}), labels_.view({-1}));
    loss.backward();
    if (clip_ > 0) torch::nn::utils::clip_grad_norm_(params_, clip_);
    optimizer_->step();
    if (loss_value) *loss_value = loss.item<double>();
  }

 protected:
  virtual torch::Tensor logits() = 0;
  virtual torch::Tensor laid_out(torch::Tensor param) { return param; }

  std::vector<torch::Tensor> params_;

 private:
  torch::Tensor labels_;
  std::unique_ptr<torch::optim::Optimizer> optimizer_;
  double clip_ = 0;
};

}  // namespace bench::peer
