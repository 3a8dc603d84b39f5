// What the engine reports of itself, seen through the public trace.
#include <gtest/gtest.h>
#include <millrace/millrace.h>

#include <cstdio>
#include <map>
#include <set>
#include <vector>

namespace {

class TraceRecords : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(mill_error_create(&err_), MILL_OK);
    ASSERT_EQ(mill_context_create(nullptr, &context_, err_), MILL_OK);
    ASSERT_EQ(mill_exec_create(context_, 0, nullptr, &exec_, err_), MILL_OK);
  }
  void TearDown() override {
    mill_exec_release(exec_);
    mill_context_release(context_);
    mill_error_release(err_);
  }

  mill_tensor* tensor(std::vector<float> values) {
    const int64_t n = static_cast<int64_t>(values.size());
    mill_tensor* out = nullptr;
    EXPECT_EQ(
        mill_tensor_from_host(exec_, MILL_F32, &n, 1, values.data(), values.size() * 4, &out, err_),
        MILL_OK);
    return out;
  }

  std::vector<mill_trace_record> drain() {
    std::vector<mill_trace_record> records(4096);
    uint32_t count = 0;
    uint64_t lost = 0;
    EXPECT_EQ(mill_trace_drain(context_, records.data(), 4096, &count, &lost, err_), MILL_OK);
    records.resize(count);
    return records;
  }

  static std::vector<mill_trace_record> of_kind(const std::vector<mill_trace_record>& all,
                                                int32_t kind) {
    std::vector<mill_trace_record> out;
    for (const mill_trace_record& record : all) {
      if (record.kind == kind) out.push_back(record);
    }
    return out;
  }

  mill_error* err_ = nullptr;
  mill_context* context_ = nullptr;
  mill_exec* exec_ = nullptr;
};

TEST_F(TraceRecords, AnAllocationAndItsFreeNameTheBytes) {
  ASSERT_EQ(mill_trace_set_mask(context_, MILL_TRACE_ALLOCATIONS, err_), MILL_OK);
  mill_tensor* made = nullptr;
  const int64_t n = 250;
  ASSERT_EQ(mill_tensor_create(exec_, MILL_F32, &n, 1, &made, err_), MILL_OK);
  mill_tensor_release(made);
  const auto records = drain();
  const auto allocations = of_kind(records, MILL_RECORD_ALLOC);
  const auto frees = of_kind(records, MILL_RECORD_FREE);
  ASSERT_EQ(allocations.size(), 1u);
  EXPECT_EQ(allocations[0].bytes, 1000u);
  EXPECT_EQ(allocations[0].memory & 0xffu, static_cast<uint32_t>(MILL_RECORD_MEMORY_PAGEABLE));
  EXPECT_GE(allocations[0].detail, static_cast<uint32_t>(MILL_RECORD_ALLOC_HIT));
  ASSERT_EQ(frees.size(), 1u);
  EXPECT_EQ(frees[0].bytes, 1000u);
  EXPECT_GE(frees[0].start_ns, allocations[0].start_ns);
}

TEST_F(TraceRecords, AnAllocationNamesTheOpTheStepAndTheStorage) {
  mill_tensor* x = tensor({1, 2, 3});
  ASSERT_EQ(mill_trace_set_mask(context_, MILL_TRACE_ALLOCATIONS | MILL_TRACE_OPS, err_), MILL_OK);
  ASSERT_EQ(mill_trace_step(exec_, err_), MILL_OK);
  ASSERT_EQ(mill_trace_scope_begin(exec_, "layer", MILL_NTS, err_), MILL_OK);
  mill_tensor* out = nullptr;
  ASSERT_EQ(mill_neg(exec_, x, &out, err_), MILL_OK);
  ASSERT_EQ(mill_trace_scope_end(exec_, err_), MILL_OK);
  mill_tensor_release(out);
  mill_tensor_release(x);
  const auto records = drain();
  const auto ops = of_kind(records, MILL_RECORD_OP);
  const auto allocations = of_kind(records, MILL_RECORD_ALLOC);
  const auto frees = of_kind(records, MILL_RECORD_FREE);
  ASSERT_EQ(ops.size(), 1u);
  ASSERT_EQ(allocations.size(), 1u);
  ASSERT_EQ(frees.size(), 2u);
  EXPECT_EQ(allocations[0].op, MILL_OP_NEG);
  EXPECT_EQ(allocations[0].instance, ops[0].instance);
  EXPECT_EQ(allocations[0].exec_id, ops[0].exec_id);
  EXPECT_EQ(allocations[0].scope, ops[0].scope);
  EXPECT_NE(allocations[0].scope, 0u);
  EXPECT_EQ(allocations[0].step, 1u);
  EXPECT_NE(allocations[0].storage, 0u);
  EXPECT_EQ(allocations[0].storage, ops[0].storage);
  EXPECT_EQ(frees[0].storage, ops[0].storage);
}

TEST_F(TraceRecords, EveryPlaceWhereTheHostWaitsIsTold) {
  ASSERT_EQ(mill_trace_set_mask(context_, MILL_TRACE_SYNCS, err_), MILL_OK);
  mill_stream* stream = nullptr;
  mill_event* event = nullptr;
  mill_future* future = nullptr;
  mill_tensor* x = tensor({1, 2});
  float back[2] = {};
  ASSERT_EQ(mill_stream_create(context_, 0, &stream, err_), MILL_OK);
  ASSERT_EQ(mill_event_create(stream, &event, err_), MILL_OK);
  ASSERT_EQ(mill_event_record(event, stream, err_), MILL_OK);
  ASSERT_EQ(mill_tensor_read_async(exec_, x, &future, err_), MILL_OK);
  static_cast<void>(drain());
  const auto expect_one = [&](uint32_t detail, bool of_exec) {
    const auto records = of_kind(drain(), MILL_RECORD_SYNC);
    ASSERT_EQ(records.size(), 1u);
    EXPECT_EQ(records[0].detail, detail);
    EXPECT_EQ(records[0].exec_id != 0, of_exec);
    EXPECT_LE(records[0].wait_ns, records[0].duration_ns + 1);
  };
  ASSERT_EQ(mill_exec_wait(exec_, err_), MILL_OK);
  expect_one(MILL_RECORD_SYNC_STREAM, true);
  ASSERT_EQ(mill_stream_wait(stream, err_), MILL_OK);
  expect_one(MILL_RECORD_SYNC_STREAM, false);
  ASSERT_EQ(mill_event_wait(event, UINT64_MAX, err_), MILL_OK);
  expect_one(MILL_RECORD_SYNC_EVENT, false);
  ASSERT_EQ(mill_future_wait(future, UINT64_MAX, err_), MILL_OK);
  expect_one(MILL_RECORD_SYNC_READ, false);
  ASSERT_EQ(mill_tensor_read(exec_, x, back, sizeof back, err_), MILL_OK);
  expect_one(MILL_RECORD_SYNC_READ, true);
  mill_future_release(future);
  mill_event_release(event);
  mill_stream_release(stream);
  mill_tensor_release(x);
}

TEST_F(TraceRecords, AnAsyncReadIsACopyThatDoesNotBlock) {
  mill_tensor* x = tensor({1, 2, 3});
  ASSERT_EQ(mill_trace_set_mask(context_, MILL_TRACE_COPIES, err_), MILL_OK);
  mill_future* future = nullptr;
  ASSERT_EQ(mill_tensor_read_async(exec_, x, &future, err_), MILL_OK);
  const float values[] = {4, 5, 6};
  ASSERT_EQ(mill_tensor_write(exec_, x, values, sizeof values, err_), MILL_OK);
  mill_future_release(future);
  mill_tensor_release(x);
  const auto copies = of_kind(drain(), MILL_RECORD_COPY);
  ASSERT_EQ(copies.size(), 2u);
  EXPECT_EQ(copies[0].detail, static_cast<uint32_t>(MILL_RECORD_COPY_ASYNC));
  EXPECT_EQ(copies[0].bytes, 12u);
  EXPECT_NE(copies[0].tensor, 0u);
  EXPECT_EQ(copies[1].detail, static_cast<uint32_t>(MILL_RECORD_COPY_BLOCKING));
  EXPECT_EQ(copies[1].tensor, copies[0].tensor);
  EXPECT_EQ(copies[1].tensor_version, copies[0].tensor_version + 1);
}

TEST_F(TraceRecords, ARefusedCallCarriesItsStatus) {
  mill_tensor* x = tensor({1, 2, 3});
  mill_tensor* y = tensor({1, 2});
  mill_call* call = nullptr;
  ASSERT_EQ(mill_op_prepare(exec_, MILL_OP_NEG, &x, 1, nullptr, 0, &call, err_), MILL_OK);
  ASSERT_EQ(mill_trace_set_mask(context_, MILL_TRACE_OPS, err_), MILL_OK);
  mill_tensor* out = y;
  EXPECT_EQ(mill_call_run(call, exec_, &x, 1, &out, 1, err_), MILL_E_SHAPE);
  EXPECT_EQ(mill_neg(exec_, x, &out, err_), MILL_E_SHAPE);
  ASSERT_EQ(mill_memory_fail_at(context_, 0, 1, err_), MILL_OK);
  out = nullptr;
  EXPECT_EQ(mill_neg(exec_, x, &out, err_), MILL_E_MEMORY);
  const auto ops = of_kind(drain(), MILL_RECORD_OP);
  ASSERT_EQ(ops.size(), 3u);
  EXPECT_EQ(ops[0].status, MILL_E_SHAPE);
  EXPECT_EQ(ops[1].status, MILL_E_SHAPE);
  EXPECT_EQ(ops[2].status, MILL_E_MEMORY);
  mill_call_release(call);
  mill_tensor_release(x);
  mill_tensor_release(y);
}

TEST_F(TraceRecords, NothingIsToldWhileTheMaskIsEmpty) {
  ASSERT_EQ(mill_trace_set_mask(context_, MILL_TRACE_RECORDS, err_), MILL_OK);
  ASSERT_EQ(mill_trace_set_mask(context_, 0, err_), MILL_OK);
  mill_tensor_release(tensor({1, 2, 3}));
  EXPECT_TRUE(drain().empty());
}

TEST_F(TraceRecords, ARefusedAllocationCarriesItsStatus) {
  ASSERT_EQ(mill_trace_set_mask(context_, MILL_TRACE_ALLOCATIONS, err_), MILL_OK);
  ASSERT_EQ(mill_memory_fail_at(context_, 0, 1, err_), MILL_OK);
  mill_tensor* made = nullptr;
  const int64_t n = 16;
  ASSERT_EQ(mill_tensor_create(exec_, MILL_F32, &n, 1, &made, err_), MILL_E_MEMORY);
  const auto allocations = of_kind(drain(), MILL_RECORD_ALLOC);
  ASSERT_FALSE(allocations.empty());
  EXPECT_EQ(allocations.back().status, MILL_E_MEMORY);
}

TEST_F(TraceRecords, CopiesToAndFromTheHostHaveBytesAndDirection) {
  ASSERT_EQ(mill_trace_set_mask(context_, MILL_TRACE_COPIES, err_), MILL_OK);
  mill_tensor* x = tensor({1, 2, 3, 4});
  float back[4] = {};
  ASSERT_EQ(mill_tensor_read(exec_, x, back, sizeof back, err_), MILL_OK);
  mill_tensor_release(x);
  const auto copies = of_kind(drain(), MILL_RECORD_COPY);
  ASSERT_EQ(copies.size(), 2u);
  EXPECT_EQ(copies[0].bytes, 16u);
  EXPECT_EQ(copies[1].bytes, 16u);
  EXPECT_NE(copies[0].storage, 0u);
  EXPECT_EQ(copies[0].storage, copies[1].storage);
  EXPECT_EQ(copies[1].detail, static_cast<uint32_t>(MILL_RECORD_COPY_BLOCKING));
}

TEST_F(TraceRecords, ALoaderTellsOfItsWaitsAndOfTheBatchesItsThreadMade) {
  ASSERT_EQ(mill_trace_set_mask(context_, MILL_TRACE_LOADER, err_), MILL_OK);
  mill_tensor* column = tensor({0, 1, 2, 3, 4, 5, 6});
  for (const uint64_t flags : {uint64_t{0}, uint64_t{MILL_LOADER_INLINE}}) {
    mill_loader_opts opts{};
    opts.size = sizeof opts;
    opts.type = MILL_STRUCT_LOADER_OPTS;
    opts.batch = 3;
    opts.flags = flags;
    mill_loader* loader = nullptr;
    ASSERT_EQ(mill_loader_create(context_, &column, 1, &opts, &loader, err_), MILL_OK);
    for (int k = 0; k < 3; ++k) {
      mill_tensor* batch = nullptr;
      ASSERT_EQ(mill_loader_next(loader, exec_, &batch, 1, err_), MILL_OK);
      mill_tensor_release(batch);
    }
    mill_loader_release(loader);
    std::vector<mill_trace_record> asked;
    std::vector<mill_trace_record> made;
    for (const mill_trace_record& record : of_kind(drain(), MILL_RECORD_LOADER))
      (record.detail == MILL_RECORD_LOADER_FILL ? made : asked).push_back(record);
    ASSERT_EQ(asked.size(), 3u);
    EXPECT_EQ(asked[0].bytes, 12u);
    EXPECT_EQ(asked[2].bytes, 4u);
    if (flags == MILL_LOADER_INLINE) {
      EXPECT_TRUE(made.empty());  // the wait says it all
      continue;
    }
    // The thread may have begun the next epoch.
    ASSERT_GE(made.size(), 3u);
    EXPECT_EQ(made[0].bytes, 12u);
    EXPECT_EQ(made[2].bytes, 4u);
    EXPECT_NE(asked[0].storage, 0u);
    for (size_t k = 0; k < 3; ++k) {
      EXPECT_EQ(asked[k].instance, k + 1);
      EXPECT_EQ(made[k].instance, k + 1);
      EXPECT_EQ(asked[k].storage, asked[0].storage);
      EXPECT_EQ(made[k].storage, asked[0].storage);
      EXPECT_EQ(made[k].exec_id, 0u);
      EXPECT_NE(made[k].thread, asked[k].thread);
      EXPECT_LE(made[k].start_ns + made[k].duration_ns, asked[k].start_ns + asked[k].duration_ns);
    }
  }
  mill_tensor_release(column);
}

// Numbers tell where the position was set: batches that were made ahead for nothing keep theirs.
TEST_F(TraceRecords, ALoaderThatIsRewoundLeavesNumbersOut) {
  ASSERT_EQ(mill_trace_set_mask(context_, MILL_TRACE_LOADER, err_), MILL_OK);
  mill_tensor* column = tensor({0, 1, 2, 3, 4, 5, 6, 7});
  mill_loader_opts opts{};
  opts.size = sizeof opts;
  opts.type = MILL_STRUCT_LOADER_OPTS;
  opts.batch = 1;
  opts.prefetch = 3;
  opts.workers = 2;
  mill_loader* loader = nullptr;
  ASSERT_EQ(mill_loader_create(context_, &column, 1, &opts, &loader, err_), MILL_OK);
  const auto take = [&](int batches) {
    for (int k = 0; k < batches; ++k) {
      mill_tensor* batch = nullptr;
      ASSERT_EQ(mill_loader_next(loader, exec_, &batch, 1, err_), MILL_OK);
      mill_tensor_release(batch);
    }
  };
  take(3);
  ASSERT_EQ(mill_loader_rewind(loader, err_), MILL_OK);
  take(2);
  ASSERT_EQ(mill_loader_set_prefetch(loader, 2, 1, err_), MILL_OK);
  take(2);
  mill_loader_release(loader);
  std::vector<uint64_t> asked;
  std::vector<uint64_t> made;
  for (const mill_trace_record& record : of_kind(drain(), MILL_RECORD_LOADER))
    (record.detail == MILL_RECORD_LOADER_FILL ? made : asked).push_back(record.instance);
  ASSERT_EQ(asked.size(), 7u);
  EXPECT_EQ(std::vector<uint64_t>(asked.begin(), asked.begin() + 3),
            (std::vector<uint64_t>{1, 2, 3}));
  // Four slots: no batch that was made before has the number of one made after.
  EXPECT_GT(asked[3], 3u + 4u);
  EXPECT_EQ(asked[3] % 2, 4u % 2) << "each worker makes every second one still";
  EXPECT_EQ(asked[4], asked[3] + 1);
  EXPECT_GT(asked[5], asked[4] + 4u) << "another depth begins anew too";
  EXPECT_EQ(asked[6], asked[5] + 1);
  std::sort(made.begin(), made.end());
  EXPECT_EQ(std::adjacent_find(made.begin(), made.end()), made.end()) << "a number was used twice";
  for (const uint64_t number : asked)
    EXPECT_TRUE(std::binary_search(made.begin(), made.end(), number)) << number;
  mill_tensor_release(column);
}

class TraceRecordsOfADevice : public TraceRecords {
 protected:
  void SetUp() override {
    TraceRecords::SetUp();
    ASSERT_EQ(mill_device_open(context_, "sim:ideal", MILL_NTS, &device_, err_), MILL_OK)
        << mill_error_message(err_);
    ASSERT_EQ(mill_exec_create(context_, device_, nullptr, &there_, err_), MILL_OK);
  }
  void TearDown() override {
    mill_exec_release(there_);
    TraceRecords::TearDown();
  }

  // Batches of 7 rows of 6 bytes and one of 8, in pinned memory that holds 48 bytes of each.
  void take_batches(uint64_t flags, int n) {
    constexpr int64_t kRows = 28;
    std::vector<uint8_t> pixels(kRows * 6);
    std::vector<int64_t> labels(kRows);
    const int64_t dims[2] = {kRows, 6};
    mill_tensor* columns[2] = {};
    ASSERT_EQ(mill_tensor_from_host(exec_, MILL_U8, dims, 2, pixels.data(), pixels.size(),
                                    &columns[0], err_),
              MILL_OK);
    ASSERT_EQ(mill_tensor_from_host(exec_, MILL_I64, dims, 1, labels.data(), labels.size() * 8,
                                    &columns[1], err_),
              MILL_OK);
    mill_loader_opts opts{};
    opts.size = sizeof opts;
    opts.type = MILL_STRUCT_LOADER_OPTS;
    opts.batch = 7;
    opts.flags = flags;
    opts.device = device_;
    opts.prefetch = 2;
    opts.pinned_bytes = uint64_t{48} * 2 * ((flags & MILL_LOADER_INLINE) != 0 ? 1 : 3);
    mill_loader* loader = nullptr;
    ASSERT_EQ(mill_loader_create(context_, columns, 2, &opts, &loader, err_), MILL_OK);
    drain();
    for (int k = 0; k < n; ++k) {
      mill_tensor* batch[2] = {};
      ASSERT_EQ(mill_loader_next(loader, there_, batch, 2, err_), MILL_OK);
      mill_tensor_release(batch[0]);
      mill_tensor_release(batch[1]);
    }
    mill_loader_release(loader);
    mill_tensor_release(columns[0]);
    mill_tensor_release(columns[1]);
  }

  static uint32_t memory(int32_t from, int32_t to, uint32_t from_device, uint32_t to_device) {
    return static_cast<uint32_t>(from) | static_cast<uint32_t>(to) << 8 | from_device << 16 |
           to_device << 24;
  }

  uint32_t device_ = 0;
  mill_exec* there_ = nullptr;
};

TEST_F(TraceRecordsOfADevice, AnAsyncReadSaysThatItGoesToPinnedMemory) {
  const float values[] = {1, 2, 3};
  float back[3] = {};
  const int64_t n = 3;
  mill_tensor* x = nullptr;
  mill_future* pending = nullptr;
  mill_tensor* again = nullptr;
  const void* read = nullptr;
  uint64_t bytes = 0;
  ASSERT_EQ(mill_trace_set_mask(context_, MILL_TRACE_COPIES, err_), MILL_OK);
  ASSERT_EQ(mill_tensor_from_host(there_, MILL_F32, &n, 1, values, sizeof values, &x, err_),
            MILL_OK);
  ASSERT_EQ(mill_tensor_read_async(there_, x, &pending, err_), MILL_OK);
  ASSERT_EQ(mill_tensor_read(there_, x, back, sizeof back, err_), MILL_OK);
  ASSERT_EQ(mill_future_wait(pending, UINT64_MAX, err_), MILL_OK);
  ASSERT_EQ(mill_future_data(pending, &read, &bytes, err_), MILL_OK);
  // From that same pinned memory.
  ASSERT_EQ(mill_tensor_from_host(there_, MILL_F32, &n, 1, read, bytes, &again, err_), MILL_OK);
  const auto copies = of_kind(drain(), MILL_RECORD_COPY);
  ASSERT_EQ(copies.size(), 4u);
  const int32_t pageable = MILL_RECORD_MEMORY_PAGEABLE;
  const int32_t pinned = MILL_RECORD_MEMORY_PINNED;
  const int32_t device = MILL_RECORD_MEMORY_DEVICE;
  EXPECT_EQ(copies[0].memory, memory(pageable, device, 0, device_));
  EXPECT_EQ(copies[1].memory, memory(device, pinned, device_, 0));
  EXPECT_EQ(copies[2].memory, memory(device, pageable, device_, 0));
  EXPECT_EQ(copies[3].memory, memory(pinned, device, 0, device_));
  mill_future_release(pending);
  mill_tensor_release(x);
  mill_tensor_release(again);
}

TEST_F(TraceRecordsOfADevice, CopiesBetweenDevicesAndIntoFilesAreToldWithBothSides) {
  uint32_t other = 0;
  mill_exec* beyond = nullptr;
  ASSERT_EQ(mill_device_open(context_, "sim:ideal", MILL_NTS, &other, err_), MILL_OK);
  ASSERT_EQ(mill_exec_create(context_, other, nullptr, &beyond, err_), MILL_OK);
  const float values[] = {1, 2, 3};
  const int64_t n = 3;
  mill_tensor *x = nullptr, *down = nullptr, *across = nullptr;
  ASSERT_EQ(mill_tensor_from_host(there_, MILL_F32, &n, 1, values, sizeof values, &x, err_),
            MILL_OK);
  ASSERT_EQ(mill_trace_set_mask(context_, MILL_TRACE_COPIES, err_), MILL_OK);
  drain();
  ASSERT_EQ(mill_tensor_to(exec_, x, &down, err_), MILL_OK);
  ASSERT_EQ(mill_tensor_to(beyond, x, &across, err_), MILL_OK);
  const std::string path = testing::TempDir() + "millrace-trace.safetensors";
  const char* name = "x";
  ASSERT_EQ(mill_file_save(there_, path.c_str(), MILL_NTS, &name, &x, 1, nullptr, nullptr, 0, err_),
            MILL_OK);
  std::remove(path.c_str());
  const auto copies = of_kind(drain(), MILL_RECORD_COPY);
  ASSERT_EQ(copies.size(), 3u);
  const int32_t pageable = MILL_RECORD_MEMORY_PAGEABLE;
  const int32_t device = MILL_RECORD_MEMORY_DEVICE;
  std::multiset<uint32_t> found;
  for (const mill_trace_record& copy : copies) {
    EXPECT_EQ(copy.bytes, sizeof values);
    found.insert(copy.memory);
  }
  EXPECT_EQ(found, (std::multiset<uint32_t>{memory(device, pageable, device_, 0),
                                            memory(device, device, device_, other),
                                            memory(device, pageable, device_, 0)}));
  for (mill_tensor* tensor : {x, down, across}) mill_tensor_release(tensor);
  mill_exec_release(beyond);
}

TEST_F(TraceRecordsOfADevice, ALoaderSaysThatItsBatchesGoThroughPinnedMemory) {
  ASSERT_EQ(mill_trace_set_mask(context_, MILL_TRACE_LOADER, err_), MILL_OK);
  take_batches(0, 3);
  int made = 0;
  for (const mill_trace_record& record : of_kind(drain(), MILL_RECORD_LOADER)) {
    if (record.detail == MILL_RECORD_LOADER_FILL) {
      ++made;
      EXPECT_EQ(record.memory,
                memory(MILL_RECORD_MEMORY_PAGEABLE, MILL_RECORD_MEMORY_PINNED, 0, 0));
    } else {
      EXPECT_EQ(record.memory,
                memory(MILL_RECORD_MEMORY_PINNED, MILL_RECORD_MEMORY_DEVICE, 0, device_));
    }
  }
  EXPECT_GE(made, 3);
}

TEST_F(TraceRecordsOfADevice, EachPieceOfALoadersBatchIsACopy) {
  ASSERT_EQ(mill_trace_set_mask(context_, MILL_TRACE_COPIES, err_), MILL_OK);
  // Two pieces of 24 bytes take turns where 48 are less than 7 rows of 8.
  const uint64_t pieces[] = {42, 24, 24, 8};
  for (const uint64_t flags : {uint64_t{0}, uint64_t{MILL_LOADER_INLINE}}) {
    take_batches(flags, 3);
    const auto copies = of_kind(drain(), MILL_RECORD_COPY);
    // The thread may have begun further batches.
    if (flags == 0) {
      ASSERT_GE(copies.size(), 12u);
    } else {
      ASSERT_EQ(copies.size(), 12u);
    }
    std::map<uint64_t, int> tensors;
    for (size_t k = 0; k < copies.size(); ++k) {
      const mill_trace_record& copy = copies[k];
      EXPECT_EQ(copy.bytes, pieces[k % 4]) << k;
      EXPECT_EQ(copy.memory,
                memory(MILL_RECORD_MEMORY_PINNED, MILL_RECORD_MEMORY_DEVICE, 0, device_));
      EXPECT_EQ(copy.detail, static_cast<uint32_t>(MILL_RECORD_COPY_ASYNC));
      EXPECT_EQ(copy.dtypes, static_cast<uint32_t>(k % 4 == 0 ? MILL_U8 : MILL_I64));
      EXPECT_EQ(copy.exec_id, 0u);
      EXPECT_EQ(copy.stream, copies[0].stream);
      EXPECT_NE(copy.stream, 0u);
      EXPECT_NE(copy.storage, 0u);
      EXPECT_EQ(copy.status, MILL_OK);
      if (k < 12) ++tensors[copy.tensor];
    }
    EXPECT_EQ(tensors.size(), 6u);
    EXPECT_EQ(tensors.count(0), 0u);
  }
}

TEST_F(TraceRecordsOfADevice, NothingIsSaidOfALoadersCopiesUnlessAskedFor) {
  ASSERT_EQ(mill_trace_set_mask(context_, MILL_TRACE_LOADER, err_), MILL_OK);
  take_batches(0, 2);
  EXPECT_TRUE(of_kind(drain(), MILL_RECORD_COPY).empty());
}

TEST_F(TraceRecords, EachThreadOfALoaderTellsOfTheBatchesItMade) {
  ASSERT_EQ(mill_trace_set_mask(context_, MILL_TRACE_LOADER, err_), MILL_OK);
  mill_tensor* column = tensor({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11});
  mill_loader_opts opts{};
  opts.size = sizeof opts;
  opts.type = MILL_STRUCT_LOADER_OPTS;
  opts.workers = 3;
  mill_loader* loader = nullptr;
  ASSERT_EQ(mill_loader_create(context_, &column, 1, &opts, &loader, err_), MILL_OK);
  for (int k = 0; k < 12; ++k) {
    mill_tensor* batch = nullptr;
    ASSERT_EQ(mill_loader_next(loader, exec_, &batch, 1, err_), MILL_OK);
    mill_tensor_release(batch);
  }
  mill_loader_release(loader);
  std::map<uint32_t, int> made;
  for (const mill_trace_record& record : of_kind(drain(), MILL_RECORD_LOADER)) {
    if (record.detail == MILL_RECORD_LOADER_FILL) ++made[record.thread];
  }
  EXPECT_EQ(made.size(), 3u);
  for (const auto& [thread, batches] : made) EXPECT_GE(batches, 4) << thread;
  mill_tensor_release(column);
}

TEST_F(TraceRecords, ABackwardOpNamesTheForwardOpItDifferentiates) {
  mill_tensor* x = tensor({0.5f, -1, 2});
  mill_tape* tape = nullptr;
  ASSERT_EQ(mill_tape_create(context_, &tape, err_), MILL_OK);
  ASSERT_EQ(mill_tape_watch(tape, x, err_), MILL_OK);
  ASSERT_EQ(mill_exec_set_tape(exec_, tape, err_), MILL_OK);
  ASSERT_EQ(mill_trace_set_mask(context_, MILL_TRACE_OPS | MILL_TRACE_BACKWARD, err_), MILL_OK);
  mill_tensor* y = nullptr;
  mill_tensor* loss = nullptr;
  ASSERT_EQ(mill_tanh(exec_, x, &y, err_), MILL_OK);
  ASSERT_EQ(mill_sum(exec_, y, nullptr, 0, 0, &loss, err_), MILL_OK);
  ASSERT_EQ(mill_tape_backward(tape, exec_, loss, nullptr, 0, err_), MILL_OK);
  const auto records = drain();
  EXPECT_EQ(of_kind(records, MILL_RECORD_BACKWARD).size(), 1u);
  uint64_t forward = 0;
  uint64_t named = 0;
  for (const mill_trace_record& record : of_kind(records, MILL_RECORD_OP)) {
    if (record.op == MILL_OP_TANH) forward = record.instance;
    if (record.op == MILL_OP_TANH_BACKWARD) named = record.forward;
    EXPECT_EQ(record.status, MILL_OK);
  }
  EXPECT_NE(forward, 0u);
  EXPECT_EQ(named, forward);
  for (mill_tensor* t : {x, y, loss}) mill_tensor_release(t);
  mill_tape_release(tape);
}

TEST_F(TraceRecords, AnOpHasItsBytesFlopsAndDtypes) {
  mill_tensor* a = tensor({1, 2, 3, 4});
  const int64_t dims[2] = {2, 2};
  mill_tensor* m = nullptr;
  ASSERT_EQ(mill_reshape(exec_, a, dims, 2, &m, err_), MILL_OK);
  ASSERT_EQ(mill_trace_set_mask(context_, MILL_TRACE_OPS, err_), MILL_OK);
  mill_tensor* product = nullptr;
  ASSERT_EQ(mill_matmul(exec_, m, m, &product, err_), MILL_OK);
  const auto ops = of_kind(drain(), MILL_RECORD_OP);
  ASSERT_EQ(ops.size(), 1u);
  EXPECT_EQ(ops[0].op, MILL_OP_MATMUL);
  EXPECT_EQ(ops[0].flops, 16u);
  EXPECT_EQ(ops[0].bytes, 48u);
  EXPECT_EQ(ops[0].dtypes & 0xffffffu, 0x0c0c0cu);
  mill_trace_op_row row{};
  uint32_t count = 0;
  ASSERT_EQ(mill_trace_op_stats(context_, &row, 1, &count, err_), MILL_OK);
  EXPECT_EQ(row.op, MILL_OP_MATMUL);
  EXPECT_EQ(row.calls, 1u);
  for (mill_tensor* t : {a, m, product}) mill_tensor_release(t);
}

TEST_F(TraceRecords, WaitingForAnExecIsASynchronisation) {
  ASSERT_EQ(mill_trace_set_mask(context_, MILL_TRACE_SYNCS, err_), MILL_OK);
  ASSERT_EQ(mill_exec_wait(exec_, err_), MILL_OK);
  const auto syncs = of_kind(drain(), MILL_RECORD_SYNC);
  ASSERT_EQ(syncs.size(), 1u);
  EXPECT_EQ(syncs[0].detail, static_cast<uint32_t>(MILL_RECORD_SYNC_STREAM));
}

}  // namespace
