// Plugins that are missing, broken, hostile or of another age, and devices that fail: a status, the
// reason in a sentence, nothing lost, and the context goes on computing on the CPU.
#include <dlfcn.h>

#include <map>

#include "api/refusal.h"
#include "millrace/plugin.h"

namespace mill_test {
namespace {

// As the messages write them.
const std::string kNext = "ABI " + std::to_string(MILL_PLUGIN_ABI + 1);
const std::string kBefore = "ABI " + std::to_string(MILL_PLUGIN_ABI_OLDEST - 1);
const std::string kThis = "this one is of " + std::to_string(int{MILL_PLUGIN_ABI});
const std::string kServed =
    std::to_string(int{MILL_PLUGIN_ABI_OLDEST}) + " to " + std::to_string(int{MILL_PLUGIN_ABI});

std::string planted(const char* name) {
  return std::string(MILL_TEST_PLUGINS "/") + name + ".so";
}

// Everything of the faulty plugin that has not been given back.
int64_t faulty_live() {
  void* const library = ::dlopen(planted("faulty").c_str(), RTLD_NOW | RTLD_NOLOAD);
  if (!library) return 0;
  const auto live = reinterpret_cast<int64_t (*)()>(::dlsym(library, "faulty_live"));
  const int64_t now = live();
  ::dlclose(library);
  return now;
}

class Plugins : public BadInput {
 protected:
  // With the last context, the last of every device is gone.
  static void TearDownTestSuite() { EXPECT_EQ(faulty_live(), 0); }

  mill_status open(const std::string& device, uint32_t* index) {
    return mill_device_open(f.context(), device.c_str(), MILL_NTS, index, f.err());
  }
  void refuse_device(const std::string& device, mill_status want,
                     std::initializer_list<const char*> words) {
    uint32_t before = 0;
    ASSERT_EQ(mill_device_count(f.context(), &before, f.err()), MILL_OK);
    const int64_t live = faulty_live();
    uint32_t index = 77;
    const mill_status got = open(device, &index);
    EXPECT_EQ(mill_error_argument(f.err()), 1) << f.message();
    expect_refused(f, got, want, words);
    EXPECT_EQ(index, 0u);
    EXPECT_EQ(faulty_live(), live) << device;
    uint32_t after = 0;
    ASSERT_EQ(mill_device_count(f.context(), &after, f.err()), MILL_OK);
    EXPECT_EQ(after, before);
    compute(f.exec());
  }
  // The faulty device with this fault, which is only met when it is used.
  mill_exec* faulty(const char* fault) {
    uint32_t index = 0;
    EXPECT_EQ(open(planted("faulty") + ":" + fault, &index), MILL_OK) << f.message();
    mill_exec* out = nullptr;
    EXPECT_EQ(mill_exec_create(f.context(), index, nullptr, &out, f.err()), MILL_OK) << f.message();
    return f.own(out);
  }
  mill_status upload_to(mill_exec* exec, const std::vector<float>& values, mill_tensor** out) {
    const int64_t dims[] = {static_cast<int64_t>(values.size())};
    return mill_tensor_from_host(exec, MILL_F32, dims, 1, values.data(),
                                 values.size() * sizeof(float), out, f.err());
  }
  mill_tensor* good_upload(mill_exec* exec, const std::vector<float>& values) {
    mill_tensor* out = nullptr;
    EXPECT_EQ(upload_to(exec, values, &out), MILL_OK) << f.message();
    return f.own(out);
  }
  std::vector<float> read(mill_exec* exec, mill_tensor* tensor) {
    std::vector<float> out(static_cast<size_t>(mill_tensor_count(tensor)));
    EXPECT_EQ(mill_tensor_read(exec, tensor, out.data(), out.size() * sizeof(float), f.err()),
              MILL_OK)
        << f.message();
    return out;
  }
  // 1 + 1 = 2, wherever.
  void compute(mill_exec* exec) {
    mill_tensor* x = nullptr;
    mill_tensor* y = nullptr;
    ASSERT_EQ(upload_to(exec, {1, -2}, &x), MILL_OK) << f.message();
    ASSERT_EQ(mill_add(exec, x, x, &y, f.err()), MILL_OK) << f.message();
    EXPECT_EQ(read(exec, y), (std::vector<float>{2, -4}));
    mill_tensor_release(x);
    mill_tensor_release(y);
  }
};

TEST_F(Plugins, WithoutThePartsOfOneAreRefused) {
  refuse_device(planted("exports_nothing"), MILL_E_UNSUPPORTED,
                {"exports_nothing.so", "exports no mill_plugin_open"});
  refuse_device(planted("no_note"), MILL_E_UNSUPPORTED, {"no_note.so", "no note"});
  refuse_device(planted("short_struct"), MILL_E_UNSUPPORTED, {"short_struct.so", "24 bytes"});
  refuse_device(planted("no_functions"), MILL_E_UNSUPPORTED, {"no_functions.so", "function"});
  refuse_device(planted("bad_name"), MILL_E_UNSUPPORTED, {"two words/and:more", "letters"});
}

TEST_F(Plugins, OfAnotherAgeAreRefused) {
  refuse_device(planted("too_new"), MILL_E_TOO_NEW, {"too_new.so", kNext.c_str(), kThis.c_str()});
  refuse_device(planted("says_too_new"), MILL_E_TOO_NEW, {"says_too_new.so", kNext.c_str()});
  refuse_device(planted("too_old"), MILL_E_UNSUPPORTED,
                {"too_old.so", kBefore.c_str(), kServed.c_str()});
}

TEST_F(Plugins, ThatCannotWorkHereSayWhy) {
  refuse_device(planted("refuses"), MILL_E_UNSUPPORTED, {"refuses.so", "no such hardware!!"});
  refuse_device(planted("says_nothing"), MILL_E_UNSUPPORTED, {"says_nothing.so", "no reason"});
  refuse_device(planted("no_devices") + ":0", MILL_E_UNSUPPORTED,
                {"no_devices", "this one opens no device"});
}

TEST_F(Plugins, FilesThatAreNone) {
  refuse_device("/nonexistent/libmillrace_x.so:0", MILL_E_IO, {"/nonexistent", "No such file"});
  refuse_device("/", MILL_E_IO, {"no file"});
  refuse_device("./", MILL_E_IO, {"no file"});
  refuse_device(f.idx_path(), MILL_E_FORMAT, {"truncated"});
  refuse_device(f.safetensors_path(), MILL_E_FORMAT, {"no shared library"});
  // This very library is one, and no plugin.
  refuse_device(MILL_LIBRARY_PATH, MILL_E_UNSUPPORTED, {"no note"});
}

TEST_F(Plugins, TablesThatLackAPartAreRefused) {
  const std::map<const char*, const char*> faults = {
      {"NO_TABLE", "without a table"},      {"SHORT_TABLE", "4 bytes"},
      {"NO_LIMITS", "no limits"},           {"SHORT_LIMITS", "limits has 8 bytes"},
      {"NO_MEMORY", "no memory"},           {"NO_ALLOCATE", "memory has no allocate"},
      {"NO_COPY", "copies has no copy"},    {"NO_WAIT", "streams has no wait"},
      {"NO_RESOLVE", "ops has no resolve"}, {"NO_PINNED_FREE", "memory has no pinned_free"}};
  for (const auto& [fault, why] : faults)
    refuse_device(planted("faulty") + ":" + fault, MILL_E_UNSUPPORTED, {"plugin faulty", why});
}

TEST_F(Plugins, DevicesThatDoNotOpenSayWhy) {
  // The reason fills its buffer to the last byte.
  refuse_device(planted("faulty") + ":OPEN_FAILS", MILL_E_UNSUPPORTED,
                {"plugin faulty", "\"OPEN_FAILS\"", "it is somebody else's!!"});
  refuse_device(planted("faulty") + ":OPEN_IS_MUTE", MILL_E_UNSUPPORTED, {"no reason"});
  refuse_device(planted("faulty") + ":nothing like it", MILL_E_ARG, {"no such fault"});
}

TEST_F(Plugins, SpecsThatNameNoDevice) {
  refuse_device("", MILL_E_ARG, {"\"\"", "name or path"});
  refuse_device(":", MILL_E_ARG, {"\":\"", "name or path"});
  refuse_device(":0", MILL_E_ARG, {"\":0\""});
  refuse_device("no_such", MILL_E_IO, {"libmillrace_no_such.so", "No such file"});
  refuse_device("no_such:0", MILL_E_IO, {"libmillrace_no_such.so"});
  refuse_device("sim:nonsense=1", MILL_E_ARG, {"sim", "nonsense=1"});
  refuse_device("sim:ideal,nonsense=1", MILL_E_ARG, {"sim", "nonsense"});
  refuse_device("two words", MILL_E_ARG, {"two words", "letters"});
  refuse_device("profiler", MILL_E_UNSUPPORTED,
                {"libmillrace_profiler.so", "exports no mill_plugin_open"});
  for (const std::string& text :
       {std::string("\xff"), std::string("sim:\xc3\x28"), planted("faulty") + ":\xed\xa0\x80"})
    refuse_device(text, MILL_E_ARG, {"device is not UTF-8"});
}

TEST_F(Plugins, SpecsOfAbsurdLength) {
  const std::string megabyte(1 << 20, 'x');
  refuse_device(megabyte, MILL_E_ARG, {"1048576 bytes"});
  refuse_device("/" + megabyte, MILL_E_IO, {"1048577 bytes"});
  refuse_device("sim:" + megabyte, MILL_E_ARG, {"sim"});
  refuse_device(planted("faulty") + ":" + megabyte, MILL_E_ARG, {"no such fault"});
  uint32_t index = 7;
  expect_refused(f, mill_device_open(f.context(), "sim", uint64_t{1} << 40, &index, f.err()),
                 MILL_E_ARG, {"1099511627776"});
  expect_refused(f, mill_device_open(f.context(), "s\0m", 3, &index, f.err()), MILL_E_ARG, {"NUL"});
  expect_refused(f, mill_device_open(f.context(), nullptr, MILL_NTS, &index, f.err()), MILL_E_ARG,
                 {"device is NULL"});
}

TEST_F(Plugins, EveryRefusalIsListedWithItsReason) {
  const std::map<std::string, std::pair<mill_status, const char*>> expected = {
      {planted("exports_nothing"), {MILL_E_UNSUPPORTED, "exports no mill_plugin_open"}},
      {planted("no_note"), {MILL_E_UNSUPPORTED, "no note"}},
      {planted("too_new"), {MILL_E_TOO_NEW, kNext.c_str()}},
      {planted("says_too_new"), {MILL_E_TOO_NEW, kNext.c_str()}},
      {planted("too_old"), {MILL_E_UNSUPPORTED, kBefore.c_str()}},
      {planted("refuses"), {MILL_E_UNSUPPORTED, "no such hardware"}},
      {planted("says_nothing"), {MILL_E_UNSUPPORTED, "no reason"}},
      {planted("short_struct"), {MILL_E_UNSUPPORTED, "24 bytes"}},
      {planted("no_functions"), {MILL_E_UNSUPPORTED, "function"}},
      {planted("bad_name"), {MILL_E_UNSUPPORTED, "two words"}},
      // Taken, and of no use here.
      {planted("no_devices"), {MILL_E_UNSUPPORTED, "no driver for it"}},
      {planted("faulty"), {MILL_OK, ""}},
  };
  uint32_t index = 0;
  for (const auto& [path, why] : expected) open(path + ":NO_TABLE", &index);
  open("/nonexistent/x.so", &index);
  uint32_t count = 0;
  ASSERT_EQ(mill_plugin_count(f.context(), &count, f.err()), MILL_OK) << f.message();
  ASSERT_GT(count, expected.size());
  size_t seen = 0;
  bool missing = false;
  bool simulated = false;
  for (uint32_t k = 0; k < count; ++k) {
    mill_plugin_info info{};
    info.size = sizeof info;
    info.type = MILL_STRUCT_PLUGIN_INFO;
    ASSERT_EQ(mill_plugin_query(f.context(), k, &info, f.err()), MILL_OK) << f.message();
    EXPECT_EQ(info.status == MILL_OK, info.reason[0] == 0) << info.path << ": " << info.reason;
    missing = missing || std::string(info.path) == "/nonexistent/x.so";
    simulated = simulated || std::string(info.name) == "sim";
    const auto found = expected.find(info.path);
    if (found == expected.end()) continue;
    ++seen;
    EXPECT_STREQ(mill_status_name(info.status), mill_status_name(found->second.first)) << info.path;
    EXPECT_NE(std::string(info.reason).find(found->second.second), std::string::npos)
        << info.path << ": " << info.reason;
    EXPECT_EQ(info.devices, info.status == MILL_OK ? 1u : 0u);
  }
  EXPECT_EQ(seen, expected.size());
  EXPECT_TRUE(missing) << "a file that is not there was looked at, too";
  EXPECT_TRUE(simulated) << "what lies beside the library is found without being asked for";
  mill_plugin_info info{};
  info.size = sizeof info;
  info.type = MILL_STRUCT_PLUGIN_INFO;
  expect_refused(f, mill_plugin_query(f.context(), count, &info, f.err()), MILL_E_ARG,
                 {"index is", std::to_string(count).c_str()});
}

TEST_F(Plugins, ADeviceOfAnOlderOrNewerPluginWorks) {
  for (const char* age : {"OLDEST", "GROWN", ""}) {
    mill_exec* const exec = faulty(age);
    compute(exec);
    mill_tensor* const x = good_upload(exec, {1, 2, 3});
    mill_future* future = nullptr;
    ASSERT_EQ(mill_tensor_read_async(exec, x, &future, f.err()), MILL_OK) << f.message();
    EXPECT_EQ(mill_future_wait(future, UINT64_MAX, f.err()), MILL_OK) << f.message();
    mill_future_release(future);
    mill_device_info info{};
    info.size = sizeof info;
    info.type = MILL_STRUCT_DEVICE_INFO;
    uint32_t device = 0;
    ASSERT_EQ(mill_tensor_device(x, &device, f.err()), MILL_OK);
    ASSERT_EQ(mill_device_query(f.context(), device, &info, f.err()), MILL_OK) << f.message();
    EXPECT_STREQ(info.description, "a device with a fault");
    EXPECT_EQ(info.memory_bytes, uint64_t{1} << 30);
    expect_refused(f, mill_device_configure(f.context(), device, "gemm", MILL_NTS, 1, f.err()),
                   MILL_E_UNSUPPORTED, {"no settings"});
    mill_stream* stream = nullptr;
    mill_event* event = nullptr;
    int32_t fd = -1;
    double ns = 0;
    void* native = nullptr;
    ASSERT_EQ(mill_stream_create(f.context(), device, &stream, f.err()), MILL_OK);
    ASSERT_EQ(mill_event_create(stream, &event, f.err()), MILL_OK);
    expect_refused(f, mill_event_descriptor(event, &fd, f.err()), MILL_E_UNSUPPORTED, {"host"});
    expect_refused(f, mill_event_elapsed(event, event, &ns, f.err()), MILL_E_UNSUPPORTED, {"time"});
    expect_refused(f, mill_stream_native(stream, &native, f.err()), MILL_E_UNSUPPORTED, {"native"});
    mill_event_release(event);
    mill_stream_release(stream);
  }
}

TEST_F(Plugins, AnOpThatADeviceLacksNamesItselfAndTheReason) {
  mill_exec* const exec = faulty("");
  mill_tensor* const x = good_upload(exec, {1, 2});
  refuse(MILL_E_UNSUPPORTED, {"exp: ", "it copies and adds f32"},
         [&](auto out) { return mill_exp(exec, x, out, f.err()); });
  compute(exec);
}

TEST_F(Plugins, ADeviceWithoutMemorySaysHowMuchWasAskedFor) {
  for (const auto& [fault, why] : {std::pair("ALLOCATE_FAILS", "it never has any memory"),
                                   std::pair("ALLOCATE_LIES", "gives no memory")}) {
    mill_exec* const exec = faulty(fault);
    const int64_t live = faulty_live();
    for (const int64_t n : {1, 1000, 10'000'000}) {
      refuse(MILL_E_MEMORY, {"faulty", std::to_string(4 * n).c_str(), why},
             [&](auto out) { return mill_tensor_create(exec, MILL_F32, &n, 1, out, f.err()); });
    }
    refuse(MILL_E_MEMORY, {why}, [&](auto out) { return upload_to(exec, {1, 2}, out); });
    refuse(MILL_E_MEMORY, {why},
           [&](auto out) { return mill_tensor_to(exec, f.tensor(), out, f.err()); });
    EXPECT_EQ(faulty_live(), live);
    compute(f.exec());
  }
}

TEST_F(Plugins, ADeviceWhoseCopiesFailSaysWhy) {
  mill_exec* const exec = faulty("COPY_FAILS");
  const int64_t dims[] = {3};
  mill_tensor* x = nullptr;
  ASSERT_EQ(mill_tensor_create(exec, MILL_F32, dims, 1, &x, f.err()), MILL_OK) << f.message();
  f.own(x);
  float values[3] = {};
  const auto why = "the cable is out!!";
  refuse(MILL_E_DEVICE, {why}, [&](auto out) { return upload_to(exec, {1, 2, 3}, out); });
  refuse(MILL_E_DEVICE, {why},
         [&](auto out) { return mill_tensor_to(exec, f.tensor(), out, f.err()); });
  refuse(MILL_E_DEVICE, {why}, [&](auto out) { return mill_tensor_to(f.exec(), x, out, f.err()); });
  expect_refused(f, mill_tensor_write(exec, x, values, sizeof values, f.err()), MILL_E_DEVICE,
                 {why});
  expect_refused(f, mill_tensor_read(exec, x, values, sizeof values, f.err()), MILL_E_DEVICE,
                 {why});
  mill_future* future = nullptr;
  expect_refused(f, mill_tensor_read_async(exec, x, &future, f.err()), MILL_E_DEVICE, {why});
  EXPECT_EQ(future, nullptr);
  compute(f.exec());
}

TEST_F(Plugins, ALaunchThatFailsNamesTheOp) {
  mill_exec* const exec = faulty("LAUNCH_FAILS");
  mill_tensor* const x = good_upload(exec, {1, 2, 3});
  refuse(MILL_E_DEVICE, {"add: ", "the fan is off"},
         [&](auto out) { return mill_add(exec, x, x, out, f.err()); });
  EXPECT_EQ(read(exec, x), (std::vector<float>{1, 2, 3}));
}

// Whatever call the loss comes at: each call from then on says so, the CPU computes, everything is
// released, and nothing of the device is left.
TEST_F(Plugins, ADeviceLostAtAnyCall) {
  int lost_at_all = 0;
  for (int k = 0; k < 80; ++k) {
    Fixture mine;
    mill_error* const err = mine.err();
    bool lost = false;
    const auto saw = [&](mill_status status) {
      if (status >= 0) return true;
      lost = true;
      // Memory that cannot be had is told as such, with the device's reason.
      EXPECT_TRUE(status == MILL_E_DEVICE_LOST || status == MILL_E_MEMORY)
          << mill_status_name(status);
      EXPECT_NE(mine.message().find("fell off the bus"), std::string::npos) << mine.message();
      return false;
    };
    const std::string device = planted("faulty") + ":LOST=" + std::to_string(k);
    uint32_t index = 0;
    ASSERT_EQ(mill_device_open(mine.context(), device.c_str(), MILL_NTS, &index, err), MILL_OK);
    mill_exec *one = nullptr, *two = nullptr;
    mill_tensor *x = nullptr, *y = nullptr, *z = nullptr, *home = nullptr;
    mill_stream* stream = nullptr;
    mill_event* event = nullptr;
    mill_future* future = nullptr;
    const int64_t dims[] = {4};
    const float values[4] = {1, 2, 3, 4};
    float got[4] = {};
    saw(mill_exec_create(mine.context(), index, nullptr, &one, err));
    saw(mill_exec_create(mine.context(), index, nullptr, &two, err));
    saw(mill_stream_create(mine.context(), index, &stream, err));
    if (stream) saw(mill_event_create(stream, &event, err));
    if (one) saw(mill_tensor_from_host(one, MILL_F32, dims, 1, values, sizeof values, &x, err));
    if (x) saw(mill_add(one, x, x, &y, err));
    if (y && two) saw(mill_add(two, y, x, &z, err));
    if (z && saw(mill_tensor_read(two, z, got, sizeof got, err))) {
      EXPECT_EQ(got[3], 12.0f);
    }
    if (y && saw(mill_tensor_to(mine.exec(), y, &home, err))) {
      EXPECT_NE(home, nullptr);
    }
    if (y && two) saw(mill_tensor_read_async(two, y, &future, err));
    if (future) saw(mill_future_wait(future, UINT64_MAX, err));
    if (event) {
      saw(mill_event_record(event, stream, err));
      saw(mill_event_wait(event, UINT64_MAX, err));
      saw(mill_stream_wait_event(stream, event, err));
    }
    if (stream) saw(mill_stream_wait(stream, err));
    if (two) saw(mill_exec_wait(two, err));
    lost_at_all += lost ? 1 : 0;
    if (!lost) {
      EXPECT_GT(k, 10) << "most calls of the script reach the device";
    }

    mill_tensor* sum = nullptr;
    EXPECT_EQ(mill_add(mine.exec(), mine.tensor(), mine.tensor(), &sum, err), MILL_OK);
    mill_tensor_release(sum);
    for (mill_tensor* tensor : {x, y, z, home}) mill_tensor_release(tensor);
    mill_future_release(future);
    mill_event_release(event);
    mill_stream_release(stream);
    mill_exec_release(one);
    mill_exec_release(two);
  }
  EXPECT_GT(lost_at_all, 15);
  EXPECT_LT(lost_at_all, 80) << "the script ends before the device is lost, once";
  EXPECT_EQ(faulty_live(), 0);
}

TEST_F(Plugins, TensorsOfTwoDevicesInOneOpAreNamed) {
  mill_exec* const there = faulty("");
  mill_exec* const elsewhere = faulty("");
  mill_tensor* const here = upload<float>(f, {2}, {1, 2});
  mill_tensor* const x = good_upload(there, {3, 4});
  mill_tensor* const y = good_upload(elsewhere, {5, 6});
  refuse(MILL_E_DEVICE, {"b is on cpu 0", "exec is on faulty 1", "mill_tensor_to"},
         [&](auto out) { return mill_add(there, x, here, out, f.err()); });
  refuse(MILL_E_DEVICE, {"a is on faulty 1", "exec is on cpu 0"},
         [&](auto out) { return mill_add(f.exec(), x, here, out, f.err()); });
  refuse(MILL_E_DEVICE, {"b is on faulty 2", "exec is on faulty 1"},
         [&](auto out) { return mill_add(there, x, y, out, f.err()); });
  refuse(MILL_E_DEVICE, {"faulty 1", "another context"},
         [&](auto out) { return mill_neg(other.exec(), x, out, f.err()); });
  refuse_into<float>(here, MILL_E_DEVICE, {"output out is on cpu 0", "exec is on faulty 1"},
                     [&](auto out) { return mill_add(there, x, x, out, f.err()); });
  float values[2] = {};
  expect_refused(f, mill_tensor_read(there, y, values, sizeof values, f.err()), MILL_E_DEVICE,
                 {"faulty 2", "faulty 1"});
  expect_refused(f, mill_tensor_write(f.exec(), y, values, sizeof values, f.err()), MILL_E_DEVICE,
                 {"faulty 2", "cpu 0"});
  // As the sentence says.
  mill_tensor* copied = nullptr;
  mill_tensor* sum = nullptr;
  ASSERT_EQ(mill_tensor_to(there, y, &copied, f.err()), MILL_OK) << f.message();
  ASSERT_EQ(mill_add(there, x, f.own(copied), &sum, f.err()), MILL_OK) << f.message();
  EXPECT_EQ(read(there, f.own(sum)), (std::vector<float>{8, 10}));
}

TEST_F(Plugins, DevicesBeyondTheLastAreRefused) {
  uint32_t index = 0;
  const std::string device = planted("faulty");
  for (uint32_t k = 1; k < 64; ++k) {
    ASSERT_EQ(open(device, &index), MILL_OK) << f.message();
    EXPECT_EQ(index, k);
  }
  refuse_device(device, MILL_E_STATE, {"64 devices"});
  mill_device_info info{};
  info.size = sizeof info;
  info.type = MILL_STRUCT_DEVICE_INFO;
  mill_exec* exec = nullptr;
  expect_refused(f, mill_device_query(f.context(), 64, &info, f.err()), MILL_E_ARG, {"64"});
  expect_refused(f, mill_exec_create(f.context(), 64, nullptr, &exec, f.err()), MILL_E_ARG, {"64"});
}

}  // namespace
}  // namespace mill_test
