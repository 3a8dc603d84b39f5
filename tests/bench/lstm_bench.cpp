// A13: training steps of an LSTM, next to libtorch.
#include "bench/lstm_model.h"
#include "bench/torch_peer.h"

namespace {

void lstm(bench::Session& session) {
  const char* const name = "LSTM on 28 rows of 28, hidden 128, batch 64, Adam";
  if (!session.wanted("A13", name)) return;
  session.heading("Training steps of an LSTM (one fixed batch)");
  const bench::LstmShape shape;
  const bench::LstmStart start(shape);
  bench::Mill mill(session.options().library, 0);
  bench::MillLstm ours(mill, shape, start);
  const auto peer = bench::peer::lstm(shape, start);
  bench::Case c = bench::training_case(session, "A13", name, 1.5, ours, *peer, start);
  bench::peer::measured(c);
  session.run(c);
}

}  // namespace

int main(int argc, char** argv) {
  return bench::run_program(argc, argv, {{"lstm", lstm, true}});
}
