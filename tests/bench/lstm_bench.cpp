// A13: training steps of an LSTM, next to libtorch.
#include <cmath>

#include "bench/lstm_peer.h"

using bench::Case;
using bench::LstmShape;
using bench::Mill;
using bench::Session;

namespace {

std::string compare_losses(Session& session, bench::MillLstm& ours, bench::peer::Lstm& peer,
                           const bench::LstmData& data, int steps) {
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

void lstm(Session& session) {
  const char* const name = "LSTM on 28 rows of 28, hidden 128, batch 64, Adam";
  if (!session.wanted("A13", name)) return;
  session.heading("Training steps of an LSTM (one fixed batch)");
  const LstmShape shape;
  const bench::LstmData data(shape);
  Mill mill(session.options().library, 0);
  bench::MillLstm ours(mill, shape, data);
  bench::peer::Lstm peer(shape, data);
  Case c;
  c.id = "A13";
  c.name = name;
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
  c.goal = 1.5;
  c.check = [&] { return compare_losses(session, ours, peer, data, 10); };
  session.run(c);
}

}  // namespace

int main(int argc, char** argv) {
  return bench::run_program(argc, argv, {{"lstm", lstm, true}});
}
