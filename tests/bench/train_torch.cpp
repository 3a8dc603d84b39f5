// Peer of train_bench and load_bench: libtorch's functions.
#include "bench/mlp_model.h"
#include "bench/torch_trainer.h"

namespace bench::peer {

namespace {

class Mlp final : public TorchTrainer {
 public:
  Mlp(const MlpShape& shape, const MlpStart& start) : TorchTrainer(start), shape_(shape) {
    input_ = shape.symbols > 0 ? copy_of(start.ids, {shape.batch, shape.window})
                               : copy_of(start.x, {shape.batch, shape.widths[0]});
    reset(start);
  }

 private:
  torch::Tensor logits() override {
    torch::Tensor x = input_;
    size_t at = 0;
    if (shape_.symbols > 0)
      x = torch::embedding(params_[at++], x).view({shape_.batch, shape_.widths[0]});
    const size_t layers = shape_.widths.size() - 1;
    for (size_t k = 0; k < layers; ++k) {
      x = torch::linear(x, params_[at], params_[at + 1]);
      at += 2;
      if (k + 1 < layers) x = shape_.gelu ? torch::gelu(x) : torch::relu(x);
    }
    return x;
  }

  MlpShape shape_;
  torch::Tensor input_;
};

}  // namespace

std::unique_ptr<Trainer> mlp(const MlpShape& shape, const MlpStart& start) {
  return std::make_unique<Mlp>(shape, start);
}

}  // namespace bench::peer
