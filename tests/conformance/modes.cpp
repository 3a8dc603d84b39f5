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
  std::vector<std::string> reasons;
  for (const Case& c : mill_cases::cases) {
    if (!first_sample(c) || !op_wanted(c.op->name)) continue;
    std::printf("%-24s", c.op->name);
    for (mill_dtype d = MILL_BOOL; d < MILL_DTYPE_COUNT; ++d) {
      const bool wanted = c.op->dtypes == 0 || ((c.op->dtypes >> d) & 1u) != 0;
      const bool has =
          mill_op_supports(w.context(), w.device(), c.op->number, d, w.error()) == MILL_OK;
      if (wanted && !has) reasons.push_back(w.message());
      std::printf(" %6s", has ? "yes" : wanted ? "NO" : ".");
    }
    std::printf("\n");
  }
  for (const std::string& reason : reasons) std::printf("%s\n", reason.c_str());
  std::printf("%zu missing. \".\": the op's row does not take the dtype.\n", reasons.size());
  return reasons.empty() ? 0 : 1;
}

int print_gradients() {
  World& w = world();
  std::printf("seed %" PRIu64
              "; largest |analytic - numeric| / max(1, |analytic|, |numeric|) over all layouts\n",
              run_seed());
  std::printf("%-24s %-44s %10s %10s\n", "op", "sample", "first", "second");
  int passed = 0;
  int failed = 0;
  for (const Case& c : mill_cases::cases) {
    if (c.op->gradient != Gradient::yes || !op_wanted(c.op->name)) continue;
    double worst[2] = {0, 0};
    for (const Layout layout : kLayouts) {
      if (!layout_applies(c, layout) || !gradcheck_obstacle(c, layout).empty()) continue;
      for (int second = 0; second < (c.op->smooth ? 2 : 1); ++second) {
        if (gradcheck_takes_long(c, layout, second != 0)) continue;
        double one = 0;
        const mill_status status = gradcheck_case(w, c, layout, second != 0, run_seed(), &one);
        const bool fits = status >= 0 && one <= gradcheck_limit(c, layout, second != 0);
        ++(fits ? passed : failed);
        if (!fits) {
          std::printf("FAILED %s \"%s\" %s, %s order: %g %s\n", c.op->name, c.text,
                      layout_name(layout), second != 0 ? "second" : "first", one,
                      status < 0 ? w.message().c_str() : "");
        }
        worst[second] = std::fmax(worst[second], one);
      }
    }
    std::printf("%-24s %-44.44s %10.2e", c.op->name, c.text, worst[0]);
    if (c.op->smooth) std::printf(" %10.2e", worst[1]);
    std::printf("\n");
  }
  std::printf("%d passed, %d failed, on %s\n", passed, failed, test_device().c_str());
  return failed == 0 && passed > 0 ? 0 : 1;
}

}  // namespace mill_test
