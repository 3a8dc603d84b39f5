// Peer of dispatch_bench: libtorch.
#include <torch/torch.h>

#include "bench/torch_peer.h"

namespace bench::peer {

namespace {

torch::Tensor tensor(const std::vector<float>& values) {
  return torch::from_blob(const_cast<float*>(values.data()), {static_cast<int64_t>(values.size())})
      .clone();
}

std::vector<float> values_of(const torch::Tensor& t) {
  const torch::Tensor flat = t.detach().contiguous();
  return {flat.data_ptr<float>(), flat.data_ptr<float>() + flat.numel()};
}

// Small tensors never leave the calling thread, whatever the thread counts are; one and one is the
// least work.
Config one_thread(const char* name, std::function<void()> more = nullptr) {
  Config config;
  config.name = name;
  config.enter = [more] {
    set_threads(1, 1);
    if (more) more();
  };
  return config;
}

}  // namespace

Side add_one() {
  enum Mode { plain, no_grad, inference };
  auto mode = std::make_shared<Mode>(plain);
  const auto a = torch::rand({1});
  const auto b = torch::rand({1});
  Side side;
  side.name = torch_name();
  side.configs = {one_thread("plain", [mode] { *mode = plain; }),
                  one_thread("NoGradGuard", [mode] { *mode = no_grad; }),
                  one_thread("InferenceMode", [mode] { *mode = inference; })};
  side.run = [mode, a, b](int64_t n) {
    const auto loop = [&] {
      for (int64_t i = 0; i < n; ++i) {
        const torch::Tensor c = at::add(a, b);
        if (!c.defined()) throw std::runtime_error("no result");
      }
    };
    if (*mode == inference) {
      const c10::InferenceMode guard;
      loop();
    } else if (*mode == no_grad) {
      const torch::NoGradGuard guard;
      loop();
    } else {
      loop();
    }
  };
  return side;
}

namespace {

Chain make_chain(torch::Tensor x, std::function<torch::Tensor(const torch::Tensor&)> loss) {
  x.requires_grad_(true);
  Chain out;
  out.side.name = torch_name();
  out.side.configs = {one_thread("")};
  out.side.run = [x, loss](int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
      x.mutable_grad().reset();
      loss(x).backward();
    }
  };
  out.gradient = [x] { return values_of(x.grad()); };
  return out;
}

}  // namespace

Chain mul_sum_backward(const std::vector<float>& x, const std::vector<float>& w) {
  const auto weight = tensor(w);
  return make_chain(tensor(x),
                    [weight](const torch::Tensor& leaf) { return at::sum(at::mul(leaf, weight)); });
}

Chain chain(const std::vector<float>& x, const std::vector<float>& w, const std::vector<float>& b,
            int nodes) {
  const auto weight = tensor(w);
  const auto bias = tensor(b);
  return make_chain(tensor(x), [weight, bias, nodes](const torch::Tensor& leaf) {
    torch::Tensor y = leaf;
    for (int k = 0; k < nodes; ++k) y = k % 2 == 0 ? at::mul(y, weight) : at::add(y, bias);
    return at::sum(y);
  });
}

}  // namespace bench::peer
