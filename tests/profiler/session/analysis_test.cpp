#include "profiler/session/analysis.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <numeric>
#include <random>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <utility>

#include "profiler/builder.h"
#include "profiler/import/import.h"

namespace mill::prof::test {
namespace {

const Finding* find_rule(const Analysis& analysis, RuleId rule) {
  for (const Finding& finding : analysis.findings) {
    if (finding.rule == rule) return &finding;
  }
  return nullptr;
}

double fact(const Finding& finding, std::string_view name) {
  for (const Fact& one : finding.facts) {
    if (one.name == name) return one.value;
  }
  return -1;
}

bool has_item(const Health& health, HealthCode code) {
  for (const HealthItem& item : health.items) {
    if (item.code == code) return true;
  }
  return false;
}

// Steps of 405 us in which the host waits for every kernel: S1.
Trace waiting(int steps, bool marked = true) {
  Builder b;
  for (int k = 0; k < steps; ++k) {
    const Ns t = 1 * ms + k * 405 * us;
    b.kernel("work", t + 5 * us, t + 5 * us, t + 105 * us);
    b.call(CallKind::sync_device, "cudaDeviceSynchronize", t + 5 * us, t + 105 * us);
    if (marked) b.step(k, t, t + 405 * us);
  }
  return std::move(b.trace);
}

TEST(Analyse, FindsRanksAndSaysWhatAllOfItSaves) {
  const auto analysis = analyse(waiting(10));
  EXPECT_EQ(analysis->health.verdict, Confidence::high);
  ASSERT_FALSE(analysis->findings.empty());
  const Finding& first = analysis->findings.front();
  EXPECT_EQ(first.rule, RuleId::S1);
  EXPECT_EQ(first.rank, 1u);
  EXPECT_EQ(first.joint_rank, 1u);
  EXPECT_EQ(first.confidence, Confidence::high);
  // Nine steps take 305 instead of 405; nothing follows the last wait.
  EXPECT_NEAR(static_cast<double>(first.saving.expected), 900e3, 9e3);
  EXPECT_NEAR(static_cast<double>(analysis->joint_saving), 900e3, 9e3);
  EXPECT_LE(analysis->replay->error(), 0.05);
}

TEST(Analyse, GapsHaveCausesThatAddUp) {
  const auto analysis = analyse(waiting(10));
  ASSERT_FALSE(analysis->gaps.empty());
  for (const Gap& gap : analysis->gaps) {
    EXPECT_GE(gap.end - gap.begin, 10 * us);
    EXPECT_EQ(std::accumulate(std::begin(gap.causes), std::end(gap.causes), Ns{0}),
              gap.end - gap.begin);
  }
}

TEST(Analyse, SaysWhenThereAreNoStepsWithoutLosingTrust) {
  AnalysisOptions options;
  options.timeline.find_period = false;
  const auto analysis = analyse(waiting(10, false), options);
  EXPECT_TRUE(has_item(analysis->health, HealthCode::no_steps));
  EXPECT_EQ(analysis->health.verdict, Confidence::high);
  const auto marked = analyse(waiting(10));
  EXPECT_FALSE(has_item(marked->health, HealthCode::no_steps));
}

TEST(Analyse, TrustsFewStepsLess) {
  std::map<uint32_t, Confidence> verdicts;
  for (int n = 1; n <= 6; ++n) {
    const auto analysis = analyse(waiting(n));
    const uint32_t steps = analysis->timeline->window_steps();
    verdicts[steps] = analysis->health.verdict;
    EXPECT_EQ(has_item(analysis->health, HealthCode::few_steps), steps == 1 || steps == 2);
    for (const Finding& finding : analysis->findings)
      EXPECT_GE(finding.confidence, analysis->health.verdict) << finding.title;
  }
  EXPECT_EQ(verdicts.at(1), Confidence::medium);
  EXPECT_EQ(verdicts.at(2), Confidence::medium);
  EXPECT_EQ(verdicts.at(3), Confidence::high);
}

TEST(Analyse, TakesThresholdsFromTheOptions) {
  AnalysisOptions options;
  options.limits.s1_min_share = 0.9;
  EXPECT_EQ(find_rule(*analyse(waiting(10), options), RuleId::S1), nullptr);
  options = {};
  options.limits.g1_min_gap_ns = 1e30;
  EXPECT_TRUE(analyse(waiting(10), options)->gaps.empty());
}

TEST(Analyse, PassesTheOwnCostOn) {
  AnalysisOptions options;
  options.budget = 0.02;
  Trace trace = waiting(10);
  trace.own_cost.share = 0.05;
  trace.own_cost.event_ns = 45;
  const auto analysis = analyse(std::move(trace), options);
  EXPECT_EQ(analysis->own_cost.share, 0.05);
  EXPECT_EQ(analysis->own_cost.event_ns, 45);
  EXPECT_EQ(analysis->budget, 0.02);
  EXPECT_NE(find_rule(*analysis, RuleId::O1), nullptr);
}

TEST(Analyse, RefusesAdviceWhereMuchWasLost) {
  Trace trace = waiting(10);
  trace.losses.push_back({"engine rings", 10});  // beside 40 that were kept
  const auto analysis = analyse(std::move(trace));
  EXPECT_EQ(analysis->health.verdict, Confidence::refuse);
  EXPECT_TRUE(analysis->findings.empty());
  EXPECT_EQ(analysis->joint_saving, 0);
  EXPECT_FALSE(analysis->health.summary.empty());
}

TEST(Analyse, AnEmptyTraceIsNoGoodNews) {
  const auto analysis = analyse(Trace());
  EXPECT_TRUE(has_item(analysis->health, HealthCode::empty));
  EXPECT_TRUE(analysis->findings.empty());
  ASSERT_NE(analysis->timeline, nullptr);
  ASSERT_NE(analysis->replay, nullptr);
}

// Every 50th kernel is moved before its launch, every 100th has no times.
uint64_t corrupt(Trace& trace) {
  std::unordered_map<uint64_t, Ns> launched;
  for (uint32_t call = 0; call < trace.calls.size(); ++call)
    launched[trace.calls.correlation[call]] = trace.calls.start[call];
  uint64_t kernels = 0;
  uint64_t changed = 0;
  Work& work = trace.work;
  for (uint32_t row = 0; row < work.size(); ++row) {
    if (work.kind[row] != static_cast<uint8_t>(WorkKind::kernel)) continue;
    ++kernels;
    if (kernels % 50 == 0) {
      const Ns length = work.end[row] - work.start[row];
      work.start[row] = launched.at(work.correlation[row]) - 1 * ms;
      work.end[row] = work.start[row] + length;
      ++changed;
    } else if (kernels % 100 == 25) {
      work.start[row] = 0;
      work.end[row] = 0;
      ++changed;
    }
  }
  return changed;
}

void expect_withheld(const Analysis& analysis, uint64_t changed) {
  EXPECT_EQ(analysis.health.verdict, Confidence::low);
  EXPECT_EQ(analysis.health.excluded, changed);
  EXPECT_FALSE(analysis.findings.empty()) << "what was seen is still told";
  for (const Finding& finding : analysis.findings) {
    EXPECT_TRUE(finding.withheld) << finding.title;
    EXPECT_EQ(finding.saving.expected, 0) << finding.title;
    EXPECT_EQ(finding.saving.upper, 0) << finding.title;
    EXPECT_GE(finding.confidence, Confidence::low) << finding.title;
    EXPECT_LE(finding.severity, Severity::minor) << finding.title;
  }
  EXPECT_EQ(analysis.joint_saving, 0);
}

TEST(Analyse, WithholdsSavingsFromImpossibleTimes) {
  Trace trace = waiting(1000);
  const uint64_t changed = corrupt(trace);
  ASSERT_EQ(changed, 30u);
  expect_withheld(*analyse(std::move(trace)), changed);
}

// A row may say anything; only the numbers of devices, threads, streams and strings are sound.
Trace odd_trace(uint64_t seed) {
  std::mt19937_64 random(seed);
  Builder b;
  b.device(1);
  b.thread(2);
  b.on(1).call(CallKind::launch, "first", 0, 0);
  b.trace.streams[0].legacy_default = true;
  b.trace.devices[1].kind = seed % 3 == 0 ? DeviceKind::cpu : DeviceKind::accelerator;
  b.trace.devices[1].host_threads = 4;
  b.trace.strings.intern("minor_faults");
  b.trace.strings.intern("reserved_bytes");
  b.trace.strings.intern("used_bytes");
  Trace& trace = b.trace;
  const bool wild = seed % 2 == 0;
  const auto time = [&]() -> int64_t {
    if (wild && random() % 16 == 0) {
      constexpr int64_t kOdd[] = {0, -1, INT64_MIN, INT64_MAX, INT64_MIN + 1, INT64_MAX - 1};
      return kOdd[random() % std::size(kOdd)];
    }
    return static_cast<int64_t>(1000000000 + random() % 1000000);
  };
  for_each_table(trace, [&](const char*, auto& table) {
    using Table = std::remove_reference_t<decltype(table)>;
    const uint32_t rows = static_cast<uint32_t>(random() % 60);
    for (uint32_t k = 0; k < rows; ++k) {
      const uint32_t row = table.add();
      Table::visit(table, [&](const ColumnInfo& info, auto& column) {
        using Value = typename std::remove_reference_t<decltype(column)>::value_type;
        Value& value = column[row];
        switch (info.unit) {
          case Unit::row: break;  // link() fills them
          case Unit::ns: value = static_cast<Value>(time()); break;
          case Unit::device:
            value = static_cast<Value>(random() % 3 == 0 ? kNoRow : random() % 2);
            break;
          case Unit::thread: value = static_cast<Value>(random() % trace.threads.size()); break;
          case Unit::stream: value = static_cast<Value>(random() % trace.streams.size()); break;
          case Unit::string: value = static_cast<Value>(random() % trace.strings.size()); break;
          case Unit::code: value = static_cast<Value>(random() % 20); break;
          case Unit::flags: value = static_cast<Value>(random() % 16 & ~uint64_t{kExcluded}); break;
          default: value = static_cast<Value>(wild && random() % 8 == 0 ? random() : random() % 50);
        }
      });
    }
  });
  // Most intervals of the tame half are possible ones.
  if (!wild) {
    for_each_table(trace, [&](const char*, auto& table) {
      if constexpr (requires { table.end; }) {
        for (uint32_t row = 0; row < table.size(); ++row) {
          if (table.end[row] < table.start[row]) std::swap(table.start[row], table.end[row]);
        }
      }
    });
  }
  return std::move(b.trace);
}

TEST(Analyse, SurvivesWhateverRowsSay) {
  uint64_t findings = 0;
  for (uint64_t seed = 0; seed < 400; ++seed) {
    SCOPED_TRACE(seed);
    AnalysisOptions options;
    options.health.lost_refuse = 1;
    const auto analysis = analyse(odd_trace(seed), options);
    const Ns window = analysis->timeline->window().length();
    for (const Finding& finding : analysis->findings) {
      ++findings;
      EXPECT_LE(0, finding.saving.lower) << finding.title;
      EXPECT_LE(finding.saving.lower, finding.saving.expected) << finding.title;
      EXPECT_LE(finding.saving.expected, finding.saving.upper) << finding.title;
      EXPECT_LE(finding.saving.upper, window) << finding.title;
      EXPECT_LE(finding.evidence.size(), 1000u) << finding.title;
      EXPECT_LE(finding.evidence.size(), finding.evidence_total) << finding.title;
    }
  }
  EXPECT_GT(findings, 0u);
}

// ---- recordings of others, whose answers are known ----------------------------------------------

class Recorded : public testing::Test {
 protected:
  void SetUp() override {
    const char* folder = std::getenv("MILL_TEST_DATA");
    if (folder == nullptr || *folder == '\0')
      GTEST_SKIP() << "MILL_TEST_DATA names no folder of recorded traces";
    folder_ = folder;
  }
  Trace read(const std::string& name) const {
    Trace trace;
    std::string why;
    const auto status =
        import_file(folder_ + "/traces/" + name + ".json.gz", ImportOptions{}, &trace, &why);
    EXPECT_EQ(status, ImportStatus::ok) << why;
    return trace;
  }
  static bool is_transfer(RuleId rule) { return rule >= RuleId::T1 && rule <= RuleId::T11; }
  static const Finding* first_transfer(const Analysis& analysis) {
    for (const Finding& finding : analysis.findings) {
      if (is_transfer(finding.rule)) return &finding;
    }
    return nullptr;
  }

 private:
  std::string folder_;
};

// 59,262 of 177,592 us per step wait for data: 33.37 %, with the published table.
TEST_F(Recorded, TrainingWithoutLoaderWorkersIsInputBoundFirst) {
  const auto analysis = analyse(read("kineto_resnet50_workers0"));
  EXPECT_EQ(analysis->timeline->steps().size(), 6u);
  ASSERT_FALSE(analysis->findings.empty());
  const Finding& first = analysis->findings.front();
  EXPECT_EQ(first.rule, RuleId::I1) << first.title;
  EXPECT_EQ(first.severity, Severity::major);
  EXPECT_NEAR(fact(first, "loader_wait_share"), 0.3337, 0.0034);
  EXPECT_NEAR(fact(first, "kernel_share"), 0.5551, 0.0056);
  const double share = static_cast<double>(first.saving.expected) /
                       static_cast<double>(analysis->timeline->window().length());
  EXPECT_NEAR(share, 0.3337, 0.02);
  EXPECT_LE(analysis->replay->error(), 0.05);
}

// Twelve copies, 115,607,040 bytes in 11,492 us, none of it under a kernel.
TEST_F(Recorded, TrainingCopiesFromPageableMemory) {
  const auto analysis = analyse(read("kineto_resnet50_workers0"));
  const Finding* found = first_transfer(*analysis);
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->rule, RuleId::T1) << found->title;
  EXPECT_EQ(found->evidence_total, 12u);
  EXPECT_EQ(fact(*found, "bytes"), 115607040);
  EXPECT_GT(found->saving.upper, 0);
  EXPECT_LE(found->saving.expected, 12600 * us)
      << "no more than the calls (12,047) and the waits after them (551) took";
}

TEST_F(Recorded, InferenceSpendsItsTimeOnFirstUse) {
  const auto analysis = analyse(read("hta_alexnet_a100"));
  ASSERT_FALSE(analysis->findings.empty());
  const Finding& first = analysis->findings.front();
  EXPECT_EQ(first.rule, RuleId::G1) << first.title;
  EXPECT_STREQ(first.fix.knob, "warm_up");
  EXPECT_EQ(first.severity, Severity::major);
  // Stream creation 29.9 and 0.7, cudaFree 6.0 and 0.5, a launch 3.1, cudaMalloc 1.9 s.
  EXPECT_NEAR(static_cast<double>(first.saving.expected), 42.1e9, 0.5e9);
  const Finding* transfer = first_transfer(*analysis);
  ASSERT_NE(transfer, nullptr);
  EXPECT_EQ(transfer->rule, RuleId::T1) << transfer->title;
}

TEST_F(Recorded, ImpossibleTimesInATrainingWithholdTheSavings) {
  Trace trace = read("kineto_resnet50_workers0");
  const uint64_t changed = corrupt(trace);
  expect_withheld(*analyse(std::move(trace)), changed);
}

}  // namespace
}  // namespace mill::prof::test
