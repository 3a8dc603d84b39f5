// Every exported function when what it calls throws: the status, the error object, the outputs and
// the state of everything else.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include "api/calls.h"

namespace mill_test {
namespace {

using FailCall = void (*)(int32_t kind);

struct Fault {
  int32_t kind;
  mill_status status;
  const char* text;
};
constexpr Fault kFaults[] = {{1, MILL_E_MEMORY, "out of memory"},
                             {2, MILL_E_INTERNAL, "an injected failure"},
                             {3, MILL_E_INTERNAL, "unknown type"},
                             {4, MILL_E_DEVICE, "an injected failure of the device"}};

FailCall fail_switch() {
  return reinterpret_cast<FailCall>(::dlsym(RTLD_DEFAULT, "mill_test_fail_call"));
}

class Faults : public testing::TestWithParam<const Entry*> {};

TEST_P(Faults, AreReportedAndChangeNothing) {
  const FailCall fail_call = fail_switch();
  for (const Fault& fault : kFaults) {
    Fixture f;
    const auto call = GetParam()->bind(f);
    const std::string state = f.state();
    const uint64_t in_use = f.in_use();
    fail_call(fault.kind);
    const mill_status status = call->run();
    fail_call(0);
    // One that returns no status, or does nothing that could fail, meets no fault.
    if (GetParam()->value || status == GetParam()->good) continue;
    EXPECT_STREQ(mill_status_name(status), mill_status_name(fault.status));
    if (call->argument(call->size() - 1) == Argument::err) {
      EXPECT_EQ(mill_error_status(f.err()), status);
      EXPECT_NE(f.message().find(fault.text), std::string::npos) << f.message();
      EXPECT_STRNE(mill_error_operation(f.err()), "");
    }
    for (size_t k = 0; k < call->size(); ++k) {
      if (call->argument(k) != Argument::handle_out) continue;
      EXPECT_EQ(*static_cast<void**>(call->pointer(k)), nullptr);
    }
    EXPECT_EQ(f.in_use(), in_use);
    EXPECT_EQ(f.state(), state);
    mill_error_clear(f.err());
    EXPECT_EQ(call->run(), GetParam()->good) << f.message();
  }
}

// None where nothing can be injected: FaultInjection says so once.
std::vector<const Entry*> all_entries() {
  std::vector<const Entry*> out;
  if (!fail_switch()) return out;
  for (const Entry& entry : entries()) out.push_back(&entry);
  return out;
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Faults);
INSTANTIATE_TEST_SUITE_P(Abi, Faults, testing::ValuesIn(all_entries()),
                         [](const auto& entry) { return std::string(entry.param->name + 5); });

// The suite above cannot pass because nothing was injected.
TEST(FaultInjection, Reaches) {
  const FailCall fail_call = fail_switch();
  if (!fail_call) GTEST_SKIP() << "needs a sanitizer build, where failures are injected";
  int reached = 0;
  for (const Entry& entry : entries()) {
    Fixture f;
    const auto call = entry.bind(f);
    fail_call(2);
    reached += call->run() == MILL_E_INTERNAL ? 1 : 0;
    fail_call(0);
  }
  EXPECT_GT(reached, 150);
}

}  // namespace
}  // namespace mill_test
