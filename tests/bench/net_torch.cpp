// Peer of net_bench: libtorch's functions and its Adam.
#include <torch/torch.h>

#include "bench/net_peer.h"
#include "bench/torch_threads.h"

namespace bench::peer {

struct Net::State {
  NetShape shape;
  bool channels_last = false;
  torch::Tensor x;
  torch::Tensor labels;
  std::vector<torch::Tensor> params;
  std::unique_ptr<torch::optim::Adam> optimizer;

  torch::Tensor laid_out(torch::Tensor t) const {
    return channels_last && t.dim() == 4 ? t.contiguous(at::MemoryFormat::ChannelsLast) : t;
  }
};

Net::Net(const NetShape& shape, const NetData& data, bool channels_last)
    : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.shape = shape;
  s.channels_last = channels_last;
  s.x = s.laid_out(
      torch::from_blob(const_cast<float*>(data.x.data()), {shape.batch, 1, shape.size, shape.size})
          .clone());
  s.labels =
      torch::from_blob(const_cast<int64_t*>(data.labels.data()), {shape.batch}, torch::kInt64)
          .clone();
  reset(data);
}

Net::~Net() = default;

void Net::reset(const NetData& data) {
  State& s = *state_;
  s.params.clear();
  for (size_t k = 0; k < data.params.size(); ++k) {
    auto param = s.laid_out(
        torch::from_blob(const_cast<float*>(data.params[k].data()), data.dims[k]).clone());
    param.requires_grad_(true);
    s.params.push_back(param);
  }
  s.optimizer = std::make_unique<torch::optim::Adam>(
      s.params, torch::optim::AdamOptions(s.shape.rate).betas({0.9, 0.999}).eps(1e-8));
}

void Net::step(double* loss_value) {
  State& s = *state_;
  s.optimizer->zero_grad();
  torch::Tensor x = s.x;
  for (size_t k = 0; k < 2; ++k)
    x = torch::relu(torch::conv2d(x, s.params[2 * k], s.params[2 * k + 1]));
  x = torch::max_pool2d(x, 2).flatten(1);
  x = torch::relu(torch::linear(x, s.params[4], s.params[5]));
  const torch::Tensor logits = torch::linear(x, s.params[6], s.params[7]);
  const torch::Tensor loss = torch::cross_entropy_loss(logits, s.labels);
  loss.backward();
  s.optimizer->step();
  if (loss_value) *loss_value = loss.item<double>();
}

}  // namespace bench::peer
