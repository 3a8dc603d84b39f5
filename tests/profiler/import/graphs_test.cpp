// Graphs: recorded node by node, or as a whole.
#include "profiler/import/read.h"
#include "profiler/timeline/link.h"

namespace mill::prof::test {
namespace {

std::string call(const char* name, int correlation) {
  return R"({"ph":"X","cat":"cuda_runtime","name":")" + std::string(name) +
         R"(","pid":5,"tid":6,"ts":)" + std::to_string(100 * correlation) +
         R"(,"dur":5,"args":{"correlation":)" + std::to_string(correlation) + "}}";
}
std::string kernel(int correlation, int number, const char* more = "") {
  return R"({"ph":"X","cat":"kernel","name":"k","pid":0,"tid":7,"ts":)" +
         std::to_string(100 * correlation + 10 * number) +
         R"(,"dur":5,"args":{"device":0,"stream":7,"correlation":)" + std::to_string(correlation) +
         more + "}}";
}
bool whole(const std::string& events) {
  const Imported in = import_events(events);
  EXPECT_EQ(in.status, ImportStatus::ok) << in.why;
  return in.trace.whole_graphs;
}

const std::string kPlain = call("cudaLaunchKernel", 1) + "," + kernel(1, 1);

TEST(ImportGraphs, WithoutGraphsThereIsNothingToHide) {
  EXPECT_FALSE(whole(kPlain));
}

TEST(ImportGraphs, NodesThatWereRecordedAreNotHidden) {
  const std::string graph = kPlain + "," + call("cudaGraphLaunch", 2) + ",";
  // Several pieces of work of one launch, or one that says which node it is.
  EXPECT_FALSE(whole(graph + kernel(2, 1) + "," + kernel(2, 2)));
  EXPECT_FALSE(whole(graph + kernel(2, 1, R"(,"graph node id":4294967299)")));
  // One graph has a single node, another several.
  EXPECT_FALSE(whole(graph + kernel(2, 1) + "," + call("cudaGraphLaunch", 3) + "," + kernel(3, 1) +
                     "," + kernel(3, 2)));
}

TEST(ImportGraphs, OnePieceOfWorkForEachLaunchIsTheWholeGraph) {
  EXPECT_TRUE(whole(kPlain + "," + call("cudaGraphLaunch", 2) + "," + kernel(2, 1) + "," +
                    call("cudaGraphLaunch", 3) + "," + kernel(3, 1)));
}

TEST(ImportGraphs, LaunchesWithoutAnyWorkHideIt) {
  EXPECT_TRUE(whole(kPlain + "," + call("hipGraphLaunch", 2)));
}

TEST(ImportGraphs, WorkWithoutALaunchMayBeThatOfAGraph) {
  EXPECT_FALSE(whole(kPlain + "," + call("cudaGraphLaunch", 2) + "," + kernel(9, 1)));
}

TEST(ImportGraphs, WhereNoDeviceWasWatchedNothingIsSaidOfGraphs) {
  EXPECT_FALSE(whole(call("cudaGraphLaunch", 2)));
}

}  // namespace
}  // namespace mill::prof::test
