// Every exported function on handles that a forked child inherited. The test is one thread, so the
// child may run anything; it answers by its exit status.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/calls.h"

namespace mill_test {
namespace {

// Runs `body` in a child: its result, or -1 if the child did not end by itself.
template <class Body>
int in_child(Body&& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = 0;
  if (::waitpid(child, &status, 0) != child || !WIFEXITED(status)) return -1;
  return WEXITSTATUS(status);
}

class AfterFork : public testing::TestWithParam<const Entry*> {};

enum Answer { kForked = 0, kWorked = 1, kOther = 2, kTouched = 3 };

TEST_P(AfterFork, InheritedObjectsAreRefusedAndTheParentGoesOn) {
  const Entry& entry = *GetParam();
  Fixture f;
  const auto call = entry.bind(f);
  bool inherits = false;
  for (size_t k = 0; k < call->size(); ++k) {
    const Argument argument = call->argument(k);
    const bool handle = argument == Argument::handle || argument == Argument::handle_array;
    inherits = inherits || (handle && call->kind(k) != Kind::error);
  }
  const int answer = in_child([&] {
    const mill_status status = call->run();
    if (status == MILL_E_FORKED) {
      for (size_t k = 0; k < call->size(); ++k) {
        if (call->argument(k) != Argument::handle_out) continue;
        if (*static_cast<void**>(call->pointer(k))) return kTouched;
      }
      return kForked;
    }
    return status == MILL_OK || entry.value ? kWorked : kOther;
  });
  EXPECT_EQ(answer, inherits && !entry.value ? kForked : kWorked);
  const mill_status status = call->run();
  if (!entry.value) {
    EXPECT_EQ(status, entry.good) << f.message();
  }
}

std::vector<const Entry*> all_entries() {
  std::vector<const Entry*> out;
  for (const Entry& entry : entries()) out.push_back(&entry);
  return out;
}

INSTANTIATE_TEST_SUITE_P(Abi, AfterFork, testing::ValuesIn(all_entries()),
                         [](const auto& entry) { return std::string(entry.param->name + 5); });

TEST(Fork, ReleaseOfEverythingInTheChildDoesNothing) {
  Fixture* f = new Fixture(2);
  for (int k = 1; k < static_cast<int>(Kind::count); ++k) {
    void* handle = f->make(static_cast<Kind>(k));
    switch (static_cast<Kind>(k)) {
      case Kind::error: f->own(static_cast<mill_error*>(handle)); break;
      case Kind::context: f->own(static_cast<mill_context*>(handle)); break;
      default: release_handle(static_cast<Kind>(k), handle); break;
    }
  }
  f->ready_optimizer();
  mill_loader* loader = f->made<mill_loader>();
  mill_tensor* batch = nullptr;
  ASSERT_EQ(mill_loader_next(loader, f->exec(), &batch, 1, nullptr), MILL_OK);
  f->own(batch);
  EXPECT_EQ(in_child([&] {
              delete f;
              return 0;
            }),
            0);
  EXPECT_EQ(mill_loader_next(loader, f->exec(), f->slot<mill_tensor>(), 1, nullptr), MILL_OK);
  delete f;
}

// Threads of the parent's pool and loader do not exist in the child; new ones must.
TEST(Fork, ANewContextTrainsInTheChild) {
  Fixture f(2);
  f.ready_optimizer();
  ASSERT_EQ(mill_optimizer_step(f.ready_optimizer(), f.exec(), f.err()), MILL_OK);
  EXPECT_EQ(in_child([&] {
              Fixture own(2);
              if (mill_optimizer_step(own.ready_optimizer(), own.exec(), own.err()) != MILL_OK)
                return 1;
              const int64_t dims[] = {1 << 20};
              mill_tensor** out = own.slot<mill_tensor>();
              if (mill_fill(own.exec(), dims, 1, MILL_F32, 2, out, own.err()) != MILL_OK) return 2;
              mill_tensor** sum = own.slot<mill_tensor>();
              if (mill_sum(own.exec(), *out, nullptr, 0, 0, sum, own.err()) != MILL_OK) return 3;
              double value = 0;
              if (mill_tensor_item(own.exec(), *sum, &value, own.err()) != MILL_OK) return 4;
              if (value != 2.0 * (1 << 20)) return 5;
              // An inherited tensor does not work with it either.
              mill_tensor** mixed = own.slot<mill_tensor>();
              mill_tensor* inherited = f.loss();
              if (mill_neg(own.exec(), inherited, mixed, own.err()) != MILL_E_FORKED) return 6;
              return *mixed ? 7 : 0;
            }),
            0);
}

TEST(Fork, TheChildOfAChildIsRefusedTheChildsObjects) {
  Fixture f;
  EXPECT_EQ(in_child([&] {
              Fixture own;
              return in_child([&] {
                if (mill_exec_wait(own.exec(), nullptr) != MILL_E_FORKED) return 1;
                if (mill_exec_wait(f.exec(), nullptr) != MILL_E_FORKED) return 2;
                Fixture third;
                return mill_exec_wait(third.exec(), nullptr) == MILL_OK ? 0 : 3;
              });
            }),
            0);
}

}  // namespace
}  // namespace mill_test
