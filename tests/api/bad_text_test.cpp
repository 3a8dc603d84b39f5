// Text that is not UTF-8 is refused where it comes in, not when something is saved under it.
#include "api/refusal.h"

namespace mill_test {
namespace {

using BadText = BadInput;

struct Sample {
  std::string text;
  const char* byte;  // as the message names the first byte that does not fit
};

const std::vector<Sample>& samples() {
  static const std::vector<Sample> all = {
      {"\xff", "byte 0 is 0xff"},
      {"bad\xff", "byte 3 is 0xff"},
      {"w\x80", "byte 1 is 0x80"},                     // continues nothing
      {"\xc3\xa9t\xe9", "byte 3 is 0xe9"},             // Latin-1 after UTF-8
      {"\xc0\xaf", "byte 0 is 0xc0"},                  // overlong
      {"ab\xed\xa0\x80", "byte 2 is 0xed"},            // a surrogate
      {"\xf4\x90\x80\x80", "byte 0 is 0xf4"},          // above U+10FFFF
      {"\xf0\x9f\x94\xa5\xf0\x9f", "byte 4 is 0xf0"},  // cut off
  };
  return all;
}

// `call` gets a name and returns the status of handing it in as argument `argument`.
template <class Call>
void expect_refused_by(Fixture& f, const char* what, int32_t argument, Call&& call) {
  for (const Sample& sample : samples()) {
    const mill_status got = call(sample.text.c_str());
    EXPECT_EQ(mill_error_argument(f.err()), argument) << f.message();
    expect_refused(f, got, MILL_E_ARG, {what, "not UTF-8", sample.byte});
  }
}

TEST_F(BadText, IsNoParameterName) {
  mill_group* const group = f.made<mill_group>();
  const int64_t dims[] = {2};
  expect_refused_by(f, "name", 1, [&](const char* name) {
    return mill_group_add(group, name, dims, 1, nullptr, f.err());
  });
  uint32_t count = 9;
  ASSERT_EQ(mill_group_count(group, &count, f.err()), MILL_OK);
  EXPECT_EQ(count, 0u);
  expect_refused_by(f, "name", 1, [&](const char* name) {
    uint32_t index = 0;
    return mill_group_find(group, name, &index, f.err());
  });
}

TEST_F(BadText, IsNoTag) {
  expect_refused_by(f, "tag", 1,
                    [&](const char* tag) { return mill_exec_set_tag(f.exec(), tag, f.err()); });
  // Refused, none of them took one of the context's few places.
  for (int k = 0; k < 63; ++k) {
    ASSERT_EQ(mill_exec_set_tag(f.exec(), std::to_string(k).c_str(), f.err()), MILL_OK)
        << f.message();
  }
}

TEST_F(BadText, IsNoTraceName) {
  expect_refused_by(f, "name", 1, [&](const char* name) {
    return mill_trace_scope_begin(f.exec(), name, MILL_NTS, f.err());
  });
  expect_refused(f, mill_trace_scope_end(f.exec(), f.err()), MILL_E_STATE, {"no trace scope"});
  // Whatever is recorded at the moment.
  for (const uint64_t mask : {uint64_t{0}, uint64_t{MILL_TRACE_SCOPES}}) {
    ASSERT_EQ(mill_trace_set_mask(f.context(), mask, f.err()), MILL_OK);
    expect_refused_by(f, "name", 1, [&](const char* name) {
      return mill_trace_mark(f.exec(), name, MILL_NTS, f.err());
    });
  }
  // A length that ends inside a character.
  expect_refused(f, mill_trace_mark(f.exec(), "\xc3\xa9", 1, f.err()), MILL_E_ARG,
                 {"byte 0 is 0xc3"});
  EXPECT_EQ(mill_trace_mark(f.exec(), "\xc3\xa9", 2, f.err()), MILL_OK) << f.message();
}

TEST_F(BadText, IsNoOpName) {
  mill_custom_op op{};
  op.size = sizeof op;
  op.type = MILL_STRUCT_CUSTOM_OP;
  op.n_inputs = op.n_outputs = 1;
  op.forward = [](void*, mill_exec*, mill_tensor* const*, uint32_t, mill_tensor**, uint32_t,
                  mill_error*) -> mill_status { return MILL_E_USER; };
  expect_refused_by(f, "op->name", 1, [&](const char* name) {
    op.name = name;
    int32_t number = 0;
    return mill_op_register(f.context(), &op, &number, f.err());
  });
  expect_refused_by(f, "name", 1, [&](const char* name) {
    int32_t number = 0;
    return mill_op_find(f.context(), name, &number, f.err());
  });
}

TEST_F(BadText, IsNothingInAFile) {
  mill_tensor* const tensors[] = {f.tensor()};
  const char* const path = f.path("bad_text.safetensors");
  const char* const good = "w";
  expect_refused_by(f, "names[0]", 3, [&](const char* name) {
    return mill_file_save(f.exec(), path, MILL_NTS, &name, tensors, 1, nullptr, nullptr, 0,
                          f.err());
  });
  expect_refused_by(f, "meta_keys[0]", 6, [&](const char* key) {
    return mill_file_save(f.exec(), path, MILL_NTS, &good, tensors, 1, &key, &good, 1, f.err());
  });
  expect_refused_by(f, "meta_values[0]", 7, [&](const char* value) {
    return mill_file_save(f.exec(), path, MILL_NTS, &good, tensors, 1, &good, &value, 1, f.err());
  });
  mill_file* file = nullptr;
  ASSERT_EQ(mill_file_open(f.context(), f.safetensors_path(), MILL_NTS, &file, f.err()), MILL_OK);
  f.own(file);
  expect_refused_by(f, "name", 1, [&](const char* name) {
    uint64_t index = 0;
    return mill_file_find(file, name, MILL_NTS, &index, f.err());
  });
  expect_refused_by(f, "key", 1, [&](const char* key) {
    const char* value = nullptr;
    return mill_file_metadata(file, key, MILL_NTS, &value, f.err());
  });
}

TEST_F(BadText, NamesInEveryScriptAreTakenAndSaved) {
  mill_group* const group = f.made<mill_group>();
  const char* const names[] = {"plain",
                               "\xc3\xa9t\xc3\xa9",
                               "\xe5\xb1\xa4.\xe9\x87\x8d",
                               "\xf0\x9f\x94\xa5",
                               "\xf4\x8f\xbf\xbf",
                               "\xed\x9f\xbf\xee\x80\x80"};
  const int64_t dims[] = {2};
  for (const char* name : names) {
    ASSERT_EQ(mill_group_add(group, name, dims, 1, nullptr, f.err()), MILL_OK) << f.message();
    ASSERT_EQ(mill_exec_set_tag(f.exec(), name, f.err()), MILL_OK) << f.message();
    ASSERT_EQ(mill_trace_scope_begin(f.exec(), name, MILL_NTS, f.err()), MILL_OK) << f.message();
    ASSERT_EQ(mill_trace_scope_end(f.exec(), f.err()), MILL_OK);
  }
  ASSERT_EQ(mill_group_build(group, f.exec(), f.err()), MILL_OK) << f.message();
  const char* const path = f.path("scripts.safetensors");
  ASSERT_EQ(
      mill_checkpoint_save(f.exec(), path, MILL_NTS, group, nullptr, nullptr, nullptr, f.err()),
      MILL_OK)
      << f.message();
  EXPECT_EQ(
      mill_checkpoint_load(f.exec(), path, MILL_NTS, group, nullptr, nullptr, nullptr, f.err()),
      MILL_OK)
      << f.message();
}

}  // namespace
}  // namespace mill_test
