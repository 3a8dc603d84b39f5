// Peer of net_bench: libtorch's functions.
#include "bench/net_model.h"
#include "bench/torch_trainer.h"

namespace bench::peer {

namespace {

class Net final : public TorchTrainer {
 public:
  Net(const NetShape& shape, const NetStart& start, bool channels_last)
      : TorchTrainer(start), channels_last_(channels_last) {
    x_ = laid_out(copy_of(start.x, {shape.batch, 1, shape.size, shape.size}));
    reset(start);
  }

 private:
  torch::Tensor laid_out(torch::Tensor t) override {
    return channels_last_ && t.dim() == 4 ? t.contiguous(at::MemoryFormat::ChannelsLast) : t;
  }

  torch::Tensor logits() override {
    torch::Tensor x = x_;
    for (size_t k = 0; k < 2; ++k)
      x = torch::relu(torch::conv2d(x, params_[2 * k], params_[2 * k + 1]));
    x = torch::max_pool2d(x, 2).flatten(1);
    x = torch::relu(torch::linear(x, params_[4], params_[5]));
    return torch::linear(x, params_[6], params_[7]);
  }

  bool channels_last_;
  torch::Tensor x_;
};

}  // namespace

std::unique_ptr<Trainer> net(const NetShape& shape, const NetStart& start, bool channels_last) {
  return std::make_unique<Net>(shape, start, channels_last);
}

}  // namespace bench::peer
