// What the conformance binary can do beside its tests: tables for people, on standard output.
#pragma once

namespace mill_test {

// Op by dtype: where the device has a kernel.
int print_support();
// Op by sample: the largest difference between analytic and numeric gradients.
int print_gradients();
// Op by op: bytes and floating-point operations per second on a large shape.
int print_performance();

}  // namespace mill_test
