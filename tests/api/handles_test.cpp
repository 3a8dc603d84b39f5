// What every exported function does with NULL, released, foreign and mistaken handles.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <set>

#include "api/calls.h"

namespace mill_test {
namespace {

// What a failed call must leave behind, and what the call must then still be able to do.
class EveryFunction : public testing::TestWithParam<const Entry*> {
 protected:
  void SetUp() override {
    f = std::make_unique<Fixture>();
    call = GetParam()->bind(*f);
    before = f->in_use();
  }

  // Runs the call with one argument exchanged.
  void expect_failure(size_t k, void* to, mill_status want, const std::string& what) {
    const Entry& entry = *GetParam();
    void* const original = call->pointer(k);
    mill_error_clear(f->err());
    call->set_pointer(k, to);
    // Handle outputs that are only written must come back NULL, whatever was in them.
    std::vector<void**> outputs;
    for (size_t j = 0; j < call->size(); ++j) {
      if (call->argument(j) != Argument::handle_out || !call->pointer(j)) continue;
      outputs.push_back(static_cast<void**>(call->pointer(j)));
      if (!entry.op) *outputs.back() = this;
    }
    const mill_status status = call->run();
    call->set_pointer(k, original);
    for (void** out : outputs) {
      EXPECT_EQ(*out, nullptr) << what;
      *out = nullptr;
    }
    EXPECT_EQ(f->in_use(), before) << what;
    if (entry.value) return;
    EXPECT_EQ(status, want) << what << ": " << f->message();
    if (has_error_argument()) {
      const std::string operation = mill_error_operation(f->err());
      const std::string name = entry.name;
      EXPECT_TRUE(operation == name || "mill_" + operation == name || within_op(name))
          << what << ": operation is " << operation;
      EXPECT_EQ(mill_error_status(f->err()), status) << what;
      EXPECT_GT(f->message().size(), operation.size() + 2) << what;
      EXPECT_EQ(f->message().rfind(operation + ": ", 0), 0u) << what << ": " << f->message();
      if (!entry.op && !within_op(entry.name)) {
        EXPECT_EQ(mill_error_argument(f->err()), static_cast<int32_t>(k))
            << what << ": " << f->message();
      }
    }
  }

  bool has_error_argument() const {
    return call->size() > 0 && call->argument(call->size() - 1) == Argument::err;
  }
  // The generic calls name the op that they were to run.
  static bool within_op(const std::string& name) {
    return name == "mill_op_invoke" || name == "mill_op_prepare" || name == "mill_call_run" ||
           name == "mill_gradcheck";
  }

  void expect_still_works() {
    f->clear_slots();
    mill_error_clear(f->err());
    const mill_status status = call->run();
    if (!GetParam()->value) {
      EXPECT_EQ(status, GetParam()->good) << f->message();
    }
    EXPECT_STREQ(mill_error_message(f->err()), "");
  }

  std::unique_ptr<Fixture> f;
  std::unique_ptr<Call> call;
  uint64_t before = 0;
};

TEST_P(EveryFunction, RefusesNull) {
  const Entry& entry = *GetParam();
  for (size_t k = 0; k < call->size(); ++k) {
    const Argument argument = call->argument(k);
    if (argument == Argument::scalar || argument == Argument::err || entry.may_be_null(k)) continue;
    expect_failure(k, nullptr, MILL_E_ARG, "argument " + std::to_string(k) + " NULL");
  }
  expect_still_works();
}

TEST_P(EveryFunction, RefusesHandlesThatAreNone) {
  for (size_t k = 0; k < call->size(); ++k) {
    const Argument argument = call->argument(k);
    const Kind kind = call->kind(k);
    if (argument != Argument::handle && argument != Argument::handle_array) continue;
    const Kind other = kind == Kind::context ? Kind::exec : Kind::context;
    void* const wrong = f->make(other);
    void* const released = f->make(kind);
    before = f->in_use();
    release_handle(kind, released);
    before = f->in_use();
    unsigned char inside[128] = {};
    const std::pair<void*, const char*> bad[] = {
        {released, "released"},
        {wrong, "of another kind"},
        {garbage_handle(), "of no kind"},
        {inside + (reinterpret_cast<uintptr_t>(inside) % 2 == 0 ? 1 : 0), "misaligned"},
    };
    for (const auto& [handle, how] : bad) {
      const std::string what = "argument " + std::to_string(k) + " " + how;
      if (argument == Argument::handle) {
        expect_failure(k, handle, MILL_E_BAD_HANDLE, what);
      } else {
        void* array[2] = {handle, handle};
        expect_failure(k, array, MILL_E_BAD_HANDLE, what);
      }
    }
    // What the wrong handle stands for is untouched.
    release_handle(other, wrong);
    before = f->in_use();
  }
  expect_still_works();
}

class FunctionWithError : public EveryFunction {};

TEST_P(FunctionWithError, TakesNoNoticeOfABadErrorObject) {
  ASSERT_TRUE(has_error_argument());
  mill_error* released = nullptr;
  ASSERT_EQ(mill_error_create(&released), MILL_OK);
  mill_error_release(released);
  const size_t last = call->size() - 1;
  void* const bad[] = {nullptr, released, f->context(), garbage_handle()};
  for (void* err : bad) {
    call->set_pointer(last, err);
    void* const original = call->pointer(0);
    call->set_pointer(0, garbage_handle());
    const mill_status status = call->run();
    call->set_pointer(0, original);
    EXPECT_TRUE(GetParam()->value || status < 0);
  }
  call->set_pointer(last, nullptr);
  EXPECT_EQ(call->run(), GetParam()->good);
}

class FunctionThatWrites : public EveryFunction {};

TEST_P(FunctionThatWrites, RefusesBadTensorsToWriteInto) {
  for (size_t k = 0; k < call->size(); ++k) {
    if (call->argument(k) != Argument::handle_out) continue;
    void** const out = static_cast<void**>(call->pointer(k));
    void* const released = f->make(Kind::tensor);
    release_handle(Kind::tensor, released);
    for (void* bad : {released, static_cast<void*>(f->context()), garbage_handle()}) {
      *out = bad;
      EXPECT_EQ(call->run(), MILL_E_BAD_HANDLE) << f->message();
      EXPECT_EQ(*out, bad) << "an output that was given is left alone";
      *out = nullptr;
    }
  }
  expect_still_works();
}

template <class Wanted>
std::vector<const Entry*> entries_where(Wanted&& wanted) {
  std::vector<const Entry*> out;
  for (const Entry& entry : entries()) {
    if (wanted(entry)) out.push_back(&entry);
  }
  return out;
}

// Whether the last argument is an error object: all that return a status but two.
bool takes_error(const Entry& entry) {
  const std::string name = entry.name;
  return !entry.value && name != "mill_error_create" && name != "mill_error_set";
}

std::string name_of(const testing::TestParamInfo<const Entry*>& entry) {
  return entry.param->name + 5;
}

INSTANTIATE_TEST_SUITE_P(Abi, EveryFunction,
                         testing::ValuesIn(entries_where([](const Entry&) { return true; })),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Abi, FunctionWithError, testing::ValuesIn(entries_where(takes_error)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Abi, FunctionThatWrites,
                         testing::ValuesIn(entries_where([](const Entry& e) { return e.op; })),
                         name_of);

TEST(StatusNames, EveryCodeOfTheHeaderHasOne) {
  const char* root = std::getenv("MILL_SOURCE_DIR");
  ASSERT_NE(root, nullptr);
  std::ifstream header(std::string(root) + "/api/include/millrace/types.h");
  int found = 0;
  for (std::string line; std::getline(header, line);) {
    char name[64];
    int code = 0;
    if (std::sscanf(line.c_str(), "  MILL_E_%40s = %d", name, &code) != 2 || code <= -1000)
      continue;
    ++found;
    EXPECT_EQ(mill_status_name(code), std::string("MILL_E_") + name);
  }
  EXPECT_GE(found, 20);
}

TEST(TableOfCalls, HoldsEveryExportedFunctionOnce) {
  std::multiset<std::string> have;
  for (const Entry& entry : entries()) have.insert(entry.name);
  const std::vector<std::string> want = exported_names();
  ASSERT_GT(want.size(), 200u) << "is MILL_SOURCE_DIR set?";
  for (const std::string& name : want) EXPECT_EQ(have.count(name), 1u) << name;
  EXPECT_EQ(have.size(), want.size());
}

}  // namespace
}  // namespace mill_test
