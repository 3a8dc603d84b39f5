// The CUDA plugin as a file: it loads with or without a driver, and says which. MILL_CUDA_PLUGIN is
// its path, unless the environment variable of that name gives another: of a copy on another
// machine.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>

#include "millrace/plugin.h"

namespace {

class CudaPlugin : public testing::Test {
 protected:
  void SetUp() override {
    const char* elsewhere = std::getenv("MILL_CUDA_PLUGIN");
    library_ = dlopen(elsewhere ? elsewhere : MILL_CUDA_PLUGIN, RTLD_NOW | RTLD_LOCAL);
    ASSERT_NE(library_, nullptr) << dlerror();
    open_ = reinterpret_cast<mill_plugin_open_function>(dlsym(library_, "mill_plugin_open"));
    ASSERT_NE(open_, nullptr);
    plugin_.size = sizeof plugin_;
    ASSERT_EQ(open_(MILL_PLUGIN_ABI, &plugin_, &error_), MILL_OK) << error_.text;
    status_ = plugin_.count(plugin_.self, &count_, &error_);
  }
  void TearDown() override {
    if (plugin_.close) plugin_.close(plugin_.self);
    if (library_) dlclose(library_);
  }
  mill_status open_device(const char* spec) {
    const mill_device_table* table = nullptr;
    mill_host_services host{};
    host.size = sizeof host;
    host.threads = 1;
    error_ = {};
    const mill_status status = plugin_.open(plugin_.self, spec, &host, &table, &error_);
    EXPECT_EQ(table != nullptr, status == MILL_OK);
    if (table) table->destroy(table->self);
    return status;
  }

  void* library_ = nullptr;
  mill_plugin_open_function open_ = nullptr;
  mill_plugin plugin_{};
  mill_kernel_error error_{};
  uint32_t count_ = 99;
  mill_status status_ = MILL_OK;
};

bool mapped(const char* name) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find(name) != std::string::npos) return true;
  }
  return false;
}

TEST_F(CudaPlugin, NamesItself) {
  EXPECT_STREQ(plugin_.name, "cuda");
  EXPECT_EQ(plugin_.abi, static_cast<uint32_t>(MILL_PLUGIN_ABI));
  EXPECT_EQ(plugin_.size, sizeof plugin_);
}

TEST_F(CudaPlugin, FillsNoFurtherThanTheEngineHasRoom) {
  mill_plugin part{};
  part.size = offsetof(mill_plugin, version);
  ASSERT_EQ(open_(MILL_PLUGIN_ABI, &part, &error_), MILL_OK);
  EXPECT_EQ(part.size, offsetof(mill_plugin, version));
  EXPECT_STREQ(part.name, "cuda");
  EXPECT_EQ(part.version, nullptr);
  EXPECT_EQ(part.open, nullptr);
}

TEST_F(CudaPlugin, RefusesAnOlderEngine) {
  mill_plugin other{};
  other.size = sizeof other;
  EXPECT_EQ(open_(0, &other, &error_), MILL_E_TOO_NEW);
  EXPECT_STRNE(error_.text, "");
  EXPECT_EQ(other.open, nullptr);
}

TEST_F(CudaPlugin, WithoutADeviceSaysWhyAndOpensNoVendorLibrary) {
  if (status_ == MILL_OK) GTEST_SKIP() << "needs a machine without a GPU";
  EXPECT_EQ(status_, MILL_E_UNSUPPORTED);
  EXPECT_EQ(count_, 0u);
  EXPECT_STRNE(error_.text, "");
  EXPECT_EQ(open_device(""), MILL_E_UNSUPPORTED);
  EXPECT_STRNE(error_.text, "");
  char text[64];
  EXPECT_EQ(plugin_.describe(plugin_.self, 0, text, sizeof text, &error_), MILL_E_UNSUPPORTED);
  for (const char* name : {"libcublas", "libcudnn", "libnccl"}) EXPECT_FALSE(mapped(name)) << name;
  if (!mapped("libcuda.so")) {
    EXPECT_STREQ(error_.text, "no NVIDIA driver");
  }
}

TEST_F(CudaPlugin, RefusesSpecsThatNameNoDevice) {
  for (const char* spec : {"gpu", "-1", "0x", "99999999999", "1,"}) {
    EXPECT_EQ(open_device(spec), MILL_E_ARG) << spec;
    EXPECT_NE(std::string(error_.text).find(spec), std::string::npos) << error_.text;
  }
}

TEST_F(CudaPlugin, RefusesAnIndexThatIsOutOfRange) {
  if (status_ != MILL_OK) GTEST_SKIP() << error_.text;
  EXPECT_EQ(open_device(std::to_string(count_).c_str()), MILL_E_ARG);
  EXPECT_EQ(open_device("0"), MILL_OK) << error_.text;
}

}  // namespace
