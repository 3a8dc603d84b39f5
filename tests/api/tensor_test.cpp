// Tensors, futures, streams and events: what their headers promise.
#include <cstring>

#include "api/refusal.h"

namespace mill_test {
namespace {

struct TensorApi : testing::Test {
  Fixture f;
};
using FutureApi = TensorApi;
using DeviceApi = TensorApi;

TEST_F(TensorApi, GettersDescribeDimsStridesAndDtype) {
  mill_tensor* const x = f.tensor({2, 3, 4}, MILL_F16);
  EXPECT_EQ(mill_tensor_dtype(x), MILL_F16);
  EXPECT_EQ(mill_tensor_rank(x), 3u);
  EXPECT_EQ(mill_tensor_count(x), 24);
  EXPECT_EQ(mill_tensor_dim(x, 0), 2);
  EXPECT_EQ(mill_tensor_dim(x, -1), 4);
  EXPECT_EQ(mill_tensor_dim(x, 3), -1);
  EXPECT_EQ(mill_tensor_dim(x, -4), -1);
  EXPECT_EQ(mill_tensor_dim(x, INT32_MIN), -1);
  int64_t dims[3] = {};
  int64_t strides[3] = {};
  uint32_t rank = 0;
  EXPECT_EQ(mill_tensor_shape(x, dims, strides, 3, &rank, f.err()), MILL_OK);
  EXPECT_EQ(rank, 3u);
  EXPECT_EQ((std::vector<int64_t>{dims[0], dims[1], dims[2]}), (std::vector<int64_t>{2, 3, 4}));
  EXPECT_EQ((std::vector<int64_t>{strides[0], strides[1], strides[2]}),
            (std::vector<int64_t>{12, 4, 1}));
  int64_t first = 0;
  rank = 0;
  EXPECT_EQ(mill_tensor_shape(x, &first, nullptr, 1, &rank, f.err()), MILL_INCOMPLETE);
  EXPECT_EQ(first, 2);
  EXPECT_EQ(rank, 3u);
  uint32_t device = 9;
  EXPECT_EQ(mill_tensor_device(x, &device, f.err()), MILL_OK);
  EXPECT_EQ(device, 0u);
}

TEST_F(TensorApi, GettersOfABadHandleSayNothing) {
  for (const mill_tensor* bad :
       {static_cast<mill_tensor*>(nullptr), static_cast<mill_tensor*>(garbage_handle())}) {
    EXPECT_EQ(mill_tensor_dtype(bad), MILL_DTYPE_NONE);
    EXPECT_EQ(mill_tensor_rank(bad), 0u);
    EXPECT_EQ(mill_tensor_count(bad), 0);
    EXPECT_EQ(mill_tensor_dim(bad, 0), -1);
  }
}

TEST_F(TensorApi, ScalarsAndEmptyTensorsExist) {
  mill_tensor* scalar = nullptr;
  ASSERT_EQ(mill_tensor_create(f.exec(), MILL_F64, nullptr, 0, &scalar, f.err()), MILL_OK);
  EXPECT_EQ(mill_tensor_count(scalar), 1);
  EXPECT_EQ(mill_tensor_rank(scalar), 0u);
  const double value = 2.5;
  ASSERT_EQ(mill_tensor_write(f.exec(), scalar, &value, 8, f.err()), MILL_OK);
  double back = 0;
  ASSERT_EQ(mill_tensor_item(f.exec(), scalar, &back, f.err()), MILL_OK);
  EXPECT_EQ(back, 2.5);
  mill_tensor_release(scalar);
  const int64_t dims[] = {3, 0, 5};
  mill_tensor* empty = nullptr;
  ASSERT_EQ(mill_tensor_from_host(f.exec(), MILL_F32, dims, 3, nullptr, 0, &empty, f.err()),
            MILL_OK)
      << f.message();
  EXPECT_EQ(mill_tensor_count(empty), 0);
  void* data = &data;
  ASSERT_EQ(mill_tensor_data(empty, 0, &data, f.err()), MILL_OK);
  EXPECT_EQ(data, nullptr);
  EXPECT_EQ(mill_tensor_read(f.exec(), empty, nullptr, 0, f.err()), MILL_OK);
  mill_tensor_release(empty);
}

TEST_F(TensorApi, EveryDtypeIsStoredAndReadBack) {
  for (mill_dtype dtype = 1; dtype < MILL_DTYPE_COUNT; ++dtype) {
    const uint32_t size = mill_dtype_size(dtype);
    ASSERT_GT(size, 0u);
    std::vector<unsigned char> bytes(4 * size);
    for (size_t k = 0; k < bytes.size(); ++k)
      bytes[k] = dtype == MILL_BOOL ? k % 2 : static_cast<unsigned char>(k + 1);
    const int64_t dims[] = {2, 2};
    mill_tensor* tensor = nullptr;
    ASSERT_EQ(mill_tensor_from_host(f.exec(), dtype, dims, 2, bytes.data(), bytes.size(), &tensor,
                                    f.err()),
              MILL_OK)
        << f.message();
    std::vector<unsigned char> back(bytes.size());
    ASSERT_EQ(mill_tensor_read(f.exec(), tensor, back.data(), back.size(), f.err()), MILL_OK);
    EXPECT_EQ(back, bytes) << mill_dtype_name(dtype);
    mill_tensor_release(tensor);
  }
}

TEST_F(TensorApi, HostDataAreCopiedBeforeTheCallReturns) {
  std::vector<float> values = {1, 2, 3};
  mill_tensor* const x = upload<float>(f, {3}, values);
  values.assign(3, 9);
  EXPECT_EQ(read_all<float>(f, x), (std::vector<float>{1, 2, 3}));
  ASSERT_EQ(mill_tensor_write(f.exec(), x, values.data(), 12, f.err()), MILL_OK);
  values.assign(3, 0);
  EXPECT_EQ(read_all<float>(f, x), std::vector<float>(3, 9));
}

TEST_F(TensorApi, ViewsShareTheStorageAndItsVersion) {
  mill_tensor* const x = upload<float>(f, {6}, {0, 1, 2, 3, 4, 5});
  mill_tensor* const windows = view(f, x, {4, 3}, {1, 1});
  EXPECT_EQ(read_all<float>(f, windows), (std::vector<float>{0, 1, 2, 1, 2, 3, 2, 3, 4, 3, 4, 5}));
  mill_tensor* const odd = view(f, x, {3}, {2}, 1);
  uint64_t before = 0;
  ASSERT_EQ(mill_tensor_version(x, &before, f.err()), MILL_OK);
  const float more[] = {10, 30, 50};
  ASSERT_EQ(mill_tensor_write(f.exec(), odd, more, 12, f.err()), MILL_OK);
  EXPECT_EQ(read_all<float>(f, x), (std::vector<float>{0, 10, 2, 30, 4, 50}));
  uint64_t after = 0;
  ASSERT_EQ(mill_tensor_version(x, &after, f.err()), MILL_OK);
  EXPECT_GT(after, before);
  void* data = nullptr;
  ASSERT_EQ(mill_tensor_data(odd, 1, &data, f.err()), MILL_OK);
  static_cast<float*>(data)[2] = 7;
  EXPECT_EQ(read_all<float>(f, x)[3], 7);
  ASSERT_EQ(mill_tensor_version(windows, &before, f.err()), MILL_OK);
  EXPECT_EQ(before, after + 1) << "asking for the address to write counts once";
}

TEST_F(TensorApi, AViewKeepsTheStorageAlive) {
  mill_tensor* const x = f.unowned<mill_tensor>();
  mill_tensor* const part = view(f, x, {3}, {1}, 3);
  mill_tensor_release(x);
  EXPECT_EQ(read_all<float>(f, part), std::vector<float>(3, 0.5f));
}

struct Deleted {
  int times = 0;
  void* data = nullptr;
};
void note_deletion(void* user, void* data) {
  static_cast<Deleted*>(user)->times += 1;
  static_cast<Deleted*>(user)->data = data;
}

TEST_F(TensorApi, ImportedMemoryIsUsedInPlaceAndFreedOnceOutsideRelease) {
  Deleted deleted;
  alignas(64) float memory[8] = {0, 1, 2, 3, 4, 5, 6, 7};
  const int64_t dims[] = {2, 2};
  const int64_t strides[] = {4, 2};
  mill_tensor* x = nullptr;
  ASSERT_EQ(mill_tensor_import(f.exec(), MILL_F32, dims, strides, 2, memory, note_deletion,
                               &deleted, &x, f.err()),
            MILL_OK)
      << f.message();
  EXPECT_EQ(read_all<float>(f, x), (std::vector<float>{0, 2, 4, 6}));
  memory[2] = 20;
  EXPECT_EQ(read_all<float>(f, x)[1], 20);
  mill_tensor* twice = nullptr;
  ASSERT_EQ(mill_tensor_detach(x, &twice, f.err()), MILL_OK);
  mill_tensor_release(x);
  f.tensor();
  EXPECT_EQ(deleted.times, 0) << "another tensor is still on it";
  mill_tensor_release(twice);
  EXPECT_EQ(deleted.times, 0) << "never inside a release";
  f.tensor();
  EXPECT_EQ(deleted.times, 1);
  EXPECT_EQ(deleted.data, memory);
}

TEST(TensorLife, ImportedMemoryIsFreedAtTheLatestWhenTheContextEnds) {
  Deleted deleted;
  float memory[2] = {};
  {
    Fixture f;
    const int64_t dims[] = {2};
    mill_tensor* x = nullptr;
    ASSERT_EQ(mill_tensor_import(f.exec(), MILL_F32, dims, nullptr, 1, memory, note_deletion,
                                 &deleted, &x, f.err()),
              MILL_OK);
    f.own(x);
  }
  EXPECT_EQ(deleted.times, 1);
}

TEST(TensorLife, ATensorOutlivesItsExecAndItsContextsHandle) {
  mill_context* context = nullptr;
  mill_exec* exec = nullptr;
  mill_tensor* x = nullptr;
  ASSERT_EQ(mill_context_create(nullptr, &context, nullptr), MILL_OK);
  ASSERT_EQ(mill_exec_create(context, 0, nullptr, &exec, nullptr), MILL_OK);
  ASSERT_EQ(mill_arange(exec, 4, 0, 1, MILL_F32, &x, nullptr), MILL_OK);
  mill_context_release(context);
  mill_exec_release(exec);
  void* data = nullptr;
  ASSERT_EQ(mill_tensor_data(x, 0, &data, nullptr), MILL_OK);
  EXPECT_EQ(static_cast<float*>(data)[3], 3.0f);
  mill_tensor_release(x);
  EXPECT_EQ(mill_tensor_count(x), 0);
}

TEST_F(FutureApi, HoldsTheValuesOfItsMoment) {
  mill_tensor* const x = upload<float>(f, {2, 2}, {1, 2, 3, 4});
  mill_tensor* const turned = view(f, x, {2, 2}, {1, 2});
  mill_future* future = nullptr;
  ASSERT_EQ(mill_tensor_read_async(f.exec(), turned, &future, f.err()), MILL_OK);
  const float zeros[4] = {};
  ASSERT_EQ(mill_tensor_write(f.exec(), x, zeros, 16, f.err()), MILL_OK);
  EXPECT_EQ(mill_future_wait(future, UINT64_MAX, f.err()), MILL_OK);
  EXPECT_EQ(mill_future_query(future, f.err()), MILL_OK);
  const void* data = nullptr;
  uint64_t bytes = 0;
  ASSERT_EQ(mill_future_data(future, &data, &bytes, f.err()), MILL_OK);
  ASSERT_EQ(bytes, 16u);
  const float want[] = {1, 3, 2, 4};
  EXPECT_EQ(std::memcmp(data, want, 16), 0);
  mill_future_release(future);
}

TEST_F(DeviceApi, TheCpuDescribesItself) {
  uint32_t count = 0;
  ASSERT_EQ(mill_device_count(f.context(), &count, f.err()), MILL_OK);
  ASSERT_GE(count, 1u);
  mill_device_info info{};
  info.size = sizeof info;
  info.type = MILL_STRUCT_DEVICE_INFO;
  ASSERT_EQ(mill_device_query(f.context(), 0, &info, f.err()), MILL_OK);
  EXPECT_STREQ(info.name, "cpu");
  // Its version, or why there is none.
  EXPECT_NE(std::string(info.description).find("oneDNN"), std::string::npos) << info.description;
  EXPECT_EQ(info.host_memory, 1u);
  EXPECT_EQ(info.threads, 1u);
  EXPECT_EQ(mill_device_query(f.context(), count, &info, f.err()), MILL_E_ARG);

  mill_context_opts opts{};
  opts.size = sizeof opts;
  opts.type = MILL_STRUCT_CONTEXT_OPTS;
  opts.gemm = MILL_GEMM_OWN;
  mill_context* own = nullptr;
  ASSERT_EQ(mill_context_create(&opts, &own, f.err()), MILL_OK);
  ASSERT_EQ(mill_device_query(own, 0, &info, f.err()), MILL_OK);
  EXPECT_EQ(std::string(info.description).find("oneDNN"), std::string::npos) << info.description;
  mill_context_release(own);
}

TEST_F(DeviceApi, EventsOfTheCpuAreAlwaysComplete) {
  mill_stream* const stream = f.made<mill_stream>();
  mill_event* const event = f.made<mill_event>();
  EXPECT_EQ(mill_event_query(event, f.err()), MILL_OK) << "not yet recorded counts as complete";
  EXPECT_EQ(mill_event_wait(event, 0, f.err()), MILL_OK);
  EXPECT_EQ(mill_event_record(event, stream, f.err()), MILL_OK);
  EXPECT_EQ(mill_event_record(event, stream, f.err()), MILL_OK);
  EXPECT_EQ(mill_stream_wait_event(stream, event, f.err()), MILL_OK);
  EXPECT_EQ(mill_event_wait(event, UINT64_MAX, f.err()), MILL_OK);
  EXPECT_EQ(mill_stream_wait(stream, f.err()), MILL_OK);
}

TEST_F(DeviceApi, StreamsAreSharedByExecs) {
  mill_stream* const stream = f.made<mill_stream>();
  mill_exec* a = nullptr;
  mill_exec* b = nullptr;
  ASSERT_EQ(mill_exec_create(f.context(), 0, stream, &a, f.err()), MILL_OK);
  ASSERT_EQ(mill_exec_create(f.context(), 0, stream, &b, f.err()), MILL_OK);
  mill_tensor** const x = f.slot<mill_tensor>();
  ASSERT_EQ(mill_arange(a, 3, 1, 1, MILL_F32, x, f.err()), MILL_OK);
  mill_tensor** const y = f.slot<mill_tensor>();
  ASSERT_EQ(mill_neg(b, *x, y, f.err()), MILL_OK);
  EXPECT_EQ(read_all<float>(f, *y), (std::vector<float>{-1, -2, -3}));
  EXPECT_EQ(mill_exec_wait(a, f.err()), MILL_OK);
  mill_exec_release(a);
  mill_exec_release(b);
}

TEST(VersionApi, NamesAndSizesAreTotal) {
  uint32_t major = 9, minor = 9, patch = 9;
  mill_version(&major, &minor, &patch);
  EXPECT_EQ(major, static_cast<uint32_t>(MILL_VERSION_MAJOR));
  EXPECT_EQ(minor, static_cast<uint32_t>(MILL_VERSION_MINOR));
  EXPECT_EQ(patch, static_cast<uint32_t>(MILL_VERSION_PATCH));
  EXPECT_EQ(mill_api_level(), static_cast<uint32_t>(MILL_API_LEVEL));
  EXPECT_STREQ(mill_status_name(MILL_E_SHAPE), "MILL_E_SHAPE");
  EXPECT_STREQ(mill_status_name(MILL_LOST), "MILL_LOST");
  EXPECT_STREQ(mill_status_name(-1000), "MILL_E_USER");
  EXPECT_STREQ(mill_status_name(-1999), "MILL_E_USER");
  EXPECT_STREQ(mill_status_name(-2000), "MILL_STATUS_UNKNOWN");
  EXPECT_STREQ(mill_status_name(INT32_MAX), "MILL_STATUS_UNKNOWN");
  EXPECT_STREQ(mill_dtype_name(MILL_F8E5M2), "f8e5m2");
  EXPECT_STREQ(mill_dtype_name(-1), "?");
  EXPECT_STREQ(mill_dtype_name(MILL_DTYPE_COUNT), "?");
  EXPECT_EQ(mill_dtype_size(0), 0u);
  EXPECT_EQ(mill_dtype_size(INT32_MIN), 0u);
  EXPECT_EQ(mill_dtype_size(MILL_C128), 16u);
  EXPECT_EQ(mill_dtype_promote(MILL_U8, MILL_I8), MILL_I16);
  EXPECT_EQ(mill_dtype_promote(MILL_I64, MILL_F16), MILL_F16);
  EXPECT_EQ(mill_dtype_promote(MILL_F16, MILL_BF16), MILL_F32);
  EXPECT_EQ(mill_dtype_promote(MILL_F32, 99), MILL_DTYPE_NONE);
  EXPECT_EQ(mill_dtype_promote(-4, MILL_F32), MILL_DTYPE_NONE);
}

}  // namespace
}  // namespace mill_test
