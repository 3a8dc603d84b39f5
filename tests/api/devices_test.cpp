// A device beside the CPU, through the ABI: the simulated accelerator.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "conformance/api.h"

namespace mill_test {
namespace {

// A context with an exec on the CPU and one on a simulated device.
class Two : public testing::Test {
 protected:
  Two() : Two("sim:ideal,memory=67108864") {}
  explicit Two(const char* spec) {
    w_.ok(mill_device_open(w_.context(), spec, MILL_NTS, &device_, w_.error()));
    w_.ok(mill_exec_create(w_.context(), device_, nullptr, there_.out(), w_.error()));
  }

  mill_context* context() const { return w_.context(); }
  mill_exec* here() const { return w_.exec(); }
  mill_exec* there() const { return there_.get(); }
  mill_error* err() const { return w_.error(); }

  Tensor make_on(mill_exec* exec, const Dims& dims, const std::vector<float>& values) {
    Tensor out;
    w_.ok(mill_tensor_from_host(exec, MILL_F32, dims.data(), static_cast<uint32_t>(dims.size()),
                                values.data(), values.size() * sizeof(float), out.out(), err()));
    return out;
  }
  std::vector<float> read(mill_exec* exec, mill_tensor* tensor) {
    std::vector<float> values(static_cast<size_t>(mill_tensor_count(tensor)));
    w_.ok(mill_tensor_read(exec, tensor, values.data(), values.size() * sizeof(float), err()));
    return values;
  }

  World w_;
  uint32_t device_ = 0;
  mill_test::Exec there_;
};

TEST_F(Two, ADeviceHasANumberANameAndItsOwnMemory) {
  uint32_t count = 0;
  w_.ok(mill_device_count(context(), &count, err()));
  EXPECT_EQ(count, 2u);
  EXPECT_EQ(device_, 1u);
  mill_device_info info{};
  info.size = sizeof info;
  info.type = MILL_STRUCT_DEVICE_INFO;
  w_.ok(mill_device_query(context(), device_, &info, err()));
  EXPECT_STREQ(info.name, "sim:ideal,memory=67108864");
  EXPECT_EQ(info.memory_bytes, uint64_t{64} << 20);
  EXPECT_FALSE(info.host_memory);
  const Tensor x = make_on(there(), {3}, {1, 2, 3});
  uint32_t where = 0;
  w_.ok(mill_tensor_device(x.get(), &where, err()));
  EXPECT_EQ(where, device_);
}

TEST_F(Two, TensorsGoThereAndComeBack) {
  const Tensor x = make_on(here(), {2, 3}, {1, 2, 3, 4, 5, 6});
  Tensor up, doubled, down;
  w_.ok(mill_tensor_to(there(), x.get(), up.out(), err()));
  w_.ok(mill_add(there(), up.get(), up.get(), doubled.out(), err()));
  w_.ok(mill_tensor_to(here(), doubled.get(), down.out(), err()));
  EXPECT_EQ(read(here(), down.get()), (std::vector<float>{2, 4, 6, 8, 10, 12}));
  uint32_t where = 9;
  w_.ok(mill_tensor_device(down.get(), &where, err()));
  EXPECT_EQ(where, 0u);
}

TEST_F(Two, AStridedTensorArrivesRowMajor) {
  const Tensor x = make_on(here(), {2, 3}, {1, 2, 3, 4, 5, 6});
  const int64_t dims[] = {3, 2};
  const int64_t strides[] = {1, 3};
  Tensor turned, up, back;
  w_.ok(mill_tensor_view(x.get(), dims, strides, 2, 0, turned.out(), err()));
  w_.ok(mill_tensor_to(there(), turned.get(), up.out(), err()));
  EXPECT_EQ(read(there(), up.get()), (std::vector<float>{1, 4, 2, 5, 3, 6}));
  Tensor turned_there;
  w_.ok(mill_tensor_view(up.get(), dims, strides, 2, 0, turned_there.out(), err()));
  w_.ok(mill_tensor_to(here(), turned_there.get(), back.out(), err()));
  EXPECT_EQ(read(here(), back.get()), (std::vector<float>{1, 5, 4, 3, 2, 6}));
}

TEST_F(Two, TensorsGoFromOneSimulatedDeviceToAnother) {
  uint32_t other = 0;
  w_.ok(mill_device_open(context(), "sim:ideal,memory=67108864", MILL_NTS, &other, err()));
  mill_test::Exec exec;
  w_.ok(mill_exec_create(context(), other, nullptr, exec.out(), err()));
  std::vector<float> values(3'000'000);  // more than one piece of the way through the host
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  const Tensor x = make_on(there(), {3, 1'000'000}, values);
  Tensor y;
  w_.ok(mill_tensor_to(exec.get(), x.get(), y.out(), err()));
  EXPECT_EQ(read(exec.get(), y.get()), values);
}

TEST_F(Two, MixedDevicesAreRefusedByName) {
  const Tensor a = make_on(here(), {3}, {1, 2, 3});
  const Tensor b = make_on(there(), {3}, {1, 2, 3});
  mill_tensor* out = nullptr;
  EXPECT_EQ(mill_add(there(), b.get(), a.get(), &out, err()), MILL_E_DEVICE);
  EXPECT_EQ(out, nullptr);
  EXPECT_EQ(mill_error_argument(err()), 1);
  EXPECT_NE(w_.message().find("cpu"), std::string::npos) << w_.message();
  EXPECT_NE(w_.message().find("sim"), std::string::npos) << w_.message();
  EXPECT_NE(w_.message().find("mill_tensor_to"), std::string::npos) << w_.message();
}

TEST_F(Two, AnAsynchronousReadIsAFuture) {
  const Tensor x = make_on(there(), {4}, {1, 2, 3, 4});
  mill_future* future = nullptr;
  w_.ok(mill_tensor_read_async(there(), x.get(), &future, err()));
  // What is written later does not change it.
  const float zeros[4] = {};
  w_.ok(mill_tensor_write(there(), x.get(), zeros, sizeof zeros, err()));
  EXPECT_EQ(mill_future_wait(future, UINT64_MAX, err()), MILL_OK);
  const void* data = nullptr;
  uint64_t bytes = 0;
  w_.ok(mill_future_data(future, &data, &bytes, err()));
  ASSERT_EQ(bytes, 16u);
  float got[4];
  std::memcpy(got, data, sizeof got);
  EXPECT_EQ(got[3], 4.0f);
  mill_future_release(future);
}

TEST_F(Two, WorkOnTwoStreamsIsOrderedByWhatItTouches) {
  mill_test::Exec second;
  w_.ok(mill_exec_create(context(), device_, nullptr, second.out(), err()));
  Tensor x = make_on(there(), {1000}, std::vector<float>(1000, 1));
  for (int round = 0; round < 20; ++round) {
    mill_exec* one = round % 2 == 0 ? there() : second.get();
    mill_exec* two = round % 2 == 0 ? second.get() : there();
    Tensor y;
    w_.ok(mill_affine(one, x.get(), 1, 1, y.out(), err()));
    mill_tensor* in_place = y.get();
    w_.ok(mill_affine(two, y.get(), 1, 1, &in_place, err()));
    x = std::move(y);
  }
  EXPECT_EQ(read(there(), x.get())[999], 41.0f);
}

TEST_F(Two, EventsTellTimeAndDescriptorsWakeAPoll) {
  mill_stream* stream = nullptr;
  mill_event *before = nullptr, *after = nullptr;
  w_.ok(mill_stream_create(context(), device_, &stream, err()));
  mill_test::Exec exec;
  w_.ok(mill_exec_create(context(), device_, stream, exec.out(), err()));
  w_.ok(mill_event_create(stream, &before, err()));
  w_.ok(mill_event_create(stream, &after, err()));
  const Tensor x = make_on(exec.get(), {1000}, std::vector<float>(1000, 1));
  w_.ok(mill_event_record(before, stream, err()));
  Tensor y;
  w_.ok(mill_exp(exec.get(), x.get(), y.out(), err()));
  w_.ok(mill_event_record(after, stream, err()));
  EXPECT_EQ(mill_event_wait(after, UINT64_MAX, err()), MILL_OK);
  EXPECT_EQ(mill_event_query(before, err()), MILL_OK);
  double ns = -1;
  w_.ok(mill_event_elapsed(before, after, &ns, err()));
  EXPECT_GE(ns, 0);
  int32_t fd = -1;
  w_.ok(mill_event_descriptor(after, &fd, err()));
  pollfd waiting{fd, POLLIN, 0};
  EXPECT_EQ(poll(&waiting, 1, 10000), 1);
  uint64_t value = 0;
  EXPECT_EQ(::read(fd, &value, sizeof value), 8);
  ::close(fd);
  mill_event_release(before);
  mill_event_release(after);
  mill_stream_release(stream);
}

TEST_F(Two, AnIndexOutOfRangeIsReportedByTheNextWait) {
  const Tensor table = make_on(there(), {2, 2}, {1, 2, 3, 4});
  const int64_t ids[3] = {0, 7, 1};
  const int64_t dims[1] = {3};
  Tensor which, rows;
  w_.ok(mill_tensor_from_host(there(), MILL_I64, dims, 1, ids, sizeof ids, which.out(), err()));
  w_.ok(mill_embedding(there(), table.get(), which.get(), rows.out(), err()));
  EXPECT_EQ(mill_exec_wait(there(), err()), MILL_E_INDEX);
  EXPECT_NE(w_.message().find("embedding"), std::string::npos) << w_.message();
  EXPECT_NE(w_.message().find('7'), std::string::npos) << w_.message();
  // It is told once, and the device goes on.
  EXPECT_EQ(mill_exec_wait(there(), err()), MILL_OK);
}

TEST_F(Two, ALoaderDeliversTheSameBatchesThere) {
  std::vector<uint8_t> pixels(40 * 6);
  for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<uint8_t>(i);
  const int64_t dims[2] = {40, 6};
  Tensor column;
  w_.ok(mill_tensor_from_host(here(), MILL_U8, dims, 2, pixels.data(), pixels.size(), column.out(),
                              err()));
  std::vector<std::vector<float>> seen[2];
  for (uint32_t device : {0u, device_}) {
    for (uint64_t pinned : {uint64_t{0}, uint64_t{40}}) {
      mill_loader_opts opts{};
      opts.size = sizeof opts;
      opts.type = MILL_STRUCT_LOADER_OPTS;
      opts.batch = 7;
      opts.seed = 5;
      opts.flags = MILL_LOADER_SHUFFLE;
      opts.device = device;
      opts.pinned_bytes = pinned;  // 40 bytes: a batch goes row by row
      mill_tensor* columns[] = {column.get()};
      Loader loader;
      w_.ok(mill_loader_create(context(), columns, 1, &opts, loader.out(), err()));
      w_.ok(mill_loader_set_transform(loader.get(), 0, MILL_F32, 0.5, 1, err()));
      mill_exec* exec = device == 0 ? here() : there();
      std::vector<std::vector<float>> batches;
      for (int epoch = 0; epoch < 2; ++epoch) {
        for (;;) {
          mill_tensor* batch = nullptr;
          const mill_status status = mill_loader_next(loader.get(), exec, &batch, 1, err());
          w_.ok(status);
          if (status == MILL_END) break;
          batches.push_back(read(exec, batch));
          mill_tensor_release(batch);
        }
      }
      std::vector<std::vector<float>>& kept = seen[device == 0 ? 0 : 1];
      if (!kept.empty()) {
        EXPECT_EQ(batches, kept);
      }
      kept = batches;
    }
  }
  EXPECT_EQ(seen[0].size(), 12u);
  EXPECT_EQ(seen[0], seen[1]);
}

TEST_F(Two, ALoaderOfAnotherDeviceIsRefused) {
  const Tensor column = make_on(here(), {4}, {1, 2, 3, 4});
  mill_tensor* columns[] = {column.get()};
  mill_loader_opts opts{};
  opts.size = sizeof opts;
  opts.type = MILL_STRUCT_LOADER_OPTS;
  opts.device = device_;
  Loader loader;
  w_.ok(mill_loader_create(context(), columns, 1, &opts, loader.out(), err()));
  mill_tensor* batch = nullptr;
  EXPECT_EQ(mill_loader_next(loader.get(), here(), &batch, 1, err()), MILL_E_DEVICE);
  EXPECT_EQ(batch, nullptr);
  opts.device = 7;
  EXPECT_EQ(mill_loader_create(context(), columns, 1, &opts, loader.out(), err()), MILL_E_ARG);
}

TEST_F(Two, FailuresOnRequestAreStatusesAndTheDeviceGoesOn) {
  const Tensor x = make_on(there(), {3}, {1, 2, 3});
  const auto plan = [&](const char* name, int64_t value) {
    w_.ok(mill_device_configure(context(), device_, name, MILL_NTS, value, err()));
  };
  mill_tensor* out = nullptr;
  plan("fail.launch", 1);
  EXPECT_LT(mill_exp(there(), x.get(), &out, err()), 0);
  EXPECT_EQ(out, nullptr);
  EXPECT_NE(w_.message().find("planned"), std::string::npos) << w_.message();
  w_.ok(mill_exp(there(), x.get(), &out, err()));
  mill_tensor_release(out);
  float values[3];
  plan("fail.copy", 1);
  EXPECT_LT(mill_tensor_read(there(), x.get(), values, sizeof values, err()), 0);
  EXPECT_EQ(mill_tensor_read(there(), x.get(), values, sizeof values, err()), MILL_OK);
  EXPECT_EQ(mill_device_configure(context(), device_, "speed", MILL_NTS, 1, err()), MILL_E_ARG);
  EXPECT_EQ(mill_device_configure(context(), device_, "seed", MILL_NTS, -1, err()), MILL_E_ARG);
}

// The middle one has no gradient, so the outer two are updated one after the other.
TEST_F(Two, AStepThatTheDeviceBreaksOffIsNotTakenTwice) {
  Group group;
  w_.ok(mill_group_create(context(), MILL_F32, group.out(), err()));
  Tensor params[3];
  const int64_t dims[1] = {3};
  for (const char* name : {"a", "b", "c"})
    w_.ok(mill_group_add(group.get(), name, dims, 1, nullptr, err()));
  w_.ok(mill_group_build(group.get(), there(), err()));
  for (uint32_t k = 0; k < 3; ++k) w_.ok(mill_group_param(group.get(), k, params[k].out(), err()));
  Optimizer optimizer;
  w_.ok(mill_optimizer_create_sgd(there(), group.get(), 1, 0, 0, 0, optimizer.out(), err()));
  Tape tape;
  w_.ok(mill_tape_create(context(), tape.out(), err()));
  w_.ok(mill_exec_set_tape(there(), tape.get(), err()));
  Tensor sum, loss;
  w_.ok(mill_add(there(), params[0].get(), params[2].get(), sum.out(), err()));
  w_.ok(mill_sum(there(), sum.get(), nullptr, 0, 0, loss.out(), err()));
  w_.ok(mill_tape_backward(tape.get(), there(), loss.get(), nullptr, 0, err()));
  w_.ok(mill_exec_set_tape(there(), nullptr, err()));
  // After the counter, the rate and the first of the two.
  w_.ok(mill_device_configure(context(), device_, "fail.launch", MILL_NTS, 4, err()));
  EXPECT_LT(mill_optimizer_step(optimizer.get(), there(), err()), 0);
  const std::vector<float> done = {-1, -1, -1};
  const std::vector<float> left = {0, 0, 0};
  EXPECT_EQ(read(there(), params[0].get()), done);
  EXPECT_EQ(read(there(), params[2].get()), left);
  Tensor gradient;
  EXPECT_EQ(mill_group_gradient(group.get(), 0, gradient.out(), err()), MILL_NOT_READY);
  w_.ok(mill_optimizer_step(optimizer.get(), there(), err()));
  EXPECT_EQ(read(there(), params[0].get()), done);
}

// Another thread of the parent is inside the device nearly all the time, with its locks held.
TEST_F(Two, AForkedChildMayOpenTheDeviceAnew) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "needs a build without sanitizers, which do not follow threads across fork";
#endif
  std::atomic<bool> stop = false;
  std::thread busy([&] {
    mill_exec* exec = nullptr;
    mill_tensor* x = nullptr;
    const float value = 1;
    const int64_t one = 1;
    mill_exec_create(context(), device_, nullptr, &exec, nullptr);
    mill_tensor_from_host(exec, MILL_F32, &one, 1, &value, sizeof value, &x, nullptr);
    while (!stop) {
      mill_tensor* y = nullptr;
      mill_exp(exec, x, &y, nullptr);
      mill_tensor_release(y);
    }
    mill_tensor_release(x);
    mill_exec_release(exec);
  });
  for (int k = 0; k < 40; ++k) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::alarm(20);
      mill_context* mine = nullptr;
      mill_exec* exec = nullptr;
      uint32_t device = 0;
      const bool made = mill_context_create(nullptr, &mine, nullptr) == MILL_OK &&
                        mill_device_open(mine, "sim:ideal,memory=67108864", MILL_NTS, &device,
                                         nullptr) == MILL_OK &&
                        mill_exec_create(mine, device, nullptr, &exec, nullptr) == MILL_OK &&
                        mill_exec_wait(exec, nullptr) == MILL_OK;
      ::_exit(made ? 0 : 1);
    }
    int status = -1;
    ::waitpid(child, &status, 0);
    EXPECT_EQ(status, 0) << "fork " << k;
    if (status != 0) break;
  }
  stop = true;
  busy.join();
}

TEST_F(Two, ALostDeviceSaysSoAndTheOthersGoOn) {
  const Tensor a = make_on(here(), {3}, {1, 2, 3});
  const Tensor x = make_on(there(), {3}, {1, 2, 3});
  w_.ok(mill_device_configure(context(), device_, "lost", MILL_NTS, 1, err()));
  mill_tensor* out = nullptr;
  EXPECT_EQ(mill_exp(there(), x.get(), &out, err()), MILL_E_DEVICE_LOST);
  EXPECT_EQ(mill_exec_wait(there(), err()), MILL_E_DEVICE_LOST);
  float values[3];
  EXPECT_EQ(mill_tensor_read(there(), x.get(), values, sizeof values, err()), MILL_E_DEVICE_LOST);
  w_.ok(mill_exp(here(), a.get(), &out, err()));
  mill_tensor_release(out);
}

TEST_F(Two, MemoryRunsOutAsAStatusWithTheSizes) {
  const int64_t dims[1] = {int64_t{80} << 20};
  mill_tensor* out = nullptr;
  EXPECT_EQ(mill_tensor_create(there(), MILL_F32, dims, 1, &out, err()), MILL_E_MEMORY);
  EXPECT_EQ(out, nullptr);
  EXPECT_NE(w_.message().find(std::to_string(dims[0] * 4)), std::string::npos) << w_.message();
  mill_memory_stats stats{};
  stats.size = sizeof stats;
  stats.type = MILL_STRUCT_MEMORY_STATS;
  w_.ok(mill_memory_stats_query(context(), device_, &stats, err()));
  EXPECT_EQ(stats.in_use_bytes, 0u);
}

TEST_F(Two, SettingsOfTheSpecAreChecked) {
  uint32_t index = 0;
  for (const char* spec : {"sim:ideal,seed", "sim:ideal,seed=", "sim:ideal,seed=x",
                           "sim:ideal,colour=3", "sim:ideal,seed=-1", "sim:no-such-profile"}) {
    EXPECT_EQ(mill_device_open(context(), spec, MILL_NTS, &index, err()), MILL_E_ARG) << spec;
    EXPECT_FALSE(w_.message().empty());
  }
  uint32_t count = 0;
  w_.ok(mill_device_count(context(), &count, err()));
  EXPECT_EQ(count, 2u);
}

}  // namespace
}  // namespace mill_test
