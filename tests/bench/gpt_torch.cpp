// Peer of gpt_bench: libtorch 1.13 has no fused attention in C++, so that its scores are tensors.
#include <torch/torch.h>

#include <limits>

#include "bench/gpt_peer.h"
#include "bench/torch_threads.h"

namespace bench::peer {

struct Gpt::State {
  GptShape shape;
  torch::Tensor ids;
  torch::Tensor labels;
  torch::Tensor hidden;  // above the diagonal -infinity, elsewhere 0
  std::vector<torch::Tensor> params;
  std::unique_ptr<torch::optim::AdamW> optimizer;
};

Gpt::Gpt(const GptShape& shape, const GptData& data) : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.shape = shape;
  const auto whole = [&](const std::vector<int64_t>& values) {
    return torch::from_blob(const_cast<int64_t*>(values.data()), {shape.batch, shape.context},
                            torch::kInt64)
        .clone();
  };
  s.ids = whole(data.ids);
  s.labels = whole(data.labels);
  s.hidden =
      torch::full({shape.context, shape.context}, -std::numeric_limits<float>::infinity()).triu(1);
  reset(data);
}

Gpt::~Gpt() = default;

void Gpt::reset(const GptData& data) {
  State& s = *state_;
  s.params.clear();
  for (size_t k = 0; k < data.params.size(); ++k) {
    auto param = torch::from_blob(const_cast<float*>(data.params[k].data()), data.dims[k]).clone();
    param.requires_grad_(true);
    s.params.push_back(param);
  }
  s.optimizer =
      std::make_unique<torch::optim::AdamW>(s.params, torch::optim::AdamWOptions(s.shape.rate)
                                                          .betas({0.9, s.shape.beta2})
                                                          .eps(1e-8)
                                                          .weight_decay(s.shape.decay));
}

void Gpt::step(double* loss_value) {
  State& s = *state_;
  const GptShape& g = s.shape;
  const int64_t each = g.width / g.heads;
  const auto heads = [&](const torch::Tensor& x, const torch::Tensor& weight) {
    return torch::linear(x, weight).view({g.batch, g.context, g.heads, each}).transpose(1, 2);
  };
  const auto norm = [&](const torch::Tensor& x, const torch::Tensor* weight) {
    return torch::layer_norm(x, {g.width}, weight[0], weight[1], 1e-5);
  };
  s.optimizer->zero_grad();
  torch::Tensor x = torch::embedding(s.params[kCharacters], s.ids) + s.params[kPositions];
  for (int64_t l = 0; l < g.layers; ++l) {
    const torch::Tensor* layer = &s.params[static_cast<size_t>(kFirstLayer + l * kPerLayer)];
    const torch::Tensor y = norm(x, layer + kNorm1Weight);
    const torch::Tensor q = heads(y, layer[kQuery]);
    const torch::Tensor k = heads(y, layer[kKey]);
    const torch::Tensor v = heads(y, layer[kValue]);
    const torch::Tensor scores =
        torch::matmul(q, k.transpose(-2, -1)) * (1 / std::sqrt(static_cast<double>(each)));
    const torch::Tensor seen = torch::matmul(torch::softmax(scores + s.hidden, -1), v);
    const torch::Tensor flat =
        seen.transpose(1, 2).contiguous().view({g.batch, g.context, g.width});
    x = x + torch::linear(flat, layer[kJoin]);
    const torch::Tensor wide = torch::linear(norm(x, layer + kNorm2Weight), layer[kUp]);
    x = x + torch::linear(torch::gelu(wide), layer[kDown]);
  }
  const torch::Tensor logits =
      torch::linear(norm(x, &s.params[kLastWeight]), s.params[kCharacters]);
  const torch::Tensor loss =
      torch::cross_entropy_loss(logits.view({-1, g.symbols}), s.labels.view({-1}));
  loss.backward();
  torch::nn::utils::clip_grad_norm_(s.params, 1.0);
  s.optimizer->step();
  if (loss_value) *loss_value = loss.item<double>();
}

}  // namespace bench::peer
