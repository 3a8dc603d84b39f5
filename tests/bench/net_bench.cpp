// A12: training steps of a CNN, next to libtorch. Each side takes the order of memory that it is
// fastest in, channels first or last.
#include <cmath>

#include "bench/net_peer.h"

using bench::Case;
using bench::Mill;
using bench::NetShape;
using bench::Session;

namespace {

std::string compare_losses(Session& session, bench::MillNet& ours, bench::peer::Net& peer,
                           const bench::NetData& data, int steps) {
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

void cnn(Session& session) {
  const char* const name = "MNIST CNN, 32 and 64 channels, batch 64, Adam";
  if (!session.wanted("A12", name)) return;
  session.heading("Training steps of a CNN (one fixed batch)");
  const NetShape shape;
  const bench::NetData data(shape);
  Mill mill(session.options().library, 0);
  bench::MillNet ours(mill, shape, data);
  bench::peer::Net first(shape, data, false), last(shape, data, true);
  bench::peer::Net* now = &first;
  const auto layout = [&](const char* text, bool channels_last) {
    bench::Config out;
    out.name = text;
    out.enter = [&ours, channels_last] { ours.channels_last = channels_last; };
    return out;
  };
  Case c;
  c.id = "A12";
  c.name = name;
  c.ours = {"millrace",
            [&](int64_t n) {
              for (int64_t i = 0; i < n; ++i) ours.step();
            },
            {layout("nchw", false), layout("nhwc", true)}};
  c.peer = {bench::peer::torch_name(),
            [&](int64_t n) {
              for (int64_t i = 0; i < n; ++i) now->step();
            },
            {}};
  for (bench::peer::Net* which : {&first, &last}) {
    for (bench::Config config : bench::peer::thread_configs()) {
      config.name += which == &first ? ", nchw" : ", nhwc";
      config.enter = [&now, which, enter = config.enter] {
        enter();
        now = which;
      };
      c.peer.configs.push_back(config);
    }
  }
  c.goal = 1.0;
  c.check = [&] { return compare_losses(session, ours, first, data, 10); };
  session.run(c);
}

}  // namespace

int main(int argc, char** argv) {
  return bench::run_program(argc, argv, {{"cnn", cnn, true}});
}
