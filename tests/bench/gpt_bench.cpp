// A14 and A15: training steps of GPTs, next to libtorch.
#include <cmath>

#include "bench/gpt_peer.h"

using bench::Case;
using bench::GptShape;
using bench::Mill;
using bench::Session;

namespace {

struct Model {
  const char* id;
  const char* name;
  GptShape shape;
  double goal;
  int steps;  // whose losses are compared
};

std::string compare_losses(Session& session, bench::MillGpt& ours, bench::peer::Gpt& peer,
                           const bench::GptData& data, int steps) {
  std::vector<double> a(static_cast<size_t>(steps)), b(a.size());
  session.ours().run([&] {
    ours.reset(data);
    for (double& loss : a) ours.step(&loss);
  });
  session.peer().run([&] {
    peer.reset(data);
    for (double& loss : b) peer.step(&loss);
  });
  for (size_t k = 0; k < a.size(); ++k) {
    if (std::fabs(a[k] - b[k]) < 2e-4 * (1 + std::fabs(b[k]))) continue;
    char text[120];
    std::snprintf(text, sizeof text, "loss of step %zu is %.6f, the peer's is %.6f", k + 1, a[k],
                  b[k]);
    return text;
  }
  if (!(a.back() < a.front())) return "the loss does not fall";
  return "";
}

void train(Session& session, const Model& model) {
  if (!session.wanted(model.id, model.name)) return;
  Mill mill(session.options().library, 0);
  const bench::GptData data(model.shape);
  bench::MillGpt ours(mill, model.shape, data);
  bench::peer::Gpt peer(model.shape, data);
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
  c.check = [&] { return compare_losses(session, ours, peer, data, model.steps); };
  session.run(c);
}

bench::Workload workload(const Model& model, bool head) {
  return {model.name,
          [model, head](Session& session) {
            if (head) session.heading("Training steps of GPTs (one fixed batch, AdamW, clipped)");
            train(session, model);
          },
          true};
}

}  // namespace

int main(int argc, char** argv) {
  return bench::run_program(
      argc, argv,
      {workload({"A14",
                 "char-GPT, 4 layers, 4 heads, width 128, batch 12 of 64",
                 {12, 64, 4, 4, 128, 65},
                 1.4,
                 10},
                true),
       workload({"A15", "GPT-2 124M, batch 4 of 64", {4, 64, 12, 12, 768, 50257}, 1.0, 3}, false)});
}
