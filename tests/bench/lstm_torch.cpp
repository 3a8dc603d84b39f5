// Peer of lstm_bench: libtorch's LSTM.
#include "bench/lstm_model.h"
#include "bench/torch_trainer.h"

namespace bench::peer {

namespace {

class Lstm final : public TorchTrainer {
 public:
  Lstm(const LstmShape& shape, const LstmStart& start)
      : TorchTrainer(start),
        shape_(shape),
        x_(copy_of(start.x, {shape.size, shape.batch, shape.size})) {
    reset(start);
  }

 private:
  torch::Tensor logits() override {
    const auto first = torch::zeros({1, shape_.batch, shape_.hidden});
    const auto results =
        torch::lstm(x_, {first, first}, {params_[0], params_[1], params_[2], params_[3]}, true, 1,
                    0, true, false, false);
    return torch::linear(std::get<1>(results)[0], params_[4], params_[5]);
  }

  LstmShape shape_;
  torch::Tensor x_;
};

}  // namespace

std::unique_ptr<Trainer> lstm(const LstmShape& shape, const LstmStart& start) {
  return std::make_unique<Lstm>(shape, start);
}

}  // namespace bench::peer
