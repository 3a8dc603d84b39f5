// Peer of load_bench: the models of train_torch.cpp and gpt_torch.cpp, behind one function of a
// shared object.
#include "bench/load_peer.h"
#include "bench/torch_peer.h"

namespace bench {

extern "C" __attribute__((visibility("default"))) void bench_load_peer(LoadPeer* out) {
  out->name = peer::torch_name();
  out->configs = peer::thread_configs();
  out->mlp = peer::mlp;
  out->gpt = peer::gpt;
}

}  // namespace bench
