#include "profiler/rules/loader_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "profiler/rules/rule_case.h"

namespace mill::prof::test {
namespace {

using rule::LoaderQueue;

constexpr uint64_t kLoader = 7;

// What a program does: after batch k it works for after[k], and batch k takes make[k] to make.
struct Program {
  std::vector<Ns> make;
  std::vector<Ns> after;
  std::vector<size_t> rewound;  // batches before which the position is set
};

struct Played {
  std::vector<Ns> asked;
  std::vector<Ns> given;
  std::vector<Ns> begun;
  std::vector<Ns> done;
  std::vector<Ns> waits() const {
    std::vector<Ns> out(asked.size());
    for (size_t k = 0; k < out.size(); ++k) out[k] = given[k] - asked[k];
    return out;
  }
};

// The loader of data/loader.h, one tick after another: depth + 1 slots, worker n % workers, a slot
// that is free again when the next batch is asked for. No worker: the program makes its batches.
Played play(const Program& program, uint32_t workers, uint32_t depth) {
  const size_t n = program.make.size();
  Played out{std::vector<Ns>(n), std::vector<Ns>(n), std::vector<Ns>(n), std::vector<Ns>(n, -1)};
  if (workers == 0) {
    Ns now = 0;
    for (size_t k = 0; k < n; ++k) {
      out.asked[k] = out.begun[k] = now;
      now += program.make[k];
      out.done[k] = out.given[k] = now;
      now += program.after[k];
    }
    return out;
  }
  struct Worker {
    size_t next = 0;
    Ns until = -1;  // working
  };
  std::vector<Worker> team(workers);
  size_t taken = 0;  // batches that the program has been given
  size_t asked = 0;  // ... has asked for
  size_t begin = 0;  // the batch at which the position was set
  Ns busy = 0;       // the program, until then
  const auto start = [&](size_t from) {
    begin = from;
    for (size_t k = 0; k < workers; ++k) {
      team[k] = {};
      while (team[k].next < from || team[k].next % workers != k) ++team[k].next;
    }
  };
  start(0);
  for (Ns now = 0; taken < n; ++now) {
    for (Worker& worker : team) {
      if (worker.until == now) {
        out.done[worker.next] = now;
        worker.until = -1;
        worker.next += workers;
      }
    }
    if (busy == now && asked == taken && asked < n) {
      if (std::count(program.rewound.begin(), program.rewound.end(), asked) > 0) start(asked);
      out.asked[asked++] = now;
    }
    const size_t released = asked > begin ? asked - 1 - begin : 0;
    if (asked > 0) {
      for (Worker& worker : team) {
        if (worker.until >= 0 || worker.next >= n || worker.next - begin > released + depth)
          continue;
        // Before the position is set nobody knows what comes after it.
        const auto after = std::upper_bound(program.rewound.begin(), program.rewound.end(), begin);
        if (after != program.rewound.end() && worker.next >= *after) continue;
        out.begun[worker.next] = now;
        worker.until = now + program.make[worker.next];
      }
    }
    if (asked > taken && out.done[taken] >= 0) {
      out.given[taken] = now;
      busy = now + program.after[taken];
      ++taken;
    }
  }
  return out;
}

Trace recorded(const Program& program, const Played& played, uint32_t workers, Ns scale = 1) {
  Builder b;
  b.trace.dialect = "millrace";
  std::vector<uint32_t> threads;
  for (uint32_t k = 0; k < workers; ++k) threads.push_back(b.thread(2 + k));
  Loader& loader = b.trace.loader;
  const auto row = [&](LoaderKind kind, uint64_t batch, Ns begin, Ns end) {
    const uint32_t at = loader.add();
    loader.kind[at] = static_cast<uint8_t>(kind);
    loader.loader[at] = kLoader;
    loader.batch[at] = batch;
    loader.start[at] = begin * scale;
    loader.end[at] = end * scale;
    return at;
  };
  uint64_t number = 0;
  for (size_t k = 0; k < program.make.size(); ++k) {
    // Set to the beginning of an epoch: the numbers go back, or leave some out.
    if (std::count(program.rewound.begin(), program.rewound.end(), k) > 0) number += 100 * workers;
    const uint32_t fill = row(LoaderKind::fill, number, played.begun[k], played.done[k]);
    loader.thread[fill] = workers > 0 ? threads[k % workers] : 0;
    const uint32_t next = row(LoaderKind::next, number++, played.asked[k], played.given[k]);
    loader.wait[next] = (played.given[k] - played.asked[k]) * scale;
    const Ns from = played.given[k] * scale;
    const Ns to = from + program.after[k] * scale;
    // A launch takes 5 us.
    const Ns asked = std::min(from + 5 * us, to);
    b.by(0).kernel("work", asked, asked, to);
    b.call(CallKind::sync_device, "cudaDeviceSynchronize", asked, to);
    b.step(k, played.asked[k] * scale, to);
  }
  return std::move(b.trace);
}

LoaderQueue queue_of(const Trace& trace, uint32_t workers) {
  std::vector<uint32_t> threads;
  for (uint32_t k = 0; k < workers; ++k) threads.push_back(k + 1);
  return LoaderQueue(trace, {0, INT64_MAX / 4}, kLoader, threads);
}

Program random_program(std::mt19937_64& random, uint32_t workers) {
  Program program;
  const size_t n = 5 + random() % 40;
  const Ns most_make = static_cast<Ns>(1 + random() % 40);
  const Ns most_after = static_cast<Ns>(1 + random() % 40);
  for (size_t k = 0; k < n; ++k) {
    program.make.push_back(static_cast<Ns>(1 + random() % static_cast<uint64_t>(most_make)));
    program.after.push_back(static_cast<Ns>(1 + random() % static_cast<uint64_t>(most_after)));
  }
  if (workers > 0 && random() % 3 == 0) program.rewound.push_back(workers * (1 + random() % 2));
  if (!program.rewound.empty() && program.rewound[0] >= n) program.rewound.clear();
  return program;
}

// Played with what it was recorded with, each wait is as long as it was.
TEST(LoaderQueue, GivesBackWhatWasRecorded) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 300; ++round) {
    const auto workers = static_cast<uint32_t>(1 + random() % 4);
    const auto depth = static_cast<uint32_t>(workers + random() % 4);
    const Program program = random_program(random, workers);
    const Played played = play(program, workers, depth);
    const Trace trace = recorded(program, played, workers);
    const LoaderQueue queue = queue_of(trace, workers);
    ASSERT_TRUE(queue.known());
    EXPECT_LE(queue.depth(), std::max(depth, 1u));
    EXPECT_EQ(queue.waits(workers, queue.depth()), played.waits()) << "round " << round;
    EXPECT_EQ(queue.recorded(), played.waits());
  }
}

// Numbers that are left out where nothing was recorded are of batches that the program took.
TEST(LoaderQueue, AHoleInTheRecordingGivesNothingUp) {
  Program program;
  program.make.assign(20, 5);
  program.after.assign(20, 3);
  program.rewound.push_back(10);
  const Played played = play(program, 1, 2);
  Trace trace = recorded(program, played, 1);
  EXPECT_EQ(queue_of(trace, 1).restarts(), 1u);
  trace.recorded = {{0, played.given[9]}, {played.asked[10], INT64_MAX / 4}};
  EXPECT_EQ(queue_of(trace, 1).restarts(), 0u);
}

// ... and with other workers and another depth, as long as they then are.
TEST(LoaderQueue, ForetellsOtherWorkersAndDepths) {
  std::mt19937_64 random(2);
  for (int round = 0; round < 300; ++round) {
    const auto workers = static_cast<uint32_t>(random() % 4);
    const auto depth = static_cast<uint32_t>(std::max(workers, 1u) + random() % 3);
    const Program program = random_program(random, 0);
    const Trace trace = recorded(program, play(program, workers, depth), workers);
    const LoaderQueue queue = queue_of(trace, workers);
    const auto more = static_cast<uint32_t>(1 + random() % 6);
    const auto deeper = static_cast<uint32_t>(more + random() % 8);
    // A worker that was kept back by memory says nothing of when it would have begun otherwise; one
    // that was seen at its full depth does.
    if (workers > 0 && queue.depth() < depth) continue;
    EXPECT_EQ(queue.waits(more, deeper), play(program, more, deeper).waits()) << "round " << round;
  }
}

// What the batches of a case's window are waited for less, times in 10 us.
double saved(const RuleCase& c, const Played& now, const Played& then) {
  const Interval window = c.timeline().window();
  Ns less = 0;
  for (size_t k = 0; k < now.asked.size(); ++k) {
    if (now.asked[k] * 10 * us >= window.begin && now.asked[k] * 10 * us < window.end)
      less += now.waits()[k] - then.waits()[k];
  }
  return static_cast<double>(less * 10 * us);
}

// Of five batches four are asked for at once, and the worker has made them all by the time of the
// next five: 4 x 20 beside 5 x 15.
Program bursts() {
  Program program;
  for (int k = 0; k < 60; ++k) {
    program.make.push_back(15);
    program.after.push_back(k % 5 == 4 ? 80 : 1);
  }
  return program;
}

TEST(LoaderQueue, BurstsWantALongerQueue) {
  const Program program = bursts();
  const Played now = play(program, 1, 2);
  RuleCase c(recorded(program, now, 1, 10 * us));
  const auto findings = c.run(find_input);
  ASSERT_EQ(findings.size(), 1u);
  const Finding& found = findings[0];
  EXPECT_STREQ(found.fix.knob, "prefetch_depth");
  const auto depth = static_cast<uint32_t>(fact(found, "batches_ahead") + found.fix.value);
  EXPECT_EQ(fact(found, "batches_ahead"), 2);
  EXPECT_GE(depth, 4u);
  EXPECT_LE(depth, 6u);
  const Played then = play(program, 1, depth);
  const double measured = saved(c, now, then);
  EXPECT_NEAR(static_cast<double>(found.saving.expected), measured, measured * 0.01);
  EXPECT_LE(found.saving.lower, found.saving.expected);
  EXPECT_GT(found.saving.lower, 0);
  EXPECT_TRUE(says(found.advice, "in bursts")) << found.advice;
}

// 150 to make a batch and 60 to use it.
Program slow_worker() {
  Program program;
  for (int k = 0; k < 40; ++k) {
    program.make.push_back(150);
    program.after.push_back(60);
  }
  return program;
}

// Two workers are not enough, three are; a longer queue of one worker is empty soon.
TEST(LoaderQueue, AWorkerThatIsTooSlowWantsOthers) {
  const Program program = slow_worker();
  const Played now = play(program, 1, 2);
  RuleCase c(recorded(program, now, 1, 10 * us));
  const auto findings = c.run(find_input);
  ASSERT_EQ(findings.size(), 1u);
  const Finding& found = findings[0];
  EXPECT_STREQ(found.fix.knob, "loader_workers");
  EXPECT_EQ(found.fix.value, 3);
  const Played then = play(program, 3, 3);
  const double measured = saved(c, now, then);
  EXPECT_NEAR(static_cast<double>(found.saving.expected), measured, measured * 0.01);
}

// The host asks for a batch every 20 and the device computes 100 for each: a batch that takes 150
// wants two workers, not the eight that the host alone would keep busy.
TEST(LoaderQueue, ADeviceThatIsBusySetsThePace) {
  Builder b;
  b.trace.dialect = "millrace";
  const uint32_t worker = b.thread(2);
  Loader& loader = b.trace.loader;
  const auto row = [&](LoaderKind kind, int batch, Ns begin, Ns end, uint32_t thread) {
    const uint32_t at = loader.add();
    loader.kind[at] = static_cast<uint8_t>(kind);
    loader.loader[at] = kLoader;
    loader.batch[at] = static_cast<uint64_t>(batch);
    loader.start[at] = begin;
    loader.end[at] = end;
    loader.wait[at] = kind == LoaderKind::next ? end - begin : 0;
    loader.thread[at] = thread;
  };
  const Ns period = 150 * us;
  for (int k = 0; k < 40; ++k) {
    const Ns t = k * period;
    row(LoaderKind::fill, k, t - 20 * us, t + 130 * us, worker);
    row(LoaderKind::next, k, t, t + 130 * us, 0);
    // Nobody waits for it.
    b.by(0).kernel("work", t + 140 * us, t + 140 * us, t + 240 * us);
    b.step(k, t, t + period);
  }
  RuleCase c(std::move(b.trace));
  const auto findings = c.run(find_input);
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_STREQ(findings[0].fix.knob, "loader_workers");
  EXPECT_EQ(findings[0].fix.value, 2);
  EXPECT_TRUE(says(findings[0].advice, "With 2 they would keep up")) << findings[0].advice;
  // 100 of the 150 are the device's.
  EXPECT_NEAR(static_cast<double>(findings[0].saving.expected), 40 * 50e3, 40 * 2.5e3);
}

// Of a program that fills its two processors for nine tenths of the time, a tenth can be saved.
TEST(LoaderQueue, ProcessorsBoundWhatWorkersSave) {
  const Program program = slow_worker();
  const Played now = play(program, 1, 2);
  const Ns end = (now.given.back() + 60) * 10 * us;
  for (const double processors : {2.0, 64.0}) {
    Trace trace = recorded(program, now, 1, 10 * us);
    const auto count = [&](const char* name, Ns time, double value) {
      const uint32_t row = trace.counters.add();
      trace.counters.name[row] = trace.strings.intern(name);
      trace.counters.device[row] = kNoRow;
      trace.counters.time[row] = time;
      trace.counters.value[row] = value;
    };
    count("processors", 0, processors);
    count("cpu_time_ns", 0, 1e9);
    count("cpu_time_ns", end, 1e9 + 1.8 * static_cast<double>(end));
    RuleCase c(std::move(trace));
    const auto findings = c.run(find_input);
    ASSERT_EQ(findings.size(), 1u);
    const Finding& found = findings[0];
    const bool bound = processors == 2;
    EXPECT_EQ(fact(found, "processors"), processors);
    if (bound) {
      EXPECT_NEAR(static_cast<double>(found.saving.expected), 0.1 * static_cast<double>(end),
                  0.001 * static_cast<double>(end));
      EXPECT_LE(found.saving.upper, end / 10 + 1);
    } else {
      EXPECT_GT(found.saving.expected, end / 2);
    }
    EXPECT_EQ(says(found.advice, "bounds the gain"), bound) << found.advice;
  }
}

// Each of two loaders takes 110 beside 10 of work, and hides behind the other.
TEST(LoaderQueue, TwoSlowLoadersAreMendedTogether) {
  Builder b;
  b.trace.dialect = "millrace";
  const uint32_t workers[2] = {b.thread(2), b.thread(3)};
  Loader& loader = b.trace.loader;
  const auto row = [&](LoaderKind kind, uint64_t number, uint64_t batch, Ns begin, Ns end) {
    const uint32_t at = loader.add();
    loader.kind[at] = static_cast<uint8_t>(kind);
    loader.loader[at] = number;
    loader.batch[at] = batch;
    loader.start[at] = begin;
    loader.end[at] = end;
    loader.wait[at] = kind == LoaderKind::next ? end - begin : 0;
    loader.thread[at] = kind == LoaderKind::next ? 0 : workers[number - 1];
  };
  const Ns period = 110 * us;
  for (int k = 0; k < 40; ++k) {
    const Ns t = k * period;
    const auto batch = static_cast<uint64_t>(k);
    row(LoaderKind::fill, 1, batch, t - 20 * us, t + 90 * us);
    row(LoaderKind::next, 1, batch, t, t + 90 * us);
    row(LoaderKind::fill, 2, batch, t - 10 * us, t + 100 * us);
    row(LoaderKind::next, 2, batch, t + 90 * us, t + 100 * us);
    b.by(0).kernel("work", t + 105 * us, t + 105 * us, t + period);
    b.call(CallKind::sync_device, "cudaDeviceSynchronize", t + 105 * us, t + period);
    b.step(k, t, t + period);
  }
  RuleCase c(std::move(b.trace));
  const auto findings = c.run(find_input);
  ASSERT_EQ(findings.size(), 2u);
  for (const Finding& found : findings)
    EXPECT_TRUE(says(found.advice, "mended together")) << found.advice;
}

}  // namespace
}  // namespace mill::prof::test
