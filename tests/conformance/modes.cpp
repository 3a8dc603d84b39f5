#include "conformance/modes.h"

#include <cinttypes>
#include <cstdio>

#include "conformance/gradient_cases.h"

namespace mill_test {

namespace {

using mill_cases::Case;
using mill_cases::Gradient;

bool first_sample(const Case& c) {
  return c.sample == 0;
}

}  // namespace

int print_support() {
  World& w = world();
  std::printf("%-24s", "op");
  for (mill_dtype d = MILL_BOOL; d < MILL_DTYPE_COUNT; ++d) std::printf(" %6s", dtype_text(d));
  std::printf("\n");
  int missing = 0;
  for (const Case& c : mill_cases::cases) {
    if (!first_sample(c)) continue;
    std::printf("%-24s", c.op->name);
    for (mill_dtype d = MILL_BOOL; d < MILL_DTYPE_COUNT; ++d) {
      const bool wanted = c.op->dtypes == 0 || ((c.op->dtypes >> d) & 1u) != 0;
      const bool has = mill_op_supports(w.context(), 0, c.op->number, d, w.error()) == MILL_OK;
      missing += wanted && !has ? 1 : 0;
      std::printf(" %6s", has ? "yes" : wanted ? "NO" : ".");
    }
    std::printf("\n");
  }
  std::printf("%d missing. \".\": the op's row does not take the dtype.\n", missing);
  return missing == 0 ? 0 : 1;
}

int print_gradients() {
  World& w = world();
  std::printf("seed %" PRIu64
              "; largest |analytic - numeric| / max(1, |analytic|, |numeric|) over all layouts\n",
              run_seed());
  std::printf("%-24s %-44s %10s %10s\n", "op", "sample", "first", "second");
  for (const Case& c : mill_cases::cases) {
    if (c.op->gradient != Gradient::yes) continue;
    double worst[2] = {0, 0};
    for (const Layout layout : kLayouts) {
      if (!layout_applies(c, layout) || !gradcheck_obstacle(c, layout).empty()) continue;
      for (int second = 0; second < (c.op->smooth ? 2 : 1); ++second) {
        double one = 0;
        w.ok(gradcheck_case(w, c, layout, second != 0, run_seed(), &one));
        worst[second] = std::fmax(worst[second], one);
      }
    }
    std::printf("%-24s %-44.44s %10.2e", c.op->name, c.text, worst[0]);
    if (c.op->smooth) std::printf(" %10.2e", worst[1]);
    std::printf("\n");
  }
  return 0;
}

}  // namespace mill_test
