// Nonsense in what a simulated device is opened with: a status and a sentence with the key and the
// value, no device more than before, and the others go on.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "conformance/api.h"

namespace mill_test {
namespace {

class Profiles : public testing::Test {
 protected:
  Profiles() {
    w_.ok(mill_device_open(w_.context(), "sim:ideal,memory=16777216", MILL_NTS, &device_,
                           w_.error()));
    w_.ok(mill_exec_create(w_.context(), device_, nullptr, exec_.out(), w_.error()));
    path_ = testing::TempDir() + "mill_profile_" + std::to_string(::getpid()) + ".json";
  }
  ~Profiles() override { std::remove(path_.c_str()); }

  mill_status open(const std::string& spec) {
    uint32_t index = 99;
    const mill_status status =
        mill_device_open(w_.context(), spec.data(), spec.size(), &index, w_.error());
    if (status < 0) {
      EXPECT_EQ(index, 0u) << spec;
    }
    return status;
  }
  void refused(const std::string& spec, std::initializer_list<const char*> parts) {
    EXPECT_EQ(open(spec), MILL_E_ARG) << spec;
    for (const char* part : parts) {
      EXPECT_NE(w_.message().find(part), std::string::npos)
          << spec << ": \"" << part << "\" is not in\n"
          << w_.message();
    }
  }
  void write(const std::string& text) { std::ofstream(path_, std::ios::binary) << text; }
  void file_refused(const std::string& text, std::initializer_list<const char*> parts) {
    write(text);
    refused("sim:" + path_, parts);
    EXPECT_NE(w_.message().find(path_), std::string::npos) << w_.message();
  }
  // {"name": "mine", "base": "ideal", KEY: VALUE}
  void figure_refused(const char* key, const char* value) {
    write(std::string(R"({"name": "mine", "base": "ideal", ")") + key + "\": " + value + "}");
    refused("sim:" + path_, {key, value});
  }
  // Nothing was added, and what was there works.
  void goes_on() {
    uint32_t count = 0;
    w_.ok(mill_device_count(w_.context(), &count, w_.error()));
    EXPECT_EQ(count, 2u);
    for (mill_exec* exec : {w_.exec(), exec_.get()}) {
      const int64_t dims[1] = {3};
      const float values[3] = {1, 2, 3};
      float doubled[3] = {};
      Tensor x, y;
      w_.ok(mill_tensor_from_host(exec, MILL_F32, dims, 1, values, sizeof values, x.out(),
                                  w_.error()));
      w_.ok(mill_add(exec, x.get(), x.get(), y.out(), w_.error()));
      w_.ok(mill_tensor_read(exec, y.get(), doubled, sizeof doubled, w_.error()));
      EXPECT_EQ(doubled[2], 6.0f);
    }
  }
  void TearDown() override { goes_on(); }

  World w_;
  uint32_t device_ = 0;
  Exec exec_;
  std::string path_;
};

TEST_F(Profiles, AnUnknownProfileIsRefusedWithTheKnownOnes) {
  for (const char* name : {"h200", "H200-SXM", "ideal ", " ideal", "../ideal", "json"})
    refused(std::string("sim:") + name, {name, "h200-sxm", "rtx4090", "ideal", ".json"});
  refused("sim:" + std::string(500, 'x'), {"500", "127"});
}

TEST_F(Profiles, OptionsAreNumbersWithinLimitsAndEachOnce) {
  refused("sim:ideal,", {"\"\"", "name=number"});
  refused("sim:ideal,seed", {"seed", "name=number"});
  refused("sim:ideal,,seed=1", {"name=number"});
  refused("sim:ideal,=3", {"unknown", "memory", "seed", "gemm", "checked"});
  refused("sim:ideal,colour=3", {"colour", "unknown"});
  refused("sim:ideal,Seed=3", {"Seed", "unknown"});
  refused("sim:ideal, seed=3", {" seed", "unknown"});
  refused("sim:ideal,seed=", {"seed", "\"\""});
  refused("sim:ideal,seed=x7", {"seed", "x7"});
  refused("sim:ideal,seed=7x", {"seed", "7x"});
  refused("sim:ideal,seed=-1", {"seed", "-1"});
  refused("sim:ideal,seed= 1", {"seed", "\" 1\""});
  refused("sim:ideal,seed= -1", {"seed", "\" -1\""});
  refused("sim:ideal,seed=+1", {"seed", "+1"});
  refused("sim:ideal,seed=1.5", {"seed", "1.5"});
  refused("sim:ideal,seed=0x10", {"seed", "0x10"});
  refused("sim:ideal,seed=nan", {"seed", "nan"});
  refused("sim:ideal,seed=1=2", {"seed", "1=2"});
  refused("sim:ideal,seed=18446744073709551616", {"seed", "18446744073709551616", "limits"});
  refused("sim:ideal,gemm=2", {"gemm", "2", "0 to 1"});
  refused("sim:ideal,seed=1,seed=1", {"seed", "twice"});
  refused("sim:ideal,memory=16777216,seed=1,memory=16777216", {"memory", "twice"});
}

TEST_F(Profiles, MemoryIsWithinWhatADeviceCanHave) {
  for (const char* bytes : {"0", "1", "1048575", "35184372088833", "18446744073709551615",
                            "12297829382473034411", "99999999999999999999999999"}) {
    refused(std::string("sim:ideal,memory=") + bytes, {"memory", bytes, "1048576"});
  }
  // What the option cannot say, the profile cannot either.
  for (const char* bytes : {"0", "1048575", "35184372088833"})
    figure_refused("memory_bytes", bytes);
}

TEST_F(Profiles, ANumberIsReadToItsEnd) {
  // 60 zeros and a value that is too large or fits: leading zeros change nothing.
  const std::string zeros(60, '0');
  refused("sim:ideal,gemm=" + zeros + "2", {"gemm", "0 to 1"});
  uint32_t index = 0;
  World other;
  other.ok(mill_device_open(other.context(), ("sim:ideal,memory=" + zeros + "16777216").c_str(),
                            MILL_NTS, &index, other.error()));
  mill_device_info info{};
  info.size = sizeof info;
  info.type = MILL_STRUCT_DEVICE_INFO;
  other.ok(mill_device_query(other.context(), index, &info, other.error()));
  EXPECT_EQ(info.memory_bytes, 16777216u);
}

TEST_F(Profiles, AFileThatCannotBeReadIsRefusedWithTheReason) {
  std::remove(path_.c_str());
  refused("sim:" + path_, {path_.c_str(), "No such file"});
  ASSERT_EQ(::mkdir(path_.c_str(), 0700), 0);
  refused("sim:" + path_, {path_.c_str(), "directory"});
  ::rmdir(path_.c_str());
}

TEST_F(Profiles, AFileThatIsNoJsonIsRefusedWithThePlace) {
  file_refused("", {"ends at byte 0"});
  file_refused("memory_bytes = 3", {"'m' at byte 0", "'{'"});
  file_refused("[1, 2]", {"'[' at byte 0"});
  file_refused(
      "\x7f"
      "ELF",
      {"0x7f", "byte 0"});
  file_refused(std::string("\0\0\0", 3), {"0x00", "byte 0"});
  file_refused("{\"name\": \"a\xff\"}", {"0xff", "UTF-8"});
  file_refused(R"({"name": "mine", "base": "ideal"} x)", {"'x'", "nothing after"});
  file_refused(R"({"name": "mine", "base": "ideal",})", {"expected a string"});
  file_refused(R"({"name" "mine"})", {"':'"});
  file_refused("{\"name\": \"mine\", \"base\": \"ideal\" // why\n}", {"'/'"});
  file_refused(std::string(70000, ' '), {"65536", "limit"});
}

TEST_F(Profiles, ATruncatedFileIsRefusedWhereverItEnds) {
  const std::string whole =
      R"({"name": "mine", "base": "a100", "memory_bytes": 16777216, "sources": {"sm_count": "x"}})";
  write(whole);
  World other;
  uint32_t index = 0;
  other.ok(
      mill_device_open(other.context(), ("sim:" + path_).c_str(), MILL_NTS, &index, other.error()));
  for (size_t n = 0; n < whole.size(); ++n) {
    write(whole.substr(0, n));
    EXPECT_EQ(open("sim:" + path_), MILL_E_ARG) << n;
    EXPECT_NE(w_.message().find(path_), std::string::npos) << w_.message();
  }
}

TEST_F(Profiles, KeysAreKnownAndEachThereOnce) {
  file_refused(R"({"name": "mine", "base": "ideal", "speed": 3})", {"speed", "no key"});
  file_refused(R"({"name": "mine", "base": "ideal", "sm_count": 3, "sm_count": 3})",
               {"sm_count", "twice"});
  file_refused(R"({"name": "mine", "name": "mine", "base": "ideal"})", {"name", "twice"});
  file_refused(R"({"base": "ideal"})", {"\"name\""});
  file_refused(R"({"name": "mine"})", {"memory_bytes", "base"});
  file_refused(R"({"name": "mine", "base": "ideal", "sources": {"speed": "x"}})",
               {"sources", "speed"});
  write(R"({"name": "mine", "base": "b200"})");
  refused("sim:" + path_, {"base", "b200"});
  write(R"({"name": "a b", "base": "ideal"})");
  refused("sim:" + path_, {"name", "a b"});
  write(R"({"name": "", "base": "ideal"})");
  refused("sim:" + path_, {"name", "\"\""});
}

TEST_F(Profiles, FiguresAreWholeNumbersWithinTheirLimits) {
  for (const char* value : {"-1",        "0",     "NaN",   "nan",    "Infinity",
                            "-Infinity", "1e300", "1e400", "-1e300", "99999999999999999999",
                            "\"4800\"",  "true",  "null",  "01",     "1.",
                            ".5",        "1e",    "0x10",  "+3",     "1000000.5"}) {
    figure_refused("memory_bandwidth", value);
  }
  file_refused(R"({"name": "mine", "base": "ideal", "sm_count": [1]})", {"sm_count", "[1"});
  file_refused(R"({"name": "mine", "base": "ideal", "sm_count": {}})", {"sm_count", "{"});
  file_refused(R"({"name": "mine", "base": "ideal", "sm_count":})", {"sm_count", "missing"});
  for (const char* value : {"-1", "1000000001", "0.5", "NaN"})
    figure_refused("h2d_pinned_latency_ns", value);
  for (const char* value : {"0", "1001", "-900"})
    figure_refused("flops_efficiency_permille", value);
  for (const char* value : {"0", "31", "33", "64"}) figure_refused("warp", value);
  for (const char* value : {"0", "4097"}) figure_refused("sm_count", value);
  for (const char* value : {"500001", "-5"}) figure_refused("jitter_ppm", value);
  for (const char* key : {"name", "base", "description", "architecture", "sources"}) {
    write(std::string("{\"") + key + "\": 3}");
    refused("sim:" + path_, {key});
  }
}

TEST_F(Profiles, FiguresGoWithEachOther) {
  // Each names the figure and the one that it must not exceed.
  figure_refused("h2d_pinned_bandwidth", "2000000001");
  refused("sim:" + path_, {"link_duplex_bandwidth", "2000000000"});
  figure_refused("d2h_pageable_bandwidth", "1000000001");
  refused("sim:" + path_, {"d2h_pinned_bandwidth", "1000000000"});
  figure_refused("shared_bytes_per_block", "200000");
  refused("sim:" + path_, {"shared_bytes_per_block_optin", "98304"});
  figure_refused("threads_per_sm", "512");
  refused("sim:" + path_, {"threads_per_block", "1024"});
  figure_refused("threads_per_block", "48");
  refused("sim:" + path_, {"warp", "32"});
}

TEST_F(Profiles, SettingsAreKnownAndWithinTheirLimits) {
  struct Case {
    const char* name;
    int64_t value;
  };
  for (const Case& it : {Case{"seed", -1}, Case{"gemm", 2}, Case{"gemm", -7}, Case{"checked", -1},
                         Case{"capacity", -4096}, Case{"fail.copy", INT64_MIN}}) {
    EXPECT_EQ(mill_device_configure(w_.context(), device_, it.name, MILL_NTS, it.value, w_.error()),
              MILL_E_ARG);
    EXPECT_NE(w_.message().find(it.name), std::string::npos) << w_.message();
    EXPECT_NE(w_.message().find(std::to_string(it.value)), std::string::npos) << w_.message();
  }
  for (const char* name : {"", "Seed", "fail", "fail.", "memory", "lost "}) {
    EXPECT_EQ(mill_device_configure(w_.context(), device_, name, MILL_NTS, 1, w_.error()),
              MILL_E_ARG);
    EXPECT_NE(w_.message().find(name), std::string::npos) << w_.message();
    EXPECT_NE(w_.message().find("capacity"), std::string::npos) << w_.message();
  }
  EXPECT_EQ(mill_device_configure(w_.context(), 7, "seed", MILL_NTS, 1, w_.error()), MILL_E_ARG);
}

TEST_F(Profiles, AGoodFileIsADevice) {
  write(R"({"name": "mine", "base": "a100", "memory_bytes": 33554432, "sm_count": 1.2e1,
            "description": "\u00fcber", "sources": {"sm_count": "counted"}})");
  World other;
  uint32_t index = 0;
  other.ok(mill_device_open(other.context(), ("sim:" + path_ + ",seed=3").c_str(), MILL_NTS, &index,
                            other.error()));
  mill_device_info info{};
  info.size = sizeof info;
  info.type = MILL_STRUCT_DEVICE_INFO;
  other.ok(mill_device_query(other.context(), index, &info, other.error()));
  EXPECT_EQ(info.memory_bytes, 33554432u);
  EXPECT_NE(std::string(info.description).find("mine"), std::string::npos);
}

}  // namespace
}  // namespace mill_test
