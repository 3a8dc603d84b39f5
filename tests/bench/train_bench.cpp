// A10, A11 and char_mlp: whole training steps, next to libtorch.
#include <cmath>

#include "bench/torch_peer.h"

using bench::Case;
using bench::Mill;
using bench::MlpShape;
using bench::Session;

namespace {

struct Model {
  const char* id;
  const char* name;
  MlpShape shape;
  double goal;
};

MlpShape mlp(int64_t batch, std::vector<int64_t> widths) {
  MlpShape shape;
  shape.batch = batch;
  shape.widths = std::move(widths);
  return shape;
}

// samples/c/char_mlp.c as it comes, on tinyshakespeare's 65 characters.
MlpShape char_mlp() {
  MlpShape shape = mlp(256, {16 * 24, 256, 256, 65});
  shape.gelu = true;
  shape.symbols = 65;
  shape.window = 16;
  shape.rate = 2e-3;
  shape.decay = 0.01;
  return shape;
}

std::string compare_losses(Session& session, bench::MillMlp& ours, bench::peer::Mlp& peer,
                           const bench::MlpData& data) {
  constexpr int kSteps = 10;
  std::vector<double> a(kSteps), b(kSteps);
  session.ours().run([&] {
    ours.reset(data);
    for (double& loss : a) ours.step(&loss);
  });
  session.peer().run([&] {
    peer.reset(data);
    for (double& loss : b) peer.step(&loss);
  });
  for (int k = 0; k < kSteps; ++k) {
    if (std::fabs(a[k] - b[k]) < 2e-4 * (1 + std::fabs(b[k]))) continue;
    char text[120];
    std::snprintf(text, sizeof text, "loss of step %d is %.6f, the peer's is %.6f", k + 1, a[k],
                  b[k]);
    return text;
  }
  if (!(a[kSteps - 1] < a[0])) return "the loss does not fall";
  return "";
}

void train(Session& session, const Model& model) {
  if (!session.wanted(model.id, model.name)) return;
  Mill mill(session.options().library, 0);
  Mill one_mill(session.options().library, MILL_THREADS_CALLER_ONLY);
  const bench::MlpData data(model.shape);
  bench::MillMlp ours(mill, model.shape, data);
  bench::MillMlp one(one_mill, model.shape, data);
  bench::peer::Mlp peer(model.shape, data);
  Case c;
  c.id = model.id;
  c.name = model.name;
  c.ours = {"millrace",
            [&](int64_t n) {
              for (int64_t i = 0; i < n; ++i) ours.step();
            },
            {}};
  c.peer = {bench::peer::torch_name(),
            [&](int64_t n) {
              for (int64_t i = 0; i < n; ++i) peer.step();
            },
            bench::peer::thread_configs()};
  c.goal = model.goal;
  c.check = [&] { return compare_losses(session, ours, peer, data); };
  session.run(c);
  c.name += ", one thread";
  c.goal = 0;
  c.ours.run = [&](int64_t n) {
    for (int64_t i = 0; i < n; ++i) one.step();
  };
  c.check = [&] { return compare_losses(session, one, peer, data); };
  if (!session.trial) session.run(c);
}

bench::Workload workload(const Model& model, bool head) {
  return {model.name,
          [model, head](Session& session) {
            if (head) session.heading("Training steps (one fixed batch)");
            train(session, model);
          },
          true};
}

}  // namespace

int main(int argc, char** argv) {
  return bench::run_program(
      argc, argv,
      {workload({"A10", "MLP 784-128-10, batch 64, Adam", mlp(64, {784, 128, 10}), 2.0}, true),
       workload({"A11", "MLP 784-512-512-10, batch 128, Adam", mlp(128, {784, 512, 512, 10}), 1.4},
                false),
       workload({"char", "char_mlp, batch 256, AdamW", char_mlp(), 1.0}, false)});
}
