// Peer of lstm_bench: libtorch's LSTM and its Adam.
#include <torch/torch.h>

#include "bench/lstm_peer.h"
#include "bench/torch_threads.h"

namespace bench::peer {

struct Lstm::State {
  LstmShape shape;
  torch::Tensor x;
  torch::Tensor labels;
  std::vector<torch::Tensor> params;
  std::unique_ptr<torch::optim::Adam> optimizer;
};

Lstm::Lstm(const LstmShape& shape, const LstmData& data) : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.shape = shape;
  s.x = torch::from_blob(const_cast<float*>(data.x.data()), {shape.size, shape.batch, shape.size})
            .clone();
  s.labels =
      torch::from_blob(const_cast<int64_t*>(data.labels.data()), {shape.batch}, torch::kInt64)
          .clone();
  reset(data);
}

Lstm::~Lstm() = default;

void Lstm::reset(const LstmData& data) {
  State& s = *state_;
  s.params.clear();
  for (size_t k = 0; k < data.params.size(); ++k) {
    auto param = torch::from_blob(const_cast<float*>(data.params[k].data()), data.dims[k]).clone();
    param.requires_grad_(true);
    s.params.push_back(param);
  }
  s.optimizer = std::make_unique<torch::optim::Adam>(
      s.params, torch::optim::AdamOptions(s.shape.rate).betas({0.9, 0.999}).eps(1e-8));
}

void Lstm::step(double* loss_value) {
  State& s = *state_;
  s.optimizer->zero_grad();
  const auto start = torch::zeros({1, s.shape.batch, s.shape.hidden});
  const auto results =
      torch::lstm(s.x, {start, start}, {s.params[0], s.params[1], s.params[2], s.params[3]}, true,
                  1, 0, true, false, false);
  const torch::Tensor logits = torch::linear(std::get<1>(results)[0], s.params[4], s.params[5]);
  const torch::Tensor loss = torch::cross_entropy_loss(logits, s.labels);
  loss.backward();
  s.optimizer->step();
  if (loss_value) *loss_value = loss.item<double>();
}

}  // namespace bench::peer
