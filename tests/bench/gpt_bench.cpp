// A14 and A15: training steps of GPTs, next to libtorch.
#include "bench/gpt_model.h"
#include "bench/torch_peer.h"

using bench::GptShape;
using bench::Session;

namespace {

struct Model {
  const char* id;
  const char* name;
  GptShape shape;
  double goal;
  int steps;  // whose losses are compared
};

void train(Session& session, const Model& model) {
  if (!session.wanted(model.id, model.name)) return;
  bench::Mill mill(session.options().library, 0);
  const bench::GptStart start(model.shape);
  bench::MillGpt ours(mill, model.shape, start);
  const auto peer = bench::peer::gpt(model.shape, start);
  bench::Case c = bench::training_case(session, model.id, model.name, model.goal, ours, *peer,
                                       start, model.steps);
  bench::peer::measured(c);
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
      {workload({"A14", "char-GPT, 4 layers, 4 heads, width 128, batch 12 of 64",
                 bench::char_gpt_shape(), 1.4, 10},
                true),
       workload({"A15", "GPT-2 124M, batch 4 of 64", bench::gpt2_shape(), 1.0, 3}, false)});
}
