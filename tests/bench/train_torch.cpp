// Peer of train_bench: libtorch's modules, loss and optimizer.
#include <torch/torch.h>

#include "bench/torch_threads.h"

namespace bench::peer {

struct Mlp::State {
  MlpShape shape;
  torch::Tensor input;
  torch::Tensor labels;
  std::vector<torch::Tensor> params;
  std::unique_ptr<torch::optim::Optimizer> optimizer;
};

Mlp::Mlp(const MlpShape& shape, const MlpData& data) : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.shape = shape;
  if (shape.symbols > 0) {
    s.input = torch::from_blob(const_cast<int64_t*>(data.ids.data()), {shape.batch, shape.window},
                               torch::kInt64)
                  .clone();
  } else {
    s.input =
        torch::from_blob(const_cast<float*>(data.x.data()), {shape.batch, shape.widths[0]}).clone();
  }
  s.labels =
      torch::from_blob(const_cast<int64_t*>(data.labels.data()), {shape.batch}, torch::kInt64)
          .clone();
  reset(data);
}

Mlp::~Mlp() = default;

void Mlp::reset(const MlpData& data) {
  State& s = *state_;
  s.params.clear();
  for (size_t k = 0; k < data.params.size(); ++k) {
    auto param = torch::from_blob(const_cast<float*>(data.params[k].data()), data.dims[k]).clone();
    param.requires_grad_(true);
    s.params.push_back(param);
  }
  if (s.shape.decay > 0) {
    s.optimizer =
        std::make_unique<torch::optim::AdamW>(s.params, torch::optim::AdamWOptions(s.shape.rate)
                                                            .betas({0.9, 0.999})
                                                            .eps(1e-8)
                                                            .weight_decay(s.shape.decay));
  } else {
    s.optimizer = std::make_unique<torch::optim::Adam>(
        s.params, torch::optim::AdamOptions(s.shape.rate).betas({0.9, 0.999}).eps(1e-8));
  }
}

void Mlp::step(double* loss_value) {
  State& s = *state_;
  s.optimizer->zero_grad();
  torch::Tensor x = s.input;
  size_t at = 0;
  if (s.shape.symbols > 0) {
    x = torch::embedding(s.params[at++], x).view({s.shape.batch, s.shape.widths[0]});
  }
  const size_t layers = s.shape.widths.size() - 1;
  for (size_t k = 0; k < layers; ++k) {
    x = torch::linear(x, s.params[at], s.params[at + 1]);
    at += 2;
    if (k + 1 < layers) x = s.shape.gelu ? torch::gelu(x) : torch::relu(x);
  }
  const torch::Tensor loss = torch::cross_entropy_loss(x, s.labels);
  loss.backward();
  s.optimizer->step();
  if (loss_value) *loss_value = loss.item<double>();
}

}  // namespace bench::peer
