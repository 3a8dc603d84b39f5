// Peer of gpt_bench: libtorch 1.13 has no fused attention in C++, so that its scores are tensors.
#include <cmath>
#include <limits>

#include "bench/gpt_model.h"
#include "bench/torch_trainer.h"

namespace bench::peer {

namespace {

class Gpt final : public TorchTrainer {
 public:
  Gpt(const GptShape& shape, const GptStart& start)
      : TorchTrainer(start), shape_(shape), ids_(copy_of(start.ids, {shape.batch, shape.context})) {
    hidden_ = torch::full({shape.context, shape.context}, -std::numeric_limits<float>::infinity())
                  .triu(1);
    reset(start);
  }

 private:
  torch::Tensor logits() override {
    const GptShape& g = shape_;
    const int64_t each = g.width / g.heads;
    const auto heads = [&](const torch::Tensor& x, const torch::Tensor& weight) {
      return torch::linear(x, weight).view({g.batch, g.context, g.heads, each}).transpose(1, 2);
    };
    const auto norm = [&](const torch::Tensor& x, const torch::Tensor* weight) {
      return torch::layer_norm(x, {g.width}, weight[0], weight[1], 1e-5);
    };
    torch::Tensor x = torch::embedding(params_[kCharacters], ids_) + params_[kPositions];
    for (int64_t l = 0; l < g.layers; ++l) {
      const torch::Tensor* layer = &params_[static_cast<size_t>(kFirstLayer + l * kPerLayer)];
      const torch::Tensor y = norm(x, layer + kNorm1Weight);
      const torch::Tensor q = heads(y, layer[kQuery]);
      const torch::Tensor k = heads(y, layer[kKey]);
      const torch::Tensor v = heads(y, layer[kValue]);
      const torch::Tensor scores =
          torch::matmul(q, k.transpose(-2, -1)) * (1 / std::sqrt(static_cast<double>(each)));
      const torch::Tensor seen = torch::matmul(torch::softmax(scores + hidden_, -1), v);
      const torch::Tensor flat =
          seen.transpose(1, 2).contiguous().view({g.batch, g.context, g.width});
      x = x + torch::linear(flat, layer[kJoin]);
      const torch::Tensor wide = torch::linear(norm(x, layer + kNorm2Weight), layer[kUp]);
      x = x + torch::linear(torch::gelu(wide), layer[kDown]);
    }
    return torch::linear(norm(x, &params_[kLastWeight]), params_[kCharacters]);
  }

  GptShape shape_;
  torch::Tensor ids_;
  torch::Tensor hidden_;  // above the diagonal -infinity, elsewhere 0
};

}  // namespace

std::unique_ptr<Trainer> gpt(const GptShape& shape, const GptStart& start) {
  return std::make_unique<Gpt>(shape, start);
}

}  // namespace bench::peer
