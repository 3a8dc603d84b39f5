// The profiler through the ABI: sessions on the CPU and on a simulated device, what views say of
// them, and bad input.
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "api/refusal.h"

namespace mill_test {
namespace {

// A query's result, copied.
struct Rows {
  std::vector<std::string> names;
  std::map<std::string, std::vector<double>> numbers;
  std::map<std::string, std::vector<std::string>> texts;
  uint64_t rows = 0;
  double sum(const std::string& name) const {
    double all = 0;
    for (const double value : numbers.at(name)) all += value;
    return all;
  }
};

class Profiler : public BadInput {
 protected:
  void SetUp() override {
    BadInput::SetUp();
    uint32_t n = 0;
    mill_prof_capability_count(f.context(), &n, nullptr);
    ASSERT_GT(n, 1u) << "the plugin lies beside the library";
  }

  mill_prof* session() {
    mill_prof* prof = nullptr;
    EXPECT_EQ(mill_prof_create(f.context(), nullptr, &prof, f.err()), MILL_OK) << f.message();
    return f.own(prof);
  }
  mill_prof_view* snapshot(mill_prof* prof) {
    mill_prof_view* view = nullptr;
    EXPECT_EQ(mill_prof_snapshot(prof, &view, f.err()), MILL_OK) << f.message();
    return f.own(view);
  }
  Rows ask(mill_prof_view* view, const std::string& text) {
    Rows out;
    mill_prof_result* result = nullptr;
    EXPECT_EQ(mill_prof_query(view, text.data(), text.size(), &result, f.err()), MILL_OK)
        << text << ": " << f.message();
    if (!result) return out;
    uint32_t columns = 0;
    EXPECT_EQ(mill_prof_result_shape(result, &columns, &out.rows, f.err()), MILL_OK);
    for (uint32_t k = 0; k < columns; ++k) {
      mill_prof_column column{};
      EXPECT_EQ(mill_prof_result_column(result, k, &column, f.err()), MILL_OK);
      out.names.emplace_back(column.name);
      for (uint64_t row = 0; row < out.rows; ++row) {
        if (column.type == MILL_PROF_TEXT) {
          out.texts[column.name].emplace_back(static_cast<const char* const*>(column.data)[row]);
        } else if (column.type == MILL_PROF_F64) {
          out.numbers[column.name].push_back(static_cast<const double*>(column.data)[row]);
        } else {
          out.numbers[column.name].push_back(
              static_cast<double>(static_cast<const int64_t*>(column.data)[row]));
        }
      }
    }
    mill_prof_result_release(result);
    return out;
  }
  mill_prof_summary summary(mill_prof_view* view) {
    mill_prof_summary out{};
    out.size = sizeof out;
    out.type = MILL_STRUCT_PROF_SUMMARY;
    EXPECT_EQ(mill_prof_view_summary(view, &out, f.err()), MILL_OK) << f.message();
    return out;
  }

  mill_exec* exec_on(uint32_t device) {
    mill_exec* exec = nullptr;
    EXPECT_EQ(mill_exec_create(f.context(), device, nullptr, &exec, f.err()), MILL_OK);
    return f.own(exec);
  }
  // 32 x 32 numbers on the exec's device.
  mill_tensor* sent(mill_exec* exec) {
    mill_tensor* x = nullptr;
    EXPECT_EQ(mill_tensor_to(exec, f.tensor({32, 32}), &x, f.err()), MILL_OK) << f.message();
    return f.own(x);
  }

  // Ten steps of two products and a sum each.
  void work(mill_exec* exec, mill_tensor* x, int steps) {
    for (int step = 0; step < steps; ++step) {
      mill_tensor* a = nullptr;
      mill_tensor* b = nullptr;
      ASSERT_EQ(mill_matmul(exec, x, x, &a, f.err()), MILL_OK) << f.message();
      ASSERT_EQ(mill_matmul(exec, a, x, &b, f.err()), MILL_OK) << f.message();
      mill_tensor_release(a);
      mill_tensor_release(b);
      ASSERT_EQ(mill_trace_step(exec, f.err()), MILL_OK);
    }
  }
  // What a session saw of that on the CPU.
  mill_prof_view* ten_steps() {
    mill_prof* const prof = session();
    mill_tensor* const x = f.tensor({32, 32});  // made by an op, which is not of the steps
    EXPECT_EQ(mill_prof_start(prof, f.err()), MILL_OK) << f.message();
    work(f.exec(), x, 10);
    EXPECT_EQ(mill_prof_stop(prof, f.err()), MILL_OK) << f.message();
    return snapshot(prof);
  }
};

TEST_F(Profiler, SeesEveryOpOfTheCpuWithItsStep) {
  mill_prof_view* const view = ten_steps();
  const Rows rows = ask(view, "select name, count, sum(flops) from ops group by name");
  ASSERT_EQ(rows.rows, 1u);
  EXPECT_EQ(rows.texts.at("name")[0], "matmul");
  EXPECT_EQ(rows.numbers.at("count")[0], 20);
  // 2 n^3 for each product.
  EXPECT_EQ(rows.sum("sum(flops)"), 20.0 * 2 * 32 * 32 * 32);
  EXPECT_EQ(ask(view, "select * from marked_steps").rows, 10u);
  EXPECT_STREQ(summary(view).step_source, "marks");
}

// A device whose time is modelled gives the session its clock once it does something, not before.
TEST_F(Profiler, ADeviceThatDoesNothingHidesNothing) {
  const uint32_t device = f.simulated();
  mill_prof_view* const view = ten_steps();
  EXPECT_EQ(ask(view, "select * from ops where name = 'matmul'").rows, 20u);
  EXPECT_EQ(ask(view, "select * from marked_steps").rows, 10u);
  EXPECT_STREQ(summary(view).step_source, "marks");
  EXPECT_EQ(summary(view).health, MILL_PROF_HIGH) << summary(view).health_text;
  EXPECT_GT(summary(view).busy_share, 0);
  EXPECT_EQ(ask(view, "select * from findings where rule = 'G1' or rule = 'G2'").rows, 0u);

  mill_exec* const exec = exec_on(device);
  mill_prof* const prof = session();
  mill_tensor* const on_host = f.tensor({32, 32});
  ASSERT_EQ(mill_prof_start(prof, f.err()), MILL_OK) << f.message();
  work(f.exec(), on_host, 3);
  mill_tensor* const x = sent(exec);
  work(exec, x, 10);
  ASSERT_EQ(mill_exec_wait(exec, f.err()), MILL_OK);
  ASSERT_EQ(mill_prof_stop(prof, f.err()), MILL_OK) << f.message();
  mill_prof_view* const both = snapshot(prof);
  EXPECT_EQ(ask(both, "select * from kernels where op_name = 'matmul'").rows, 20u);
  EXPECT_EQ(ask(both, "select * from ops where name = 'matmul'").rows, 20u);
  EXPECT_EQ(ask(both, "select * from marked_steps").rows, 10u);
  EXPECT_EQ(summary(both).health, MILL_PROF_HIGH) << summary(both).health_text;
  EXPECT_GT(ask(both, "select * from health where code = 'mixed clocks'").rows, 0u);
}

// The session's thread comes every some milliseconds: a program that is done before that has all of
// its records drained by the stop, which is then the first to see that time is modelled.
TEST_F(Profiler, AShortProgramOfModelledTimeLosesNothing) {
  const uint32_t device = f.simulated();
  mill_exec* const exec = exec_on(device);
  mill_tensor* const x = sent(exec);
  for (int round = 0; round < 10; ++round) {
    mill_prof* const prof = session();
    ASSERT_EQ(mill_prof_start(prof, f.err()), MILL_OK) << f.message();
    work(exec, x, 60);
    ASSERT_EQ(mill_prof_stop(prof, f.err()), MILL_OK) << f.message();
    EXPECT_EQ(ask(snapshot(prof), "select * from marked_steps").rows, 60u) << round;
    // After it nothing is recorded: the program asked for nothing.
    work(exec, x, 5);
    std::vector<mill_trace_record> records(4096);
    uint32_t count = 0;
    uint64_t lost = 0;
    ASSERT_EQ(mill_trace_drain(f.context(), records.data(), 4096, &count, &lost, f.err()), MILL_OK);
    EXPECT_EQ(count, 0u) << round;
  }
}

TEST_F(Profiler, LeavesTheProgramItsOwnTimelineAndRecords) {
  const uint32_t device = f.simulated();
  mill_exec* const exec = exec_on(device);
  mill_tensor* const x = sent(exec);
  // What the program sees of ten steps by its own drains, and by kind.
  const auto seen_by_program = [&](bool calls) {
    std::map<std::string, int> seen;
    EXPECT_EQ(mill_device_timeline(
                  f.context(), device,
                  MILL_TIMELINE_WORK | (calls ? uint32_t{MILL_TIMELINE_CALLS} : 0u), f.err()),
              MILL_OK);
    EXPECT_EQ(mill_trace_set_mask(f.context(), MILL_TRACE_OPS, f.err()), MILL_OK);
    work(exec, x, 10);
    EXPECT_EQ(mill_exec_wait(exec, f.err()), MILL_OK);
    std::vector<mill_timeline_record> timeline(200);
    uint64_t n = 0;
    uint64_t lost = 0;
    EXPECT_EQ(mill_device_drain(f.context(), device, timeline.data(), 200, &n, &lost, f.err()),
              MILL_OK);
    seen["lost"] = static_cast<int>(lost);
    for (uint64_t k = 0; k < n; ++k) ++seen["work " + std::to_string(timeline[k].kind)];
    std::vector<mill_trace_record> records(200);
    uint32_t m = 0;
    EXPECT_EQ(mill_trace_drain(f.context(), records.data(), 200, &m, &lost, f.err()), MILL_OK);
    for (uint32_t k = 0; k < m; ++k) ++seen["record " + std::to_string(records[k].kind)];
    EXPECT_EQ(mill_device_timeline(f.context(), device, 0, f.err()), MILL_OK);
    EXPECT_EQ(mill_trace_set_mask(f.context(), 0, f.err()), MILL_OK);
    return seen;
  };
  const auto alone = seen_by_program(false);
  EXPECT_EQ(alone.at("work " + std::to_string(MILL_TIMELINE_KERNEL)), 20);
  EXPECT_EQ(alone.at("record " + std::to_string(MILL_RECORD_OP)), 20);
  const auto with_calls = seen_by_program(true);
  EXPECT_GT(with_calls.size(), alone.size());

  mill_prof* const prof = session();
  ASSERT_EQ(mill_prof_start(prof, f.err()), MILL_OK) << f.message();
  EXPECT_EQ(seen_by_program(false), alone);
  EXPECT_EQ(seen_by_program(true), with_calls);
  work(exec, x, 10);
  EXPECT_EQ(mill_exec_wait(exec, f.err()), MILL_OK);
  ASSERT_EQ(mill_prof_stop(prof, f.err()), MILL_OK) << f.message();
  mill_prof_view* const view = snapshot(prof);
  EXPECT_EQ(ask(view, "select * from ops").rows, 60u);
  EXPECT_EQ(ask(view, "select * from kernels").rows, 60u);
  // The host of a simulated device takes no time, so only steps in which it waits have a length.
  EXPECT_LE(summary(view).health, MILL_PROF_MEDIUM) << summary(view).health_text;
}

TEST_F(Profiler, JoinsOpsCallsAndKernelsOfASimulatedDevice) {
  const uint32_t device = f.simulated();
  mill_exec* const exec = exec_on(device);
  mill_tensor* const x = sent(exec);
  mill_prof* const prof = session();
  ASSERT_EQ(mill_prof_start(prof, f.err()), MILL_OK) << f.message();
  work(exec, x, 10);
  ASSERT_EQ(mill_exec_wait(exec, f.err()), MILL_OK);
  ASSERT_EQ(mill_prof_stop(prof, f.err()), MILL_OK) << f.message();
  mill_prof_view* const view = snapshot(prof);
  const Rows kernels = ask(view, "select op_name, duration_ns, submit, start from kernels");
  ASSERT_GE(kernels.rows, 20u);
  for (uint64_t k = 0; k < kernels.rows; ++k) {
    EXPECT_EQ(kernels.texts.at("op_name")[k], "matmul") << k;
    EXPECT_GT(kernels.numbers.at("duration_ns")[k], 0) << k;
    EXPECT_GE(kernels.numbers.at("start")[k], kernels.numbers.at("submit")[k]) << k;
  }
  EXPECT_GE(ask(view, "select * from calls where kind = 'launch'").rows, 20u);
  EXPECT_EQ(ask(view, "select * from calls where kind = 'sync stream'").rows, 1u);
  EXPECT_EQ(summary(view).health, MILL_PROF_HIGH) << summary(view).health_text;
  EXPECT_LE(summary(view).replay_error, 0.01);
}

TEST_F(Profiler, SnapshotsWhileTheProgramRuns) {
  mill_prof* const prof = session();
  mill_tensor* const x = f.tensor({8, 8});
  ASSERT_EQ(mill_prof_start(prof, f.err()), MILL_OK);
  double before = 0;
  for (int round = 0; round < 5; ++round) {
    work(f.exec(), x, 10);
    const Rows rows = ask(snapshot(prof), "select count from ops");
    ASSERT_EQ(rows.rows, 1u);
    EXPECT_EQ(rows.numbers.at("count")[0], before + 20);
    before = rows.numbers.at("count")[0];
  }
  ASSERT_EQ(mill_prof_stop(prof, f.err()), MILL_OK);
}

TEST_F(Profiler, RangesMarksAndStepsOfAnyThread) {
  mill_prof* const prof = session();
  ASSERT_EQ(mill_prof_start(prof, f.err()), MILL_OK);
  std::thread worker([&] {
    for (int k = 0; k < 3; ++k) {
      mill_prof_range_push(prof, "outer", MILL_NTS, nullptr);
      mill_prof_range_push(prof, "inner", MILL_NTS, nullptr);
      mill_prof_range_pop(prof, nullptr);
      mill_prof_range_pop(prof, nullptr);
      mill_prof_range_pop(prof, nullptr);  // one too many
    }
  });
  worker.join();
  for (int k = 0; k < 4; ++k) EXPECT_EQ(mill_prof_step(prof, f.err()), MILL_OK);
  EXPECT_EQ(mill_prof_mark(prof, "here", MILL_NTS, f.err()), MILL_OK);
  ASSERT_EQ(mill_prof_stop(prof, f.err()), MILL_OK);
  mill_prof_view* const view = snapshot(prof);
  const Rows ranges =
      ask(view, "select name, kind, count from ranges group by name, kind order by name");
  ASSERT_EQ(ranges.rows, 3u);
  EXPECT_EQ(ranges.texts.at("name"), (std::vector<std::string>{"here", "inner", "outer"}));
  EXPECT_EQ(ranges.texts.at("kind"), (std::vector<std::string>{"mark", "user", "user"}));
  EXPECT_EQ(ranges.numbers.at("count"), (std::vector<double>{1, 3, 3}));
  EXPECT_EQ(ask(view, "select * from marked_steps").rows, 3u);  // the first mark begins the first
}

TEST_F(Profiler, GoesOnWhenTheProgramSetsItsMask) {
  mill_prof* const prof = session();
  mill_tensor* const x = f.tensor({8, 8});
  ASSERT_EQ(mill_prof_start(prof, f.err()), MILL_OK);
  ASSERT_EQ(mill_trace_set_mask(f.context(), MILL_TRACE_OP_STATS, f.err()), MILL_OK);
  work(f.exec(), x, 10);
  ASSERT_EQ(mill_trace_set_mask(f.context(), 0, f.err()), MILL_OK);
  work(f.exec(), x, 5);
  ASSERT_EQ(mill_prof_stop(prof, f.err()), MILL_OK);
  const Rows rows = ask(snapshot(prof), "select count from ops");
  ASSERT_EQ(rows.rows, 1u);
  EXPECT_EQ(rows.numbers.at("count")[0], 30);
}

TEST_F(Profiler, PutsTheMaskBack) {
  mill_prof* const prof = session();
  ASSERT_EQ(mill_trace_set_mask(f.context(), MILL_TRACE_OP_STATS, f.err()), MILL_OK);
  ASSERT_EQ(mill_prof_start(prof, f.err()), MILL_OK);
  uint64_t mask = 0;
  ASSERT_EQ(mill_trace_get_mask(f.context(), &mask, f.err()), MILL_OK);
  EXPECT_EQ(mask, uint64_t{MILL_TRACE_OP_STATS | MILL_TRACE_RECORDS});
  ASSERT_EQ(mill_prof_stop(prof, f.err()), MILL_OK);
  ASSERT_EQ(mill_trace_get_mask(f.context(), &mask, f.err()), MILL_OK);
  EXPECT_EQ(mask, uint64_t{MILL_TRACE_OP_STATS});
}

TEST_F(Profiler, OneSessionOfAContextRuns) {
  mill_prof* const prof = session();
  mill_prof* const second = session();
  expect_refused(f, mill_prof_stop(prof, f.err()), MILL_E_STATE, {"does not run"});
  ASSERT_EQ(mill_prof_start(prof, f.err()), MILL_OK);
  expect_refused(f, mill_prof_start(prof, f.err()), MILL_E_STATE, {"runs already"});
  expect_refused(f, mill_prof_start(second, f.err()), MILL_E_STATE, {"another session"});
  ASSERT_EQ(mill_prof_stop(prof, f.err()), MILL_OK);
  ASSERT_EQ(mill_prof_start(second, f.err()), MILL_OK) << f.message();
  ASSERT_EQ(mill_prof_stop(second, f.err()), MILL_OK);
}

TEST_F(Profiler, TheLastReleaseStopsASessionThatRuns) {
  mill_prof* prof = nullptr;
  ASSERT_EQ(mill_prof_create(f.context(), nullptr, &prof, f.err()), MILL_OK);
  ASSERT_EQ(mill_prof_start(prof, f.err()), MILL_OK);
  mill_prof_release(prof);
  mill_prof* const next = session();
  EXPECT_EQ(mill_prof_start(next, f.err()), MILL_OK) << f.message();
  EXPECT_EQ(mill_prof_stop(next, f.err()), MILL_OK);
}

TEST_F(Profiler, AForkedChildIsToldSo) {
  mill_prof* const prof = session();
  ASSERT_EQ(mill_prof_start(prof, f.err()), MILL_OK);
  const pid_t child = ::fork();
  if (child == 0) {
    mill_prof_view* view = nullptr;
    const bool good = mill_prof_step(prof, nullptr) == MILL_E_FORKED &&
                      mill_prof_stop(prof, nullptr) == MILL_E_FORKED &&
                      mill_prof_snapshot(prof, &view, nullptr) == MILL_E_FORKED;
    mill_prof_release(prof);
    ::_exit(good ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  ASSERT_EQ(mill_prof_stop(prof, f.err()), MILL_OK);
}

TEST_F(Profiler, NamesWhatIsWrongWithOptions) {
  mill_prof_opts opts{};
  opts.size = sizeof opts;
  opts.type = MILL_STRUCT_PROF_OPTS;
  mill_prof* out = nullptr;
  opts.tier = 9;
  expect_refused(f, mill_prof_create(f.context(), &opts, &out, f.err()), MILL_E_ARG, {"tier", "9"});
  opts.tier = 4;
  expect_refused(f, mill_prof_create(f.context(), &opts, &out, f.err()), MILL_E_UNSUPPORTED,
                 {"tier 4", "CUPTI"});
  opts.tier = 0;
  opts.budget = -1;
  expect_refused(f, mill_prof_create(f.context(), &opts, &out, f.err()), MILL_E_ARG,
                 {"budget", "-1"});
  opts.budget = 0;
  opts.store_bytes = 5;
  expect_refused(f, mill_prof_create(f.context(), &opts, &out, f.err()), MILL_E_ARG,
                 {"store_bytes", "5", "1048576"});
  mill_prof* const prof = session();
  expect_refused(f, mill_prof_set(prof, "t3_min_shares", MILL_NTS, 1, f.err()), MILL_E_ARG,
                 {"t3_min_shares", "t3_min_share"});
  expect_refused(f, mill_prof_set(prof, "t3_min_share", MILL_NTS, -2, f.err()), MILL_E_ARG,
                 {"t3_min_share", "-2"});
  expect_refused(
      f, mill_prof_open(f.context(), "/nonexistent/t.json", MILL_NTS, nullptr, &out, f.err()),
      MILL_E_IO, {"/nonexistent/t.json"});
  mill_prof_view* const view = snapshot(prof);
  mill_prof_result* result = nullptr;
  expect_refused(f,
                 mill_prof_query(view, "select durration from kernels", MILL_NTS, &result, f.err()),
                 MILL_E_ARG, {"durration", "kernels"});
  expect_refused(f,
                 mill_prof_export_file(view, MILL_PROF_FORMAT_TEXT, "tall=1,width=90", f.path("x"),
                                       MILL_NTS, f.err()),
                 MILL_E_ARG, {"no option \"tall=1\""});
  expect_refused(f, mill_prof_export_file(view, 9, "", f.path("x"), MILL_NTS, f.err()), MILL_E_ARG,
                 {"9"});
  expect_refused(f,
                 mill_prof_export_file(view, MILL_PROF_FORMAT_CSV, "table=kernel", f.path("x"),
                                       MILL_NTS, f.err()),
                 MILL_E_ARG, {"kernel", "kernels"});
  expect_refused(
      f,
      mill_prof_export_file(view, MILL_PROF_FORMAT_TEXT, "", "/nonexistent/x", MILL_NTS, f.err()),
      MILL_E_IO, {"/nonexistent/x"});
}

// Under `millrace prof run` too a program may profile itself.
TEST_F(Profiler, TakesTheContextFromARecordingOfTheEnvironment) {
  const std::string path = f.path("environment.json");
  setenv("MILLRACE_PROF", path.c_str(), 1);
  mill_context* context = nullptr;
  const mill_status made = mill_context_create(nullptr, &context, f.err());
  unsetenv("MILLRACE_PROF");
  ASSERT_EQ(made, MILL_OK) << f.message();
  struct stat there {};
  EXPECT_NE(stat(path.c_str(), &there), 0) << "it is written when it ends";
  mill_prof* first = nullptr;
  mill_prof* second = nullptr;
  ASSERT_EQ(mill_prof_create(context, nullptr, &first, f.err()), MILL_OK) << f.message();
  ASSERT_EQ(mill_prof_create(context, nullptr, &second, f.err()), MILL_OK) << f.message();
  EXPECT_EQ(mill_prof_start(first, f.err()), MILL_OK) << f.message();
  EXPECT_EQ(stat(path.c_str(), &there), 0);
  EXPECT_EQ(mill_prof_start(second, f.err()), MILL_E_STATE) << "one at a time";
  EXPECT_EQ(mill_prof_stop(first, f.err()), MILL_OK) << f.message();
  EXPECT_EQ(mill_prof_start(second, f.err()), MILL_OK) << f.message();
  mill_prof_release(first);
  mill_prof_release(second);
  mill_context_release(context);
}

// Packed, it is the same text; a trace is read back either way.
TEST_F(Profiler, APathThatEndsInGzIsCompressed) {
  mill_prof_view* const view = ten_steps();
  const auto bytes_of = [](const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  const std::string plain = f.path("trace.json");
  const std::string packed = f.path("trace.json.gz");
  for (const std::string& path : {plain, packed}) {
    ASSERT_EQ(
        mill_prof_export_file(view, MILL_PROF_FORMAT_CHROME, "", path.c_str(), MILL_NTS, f.err()),
        MILL_OK)
        << f.message();
  }
  EXPECT_EQ(bytes_of(plain).substr(0, 1), "{");
  EXPECT_EQ(bytes_of(packed).substr(0, 3), "\x1f\x8b\x08");
  EXPECT_LT(bytes_of(packed).size(), bytes_of(plain).size() / 2);
  for (const std::string& path : {plain, packed}) {
    mill_prof* opened = nullptr;
    ASSERT_EQ(mill_prof_open(f.context(), path.c_str(), MILL_NTS, nullptr, &opened, f.err()),
              MILL_OK)
        << f.message();
    mill_prof_view* const again = snapshot(f.own(opened));
    EXPECT_EQ(ask(again, "select name from ops").rows, 20u);
  }
}

// A report goes to a file of its own: what is not a file stays what it was, and so does what lies
// beside it.
TEST_F(Profiler, AReportReplacesFilesOnly) {
  mill_prof_view* const view = snapshot(session());
  const std::string pipe = f.path("pipe");
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  expect_refused(
      f, mill_prof_export_file(view, MILL_PROF_FORMAT_TEXT, "", pipe.c_str(), MILL_NTS, f.err()),
      MILL_E_IO, {"pipe", "not a regular file"});
  struct stat there {};
  ASSERT_EQ(stat(pipe.c_str(), &there), 0);
  EXPECT_TRUE(S_ISFIFO(there.st_mode));

  const std::string file = f.path("report.txt");
  const std::string beside = file + ".new";
  std::ofstream(beside) << "mine";
  const std::string link = f.path("link");
  ASSERT_EQ(symlink(file.c_str(), link.c_str()), 0);
  std::ofstream(file) << "old";
  EXPECT_EQ(mill_prof_export_file(view, MILL_PROF_FORMAT_TEXT, "", link.c_str(), MILL_NTS, f.err()),
            MILL_OK)
      << f.message();
  EXPECT_EQ(lstat(link.c_str(), &there), 0);
  EXPECT_TRUE(S_ISLNK(there.st_mode));
  std::string text;
  std::ifstream in(beside);
  std::getline(in, text);
  EXPECT_EQ(text, "mine");
  ASSERT_EQ(stat(file.c_str(), &there), 0);
  EXPECT_GT(there.st_size, 100);
}

TEST_F(Profiler, AnEmptyRecordingGivesNoAdvice) {
  mill_prof_view* const view = snapshot(session());
  const mill_prof_summary said = summary(view);
  EXPECT_EQ(said.health, MILL_PROF_REFUSE);
  EXPECT_STRNE(said.health_text, "");
  EXPECT_EQ(said.findings, 0u);
}

TEST_F(Profiler, AWriterThatSaysNoEndsTheExport) {
  mill_prof_view* const view = snapshot(session());
  int calls = 0;
  const mill_prof_writer writer = [](void* user, const char*, uint64_t) -> mill_status {
    return ++*static_cast<int*>(user) == 1 ? MILL_E_IO : MILL_OK;
  };
  expect_refused(f,
                 mill_prof_export(view, MILL_PROF_FORMAT_JSON_LINES, "", writer, &calls, f.err()),
                 MILL_E_IO, {});
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace mill_test
