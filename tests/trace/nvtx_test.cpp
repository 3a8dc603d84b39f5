// NVTX looks for its tool once per process, at its first call. So the counting half of this test
// runs in a process of its own: this program again, with NVTX_INJECTION64_PATH set.
#include "trace/nvtx.h"

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "base/error.h"
#include "trace/exec_trace.h"
#include "trace/tool/nvtx_counts.h"

extern char** environ;

namespace mill {
namespace {

TracerOptions small() {
  TracerOptions options;
  options.ring_records = options.shared_ring_records = 64;
  options.op_name = [](const void*, int32_t op) -> const char* {
    return op == MILL_OP_MATMUL ? "matmul" : nullptr;
  };
  return options;
}

TEST(Nvtx, ABuildWithoutItsHeadersSaysSo) {
  if (Nvtx::built_in()) GTEST_SKIP() << "needs a build without the NVTX headers";
  Tracer tracer(small());
  try {
    tracer.set_mask(MILL_TRACE_NVTX);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.status(), MILL_E_UNSUPPORTED);
  }
  EXPECT_EQ(tracer.mask(), 0u);
}

TEST(Nvtx, TheMaskBitAloneMakesNoRecords) {
  if (!Nvtx::built_in()) GTEST_SKIP() << "needs the NVTX headers at build time";
  Tracer tracer(small());
  ExecTrace trace(tracer);
  tracer.set_mask(MILL_TRACE_NVTX);
  { OpSpan(trace, MILL_OP_MATMUL).finish({}); }
  trace.scope_begin("a");
  trace.step();
  trace.scope_end();
  uint32_t count = 1;
  uint64_t lost = 1;
  EXPECT_EQ(tracer.drain(nullptr, 0, &count, &lost), MILL_OK);
  EXPECT_EQ(count, 0u);
  EXPECT_EQ(lost, 0u);
}

TEST(Nvtx, AToolSeesOneRangePerOpWhileTheBitIsSet) {
#if !defined(MILL_TEST_NVTX_INJECTION)
  GTEST_SKIP() << "needs the NVTX headers at build time";
#else
  std::string set = "NVTX_INJECTION64_PATH=" MILL_TEST_NVTX_INJECTION;
  std::vector<char*> environment;
  for (char** e = environ; *e != nullptr; ++e) environment.push_back(*e);
  environment.push_back(set.data());
  environment.push_back(nullptr);
  std::string program = "/proc/self/exe";
  std::string filter = "--gtest_filter=NvtxUnderTool.*";
  std::string disabled = "--gtest_also_run_disabled_tests";
  char* arguments[] = {program.data(), filter.data(), disabled.data(), nullptr};
  pid_t child = 0;
  ASSERT_EQ(posix_spawn(&child, program.c_str(), nullptr, nullptr, arguments, environment.data()),
            0);
  int result = -1;
  ASSERT_EQ(waitpid(child, &result, 0), child);
  EXPECT_TRUE(WIFEXITED(result) && WEXITSTATUS(result) == 0);
#endif
}

TEST(NvtxUnderTool, DISABLED_CountsRanges) {
  const char* path = std::getenv("NVTX_INJECTION64_PATH");
  ASSERT_NE(path, nullptr);
  Tracer tracer(small());
  ExecTrace trace(tracer);
  tracer.set_mask(MILL_TRACE_NVTX);
  void* library = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
  ASSERT_NE(library, nullptr) << "NVTX did not load the tool";
  const auto get =
      reinterpret_cast<const NvtxCounts* (*)()>(dlsym(library, "mill_test_nvtx_counts"));
  ASSERT_NE(get, nullptr);
  const NvtxCounts& counts = *get();
  EXPECT_EQ(counts.domains, 1);
  EXPECT_EQ(counts.categories, 5);

  for (int i = 0; i < 10; ++i) OpSpan(trace, MILL_OP_MATMUL).finish({});
  EXPECT_EQ(counts.op_pushes, 10);
  EXPECT_EQ(counts.pops, 10);
  EXPECT_EQ(counts.strings, 1);
  EXPECT_STREQ(counts.last_name, "matmul");
  {
    // Left by an exception, or unfinished: the range must still end.
    OpSpan span(trace, MILL_OP_CUSTOM + 3);
    EXPECT_EQ(counts.depth, 1);
    EXPECT_STREQ(counts.last_name, "op 1048579");
    tracer.set_mask(0);
  }
  EXPECT_EQ(counts.depth, 0);
  { OpSpan span(trace, MILL_OP_MATMUL); }
  EXPECT_EQ(counts.pushes, 11);

  tracer.set_mask(MILL_TRACE_NVTX);
  trace.scope_begin("outer");
  trace.scope_begin("inner");
  EXPECT_STREQ(counts.last_name, "inner");
  EXPECT_EQ(counts.depth, 2);
  { const NvtxRange range(trace, NvtxCategory::h2d, "copy"); }
  trace.mark("m");
  trace.step();
  trace.scope_end();
  trace.scope_end();
  EXPECT_EQ(counts.depth, 0);
  EXPECT_EQ(counts.pushes, 14);
  EXPECT_EQ(counts.marks, 2);
  EXPECT_EQ(counts.step_marks, 1);
  dlclose(library);
}

}  // namespace
}  // namespace mill
