// What every refused call owes its caller.
#pragma once

#include <gtest/gtest.h>

#include <initializer_list>
#include <string>
#include <vector>

#include "api/calls.h"

namespace mill_test {

// The status, and a sentence "operation: ..." that names the operation once and holds all the
// words.
inline void expect_refused(const Fixture& f, mill_status got, mill_status want,
                           std::initializer_list<const char*> words) {
  EXPECT_STREQ(mill_status_name(got), mill_status_name(want)) << f.message();
  if (got >= 0) return;
  EXPECT_EQ(mill_error_status(f.err()), got);
  const std::string text = f.message();
  const std::string operation = mill_error_operation(f.err());
  EXPECT_FALSE(operation.empty());
  EXPECT_EQ(text.rfind(operation + ": ", 0), 0u) << text;
  EXPECT_GT(text.size(), operation.size() + 2);
  EXPECT_EQ(text.find(operation + ": ", 1), std::string::npos) << text;
  for (const char* word : words)
    EXPECT_NE(text.find(word), std::string::npos) << word << " in: " << text;
  mill_error_clear(f.err());
}

template <class T>
std::vector<T> read_all(const Fixture& f, mill_tensor* tensor) {
  std::vector<T> out(static_cast<size_t>(mill_tensor_count(tensor)));
  EXPECT_EQ(mill_tensor_read(f.exec(), tensor, out.data(), out.size() * sizeof(T), f.err()),
            MILL_OK)
      << f.message();
  return out;
}

template <class T>
constexpr mill_dtype dtype_for() {
  if constexpr (std::is_same_v<T, float>) return MILL_F32;
  if constexpr (std::is_same_v<T, double>) return MILL_F64;
  if constexpr (std::is_same_v<T, int64_t>) return MILL_I64;
  if constexpr (std::is_same_v<T, int32_t>) return MILL_I32;
  if constexpr (std::is_same_v<T, uint8_t>) return MILL_U8;
  return MILL_DTYPE_NONE;
}

template <class T>
mill_tensor* upload(Fixture& f, std::initializer_list<int64_t> dims, const std::vector<T>& values) {
  mill_tensor* out = nullptr;
  EXPECT_EQ(mill_tensor_from_host(f.exec(), dtype_for<T>(), dims.begin(),
                                  static_cast<uint32_t>(dims.size()), values.data(),
                                  values.size() * sizeof(T), &out, f.err()),
            MILL_OK)
      << f.message();
  return f.own(out);
}

inline mill_tensor* view(Fixture& f, mill_tensor* of, std::initializer_list<int64_t> dims,
                         std::initializer_list<int64_t> strides, int64_t offset = 0) {
  mill_tensor* out = nullptr;
  EXPECT_EQ(mill_tensor_view(of, dims.begin(), strides.begin(), static_cast<uint32_t>(dims.size()),
                             offset, &out, f.err()),
            MILL_OK)
      << f.message();
  return f.own(out);
}

// One test of many bad calls: memory in use and what the fixture's objects hold are the same after
// each, and the fixture still computes.
class BadInput : public testing::Test {
 protected:
  void TearDown() override {
    mill_tensor* out = nullptr;
    mill_tensor* const a = f.tensor({2, 3}, MILL_F32, 2);
    mill_tensor* const b = f.tensor({3, 2}, MILL_F32, 3);
    ASSERT_EQ(mill_exec_set_tape(f.exec(), nullptr, f.err()), MILL_OK);
    ASSERT_EQ(mill_matmul(f.exec(), a, b, &out, f.err()), MILL_OK) << f.message();
    EXPECT_EQ(read_all<float>(f, out), std::vector<float>(4, 18.0f));
    mill_tensor_release(out);
  }

  // `call` gets an output that is NULL and must stay so.
  template <class Run>
  void refuse(mill_status want, std::initializer_list<const char*> words, Run&& call) {
    const uint64_t before = f.unexplained();
    const std::string state = f.state();
    mill_tensor* out = nullptr;
    const mill_status got = call(&out);
    EXPECT_EQ(out, nullptr);
    expect_refused(f, got, want, words);
    EXPECT_EQ(f.unexplained(), before);
    // `call` may have made more.
    EXPECT_EQ(f.state().substr(0, state.size()), state);
  }
  // `call` writes into a tensor, whose values and version must stay.
  template <class T, class Run>
  void refuse_into(mill_tensor* given, mill_status want, std::initializer_list<const char*> words,
                   Run&& call) {
    const std::vector<T> values = read_all<T>(f, given);
    uint64_t version = 0;
    mill_tensor_version(given, &version, nullptr);
    const uint64_t before = f.unexplained();
    const std::string state = f.state();
    mill_tensor* out = given;
    const mill_status got = call(&out);
    EXPECT_EQ(out, given);
    expect_refused(f, got, want, words);
    EXPECT_EQ(f.unexplained(), before);
    EXPECT_EQ(f.state().substr(0, state.size()), state);
    EXPECT_EQ(read_all<T>(f, given), values);
    uint64_t after = 0;
    mill_tensor_version(given, &after, nullptr);
    EXPECT_EQ(after, version);
  }

  Fixture f;
  Fixture other;  // another context
};

}  // namespace mill_test
