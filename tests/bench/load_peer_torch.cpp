// Peer of load_bench: the model of train_torch.cpp, behind one function of a shared object.
#include "bench/load_peer.h"
#include "bench/torch_peer.h"

namespace bench {

namespace {

class Model final : public PeerModel {
 public:
  Model(const MlpShape& shape, const MlpData& data) : model_(shape, data) {}
  void reset(const MlpData& data) override { model_.reset(data); }
  void step(double* loss) override { model_.step(loss); }

 private:
  peer::Mlp model_;
};

}  // namespace

extern "C" __attribute__((visibility("default"))) void bench_load_peer(LoadPeer* out) {
  out->name = peer::torch_name();
  out->configs = peer::thread_configs();
  out->model = [](const MlpShape& shape, const MlpData& data) {
    return std::unique_ptr<PeerModel>(std::make_unique<Model>(shape, data));
  };
}

}  // namespace bench
