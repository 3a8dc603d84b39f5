// conformance [test | grad | perf | support] [--device SPEC] [--op RE] [GoogleTest's options]
//
//   test      every op, dtype and layout against the reference
//   grad      gradients against central differences
//   perf      bytes and operations per second on large shapes
//   support   where the device has a kernel
//   --device  cpu, or what mill_device_open takes, such as sim, sim:a100, cuda:0
//   --op      only the ops whose names match the regular expression
#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <exception>
#include <vector>

#include "conformance/api.h"
#include "conformance/cases.h"
#include "conformance/modes.h"

namespace {

bool any_op_wanted() {
  for (const mill_cases::Case& c : mill_cases::cases) {
    if (mill_test::op_wanted(c.op->name)) return true;
  }
  return false;
}

int run_mode(const char* mode) {
  if (std::strcmp(mode, "support") == 0) return mill_test::print_support();
  if (std::strcmp(mode, "grad") == 0) return mill_test::print_gradients();
  if (std::strcmp(mode, "perf") == 0) return mill_test::print_performance();
  std::fprintf(stderr, "unknown mode \"%s\": test, grad, perf or support\n", mode);
  return 2;
}

// Takes our options out of argv, before GoogleTest asks for the list of cases.
bool take_options(int* argc, char** argv) {
  int kept = 0;
  for (int k = 0; k < *argc; ++k) {
    const bool device = std::strcmp(argv[k], "--device") == 0;
    if (!device && std::strcmp(argv[k], "--op") != 0) {
      argv[kept++] = argv[k];
      continue;
    }
    if (k + 1 == *argc) {
      std::fprintf(stderr, "%s needs a value\n", argv[k]);
      return false;
    }
    (device ? mill_test::test_device() : mill_test::test_ops()) = argv[++k];
  }
  *argc = kept;
  argv[kept] = nullptr;
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (!take_options(&argc, argv)) return 2;
  try {
    if (!any_op_wanted()) {
      std::fprintf(stderr, "--op %s: no op has such a name\n", mill_test::test_ops().c_str());
      return 2;
    }
    mill_test::world();
    testing::InitGoogleTest(&argc, argv);
    if (argc >= 2 && std::strcmp(argv[1], "test") != 0) return run_mode(argv[1]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  if (!mill_test::test_ops().empty()) {
    // What is not one op's case has no name to match.
    testing::GTEST_FLAG(filter) = "Ops/*";
  }
  return RUN_ALL_TESTS();
}
