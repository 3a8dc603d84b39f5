#include "gpu/runtime/sim/clock.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "gpu/runtime/sim/model.h"

namespace mill::sim {
namespace {

Operation timed(Engine engine, StreamId stream, Time duration, Time submit = 0,
                std::span<const EventId> waits = {}, EventId records = kNoEvent) {
  Operation op;
  op.kind = engine == Engine::compute ? OpKind::kernel : OpKind::copy;
  op.engine = engine;
  op.stream = stream;
  op.submit = submit;
  op.latency = duration;
  op.waits = waits;
  op.records = records;
  return op;
}

std::vector<Record> drain(VirtualClock& clock) {
  std::vector<Record> all;
  Record part[16];
  while (const size_t n = clock.drain(part, std::size(part))) all.insert(all.end(), part, part + n);
  return all;
}

// Copy in, compute, copy out of n batches through `buffers` device buffers, submitted batch after
// batch: the time when all is done. 0 buffers: no limit.
Time pipeline(int n, Time a, Time b, Time c, int buffers) {
  VirtualClock clock;
  const StreamId in = clock.create_stream(1);
  const StreamId mid = clock.create_stream(2);
  const StreamId out = clock.create_stream(3);
  std::vector<EventId> copied, computed;
  for (int i = 0; i < n; ++i) {
    copied.push_back(clock.create_event());
    computed.push_back(clock.create_event());
    // An input buffer is free again once the kernel has read it.
    std::vector<EventId> free_input;
    if (buffers > 0 && i >= buffers)
      free_input.push_back(computed[static_cast<size_t>(i - buffers)]);
    clock.submit(timed(Engine::host_to_device, in, a, 0, free_input, copied.back()));
    const EventId mine[] = {copied.back()};
    clock.submit(timed(Engine::compute, mid, b, 0, mine, computed.back()));
    const EventId result[] = {computed.back()};
    clock.submit(timed(Engine::device_to_host, out, c, 0, result));
  }
  EXPECT_TRUE(clock.run_until_done(clock.last_of(out)));
  EXPECT_EQ(clock.in_flight(), 0u);
  return clock.now();
}

TEST(VirtualClock, PipelineWithTwoOrMoreBuffersTakesTheLongestStagePerBatch) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 1000; ++i) {
    const auto draw = [&] { return static_cast<Time>(1 + random() % 1000); };
    const int n = 1 + static_cast<int>(random() % 20);
    const Time a = draw(), b = draw(), c = draw();
    const Time expected = a + b + c + (n - 1) * std::max({a, b, c});
    // With two buffers copy-in i waits for kernel i - 2.
    ASSERT_EQ(pipeline(n, a, b, c, 2), expected);
    ASSERT_EQ(pipeline(n, a, b, c, 3), expected);
    ASSERT_EQ(pipeline(n, a, b, c, 0), expected);
  }
}

TEST(VirtualClock, PipelineWithOneBufferCannotOverlapCopyAndKernel) {
  std::mt19937_64 random(2);
  for (int i = 0; i < 2000; ++i) {
    const auto draw = [&] { return static_cast<Time>(1 + random() % 1000); };
    const int n = 1 + static_cast<int>(random() % 20);
    const Time a = draw(), b = draw(), c = draw();
    // Copy-in and kernel alternate, so a batch comes every a + b or, if longer, every c.
    const Time expected = a + b + c + (n - 1) * std::max(a + b, c);
    ASSERT_EQ(pipeline(n, a, b, c, 1), expected) << n << " " << a << " " << b << " " << c;
  }
}

TEST(VirtualClock, PipelineWithOneInAndOneOutBufferFollowsTheNotesClosedForm) {
  std::mt19937_64 random(3);
  for (int k = 0; k < 2000; ++k) {
    const auto draw = [&] { return static_cast<Time>(1 + random() % 1000); };
    const int n = 1 + static_cast<int>(random() % 20);
    const Time a = draw(), b = draw(), c = draw();
    VirtualClock clock;
    const StreamId in = clock.create_stream(1), mid = clock.create_stream(2),
                   out = clock.create_stream(3);
    const EventId copied = clock.create_event(), computed = clock.create_event(),
                  stored = clock.create_event();
    for (int i = 0; i < n; ++i) {
      // One event each, recorded again for every batch: a wait means the record before it.
      const EventId in_waits[] = {computed}, mid_waits[] = {copied, stored},
                    out_waits[] = {computed};
      clock.submit(timed(Engine::host_to_device, in, a, 0, in_waits, copied));
      clock.submit(timed(Engine::compute, mid, b, 0, mid_waits, computed));
      clock.submit(timed(Engine::device_to_host, out, c, 0, out_waits, stored));
    }
    ASSERT_TRUE(clock.run_until_done(clock.last_of(out)));
    ASSERT_EQ(clock.now(), a + b + c + (n - 1) * std::max(a + b, b + c));
  }
}

TEST(VirtualClock, AnIndependentCopyOvertakesOneThatWaits) {
  VirtualClock clock;
  const StreamId kernels = clock.create_stream(1), late = clock.create_stream(2),
                 free = clock.create_stream(3);
  const EventId done = clock.create_event();
  clock.submit(timed(Engine::compute, kernels, 1000, 0, {}, done));
  const EventId waits[] = {done};
  clock.submit(timed(Engine::host_to_device, late, 100, 0, waits));
  const OpRef independent = clock.submit(timed(Engine::host_to_device, free, 100));
  ASSERT_TRUE(clock.run_until_done(independent));
  EXPECT_EQ(clock.now(), 100);
  ASSERT_TRUE(clock.run_until_done(clock.last_of(late)));
  EXPECT_EQ(clock.now(), 1100);
}

TEST(VirtualClock, TiesGoToWhatWasReadyFirstThenSubmittedFirst) {
  VirtualClock clock;
  const StreamId a = clock.create_stream(1), b = clock.create_stream(2), c = clock.create_stream(3);
  clock.submit(timed(Engine::host_to_device, a, 100));
  clock.submit(timed(Engine::host_to_device, b, 10, 50));
  clock.submit(timed(Engine::host_to_device, c, 10, 40));
  clock.submit(timed(Engine::host_to_device, a, 10, 40));  // ready at 100 only
  clock.run_until(kNanosecond);
  const auto log = drain(clock);
  ASSERT_EQ(log.size(), 4u);
  EXPECT_EQ(log[1].stream, 3u);
  EXPECT_EQ(log[1].start, 100);
  EXPECT_EQ(log[2].stream, 2u);
  EXPECT_EQ(log[2].ready, 50);
  EXPECT_EQ(log[3].stream, 1u);
  EXPECT_EQ(log[3].start, 120);
}

TEST(VirtualClock, SmallKernelsShareTheComputeEngine) {
  Profile ideal;
  ASSERT_TRUE(builtin_profile("ideal", &ideal));
  const int64_t resident = resident_blocks(ideal, 256, 0);
  ASSERT_EQ(resident, 64 * 8);
  VirtualClock clock(clock_options(ideal));
  for (int i = 0; i < 5; ++i) {
    Operation op = kernel_operation(
        ideal, {.bytes = 1000, .flops = 0, .blocks = resident / 4, .threads = 256});
    EXPECT_EQ(op.latency, 1000);
    op.stream = clock.create_stream(static_cast<uint64_t>(i));
    clock.submit(op);
  }
  clock.run_until(999);
  EXPECT_EQ(clock.in_flight(), 5u);
  clock.run_until(1000);
  EXPECT_EQ(clock.in_flight(), 1u);  // four fit, the fifth began at 1000
  clock.run_until(2000);
  EXPECT_EQ(clock.in_flight(), 0u);
}

TEST(VirtualClock, AKernelOfFewBlocksComputesSlowerButMovesBytesAtFullRate) {
  Profile ideal;
  ASSERT_TRUE(builtin_profile("ideal", &ideal));
  const int64_t resident = resident_blocks(ideal, 256, 0);
  EXPECT_EQ(kernel_operation(ideal, {.flops = 4000, .blocks = resident}).latency, 4000);
  EXPECT_EQ(kernel_operation(ideal, {.flops = 4000, .blocks = 9 * resident}).latency, 4000);
  EXPECT_EQ(kernel_operation(ideal, {.flops = 4000, .blocks = resident / 2}).latency, 8000);
  EXPECT_EQ(kernel_operation(ideal, {.bytes = 4000, .blocks = 1}).latency, 4000);
  EXPECT_EQ(kernel_operation(ideal, {.bytes = 4000, .blocks = 1, .link_bytes = 40}).latency, 40000);
  EXPECT_EQ(resident_blocks(ideal, 1024, 96 << 10), 64);
}

TEST(VirtualClock, DuplexLimitHoldsOnlyWhileBothDirectionsMove) {
  std::mt19937_64 random(4);
  for (int i = 0; i < 10000; ++i) {
    // Full rates of 1 byte per 2 and 4 picoseconds, both 1 per 8 while shared: all times are whole.
    const Time full[2] = {2, 4};
    const Time slow = 8;
    Time start[2], latency[2];
    uint64_t bytes[2];
    for (int d = 0; d < 2; ++d) {
      start[d] = 8 * static_cast<Time>(random() % 500);
      latency[d] = 8 * static_cast<Time>(random() % 50);
      bytes[d] = 8 * (1 + random() % 500);
    }
    VirtualClock clock({.duplex_rate = 2 * (1'000'000'000'000 / slow)});
    OpRef op[2];
    for (int d = 0; d < 2; ++d) {
      Operation copy;
      copy.kind = OpKind::copy;
      copy.engine = d == 0 ? Engine::host_to_device : Engine::device_to_host;
      copy.stream = clock.create_stream(static_cast<uint64_t>(d));
      copy.submit = start[d];
      copy.latency = latency[d];
      copy.rate = 1'000'000'000'000 / full[d];
      copy.bytes = bytes[d];
      op[d] = clock.submit(copy);
      ASSERT_TRUE(clock.hold(op[d]));
    }
    // Stepping in pieces must not matter.
    for (int k = 0; k < 5; ++k) clock.run_until(static_cast<Time>(random() % 6000));
    clock.run_until(kNanosecond * 1000);

    // First in is alone until the second moves, then both crawl until one is done.
    const Time m[2] = {start[0] + latency[0], start[1] + latency[1]};
    const int x = m[0] <= m[1] ? 0 : 1, y = 1 - x;
    Time end[2];
    const Time alone = static_cast<Time>(bytes[x]) * full[x];
    if (m[x] + alone <= m[y]) {
      end[x] = m[x] + alone;
      end[y] = m[y] + static_cast<Time>(bytes[y]) * full[y];
    } else {
      const Time left_x = (m[x] + alone - m[y]) * slow / full[x];
      const Time left_y = static_cast<Time>(bytes[y]) * slow;
      const Time shared = std::min(left_x, left_y);
      end[x] = m[y] + shared + (left_x - shared) * full[x] / slow;
      end[y] = m[y] + shared + (left_y - shared) * full[y] / slow;
    }
    ASSERT_EQ(clock.end_of(op[0]), end[0]) << i;
    ASSERT_EQ(clock.end_of(op[1]), end[1]) << i;
  }
}

TEST(VirtualClock, OddRatesRoundEachEndUpOnce) {
  VirtualClock clock({.duplex_rate = 55'000'000'001});
  const StreamId in = clock.create_stream(1), out = clock.create_stream(2);
  Operation copy;
  copy.kind = OpKind::copy;
  copy.rate = 33'333'333'337;
  copy.bytes = 1'000'003;
  copy.engine = Engine::host_to_device;
  copy.stream = in;
  const OpRef a = clock.submit(copy);
  copy.engine = Engine::device_to_host;
  copy.stream = out;
  clock.submit(copy);
  ASSERT_TRUE(clock.run_until_done(a));
  // 1,000,003 bytes at 27,500,000,000 per second.
  EXPECT_EQ(clock.now(), 36'363'746);
  EXPECT_EQ(clock.in_flight(), 0u);
}

TEST(VirtualClock, LaunchBoundSequenceIsCallsTimesCostPlusTheLastKernel) {
  VirtualClock clock;
  const StreamId stream = clock.create_stream(1);
  Time host = 0;
  for (int i = 0; i < 1000; ++i) {
    host += from_ns(2000);
    clock.submit(timed(Engine::compute, stream, from_ns(700), host));
  }
  ASSERT_TRUE(clock.run_until_done(clock.last_of(stream)));
  EXPECT_EQ(clock.now(), 1000 * from_ns(2000) + from_ns(700));
}

TEST(VirtualClock, EventsAnswerAsOfTheHostsTime) {
  VirtualClock clock;
  const StreamId stream = clock.create_stream(1);
  const EventId event = clock.create_event();
  EXPECT_TRUE(clock.query(event, 0));
  clock.submit(timed(Engine::compute, stream, 500));
  Operation record = record_operation(event);
  record.stream = stream;
  clock.submit(record);
  EXPECT_FALSE(clock.query(event, 499));
  EXPECT_EQ(clock.event_time(event), -1);
  EXPECT_TRUE(clock.query(event, 500));
  EXPECT_EQ(clock.event_time(event), 500);
  record.submit = 800;
  clock.submit(record);
  EXPECT_FALSE(clock.query(event, 799));
  EXPECT_TRUE(clock.query(event, 800));
  EXPECT_EQ(clock.event_time(event), 800);
}

TEST(VirtualClock, AWaitMeansTheRecordBeforeItAndNotALaterOne) {
  VirtualClock clock;
  const StreamId a = clock.create_stream(1), b = clock.create_stream(2);
  const EventId event = clock.create_event();
  clock.submit(timed(Engine::compute, a, 100, 0, {}, event));
  const EventId waits[] = {event};
  const OpRef waiter = clock.submit(timed(Engine::host_to_device, b, 10, 0, waits));
  clock.submit(timed(Engine::compute, a, 1000, 0, {}, event));
  clock.destroy_event(event);
  ASSERT_TRUE(clock.run_until_done(waiter));
  EXPECT_EQ(clock.now(), 110);
}

TEST(VirtualClock, AnEventNumberGivenAgainDoesNotHearOfItsFormerRecord) {
  VirtualClock clock;
  const StreamId stream = clock.create_stream(1);
  const EventId old = clock.create_event();
  clock.submit(timed(Engine::compute, stream, 100, 0, {}, old));
  clock.destroy_event(old);
  const EventId fresh = clock.create_event();
  ASSERT_EQ(fresh, old);
  EXPECT_TRUE(clock.query(fresh, 10));
  clock.run_until(200);
  EXPECT_EQ(clock.event_time(fresh), -1);
}

TEST(VirtualClock, ADestroyedStreamFinishesItsWork) {
  VirtualClock clock;
  const StreamId stream = clock.create_stream(7);
  const OpRef op = clock.submit(timed(Engine::compute, stream, 100));
  clock.destroy_stream(stream);
  const StreamId other = clock.create_stream(8);
  EXPECT_NE(other, stream);
  EXPECT_FALSE(clock.finished(op));
  ASSERT_TRUE(clock.run_until_done(op));
  EXPECT_EQ(clock.now(), 100);
  EXPECT_EQ(clock.create_stream(9), stream);
}

TEST(VirtualClock, HugeOperationsEndAtTheEndOfTimeWithoutOverflow) {
  VirtualClock clock({.duplex_rate = 2});
  Operation copy;
  copy.kind = OpKind::copy;
  copy.engine = Engine::host_to_device;
  copy.stream = clock.create_stream(1);
  copy.bytes = UINT64_MAX;
  copy.rate = 1;
  const OpRef op = clock.submit(copy);
  clock.submit(timed(Engine::compute, copy.stream, kEndOfTime));
  EXPECT_FALSE(clock.run_until_done(op, kEndOfTime - 1));
  ASSERT_TRUE(clock.run_until_done(clock.last_of(copy.stream)));
  EXPECT_EQ(clock.now(), kEndOfTime);
  EXPECT_FALSE(clock.step(kEndOfTime));
}

TEST(VirtualClock, TheLogHoldsBackWhatStartedAfterSomethingUnfinished) {
  VirtualClock clock({.log_capacity = 3});
  const StreamId a = clock.create_stream(1), b = clock.create_stream(2);
  clock.submit(timed(Engine::compute, a, 100));
  clock.submit(timed(Engine::host_to_device, b, 10, 5));
  clock.run_until(50);
  EXPECT_EQ(drain(clock).size(), 0u);
  clock.run_until(100);
  const auto log = drain(clock);
  ASSERT_EQ(log.size(), 2u);
  EXPECT_EQ(log[0].end, 100);
  EXPECT_EQ(log[1].end, 15);
  for (int i = 0; i < 5; ++i) clock.submit(timed(Engine::compute, a, 1, 200));
  clock.run_until(300);
  EXPECT_EQ(drain(clock).size(), 3u);
  EXPECT_EQ(clock.take_lost(), 2u);
  EXPECT_EQ(clock.take_lost(), 0u);
}

TEST(VirtualClock, JitterDependsOnSeedStreamAndPlaceOnly) {
  const auto ends = [](uint64_t seed, bool other_first) {
    VirtualClock clock({.jitter_ppm = 100'000, .jitter_seed = seed});
    const StreamId a = clock.create_stream(1), b = clock.create_stream(2);
    std::vector<Time> all;
    for (int i = 0; i < 50; ++i) {
      if (other_first) clock.submit(timed(Engine::host_to_device, b, 1000));
      const OpRef op = clock.submit(timed(Engine::compute, a, 1'000'000));
      if (!other_first) clock.submit(timed(Engine::host_to_device, b, 1000));
      EXPECT_TRUE(clock.hold(op));
      clock.run_until_done(op);
      all.push_back(clock.end_of(op));
    }
    for (size_t i = all.size(); i-- > 1;) {
      all[i] -= all[i - 1];
      EXPECT_GE(all[i], 900'000);
      EXPECT_LE(all[i], 1'100'000);
    }
    return all;
  };
  EXPECT_EQ(ends(5, false), ends(5, true));
  EXPECT_NE(ends(5, false), ends(6, false));
}

// ---- against an independent simulation ---------------------------------------------------------

struct Spec {
  Engine engine;
  int stream;
  Time submit;
  Time duration;
  uint32_t share;
  std::vector<int> after;  // earlier ops of other streams
};

std::vector<Spec> random_program(uint64_t seed, int streams, int ops) {
  std::mt19937_64 random(seed);
  std::vector<Spec> all;
  Time host = 0;
  for (int i = 0; i < ops; ++i) {
    Spec it{};
    it.engine = static_cast<Engine>(random() % 4);
    it.stream = static_cast<int>(random() % static_cast<uint64_t>(streams));
    host += static_cast<Time>(random() % 3 == 0 ? random() % 40 : 0);
    it.submit = host;
    it.duration = it.engine == Engine::none ? 0 : static_cast<Time>(random() % 6 * 10);
    it.share = it.engine == Engine::compute ? kFullShare >> (random() % 4) : kFullShare;
    if (i > 0 && random() % 3 == 0)
      it.after.push_back(static_cast<int>(random() % static_cast<uint64_t>(i)));
    if (i > 0 && random() % 9 == 0)
      it.after.push_back(static_cast<int>(random() % static_cast<uint64_t>(i)));
    all.push_back(it);
  }
  return all;
}

struct Span {
  Time ready, start, end;
  bool operator==(const Span&) const = default;
};

// Commits, again and again, the op that can start first of those whose predecessors are committed.
std::vector<Span> simple_simulation(const std::vector<Spec>& program) {
  const size_t n = program.size();
  std::vector<Span> at(n, {-1, -1, -1});
  for (size_t round = 0; round < n; ++round) {
    size_t best = n;
    Span chosen{};
    for (size_t i = 0; i < n; ++i) {
      if (at[i].start >= 0) continue;
      bool known = true;
      Time ready = program[i].submit;
      for (size_t k = 0; k < i; ++k) {
        const bool before =
            program[k].stream == program[i].stream ||
            std::count(program[i].after.begin(), program[i].after.end(), static_cast<int>(k)) > 0;
        if (!before) continue;
        if (at[k].start < 0) known = false;
        ready = std::max(ready, at[k].end);
      }
      if (!known) continue;
      // Candidate starts: when it is ready, and when anything on its engine ends.
      std::vector<Time> starts{ready};
      for (size_t k = 0; k < n; ++k)
        if (at[k].start >= 0 && program[k].engine == program[i].engine && at[k].end > ready)
          starts.push_back(at[k].end);
      std::sort(starts.begin(), starts.end());
      Time start = -1;
      for (const Time t : starts) {
        uint64_t used = 0;
        if (program[i].engine != Engine::none)
          for (size_t k = 0; k < n; ++k)
            if (at[k].start >= 0 && program[k].engine == program[i].engine && at[k].start <= t &&
                at[k].end > t)
              used += program[k].share;
        if (program[i].engine == Engine::none || used + program[i].share <= kFullShare) {
          start = t;
          break;
        }
      }
      const auto key = [](const Span& s, size_t id) { return std::tuple(s.start, s.ready, id); };
      const Span span{ready, start, start + program[i].duration};
      if (best == n || key(span, i) < key(chosen, best)) {
        best = i;
        chosen = span;
      }
    }
    at[best] = chosen;
  }
  return at;
}

// steps: 0 only at the end, 1 as far as the host's clock allows before every call, 2 at random.
std::vector<Record> play(const std::vector<Spec>& program, int steps, uint64_t seed) {
  std::mt19937_64 random(seed);
  VirtualClock clock;
  std::vector<StreamId> streams;
  for (int s = 0; s < 64; ++s) streams.push_back(clock.create_stream(static_cast<uint64_t>(s)));
  std::vector<EventId> events;
  std::vector<Record> log;
  for (const Spec& it : program) {
    if (steps == 1) clock.run_until(it.submit);
    if (steps == 2 && random() % 2 == 0)
      clock.run_until(static_cast<Time>(random() % static_cast<uint64_t>(it.submit + 1)));
    std::vector<EventId> waits;
    for (const int k : it.after) waits.push_back(events[static_cast<size_t>(k)]);
    events.push_back(clock.create_event());
    Operation op = timed(it.engine, streams[static_cast<size_t>(it.stream)], it.duration, it.submit,
                         waits, events.back());
    op.share = it.share;
    clock.submit(op);
    if (steps == 2) {
      const auto part = drain(clock);
      log.insert(log.end(), part.begin(), part.end());
    }
  }
  clock.run_until(kEndOfTime);
  EXPECT_EQ(clock.in_flight(), 0u);
  const auto rest = drain(clock);
  log.insert(log.end(), rest.begin(), rest.end());
  return log;
}

bool same(const std::vector<Record>& a, const std::vector<Record>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Record& x, const Record& y) {
    return x.op == y.op && x.stream == y.stream && x.submit == y.submit && x.ready == y.ready &&
           x.start == y.start && x.end == y.end && x.engine == y.engine;
  });
}

TEST(VirtualClock, RandomProgramsAgreeWithASimpleSimulationHoweverTimeIsStepped) {
  for (uint64_t seed = 1; seed <= 3000; ++seed) {
    const auto program = random_program(seed, 1 + static_cast<int>(seed % 6), 24);
    const auto expected = simple_simulation(program);
    const auto log = play(program, 0, seed);
    ASSERT_EQ(log.size(), program.size());
    for (const Record& it : log) {
      const Span span{it.ready, it.start, it.end};
      ASSERT_TRUE(span == expected[it.op - 1])
          << "seed " << seed << " op " << it.op << ": " << it.ready << " " << it.start << " "
          << it.end << ", expected " << expected[it.op - 1].ready << " "
          << expected[it.op - 1].start << " " << expected[it.op - 1].end;
    }
    ASSERT_TRUE(std::is_sorted(log.begin(), log.end(),
                               [](const Record& a, const Record& b) { return a.start < b.start; }));
    ASSERT_TRUE(same(log, play(program, 1, seed))) << "seed " << seed;
    ASSERT_TRUE(same(log, play(program, 2, seed))) << "seed " << seed;
  }
}

TEST(VirtualClock, LongProgramsGiveTheSameLogTwiceAndLeaveNothingBehind) {
  const auto program = random_program(77, 16, 20000);
  const auto log = play(program, 1, 1);
  EXPECT_EQ(log.size(), program.size());
  EXPECT_TRUE(same(log, play(program, 2, 2)));
}

}  // namespace
}  // namespace mill::sim
