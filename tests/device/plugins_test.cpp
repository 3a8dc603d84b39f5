// Where plugins are looked for, what is remembered of them, and what a device's tables must have.
// The planted plugins are those of tests/api/plugins.
#include "device/plugins.h"

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <thread>

#include "device/tables.h"
#include "io/temp_dir.h"

namespace mill {
namespace {

std::string planted(const std::string& name) {
  return MILL_TEST_PLUGINS "/" + name + ".so";
}

DeviceSpec at_path(const std::string& path, const std::string& spec = "") {
  return {path, spec, true};
}

int64_t faulty_live() {
  void* const library = ::dlopen(planted("faulty").c_str(), RTLD_NOW | RTLD_NOLOAD);
  const auto live = reinterpret_cast<int64_t (*)()>(::dlsym(library, "faulty_live"));
  const int64_t now = live();
  ::dlclose(library);
  return now;
}

TEST(DeviceSpecs, AreAPluginAndWhatItIsToOpen) {
  const struct {
    const char* text;
    DeviceSpec spec;
  } cases[] = {
      {"cuda", {"cuda", "", false}},
      {"cuda:", {"cuda", "", false}},
      {"cuda:1", {"cuda", "1", false}},
      {"sim:rtx4090,seed=3", {"sim", "rtx4090,seed=3", false}},
      {"sim:a:b", {"sim", "a:b", false}},
      {"sim:my/profile.json", {"sim", "my/profile.json", false}},
      {"./mine.so", {"./mine.so", "", true}},
      {"./mine.so:", {"./mine.so", "", true}},
      {"/opt/x/libmillrace_mine.so:0", {"/opt/x/libmillrace_mine.so", "0", true}},
      {"./a:b/mine.so:c:d", {"./a:b/mine.so", "c:d", true}},
      {"/", {"/", "", true}},
  };
  for (const auto& one : cases) {
    const DeviceSpec spec = parse_device(one.text);
    EXPECT_EQ(spec.plugin, one.spec.plugin) << one.text;
    EXPECT_EQ(spec.spec, one.spec.spec) << one.text;
    EXPECT_EQ(spec.is_path, one.spec.is_path) << one.text;
  }
  for (const char* text : {"", ":", ":0", "::"}) {
    expect_failure(MILL_E_ARG, {std::string("\"") + text + "\"", "name or path"},
                   [&] { parse_device(text); });
  }
}

TEST(PluginSearch, ANameMeansAFileBesideTheLibrary) {
  Plugins plugins;
  char self[4096] = {};
  ASSERT_GT(::readlink("/proc/self/exe", self, sizeof self - 1), 0);
  const std::string path = self;  // the engine is linked into this program
  const std::string folder = path.substr(0, path.rfind('/'));
  expect_failure(MILL_E_IO, {folder + "/libmillrace_no_such.so", "No such file"}, [&] {
    plugins.find({"no_such", "", false});
  });
}

TEST(PluginSearch, ANameIsShortAndPlain) {
  Plugins plugins;
  for (const std::string& name :
       {std::string("a-b"), std::string("../x"), std::string("\xff"), std::string("a b"),
        std::string("a\0b", 3), std::string(32, 'a'), std::string(1 << 20, 'a')}) {
    expect_failure(MILL_E_ARG, {"plugin name", std::to_string(name.size()) + " bytes"}, [&] {
      plugins.find({name, "", false});
    });
  }
  EXPECT_TRUE(plugins.all().empty()) << "what cannot be a file is not remembered as one";
}

TEST(PluginSearch, APathTooLongForTheSystemIsNotRemembered) {
  Plugins plugins;
  expect_failure(MILL_E_IO, {"1048577 bytes", "4095"},
                 [&] { plugins.find(at_path("/" + std::string(1 << 20, 'a'))); });
  EXPECT_TRUE(plugins.all().empty());
}

TEST(PluginSearch, AFileIsLoadedOnceUnderAllItsPaths) {
  Plugins plugins;
  const TempDir dir;
  const PluginEntry& found = plugins.find(at_path(planted("faulty")));
  EXPECT_EQ(found.status, MILL_OK);
  EXPECT_STREQ(found.plugin.name, "faulty");
  EXPECT_EQ(&plugins.find(at_path(planted("faulty"), "other")), &found);
  ASSERT_EQ(::symlink(planted("faulty").c_str(), (dir / "link").c_str()), 0);
  EXPECT_EQ(&plugins.find(at_path(dir / "link")), &found);
  EXPECT_EQ(plugins.all().size(), 1u);
}

TEST(PluginSearch, ARefusedFileIsLookedAtAgain) {
  Plugins plugins;
  const TempDir dir;
  const std::string path = dir / "libmillrace_x.so";
  expect_failure(MILL_E_IO, {"No such file"}, [&] { plugins.find(at_path(path)); });
  write_bytes(path, std::string(100, 'x'));
  expect_failure(MILL_E_FORMAT, {"no shared library"}, [&] { plugins.find(at_path(path)); });
  ASSERT_EQ(plugins.all().size(), 1u);
  EXPECT_EQ(plugins.all()[0].status, MILL_E_FORMAT);
  EXPECT_NE(plugins.all()[0].reason.find("no shared library"), std::string::npos);
  write_bytes(path, read_bytes(planted("faulty")));
  EXPECT_STREQ(plugins.find(at_path(path)).plugin.name, "faulty");
  ASSERT_EQ(plugins.all().size(), 1u);
  EXPECT_EQ(plugins.all()[0].status, MILL_OK);
  EXPECT_EQ(plugins.all()[0].reason, "");
}

TEST(PluginSearch, OneThatIsNotTakenIsClosed) {
  Plugins plugins;
  expect_failure(MILL_E_UNSUPPORTED, {"no_functions.so", "lacks a function"},
                 [&] { plugins.find(at_path(planted("no_functions"))); });
  void* const library = ::dlopen(planted("no_functions").c_str(), RTLD_NOW | RTLD_NOLOAD);
  ASSERT_NE(library, nullptr);
  EXPECT_EQ(reinterpret_cast<int (*)()>(::dlsym(library, "no_functions_closed"))(), 1);
  ::dlclose(library);
}

TEST(PluginSearch, ThreadsFindTheSameOnes) {
  Plugins plugins;
  const PluginEntry* found[4] = {};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int k = 0; k < 20; ++k) {
        found[t] = &plugins.find(at_path(planted("faulty")));
        try {
          plugins.find(at_path(planted(t % 2 == 0 ? "refuses" : "bad_name")));
          ADD_FAILURE() << "was accepted";
        } catch (const Error& error) {
          EXPECT_EQ(error.status(), MILL_E_UNSUPPORTED);
        }
        for (const PluginEntry& entry : plugins.all())
          EXPECT_EQ(entry.reason.empty(), entry.status == MILL_OK) << entry.path;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(plugins.all().size(), 3u);
  for (const PluginEntry* one : found) EXPECT_EQ(one, found[0]);
}

TEST(PluginReasons, AreCutOrSaidToBeMissing) {
  mill_kernel_error error{};
  EXPECT_EQ(reason_of(error), "the plugin gives no reason");
  std::memset(error.text, 'x', sizeof error.text);
  EXPECT_EQ(reason_of(error), std::string(MILL_ERROR_TEXT - 1, 'x'));
}

class Tables : public testing::Test {
 protected:
  TableOwner open(const char* spec) {
    return open_device(plugins_.find(at_path(planted("faulty"))), spec, nullptr);
  }
  void refused(const char* spec, std::vector<std::string> parts) {
    parts.emplace_back("faulty");
    expect_failure(MILL_E_UNSUPPORTED, parts, [&] { open(spec); });
    EXPECT_EQ(faulty_live(), 0) << spec;
  }
  Plugins plugins_;
};

TEST_F(Tables, WithAPartMissingAreRefusedAndTheDeviceEnded) {
  refused("NO_TABLE", {"without a table"});
  refused("SHORT_TABLE", {"device table has 4 bytes"});
  refused("NO_LIMITS", {"no limits"});
  refused("SHORT_LIMITS", {"limits has 8 bytes"});
  refused("NO_MEMORY", {"no memory"});
  refused("NO_ALLOCATE", {"memory has no allocate"});
  refused("NO_PINNED_FREE", {"memory has no pinned_free"});
  refused("NO_COPY", {"copies has no copy"});
  refused("NO_WAIT", {"streams has no wait"});
  refused("NO_RESOLVE", {"ops has no resolve"});
}

TEST_F(Tables, OfAnOlderPluginHaveNullsAtTheirEnd) {
  const TableOwner table = open("OLDEST");
  EXPECT_EQ(table->size, sizeof(mill_device_table));
  EXPECT_NE(table->destroy, nullptr);
  EXPECT_EQ(table->configure, nullptr);
  EXPECT_EQ(table->libraries, nullptr);
  EXPECT_EQ(table->capture, nullptr);
  EXPECT_EQ(table->limits->memory_bytes, uint64_t{1} << 30);
  EXPECT_EQ(table->limits->f32_flops, 0.0);
  EXPECT_NE(table->memory->free, nullptr);
  EXPECT_EQ(table->memory->info, nullptr);
  EXPECT_EQ(table->memory->pinned_allocate, nullptr);
  EXPECT_EQ(table->memory->unmap, nullptr);
  EXPECT_NE(table->streams->wait_event, nullptr);
  EXPECT_EQ(table->streams->event_elapsed, nullptr);
  EXPECT_EQ(table->streams->host_call, nullptr);
  EXPECT_NE(table->copies->copy, nullptr);
  EXPECT_EQ(table->copies->copy_peer, nullptr);
  EXPECT_EQ(faulty_live(), 1);
}

TEST_F(Tables, OfANewerPluginAreCutToWhatIsKnown) {
  {
    const TableOwner table = open("GROWN");
    EXPECT_EQ(table->size, sizeof(mill_device_table));
    EXPECT_EQ(table->limits->size, sizeof(mill_device_limits));
    EXPECT_EQ(table->memory->size, sizeof(mill_memory_functions));
    EXPECT_EQ(table->streams->size, sizeof(mill_stream_functions));
    EXPECT_EQ(table->libraries, nullptr);
  }
  EXPECT_EQ(faulty_live(), 0);
}

TEST_F(Tables, ADeviceThatDoesNotOpenSaysWhy) {
  refused("OPEN_FAILS", {"\"OPEN_FAILS\"", "it is somebody else's!!!"});
  refused("OPEN_IS_MUTE", {"no reason"});
  expect_failure(MILL_E_ARG, {"no such fault"}, [&] { open("what"); });
}

}  // namespace
}  // namespace mill
