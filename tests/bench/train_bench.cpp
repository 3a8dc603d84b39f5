// A10, A11 and char_mlp: whole training steps, next to libtorch.
#include "bench/mlp_model.h"
#include "bench/torch_peer.h"

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

void train(Session& session, const Model& model) {
  if (!session.wanted(model.id, model.name)) return;
  Mill mill(session.options().library, 0);
  Mill one_mill(session.options().library, MILL_THREADS_CALLER_ONLY);
  const bench::MlpStart start(model.shape);
  bench::MillMlp ours(mill, model.shape, start);
  bench::MillMlp one(one_mill, model.shape, start);
  const auto peer = bench::peer::mlp(model.shape, start);
  bench::Case c =
      bench::training_case(session, model.id, model.name, model.goal, ours, *peer, start);
  bench::peer::measured(c);
  session.run(c);
  if (session.trial) return;
  const std::string alone = std::string(model.name) + ", one thread";
  c = bench::training_case(session, model.id, alone.c_str(), 0, one, *peer, start);
  bench::peer::measured(c);
  session.run(c);
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
      {workload({"A10", "MLP 784-128-10, batch 64, Adam", bench::mlp(64, {784, 128, 10}), 2.0},
                true),
       workload({"A11", "MLP 784-512-512-10, batch 128, Adam", bench::mlp(128, {784, 512, 512, 10}),
                 1.4},
                false),
       workload({"char", "char_mlp, batch 256, AdamW", bench::char_mlp(), 1.0}, false)});
}
