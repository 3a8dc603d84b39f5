// conformance_tests [test | grad | perf | support] [GoogleTest's options]
#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <exception>

#include "conformance/modes.h"

namespace {

int run_mode(const char* mode) {
  if (std::strcmp(mode, "support") == 0) return mill_test::print_support();
  if (std::strcmp(mode, "grad") == 0) return mill_test::print_gradients();
  if (std::strcmp(mode, "perf") == 0) return mill_test::print_performance();
  std::fprintf(stderr, "unknown mode \"%s\": test, grad, perf or support\n", mode);
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (argc < 2 || std::strcmp(argv[1], "test") == 0) return RUN_ALL_TESTS();
  try {
    return run_mode(argv[1]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
