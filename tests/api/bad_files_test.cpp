// Paths that cannot be opened and files that lie, through the whole ABI. The readers' own tables
// are in tests/io.
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>

#include "api/refusal.h"

namespace mill_test {
namespace {

using BadFiles = BadInput;

const char* write(Fixture& f, const std::string& bytes, const char* name = "hostile") {
  const char* path = f.path(name);
  std::ofstream(path, std::ios::binary | std::ios::trunc)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  return path;
}

std::string read_file(const char* path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string safetensors(const std::string& header, const std::string& data = "",
                        int64_t length = -1) {
  const uint64_t n = length < 0 ? header.size() : static_cast<uint64_t>(length);
  std::string out(8, '\0');
  std::memcpy(out.data(), &n, 8);
  return out + header + data;
}

TEST_F(BadFiles, PathsThatCannotBeOpened) {
  const char* const nowhere = "/nonexistent/folder/file";
  mill_file* file = nullptr;
  mill_tensor* tensor = nullptr;
  expect_refused(f, mill_file_open(f.context(), nowhere, MILL_NTS, &file, f.err()), MILL_E_IO,
                 {nowhere, "mill_file_open"});
  EXPECT_EQ(mill_file_open(f.context(), nowhere, MILL_NTS, &file, f.err()), MILL_E_IO);
  EXPECT_EQ(mill_error_native_code(f.err()), ENOENT);
  expect_refused(f, mill_idx_read(f.context(), nowhere, MILL_NTS, &tensor, f.err()), MILL_E_IO,
                 {nowhere});
  expect_refused(f, mill_idx_write(f.exec(), nowhere, MILL_NTS, f.tensor(), f.err()), MILL_E_IO,
                 {nowhere});
  const char* const name = "x";
  mill_tensor* const x = f.tensor();
  expect_refused(
      f, mill_file_save(f.exec(), nowhere, MILL_NTS, &name, &x, 1, nullptr, nullptr, 0, f.err()),
      MILL_E_IO, {nowhere});
  expect_refused(f,
                 mill_checkpoint_save(f.exec(), nowhere, MILL_NTS, f.built_group(), nullptr,
                                      nullptr, nullptr, f.err()),
                 MILL_E_IO, {nowhere});
  expect_refused(f,
                 mill_checkpoint_load(f.exec(), nowhere, MILL_NTS, f.built_group(), nullptr,
                                      nullptr, nullptr, f.err()),
                 MILL_E_IO, {nowhere});
  expect_refused(f, mill_trace_write_chrome(f.context(), nullptr, 0, nowhere, MILL_NTS, f.err()),
                 MILL_E_IO, {nowhere});
  for (const uint64_t length : {uint64_t{0}, uint64_t{3}, uint64_t{1} << 40}) {
    expect_refused(f, mill_file_open(f.context(), "a\0b", length, &file, f.err()), MILL_E_ARG, {});
    expect_refused(f, mill_idx_read(f.context(), "a\0b", length, &tensor, f.err()), MILL_E_ARG, {});
  }
  expect_refused(f, mill_file_open(f.context(), "", MILL_NTS, &file, f.err()), MILL_E_ARG,
                 {"path"});
  expect_refused(f, mill_idx_read(f.context(), "/", MILL_NTS, &tensor, f.err()), MILL_E_IO, {"/"});
  EXPECT_EQ(file, nullptr);
  EXPECT_EQ(tensor, nullptr);
}

TEST_F(BadFiles, IdxCutOffAtEveryByte) {
  const std::string whole = read_file(f.idx_path());
  ASSERT_EQ(whole.size(), 4u + 8u + 24u);
  for (size_t n = 0; n < whole.size(); ++n) {
    refuse(MILL_E_FORMAT, {"mill_idx_read"}, [&](auto out) {
      return mill_idx_read(f.context(), write(f, whole.substr(0, n)), MILL_NTS, out, f.err());
    });
  }
  refuse(MILL_E_FORMAT, {}, [&](auto out) {
    return mill_idx_read(f.context(), write(f, whole + "x"), MILL_NTS, out, f.err());
  });
}

TEST_F(BadFiles, IdxWithSizesThatOverflow) {
  const std::string many(
      "\0\0\x08\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"
      "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
      36);
  refuse(MILL_E_FORMAT, {}, [&](auto out) {
    return mill_idx_read(f.context(), write(f, many), MILL_NTS, out, f.err());
  });
  const std::string big("\0\0\x08\x01\xff\xff\xff\xff", 8);
  refuse(MILL_E_FORMAT, {"4294967295"}, [&](auto out) {
    return mill_idx_read(f.context(), write(f, big), MILL_NTS, out, f.err());
  });
  const std::string ranks = std::string("\0\0\x08\xff", 4) + std::string(1020, '\1');
  refuse(MILL_E_FORMAT, {}, [&](auto out) {
    return mill_idx_read(f.context(), write(f, ranks), MILL_NTS, out, f.err());
  });
}

TEST_F(BadFiles, SafetensorsThatLie) {
  const std::string data(24, '\0');
  const std::string bad[] = {
      "",
      std::string(7, '\0'),
      safetensors("{}", "", 1000),
      safetensors("{}", "", INT64_MAX),
      safetensors("{"),
      safetensors("[]"),
      safetensors(R"({"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,25]}})", data),
      safetensors(R"({"w":{"dtype":"F32","shape":[2,3],"data_offsets":[24,0]}})", data),
      safetensors(R"({"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})", data.substr(1)),
      safetensors(R"({"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})", data + "x"),
      safetensors(R"({"w":{"dtype":"F32","shape":[-2,-3],"data_offsets":[0,24]}})", data),
      safetensors(
          R"({"w":{"dtype":"F32","shape":[4611686018427387904,4,6],"data_offsets":[0,24]}})", data),
      safetensors(R"({"w":{"dtype":"F31","shape":[2,3],"data_offsets":[0,24]}})", data),
      safetensors(R"({"w":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,6],"data_offsets":[0,24]}})",
                  data),
      safetensors(
          R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,12]},"b":{"dtype":"F32","shape":[3],"data_offsets":[8,20]}})",
          data),
      safetensors(
          R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,12]},"a":{"dtype":"F32","shape":[3],"data_offsets":[12,24]}})",
          data),
      safetensors(std::string(100000, '[')),
  };
  for (const std::string& bytes : bad) {
    mill_file* file = nullptr;
    const char* const path = write(f, bytes);
    expect_refused(f, mill_file_open(f.context(), path, MILL_NTS, &file, f.err()), MILL_E_FORMAT,
                   {"mill_file_open"});
    EXPECT_EQ(file, nullptr) << bytes.substr(0, 100);
    expect_refused(f,
                   mill_checkpoint_load(f.exec(), path, MILL_NTS, f.built_group(), nullptr, nullptr,
                                        nullptr, f.err()),
                   MILL_E_FORMAT, {});
  }
}

TEST_F(BadFiles, EntriesThatAreNotThere) {
  mill_file* const file = f.made<mill_file>();
  uint64_t index = 3;
  const char* text = "";
  mill_dtype dtype = 0;
  expect_refused(f, mill_file_find(file, "nothing", MILL_NTS, &index, f.err()), MILL_E_ARG,
                 {"nothing", "2"});
  expect_refused(f, mill_file_find(file, "w", 0, &index, f.err()), MILL_E_ARG, {});
  expect_refused(f, mill_file_name(file, 2, &text, nullptr, f.err()), MILL_E_ARG,
                 {"index is 2", "2"});
  expect_refused(f, mill_file_info(file, UINT64_MAX, &dtype, nullptr, 0, nullptr, nullptr, f.err()),
                 MILL_E_ARG, {"18446744073709551615"});
  expect_refused(f, mill_file_metadata_at(file, 1, &text, &text, f.err()), MILL_E_ARG,
                 {"index is 1"});
  expect_refused(f, mill_file_metadata(file, "no", MILL_NTS, &text, f.err()), MILL_E_ARG, {"no"});
  EXPECT_EQ(text, nullptr);
  refuse(MILL_E_ARG, {"index is 2"},
         [&](auto out) { return mill_file_read(file, f.exec(), 2, out, f.err()); });
  refuse_into<float>(f.tensor({3, 2}), MILL_E_SHAPE, {"[3, 2]", "[2, 3]"},
                     [&](auto out) { return mill_file_read(file, f.exec(), 0, out, f.err()); });
  refuse_into<double>(f.tensor({2, 3}, MILL_F64), MILL_E_DTYPE, {"f64", "f32"},
                      [&](auto out) { return mill_file_read(file, f.exec(), 0, out, f.err()); });
}

TEST_F(BadFiles, WhatCannotBeSavedLeavesTheOldFile) {
  mill_tensor* const x = f.tensor();
  mill_tensor* const wide = f.tensor({2}, MILL_C128);
  const char* const path = write(f, "old", "kept");
  const auto save = [&](std::vector<const char*> names, std::vector<mill_tensor*> tensors) {
    const mill_status status =
        mill_file_save(f.exec(), path, MILL_NTS, names.data(), tensors.data(), names.size(),
                       nullptr, nullptr, 0, f.err());
    EXPECT_EQ(read_file(path), "old");
    return status;
  };
  expect_refused(f, save({"a", "a"}, {x, x}), MILL_E_ARG, {"a"});
  expect_refused(f, save({"__metadata__"}, {x}), MILL_E_ARG, {"__metadata__"});
  expect_refused(f, save({"\xff\xfe"}, {x}), MILL_E_ARG, {"UTF-8"});
  expect_refused(f, save({"c"}, {wide}), MILL_E_DTYPE, {"c128"});
  expect_refused(f, save({"x"}, {other.tensor()}), MILL_E_DEVICE, {});
  expect_refused(f, save({nullptr}, {x}), MILL_E_ARG, {});
  expect_refused(f, mill_idx_write(f.exec(), path, MILL_NTS, f.ids({2}), f.err()), MILL_E_DTYPE,
                 {"i64"});
  expect_refused(f, mill_idx_write(f.exec(), path, MILL_NTS, f.tensor({}), f.err()), MILL_E_SHAPE,
                 {});
  EXPECT_EQ(read_file(path), "old");
}

TEST_F(BadFiles, CheckpointsOfOtherRuns) {
  mill_group* const group = f.built_group();
  const char* const path = f.checkpoint_path(group);
  mill_group* const unlike = f.made<mill_group>();
  const int64_t dims[] = {3, 2};
  ASSERT_EQ(mill_group_add(unlike, "weight", dims, 2, nullptr, f.err()), MILL_OK);
  expect_refused(
      f, mill_checkpoint_load(f.exec(), path, MILL_NTS, unlike, nullptr, nullptr, nullptr, f.err()),
      MILL_E_STATE, {"built"});
  expect_refused(
      f, mill_checkpoint_save(f.exec(), path, MILL_NTS, unlike, nullptr, nullptr, nullptr, f.err()),
      MILL_E_STATE, {"built"});
  ASSERT_EQ(mill_group_build(unlike, f.exec(), f.err()), MILL_OK);
  expect_refused(
      f, mill_checkpoint_load(f.exec(), path, MILL_NTS, unlike, nullptr, nullptr, nullptr, f.err()),
      MILL_E_SHAPE, {"weight", "[3, 2]", "[2, 3]"});
  expect_refused(f,
                 mill_checkpoint_load(f.exec(), path, MILL_NTS, group, f.made<mill_optimizer>(),
                                      nullptr, nullptr, f.err()),
                 MILL_E_FORMAT, {"optim."});
  expect_refused(f,
                 mill_checkpoint_load(f.exec(), path, MILL_NTS, group, nullptr,
                                      f.made<mill_generator>(), nullptr, f.err()),
                 MILL_E_FORMAT, {"generator"});
  expect_refused(f,
                 mill_checkpoint_load(f.exec(), f.safetensors_path(), MILL_NTS, group, nullptr,
                                      nullptr, nullptr, f.err()),
                 MILL_E_FORMAT, {});
  expect_refused(f,
                 mill_checkpoint_load(f.exec(), path, MILL_NTS, other.built_group(), nullptr,
                                      nullptr, nullptr, f.err()),
                 MILL_E_DEVICE, {});
}

}  // namespace
}  // namespace mill_test
