#include "cpu/runtime/device.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "cpu/runtime/op_names.h"
#include "millrace/op_numbers.h"

namespace mill::cpu {
namespace {

struct Destroy {
  void operator()(const mill_device_table* table) const { table->destroy(table->self); }
};
using Table = std::unique_ptr<const mill_device_table, Destroy>;

TEST(CpuDevice, FillsEveryPlaceOfTheTable) {
  const mill_host_services* host = nullptr;
  const Table table(create_cpu_device(2, &host));
  EXPECT_EQ(table->size, sizeof(mill_device_table));
  EXPECT_EQ(table->abi, static_cast<uint32_t>(MILL_PLUGIN_ABI));
  EXPECT_STREQ(table->name, "cpu");
  EXPECT_NE(std::string(table->description).find("2 threads"), std::string::npos)
      << table->description;
  EXPECT_GT(table->limits->memory_bytes, uint64_t{1} << 20);
  EXPECT_EQ(table->limits->runs_inline, 1u);
  EXPECT_EQ(table->limits->host_memory, 1u);
  for (const void* function : {reinterpret_cast<const void*>(table->destroy),
                               reinterpret_cast<const void*>(table->memory->allocate),
                               reinterpret_cast<const void*>(table->memory->free),
                               reinterpret_cast<const void*>(table->streams->create),
                               reinterpret_cast<const void*>(table->streams->destroy),
                               reinterpret_cast<const void*>(table->streams->wait),
                               reinterpret_cast<const void*>(table->streams->event_create),
                               reinterpret_cast<const void*>(table->streams->event_destroy),
                               reinterpret_cast<const void*>(table->streams->event_record),
                               reinterpret_cast<const void*>(table->streams->event_query),
                               reinterpret_cast<const void*>(table->streams->event_wait),
                               reinterpret_cast<const void*>(table->streams->wait_event),
                               reinterpret_cast<const void*>(table->copies->copy),
                               reinterpret_cast<const void*>(table->ops->resolve),
                               reinterpret_cast<const void*>(table->configure)}) {
    EXPECT_NE(function, nullptr);
  }
  ASSERT_NE(host, nullptr);
  EXPECT_EQ(host->threads, 2u);
  EXPECT_NE(host->builtin, nullptr);
}

TEST(CpuDevice, NoThreadCountMeansOnePerUsableCpu) {
  const Device device(0);
  EXPECT_EQ(device.host()->threads, static_cast<uint32_t>(usable_cpus()));
  EXPECT_GE(usable_cpus(), 1);
  EXPECT_EQ(Device(1).host()->threads, 1u);
}

TEST(CpuDevice, MemoryIsAlignedAndWritable) {
  const Table table(create_cpu_device(1, nullptr));
  mill_kernel_error error = {};
  for (uint64_t bytes : {uint64_t{0}, uint64_t{1}, uint64_t{63}, uint64_t{4096}, uint64_t{100001},
                         uint64_t{9} << 20}) {
    for (uint64_t align : {uint64_t{0}, uint64_t{16}, uint64_t{4096}}) {
      void* data = nullptr;
      ASSERT_EQ(table->memory->allocate(table->self, bytes, align, &data, &error), MILL_OK);
      ASSERT_NE(data, nullptr);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % std::max<uint64_t>(align, 64), 0u);
      if (bytes >= uint64_t{8} << 20) {
        EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % (uint64_t{2} << 20), 0u);
      }
      std::memset(data, 0x5a, bytes);
      table->memory->free(table->self, data, bytes);
    }
  }
}

TEST(CpuDevice, AnImpossibleAllocationIsAStatusWithTheSize) {
  const Table table(create_cpu_device(1, nullptr));
  for (uint64_t bytes : {UINT64_MAX, UINT64_MAX - 5, uint64_t{1} << 62}) {
    mill_kernel_error error = {};
    void* data = &error;
    EXPECT_EQ(table->memory->allocate(table->self, bytes, 64, &data, &error), MILL_E_MEMORY);
    EXPECT_EQ(data, nullptr);
    EXPECT_NE(std::string(error.text).find(std::to_string(bytes)), std::string::npos) << error.text;
  }
  mill_kernel_error error = {};
  void* data = nullptr;
  EXPECT_EQ(table->memory->allocate(table->self, 64, 48, &data, &error), MILL_E_ARG);
  EXPECT_STREQ(error.text, "allocate: alignment is 48, must be a power of two");
}

TEST(CpuDevice, StreamsAndEventsAreAlwaysComplete) {
  const Table table(create_cpu_device(1, nullptr));
  mill_kernel_error error = {};
  void* stream = nullptr;
  void* event = nullptr;
  ASSERT_EQ(table->streams->create(table->self, 0, &stream, &error), MILL_OK);
  ASSERT_EQ(table->streams->event_create(table->self, &event, &error), MILL_OK);
  EXPECT_NE(stream, nullptr);
  EXPECT_NE(event, nullptr);
  EXPECT_EQ(table->streams->event_record(table->self, event, stream, &error), MILL_OK);
  EXPECT_EQ(table->streams->event_query(table->self, event, &error), MILL_OK);
  EXPECT_EQ(table->streams->event_wait(table->self, event, 0, &error), MILL_OK);
  EXPECT_EQ(table->streams->wait_event(table->self, stream, event, &error), MILL_OK);
  EXPECT_EQ(table->streams->wait(table->self, stream, &error), MILL_OK);
  const char from[] = "millrace";
  char to[sizeof(from)] = {};
  EXPECT_EQ(table->copies->copy(table->self, stream, to, from, sizeof(from),
                                MILL_COPY_HOST_TO_DEVICE, &error),
            MILL_OK);
  EXPECT_STREQ(to, from);
  EXPECT_EQ(table->copies->copy(table->self, stream, nullptr, nullptr, 0,
                                MILL_COPY_DEVICE_TO_DEVICE, &error),
            MILL_OK);
  table->streams->event_destroy(table->self, event);
  table->streams->destroy(table->self, stream);
}

TEST(CpuDevice, ParallelForCoversEachItemOnce) {
  const Device device(3);
  const mill_host_services& host = *device.host();
  std::vector<int> seen(1000, 0);
  host.parallel_for(
      host.self, 1000, 10,
      [](void* data, int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i)
          ++(*static_cast<std::vector<int>*>(data))[static_cast<size_t>(i)];
      },
      &seen);
  for (int count : seen) ASSERT_EQ(count, 1);
}

mill_status resolve(const mill_device_table& table, int32_t op, std::vector<int32_t> dtypes,
                    uint32_t n_in, mill_kernel* out, std::string* text = nullptr) {
  mill_kernel_error error = {};
  const mill_status status =
      table.ops->resolve(table.self, op, dtypes.data(), n_in,
                         static_cast<uint32_t>(dtypes.size()) - n_in, 0, out, &error);
  if (text != nullptr) *text = error.text;
  return status;
}

TEST(CpuDevice, ResolvesByTheFirstDtypePresent) {
  const Table table(create_cpu_device(1, nullptr));
  mill_kernel single = {};
  mill_kernel twice = {};
  ASSERT_EQ(resolve(*table, MILL_OP_ADD, {MILL_F32, MILL_F32, MILL_F32}, 2, &single), MILL_OK);
  ASSERT_EQ(resolve(*table, MILL_OP_ADD, {MILL_F64, MILL_F64, MILL_F64}, 2, &twice), MILL_OK);
  EXPECT_NE(single.launch, twice.launch);
  mill_kernel absent_first = {};
  ASSERT_EQ(resolve(*table, MILL_OP_ADD, {MILL_DTYPE_NONE, MILL_F64, MILL_F64}, 2, &absent_first),
            MILL_OK);
  EXPECT_EQ(absent_first.launch, twice.launch);
  mill_kernel fill = {};
  EXPECT_EQ(resolve(*table, MILL_OP_FILL, {MILL_I32}, 0, &fill), MILL_OK);
}

TEST(CpuDevice, SaysWhatItHasNoKernelFor) {
  const Table table(create_cpu_device(1, nullptr));
  mill_kernel kernel = {};
  std::string text;
  EXPECT_EQ(resolve(*table, MILL_OP_EXP, {MILL_I32, MILL_I32}, 1, &kernel, &text),
            MILL_E_UNSUPPORTED);
  EXPECT_EQ(text, "no kernel for exp on i32 on the cpu device");
  EXPECT_EQ(
      resolve(*table, MILL_OP_GELU_BACKWARD, {MILL_BOOL, MILL_BOOL, MILL_BOOL}, 2, &kernel, &text),
      MILL_E_UNSUPPORTED);
  EXPECT_EQ(text, "no kernel for gelu_backward on bool on the cpu device");
  for (int32_t op : {-1, 0, 19, int32_t{MILL_OP_CUSTOM}, INT32_MAX, INT32_MIN}) {
    EXPECT_EQ(resolve(*table, op, {MILL_F32, MILL_F32}, 1, &kernel, &text), MILL_E_UNSUPPORTED);
    EXPECT_EQ(text, "no kernel for op " + std::to_string(op) + " on f32 on the cpu device");
  }
  EXPECT_EQ(resolve(*table, MILL_OP_EXP, {MILL_DTYPE_NONE, MILL_DTYPE_NONE}, 1, &kernel, &text),
            MILL_E_UNSUPPORTED);
  EXPECT_EQ(resolve(*table, MILL_OP_EXP, {99, 99}, 1, &kernel, &text), MILL_E_UNSUPPORTED);
}

TEST(CpuDevice, EveryKernelHasANameAndALaunchFunction) {
  for (int32_t level = 0; level < kSimdLevels; ++level) {
    for (size_t family = 0; family < family_count(); ++family) {
      const KernelList list = kernels_of(level, family);
      for (size_t i = 0; i < list.count; ++i) {
        char name[kOpNameSize];
        EXPECT_NE(std::string(op_name(list.entries[i].op, name)).rfind("op ", 0), 0u)
            << list.entries[i].op;
        EXPECT_NE(list.entries[i].kernel.launch, nullptr) << name;
        EXPECT_NE(list.entries[i].dtypes, 0u) << name;
        EXPECT_EQ(list.entries[i].dtypes & dtype_bit(MILL_DTYPE_NONE), 0u) << name;
      }
    }
  }
}

TEST(CpuDevice, SimdCanBeLoweredBeforeTheFirstOpOnly) {
  for (int32_t level = 0; level < kSimdLevels; ++level) {
    Device device(1);
    const mill_device_table& table = *device.table();
    mill_kernel_error error = {};
    const mill_status status = table.configure(table.self, "simd", level, &error);
    if (!simd_available(level)) {
      EXPECT_EQ(status, MILL_E_UNSUPPORTED);
      EXPECT_NE(std::string(error.text).find(simd_name(level)), std::string::npos);
      continue;
    }
    ASSERT_EQ(status, MILL_OK);
    EXPECT_EQ(device.simd_level(), level);
    mill_kernel kernel = {};
    ASSERT_EQ(resolve(table, MILL_OP_ADD, {MILL_F32, MILL_F32, MILL_F32}, 2, &kernel), MILL_OK);
    bool from_level = false;
    for (size_t family = 0; family < family_count(); ++family) {
      const KernelList list = kernels_of(level, family);
      for (size_t i = 0; i < list.count; ++i)
        from_level |= list.entries[i].kernel.launch == kernel.launch;
    }
    EXPECT_TRUE(from_level) << simd_name(level);
    EXPECT_EQ(table.configure(table.self, "simd", level, &error), MILL_E_STATE);
    EXPECT_STREQ(error.text, "simd can be set only before the first op runs");
  }
}

TEST(CpuDevice, ConfigureRefusesWhatItDoesNotKnow) {
  Device device(1);
  const mill_device_table& table = *device.table();
  mill_kernel_error error = {};
  EXPECT_EQ(table.configure(table.self, "speed", 1, &error), MILL_E_ARG);
  EXPECT_STREQ(error.text, "the cpu device has no setting named 'speed'");
  EXPECT_EQ(table.configure(table.self, "simd", 3, &error), MILL_E_ARG);
  EXPECT_STREQ(error.text, "simd is 3, must be 0 to 2");
  EXPECT_EQ(table.configure(table.self, "simd", -1, &error), MILL_E_ARG);
  EXPECT_EQ(table.configure(table.self, "gemm", 3, &error), MILL_E_ARG);
  EXPECT_STREQ(error.text, "gemm is 3, must be 0 to 2");
  for (int64_t policy : {kGemmOneDnn, kGemmOwn, kGemmAutomatic}) {
    EXPECT_EQ(table.configure(table.self, "gemm", policy, &error), MILL_OK);
    EXPECT_EQ(static_cast<const Runtime*>(device.host()->builtin)->gemm_policy, policy);
  }
}

TEST(CpuDevice, ALaunchedKernelComputes) {
  const mill_host_services* host = nullptr;
  const Table table(create_cpu_device(2, &host));
  mill_kernel kernel = {};
  ASSERT_EQ(resolve(*table, MILL_OP_ADD, {MILL_F32, MILL_F32, MILL_F32}, 2, &kernel), MILL_OK);
  std::vector<float> a(100000, 1.5f);
  std::vector<float> b(100000, 2.0f);
  std::vector<float> out(100000);
  auto tensor = [](std::vector<float>& values) {
    mill_kernel_tensor t = {};
    t.data = values.data();
    t.numel = static_cast<int64_t>(values.size());
    t.dtype = MILL_F32;
    t.rank = 1;
    t.dims[0] = t.numel;
    t.strides[0] = 1;
    return t;
  };
  const mill_kernel_tensor ta = tensor(a);
  const mill_kernel_tensor tb = tensor(b);
  const mill_kernel_tensor to = tensor(out);
  const mill_kernel_tensor* in[] = {&ta, &tb};
  const mill_kernel_tensor* outs[] = {&to};
  mill_kernel_error error = {};
  mill_kernel_args args = {};
  args.in = in;
  args.out = outs;
  args.n_in = 2;
  args.n_out = 1;
  args.host = host;
  args.error = &error;
  ASSERT_EQ(kernel.launch(&args), MILL_OK);
  for (float v : out) ASSERT_EQ(v, 3.5f);
}

}  // namespace
}  // namespace mill::cpu
