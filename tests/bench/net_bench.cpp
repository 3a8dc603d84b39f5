// A12: training steps of a CNN, next to libtorch. Each side takes the order of memory that it is
// fastest in, channels first or last.
#include "bench/net_model.h"
#include "bench/torch_peer.h"

namespace {

// The model that is measured now: one of two, alike but for the order of memory.
class EitherNet final : public bench::peer::Trainer {
 public:
  EitherNet(const bench::NetShape& shape, const bench::NetStart& start)
      : nets_{bench::peer::net(shape, start, false), bench::peer::net(shape, start, true)} {}
  void reset(const bench::Start& start) override { nets_[channels_last]->reset(start); }
  void step(double* loss) override { nets_[channels_last]->step(loss); }
  size_t channels_last = 0;

 private:
  std::unique_ptr<bench::peer::Trainer> nets_[2];
};

void cnn(bench::Session& session) {
  const char* const name = "MNIST CNN, 32 and 64 channels, batch 64, Adam";
  if (!session.wanted("A12", name)) return;
  session.heading("Training steps of a CNN (one fixed batch)");
  const bench::NetShape shape;
  const bench::NetStart start(shape);
  bench::Mill mill(session.options().library, 0);
  bench::MillNet ours(mill, shape, start);
  EitherNet peer(shape, start);
  bench::Case c = bench::training_case(session, "A12", name, 1.0, ours, peer, start);
  c.ours.configs = {{"nchw", [&ours] { ours.channels_last = false; }, 0.002},
                    {"nhwc", [&ours] { ours.channels_last = true; }, 0.002}};
  bench::peer::measured(c);
  std::vector<bench::Config> threads;
  threads.swap(c.peer.configs);
  for (const size_t last : {0, 1}) {
    for (bench::Config config : threads) {
      config.name += last ? ", nhwc" : ", nchw";
      config.enter = [&peer, last, enter = config.enter] {
        enter();
        peer.channels_last = last;
      };
      c.peer.configs.push_back(config);
    }
  }
  session.run(c);
}

}  // namespace

int main(int argc, char** argv) {
  return bench::run_program(argc, argv, {{"cnn", cnn, true}});
}
