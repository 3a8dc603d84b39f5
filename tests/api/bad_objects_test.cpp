// Tensors, execs, contexts and scopes, given what they must refuse.
#include "api/refusal.h"

namespace mill_test {
namespace {

using BadTensor = BadInput;
using BadExec = BadInput;
using BadScope = BadInput;

int deleted = 0;
void count_deletion(void*, void*) {
  ++deleted;
}

TEST_F(BadTensor, CreateRefusesWhatCannotBe) {
  const auto create = [&](std::vector<int64_t> dims, mill_dtype dtype = MILL_F32) {
    return [this, dims, dtype](mill_tensor** out) {
      return mill_tensor_create(f.exec(), dtype, dims.data(), static_cast<uint32_t>(dims.size()),
                                out, f.err());
    };
  };
  refuse(MILL_E_ARG, {"mill_tensor_create", "dtype is 0"}, create({2}, 0));
  refuse(MILL_E_ARG, {"dtype is 18", "17"}, create({2}, 18));
  refuse(MILL_E_ARG, {"dtype is -1"}, create({2}, -1));
  refuse(MILL_E_SHAPE, {"rank is 9", "8"}, create({1, 1, 1, 1, 1, 1, 1, 1, 1}));
  refuse(MILL_E_SHAPE, {"dims[1] is -3"}, create({2, -3}));
  refuse(MILL_E_SHAPE, {"dims[1] is -3"}, create({0, -3}));
  refuse(MILL_E_SHAPE, {"9223372036854775807"}, create({INT64_MAX, 2}));
  refuse(MILL_E_SHAPE, {"9223372036854775807"}, create({0, INT64_MAX, 2}));
  refuse(MILL_E_SHAPE, {"9223372036854775807"}, create({INT64_MAX}, MILL_C128));
  refuse(MILL_E_MEMORY, {"bytes"}, create({INT64_MAX}, MILL_U8));
  refuse(MILL_E_SHAPE, {"rank"}, [&](auto out) {
    return mill_tensor_create(f.exec(), MILL_F32, nullptr, UINT32_MAX, out, f.err()) == MILL_E_ARG
               ? mill_tensor_create(f.exec(), MILL_F32, f.zeros<int64_t>(), UINT32_MAX, out,
                                    f.err())
               : MILL_OK;
  });
}

TEST_F(BadTensor, TheErrorSaysWhichArgument) {
  const int64_t dims[] = {2, -3};
  const int64_t fine[] = {2, 3};
  const int64_t strides[] = {3, -1};
  mill_tensor* const x = f.tensor({2, 3});
  mill_group* const group = f.built_group();
  mill_tensor* out = nullptr;
  const auto expect = [&](mill_status got, int32_t argument) {
    EXPECT_LT(got, 0);
    EXPECT_EQ(mill_error_argument(f.err()), argument) << f.message();
  };
  expect(mill_tensor_create(f.exec(), MILL_F32, dims, 2, &out, f.err()), 2);
  expect(mill_tensor_view(x, dims, nullptr, 2, 0, &out, f.err()), 1);
  expect(mill_tensor_view(x, fine, strides, 2, 0, &out, f.err()), 2);
  expect(mill_tensor_view(x, fine, nullptr, 2, 1, &out, f.err()), 4);
  expect(mill_group_param(group, 7, &out, f.err()), 1);
  expect(mill_group_init(group, f.exec(), 7, MILL_INIT_UNIFORM, 1, f.err()), 2);
  expect(mill_trace_set_mask(f.context(), uint64_t{1} << 60, f.err()), 1);
  expect(mill_idx_read(f.context(), f.path("no.such"), MILL_NTS, &out, f.err()), 1);
  mill_file* file = nullptr;
  expect(mill_file_open(f.context(), f.path("no.such"), MILL_NTS, &file, f.err()), 1);
  mill_group* fresh = f.made<mill_group>();
  expect(mill_group_add(fresh, "w", dims, 2, nullptr, f.err()), 2);
  expect(mill_tensor_read(f.exec(), other.tensor(), f.zeros<float>(6), 24, f.err()), 1);
  EXPECT_NE(f.message().find("another context"), std::string::npos) << f.message();
}

TEST_F(BadTensor, TwoImportsOfOneMemoryStillOverlap) {
  float* const memory = f.zeros<float>(8);
  const int64_t dims[] = {4};
  mill_tensor* parts[2] = {};
  for (int k = 0; k < 2; ++k) {
    ASSERT_EQ(mill_tensor_import(f.exec(), MILL_F32, dims, nullptr, 1, memory + 2 * k, nullptr,
                                 nullptr, &parts[k], f.err()),
              MILL_OK)
        << f.message();
    f.own(parts[k]);
  }
  mill_tensor* out = parts[1];
  expect_refused(f, mill_neg(f.exec(), parts[0], &out, f.err()), MILL_E_ALIAS,
                 {"neg", "overlaps input"});
  out = parts[0];
  EXPECT_EQ(mill_neg(f.exec(), parts[0], &out, f.err()), MILL_OK) << f.message();
}

TEST_F(BadTensor, FromHostChecksTheBytes) {
  const int64_t dims[] = {2, 3};
  const float data[6] = {};
  for (const uint64_t bytes : {uint64_t{0}, uint64_t{23}, uint64_t{25}, UINT64_MAX}) {
    const std::string text = std::to_string(bytes);
    refuse(MILL_E_SHAPE, {"mill_tensor_from_host", "bytes", text.c_str(), "24"}, [&](auto out) {
      return mill_tensor_from_host(f.exec(), MILL_F32, dims, 2, data, bytes, out, f.err());
    });
  }
  mill_tensor* const x = f.tensor({2, 3});
  float host[6] = {};
  expect_refused(f, mill_tensor_read(f.exec(), x, host, 20, f.err()), MILL_E_SHAPE, {"20", "24"});
  expect_refused(f, mill_tensor_write(f.exec(), x, host, 28, f.err()), MILL_E_SHAPE, {"28", "24"});
  expect_refused(f, mill_tensor_read(f.exec(), other.tensor({2, 3}), host, 24, f.err()),
                 MILL_E_DEVICE, {"tensor"});
  double value = 1;
  expect_refused(f, mill_tensor_item(f.exec(), x, &value, f.err()), MILL_E_SHAPE, {"[2, 3]"});
  EXPECT_EQ(value, 0);
  expect_refused(f, mill_tensor_item(f.exec(), f.tensor({1}, MILL_C64), &value, f.err()),
                 MILL_E_DTYPE, {"c64"});
}

TEST_F(BadTensor, ViewsStayInsideTheStorage) {
  mill_tensor* const x = f.tensor({2, 3});
  const auto cut = [&](std::vector<int64_t> dims, std::vector<int64_t> strides, int64_t offset) {
    return [this, x, dims, strides, offset](mill_tensor** out) {
      return mill_tensor_view(x, dims.data(), strides.data(), static_cast<uint32_t>(dims.size()),
                              offset, out, f.err());
    };
  };
  refuse(MILL_E_SHAPE, {"mill_tensor_view", "7", "6"}, cut({7}, {1}, 0));
  refuse(MILL_E_SHAPE, {"offset is 1"}, cut({6}, {1}, 1));
  refuse(MILL_E_SHAPE, {"offset is -1"}, cut({1}, {1}, -1));
  refuse(MILL_E_SHAPE, {"offset is 7"}, cut({0}, {1}, 7));
  refuse(MILL_E_SHAPE, {"offset"}, cut({1}, {1}, INT64_MAX));
  refuse(MILL_E_SHAPE, {"offset"}, cut({1}, {1}, INT64_MIN));
  refuse(MILL_E_SHAPE, {"strides[0] is -1"}, cut({2}, {-1}, 1));
  refuse(MILL_E_SHAPE, {"strides[0]"}, cut({3}, {INT64_MAX}, 0));
  refuse(MILL_E_SHAPE, {"span"}, cut({2, 2}, {INT64_MAX - 1, 2}, 0));
  refuse(MILL_E_SHAPE, {"dims[0] is -2"}, cut({-2}, {1}, 0));
  refuse(MILL_E_SHAPE, {"9", "8"},
         cut({1, 1, 1, 1, 1, 1, 1, 1, 1}, {1, 1, 1, 1, 1, 1, 1, 1, 1}, 0));
  // A view of a view may look at all of the storage, and no further.
  mill_tensor* const last = view(f, x, {1}, {1}, 5);
  mill_tensor* out = nullptr;
  const int64_t dims[] = {6};
  const int64_t strides[] = {1};
  ASSERT_EQ(mill_tensor_view(last, dims, strides, 1, -5, &out, f.err()), MILL_OK) << f.message();
  mill_tensor_release(out);
  out = nullptr;
  expect_refused(f, mill_tensor_view(last, dims, strides, 1, -6, &out, f.err()), MILL_E_SHAPE,
                 {"-6"});
}

TEST_F(BadTensor, ImportLeavesOwnershipWhenItFails) {
  alignas(64) unsigned char bytes[128] = {};
  const int64_t dims[] = {2, 3};
  deleted = 0;
  const auto import = [&](mill_dtype dtype, std::vector<int64_t> strides, void* data) {
    return [this, &dims, dtype, strides, data](mill_tensor** out) {
      return mill_tensor_import(f.exec(), dtype, dims, strides.empty() ? nullptr : strides.data(),
                                2, data, count_deletion, nullptr, out, f.err());
    };
  };
  refuse(MILL_E_ARG, {"mill_tensor_import", "alignment of 4"}, import(MILL_F32, {}, bytes + 2));
  refuse(MILL_E_ARG, {"alignment of 8"}, import(MILL_F64, {}, bytes + 4));
  refuse(MILL_E_ARG, {"alignment of 4"}, import(MILL_C64, {}, bytes + 2));
  refuse(MILL_E_ARG, {"data is NULL", "6"}, import(MILL_F32, {}, nullptr));
  refuse(MILL_E_SHAPE, {"strides[1] is -1"}, import(MILL_F32, {3, -1}, bytes));
  refuse(MILL_E_SHAPE, {"overflow"}, import(MILL_F32, {INT64_MAX, INT64_MAX}, bytes));
  refuse(MILL_E_SHAPE, {"bytes"}, import(MILL_C128, {INT64_MAX / 2, 1}, bytes));
  refuse(MILL_E_ARG, {"dtype is 99"}, import(99, {}, bytes));
  EXPECT_EQ(deleted, 0);
}

TEST_F(BadTensor, WritingWhatARecordingTapeNeedsIsRefused) {
  mill_tape* const tape = f.made<mill_tape>();
  mill_tensor* const x = f.tensor({2});
  ASSERT_EQ(mill_tape_watch(tape, x, f.err()), MILL_OK);
  ASSERT_EQ(mill_exec_set_tape(f.exec(), tape, f.err()), MILL_OK);
  const float data[2] = {7, 7};
  expect_refused(f, mill_tensor_write(f.exec(), x, data, 8, f.err()), MILL_E_STATE,
                 {"[2]", "tape"});
  refuse_into<float>(x, MILL_E_STATE, {"neg", "tape"},
                     [&](auto out) { return mill_neg(f.exec(), f.tensor({2}), out, f.err()); });
  EXPECT_EQ(read_all<float>(f, x), std::vector<float>(2, 0.5f));
  ASSERT_EQ(mill_exec_set_tape(f.exec(), nullptr, f.err()), MILL_OK);
  EXPECT_EQ(mill_tensor_write(f.exec(), x, data, 8, f.err()), MILL_OK);
  EXPECT_EQ(read_all<float>(f, x), std::vector<float>(2, 7.0f));
}

TEST_F(BadExec, OptionsOutOfRangeAndObjectsOfAnotherContext) {
  mill_exec* exec = nullptr;
  expect_refused(f, mill_exec_create(f.context(), 1, nullptr, &exec, f.err()), MILL_E_ARG,
                 {"device is 1"});
  expect_refused(f, mill_exec_create(f.context(), UINT32_MAX, nullptr, &exec, f.err()), MILL_E_ARG,
                 {"device"});
  expect_refused(f, mill_exec_create(f.context(), 0, other.made<mill_stream>(), &exec, f.err()),
                 MILL_E_DEVICE, {"stream"});
  EXPECT_EQ(exec, nullptr);
  expect_refused(f, mill_exec_set_order(f.exec(), 2, f.err()), MILL_E_ARG, {"order is 2"});
  expect_refused(f, mill_exec_set_order(f.exec(), -1, f.err()), MILL_E_ARG, {"order is -1"});
  expect_refused(f, mill_exec_set_tape(f.exec(), other.made<mill_tape>(), f.err()), MILL_E_DEVICE,
                 {"tape", "context"});
  expect_refused(f, mill_exec_set_generator(f.exec(), other.made<mill_generator>(), f.err()),
                 MILL_E_DEVICE, {"generator"});
  mill_tape* none = nullptr;
  ASSERT_EQ(mill_exec_get_tape(f.exec(), &none, f.err()), MILL_OK);
  EXPECT_EQ(none, nullptr);
  for (int k = 0; k < 63; ++k) {
    ASSERT_EQ(mill_exec_set_tag(f.exec(), ("tag" + std::to_string(k)).c_str(), f.err()), MILL_OK)
        << f.message();
  }
  expect_refused(f, mill_exec_set_tag(f.exec(), "one more", f.err()), MILL_E_ARG,
                 {"one more", "64", "63"});
  EXPECT_EQ(mill_exec_set_tag(f.exec(), "tag7", f.err()), MILL_OK) << "known names still work";
  expect_refused(f, mill_event_record(f.made<mill_event>(), other.made<mill_stream>(), f.err()),
                 MILL_E_DEVICE, {"event", "stream"});
  expect_refused(f,
                 mill_stream_wait_event(f.made<mill_stream>(), other.made<mill_event>(), f.err()),
                 MILL_E_DEVICE, {"event"});
  mill_stream* stream = nullptr;
  expect_refused(f, mill_stream_create(f.context(), 9, &stream, f.err()), MILL_E_ARG,
                 {"device is 9"});
  EXPECT_EQ(stream, nullptr);
}

TEST_F(BadExec, ContextOptionsOutOfRange) {
  mill_context* context = f.context();
  const auto create = [&](auto&& change) {
    mill_context_opts opts{};
    opts.size = sizeof opts;
    opts.type = MILL_STRUCT_CONTEXT_OPTS;
    change(opts);
    context = f.context();
    const mill_status status = mill_context_create(&opts, &context, f.err());
    EXPECT_EQ(context, nullptr);
    return status;
  };
  expect_refused(f, create([](auto& o) { o.threads = 1025; }), MILL_E_ARG,
                 {"threads", "1025", "1024"});
  expect_refused(f, create([](auto& o) { o.gemm = 3; }), MILL_E_ARG, {"gemm is 3"});
  expect_refused(f, create([](auto& o) { o.gemm = -1; }), MILL_E_ARG, {"gemm is -1"});
  expect_refused(f, create([](auto& o) { o.trace_mask = uint64_t{1} << 40; }), MILL_E_ARG,
                 {"mask"});
  expect_refused(f, create([](auto& o) { o.reserved = 1; }), MILL_E_ARG, {"reserved"});
}

TEST_F(BadScope, EndsAndKeepsWithoutCause) {
  expect_refused(f, mill_scope_end(f.exec(), f.err()), MILL_E_STATE, {"scope"});
  expect_refused(f, mill_scope_keep(f.exec(), f.tensor(), f.err()), MILL_E_STATE, {"scope"});
  mill_tensor* const outside = f.tensor();
  ASSERT_EQ(mill_scope_begin(f.exec(), f.err()), MILL_OK);
  mill_tensor* outer = nullptr;
  ASSERT_EQ(mill_neg(f.exec(), outside, &outer, f.err()), MILL_OK);
  ASSERT_EQ(mill_scope_begin(f.exec(), f.err()), MILL_OK);
  expect_refused(f, mill_scope_keep(f.exec(), outside, f.err()), MILL_E_STATE, {"innermost"});
  expect_refused(f, mill_scope_keep(f.exec(), outer, f.err()), MILL_E_STATE, {"innermost"});
  mill_tensor* inner = nullptr;
  ASSERT_EQ(mill_neg(f.exec(), outside, &inner, f.err()), MILL_OK);
  ASSERT_EQ(mill_scope_keep(f.exec(), inner, f.err()), MILL_OK);
  expect_refused(f, mill_scope_keep(f.exec(), inner, f.err()), MILL_E_STATE, {"innermost"});
  ASSERT_EQ(mill_scope_end(f.exec(), f.err()), MILL_OK);
  EXPECT_EQ(mill_tensor_count(inner), 6);
  mill_tensor_release(inner);
  ASSERT_EQ(mill_scope_end(f.exec(), f.err()), MILL_OK);
  expect_refused(f, mill_scope_end(f.exec(), f.err()), MILL_E_STATE, {"scope"});
}

}  // namespace
}  // namespace mill_test
