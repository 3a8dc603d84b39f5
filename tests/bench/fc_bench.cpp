// A16: an epoch of ggml's MNIST example, next to ggml.
#include <thread>

#include "bench/fc_model.h"

using bench::Case;
using bench::Session;

namespace {

void fc(Session& session) {
  const char* const name = "MLP 784-500-10, an epoch of 60,000, 2 batches of 500 a step, AdamW";
  if (!session.wanted("A16", name)) return;
  session.heading("An epoch of training (made-up images)");
  const bench::FcShape shape;
  const bench::FcStart start(shape);
  bench::Mill mill(session.options().library, 0);
  bench::MillFc ours(mill, shape, start);
  const auto peer = bench::peer::fc(shape, start);
  Case c;
  c.id = "A16";
  c.name = name;
  c.goal = 1.8;
  c.ours = {"millrace",
            [&](int64_t n) {
              for (int64_t i = 0; i < n; ++i) ours.epoch();
            },
            {}};
  c.peer = {bench::peer::ggml_name(),
            [&](int64_t n) {
              for (int64_t i = 0; i < n; ++i) peer->epoch();
            },
            {}};
  const int all = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  for (int threads = 1; threads <= all; threads += std::max(1, all - 1))
    c.peer.configs.push_back(
        {"threads " + std::to_string(threads), [&peer, threads] { peer->use(threads); }, 0.03});
  c.check = [&]() -> std::string {
    double a = 0, b = 0;
    session.ours().run([&] {
      ours.reset(start);
      a = ours.epoch();
    });
    session.peer().run([&] {
      peer->reset();
      b = peer->epoch();
    });
    if (bench::same_loss(a, b)) return "";
    return "the first epoch's loss is " + std::to_string(a) + ", the peer's is " +
           std::to_string(b);
  };
  session.run(c);
}

}  // namespace

int main(int argc, char** argv) {
  return bench::run_program(argc, argv, {{"fc", fc, true}});
}
