#include "gpu/runtime/sim/order.h"

#include <gtest/gtest.h>

#include <random>

namespace mill::sim {
namespace {

using Kind = OrderReport::Kind;

// A small program against the checker: ops by name, one host unless told.
class Program {
 public:
  explicit Program(const OrderOptions& options = {}) : order(options) {
    host = order.add_host(0);
    in = order.add_stream(1);
    compute = order.add_stream(2);
    out = order.add_stream(3);
    for (auto& event : events) event = order.add_event();
  }
  struct Use {
    OrderAccess access;
    uint64_t begin;
    uint64_t bytes;
  };
  void op(StreamOrder::ActorId stream, const char* name, std::initializer_list<Use> uses) {
    op_by(host, stream, name, uses);
  }
  void op_by(StreamOrder::ActorId by, StreamOrder::ActorId stream, const char* name,
             std::initializer_list<Use> uses) {
    order.submit(stream, by);
    ++sequence;
    for (const Use& use : uses)
      order.note(use.access, use.begin, use.begin + use.bytes, stream, name, sequence, &reports);
  }
  void on_host(const char* name, Use use) {
    order.note(use.access, use.begin, use.begin + use.bytes, host, name, ++sequence, &reports);
  }
  bool quiet() const { return reports.empty(); }
  // The single report there is.
  ::testing::AssertionResult found(Kind kind, const char* earlier, const char* later) const {
    if (reports.size() != 1) {
      auto result = ::testing::AssertionFailure() << reports.size() << " reports";
      for (const auto& it : reports) result << "\n" << describe(it);
      return result;
    }
    const OrderReport& it = reports.front();
    if (it.kind != kind || std::string(it.earlier.name) != earlier ||
        std::string(it.later.name) != later)
      return ::testing::AssertionFailure() << describe(it);
    return ::testing::AssertionSuccess();
  }

  StreamOrder order;
  StreamOrder::ActorId host, in, compute, out;
  StreamOrder::EventId events[4];
  uint64_t sequence = 0;
  std::vector<OrderReport> reports;
};

constexpr auto kRead = OrderAccess::read;
constexpr auto kWrite = OrderAccess::write;
constexpr uint64_t kPinned = 0x1000, kInput = 0x20000, kOutput = 0x30000, kResult = 0x4000;

// Each takes whether the bug is planted.
void compute_waits_for_copy_in(Program& p, bool bug) {
  p.op(p.in, "h2d", {{kRead, kPinned, 256}, {kWrite, kInput, 256}});
  p.order.record(p.events[0], p.in, p.host);
  if (!bug) p.order.wait(p.compute, p.events[0], p.host);
  p.op(p.compute, "kernel", {{kRead, kInput, 256}, {kWrite, kOutput, 256}});
}

TEST(StreamOrder, MissingWaitBeforeAKernelThatReadsTheCopy) {
  Program bad, good;
  compute_waits_for_copy_in(bad, true);
  EXPECT_TRUE(bad.found(Kind::read_after_write, "h2d", "kernel"));
  EXPECT_EQ(bad.reports[0].begin, kInput);
  EXPECT_EQ(bad.reports[0].end, kInput + 256);
  EXPECT_EQ(describe(bad.reports[0]),
            "kernel (op 2, stream 2) reads 256 bytes at 0x20000 while h2d (op 1, stream 1) may "
            "still write them");
  compute_waits_for_copy_in(good, false);
  EXPECT_TRUE(good.quiet());
}

TEST(StreamOrder, DeviceBufferRefilledWhileAKernelReadsIt) {
  for (const bool bug : {true, false}) {
    Program p;
    compute_waits_for_copy_in(p, false);
    p.order.record(p.events[1], p.compute, p.host);
    if (!bug) p.order.wait(p.in, p.events[1], p.host);
    p.op(p.in, "h2d 2", {{kWrite, kInput, 256}});
    if (bug)
      EXPECT_TRUE(p.found(Kind::write_after_read, "kernel", "h2d 2"));
    else
      EXPECT_TRUE(p.quiet());
  }
}

TEST(StreamOrder, PinnedStagingRefilledBeforeTheCopyEnded) {
  for (const bool bug : {true, false}) {
    Program p;
    p.on_host("fill", {kWrite, kPinned, 256});
    p.op(p.in, "h2d", {{kRead, kPinned, 256}, {kWrite, kInput, 256}});
    p.order.record(p.events[0], p.in, p.host);
    if (!bug) p.order.host_wait_event(p.host, p.events[0]);
    p.on_host("fill", {kWrite, kPinned, 256});
    if (bug)
      EXPECT_TRUE(p.found(Kind::write_after_read, "h2d", "fill"));
    else
      EXPECT_TRUE(p.quiet());
  }
}

TEST(StreamOrder, HostReadsAResultBeforeItIsReady) {
  for (const bool bug : {true, false}) {
    Program p;
    p.op(p.out, "d2h", {{kRead, kOutput, 64}, {kWrite, kResult, 64}});
    if (!bug) p.order.host_wait_stream(p.host, p.out);
    p.on_host("loss", {kRead, kResult + 8, 4});
    if (bug) {
      EXPECT_TRUE(p.found(Kind::host_read_before_ready, "d2h", "loss"));
      EXPECT_EQ(p.reports[0].end - p.reports[0].begin, 4u);
      EXPECT_TRUE(p.reports[0].later.host);
    } else {
      EXPECT_TRUE(p.quiet());
    }
  }
}

TEST(StreamOrder, TwoStreamsWriteOneRange) {
  for (const bool bug : {true, false}) {
    Program p;
    p.op(p.compute, "a", {{kWrite, kOutput, 1024}});
    p.order.record(p.events[0], p.compute, p.host);
    if (!bug) p.order.wait(p.out, p.events[0], p.host);
    p.op(p.out, "b", {{kWrite, kOutput + 512, 1024}});
    if (bug) {
      EXPECT_TRUE(p.found(Kind::write_after_write, "a", "b"));
      EXPECT_EQ(p.reports[0].begin, kOutput + 512);
      EXPECT_EQ(p.reports[0].end, kOutput + 1024);
    } else {
      EXPECT_TRUE(p.quiet());
    }
  }
}

TEST(StreamOrder, AnEventRecordedTooEarlyOrdersTooLittle) {
  for (const bool bug : {true, false}) {
    Program p;
    if (bug) p.order.record(p.events[0], p.in, p.host);
    p.op(p.in, "h2d", {{kWrite, kInput, 256}});
    if (!bug) p.order.record(p.events[0], p.in, p.host);
    p.order.wait(p.compute, p.events[0], p.host);
    p.op(p.compute, "kernel", {{kRead, kInput, 256}});
    if (bug)
      EXPECT_TRUE(p.found(Kind::read_after_write, "h2d", "kernel"));
    else
      EXPECT_TRUE(p.quiet());
  }
}

TEST(StreamOrder, MemoryFreedWhileAKernelUsesIt) {
  for (const bool bug : {true, false}) {
    Program p;
    p.op(p.compute, "kernel", {{kWrite, kOutput, 256}});
    if (!bug) p.order.host_wait_stream(p.host, p.compute);
    p.order.free(kOutput, kOutput + 4096, p.host, "free", ++p.sequence, &p.reports);
    if (bug)
      EXPECT_TRUE(p.found(Kind::early_free, "kernel", "free"));
    else
      EXPECT_TRUE(p.quiet());
  }
}

TEST(StreamOrder, MemoryFreedInOneStreamsOrderWhileAnotherReadsIt) {
  for (const bool bug : {true, false}) {
    Program p;
    p.op(p.compute, "writer", {{kWrite, kOutput, 256}});
    p.order.record(p.events[0], p.compute, p.host);
    p.order.wait(p.out, p.events[0], p.host);
    p.op(p.out, "reader", {{kRead, kOutput, 256}});
    p.order.record(p.events[1], p.out, p.host);
    if (!bug) p.order.wait(p.compute, p.events[1], p.host);
    p.order.submit(p.compute, p.host);
    p.order.free(kOutput, kOutput + 256, p.compute, "free", ++p.sequence, &p.reports);
    if (bug)
      EXPECT_TRUE(p.found(Kind::early_free, "reader", "free"));
    else
      EXPECT_TRUE(p.quiet());
  }
}

TEST(StreamOrder, FreedMemoryUsedAgain) {
  for (const bool bug : {true, false}) {
    Program p;
    p.op(p.compute, "kernel", {{kWrite, kOutput, 256}});
    p.order.host_wait_stream(p.host, p.compute);
    p.order.free(kOutput, kOutput + 256, p.host, "free", ++p.sequence, &p.reports);
    if (!bug) p.order.allocate(kOutput, kOutput + 256);
    p.op(p.out, "d2h", {{kRead, kOutput + 128, 64}});
    if (bug)
      EXPECT_TRUE(p.found(Kind::use_after_free, "free", "d2h"));
    else
      EXPECT_TRUE(p.quiet());
  }
}

TEST(StreamOrder, AStreamsFreedMemoryReusedByAnotherStreamWithoutAWait) {
  for (const bool bug : {true, false}) {
    Program p;
    p.op(p.compute, "kernel", {{kWrite, kOutput, 256}});
    p.order.submit(p.compute, p.host);
    p.order.free(kOutput, kOutput + 256, p.compute, "free", ++p.sequence, &p.reports);
    p.order.allocate(kOutput, kOutput + 256);
    p.order.record(p.events[0], p.compute, p.host);
    if (!bug) p.order.wait(p.out, p.events[0], p.host);
    p.op(p.out, "fill", {{kWrite, kOutput, 256}});
    if (bug)
      EXPECT_TRUE(p.found(Kind::write_after_write, "free", "fill"));
    else
      EXPECT_TRUE(p.quiet());
  }
}

TEST(StreamOrder, SecondFreeIsReported) {
  Program p;
  p.order.free(kOutput, kOutput + 256, p.host, "free", 1, &p.reports);
  EXPECT_TRUE(p.quiet());
  p.order.free(kOutput, kOutput + 256, p.host, "free again", 2, &p.reports);
  EXPECT_TRUE(p.found(Kind::use_after_free, "free", "free again"));
}

TEST(StreamOrder, AHostThreadKnowsOnlyWhatItWaitedForUnlessCallsAreOrdered) {
  Program p;
  const auto other = p.order.add_host(1);
  p.order.note(kWrite, kPinned, kPinned + 256, other, "fill", ++p.sequence, &p.reports);
  p.op(p.in, "h2d", {{kRead, kPinned, 256}});
  EXPECT_TRUE(p.found(Kind::read_after_write, "fill", "h2d"));
  Program trusting({.host_calls_are_ordered = true});
  const auto loader = trusting.order.add_host(1);
  trusting.op_by(loader, trusting.in, "h2d", {{kWrite, kInput, 256}});
  trusting.order.host_wait_stream(loader, trusting.in);
  trusting.op(trusting.compute, "kernel", {{kRead, kInput, 256}});
  EXPECT_TRUE(trusting.quiet());
}

TEST(StreamOrder, WhatTheHostDoesAfterARecordIsNotCoveredByIt) {
  Program p;
  p.op(p.in, "first", {{kRead, kPinned, 64}});
  p.order.record(p.events[0], p.in, p.host);
  p.on_host("late fill", {kWrite, kResult, 64});
  const auto other = p.order.add_host(9);
  p.order.wait(p.compute, p.events[0], other);
  p.op_by(other, p.compute, "kernel", {{kRead, kResult, 64}});
  EXPECT_TRUE(p.found(Kind::read_after_write, "late fill", "kernel"));
}

TEST(StreamOrder, PipelineWithDoubleBuffersIsQuietAndStaysSmall) {
  Program p;
  for (int i = 0; i < 500; ++i) {
    const uint64_t slot = static_cast<uint64_t>(i % 2);
    const auto copied = p.events[slot], computed = p.events[2 + slot];
    if (i >= 2) p.order.host_wait_event(p.host, copied);  // the staging buffer is free again
    p.on_host("fill", {kWrite, kPinned + slot * 256, 256});
    if (i >= 2) p.order.wait(p.in, computed, p.host);
    p.op(p.in, "h2d", {{kRead, kPinned + slot * 256, 256}, {kWrite, kInput + slot * 256, 256}});
    p.order.record(copied, p.in, p.host);
    p.order.wait(p.compute, copied, p.host);
    p.op(p.compute, "kernel", {{kRead, kInput + slot * 256, 256}, {kWrite, kOutput, 256}});
    p.order.record(computed, p.compute, p.host);
  }
  EXPECT_TRUE(p.quiet()) << describe(p.reports.front());
  EXPECT_LE(p.order.ranges(), 5u);
  EXPECT_LE(p.order.stored_accesses(), 10u);
}

TEST(StreamOrder, RangesMergeAndReadsThatAreCoveredAreDropped) {
  Program p;
  p.op(p.compute, "whole", {{kWrite, 0, 1 << 20}});
  for (uint64_t i = 0; i < 1024; ++i) p.op(p.compute, "part", {{kRead, i * 1024, 1024}});
  EXPECT_EQ(p.order.ranges(), 1024u);
  p.op(p.compute, "whole", {{kRead, 0, 1 << 20}});
  EXPECT_EQ(p.order.ranges(), 1u);
  EXPECT_EQ(p.order.stored_accesses(), 2u);
  p.op(p.compute, "whole", {{kWrite, 0, 1 << 20}});
  EXPECT_EQ(p.order.stored_accesses(), 1u);
  p.order.forget(0, 1 << 20);
  EXPECT_EQ(p.order.ranges(), 0u);
}

TEST(StreamOrder, FreedMemoryIsNotRememberedForEver) {
  Program p;
  for (uint64_t i = 0; i < 100000; ++i)
    p.order.free(i * 4096, i * 4096 + 256, p.host, "free", i, &p.reports);
  EXPECT_TRUE(p.quiet());
  EXPECT_LE(p.order.ranges(), 20000u);
  p.op(p.compute, "kernel", {{kRead, 99999 * 4096, 8}});
  EXPECT_EQ(p.reports.size(), 1u);
}

TEST(StreamOrder, AStreamInTheFormerPlaceOfAnotherIsNotTakenForIt) {
  Program p;
  // Many come and go: places are used again, but not that of one that has left traces.
  const auto dead = p.order.add_stream(50);
  p.op(dead, "dead's", {{kWrite, kOutput, 64}});
  p.order.remove(dead);
  for (uint64_t i = 0; i < 200; ++i) {
    const auto it = p.order.add_stream(100 + i);
    EXPECT_NE(it, dead);
    EXPECT_LT(it, 40u);
    p.order.submit(it, p.host);
    p.order.remove(it);
  }
  const auto last = p.order.add_stream(999);
  p.op(last, "last", {{kRead, kOutput, 64}});
  EXPECT_TRUE(p.found(Kind::read_after_write, "dead's", "last"));
}

// Byte by byte, with the full history: an access is a race if some conflicting earlier access of
// the byte does not happen before it, by a search over the edges.
TEST(StreamOrder, RandomProgramsAgreeWithASearchOverTheEdges) {
  constexpr int kStreams = 3, kBytes = 24;
  for (uint64_t seed = 1; seed <= 400; ++seed) {
    std::mt19937_64 random(seed);
    StreamOrder order;
    const auto host = order.add_host(0);
    StreamOrder::ActorId actors[kStreams];
    for (auto& it : actors) it = order.add_stream(1);
    const auto event = order.add_event();
    // Node k happens before those that list it. Node -1 does not exist.
    std::vector<std::vector<size_t>> before;
    std::vector<std::vector<bool>> reach;
    long last_host = -1, last_stream[kStreams] = {-1, -1, -1}, recorded = -1;
    const auto node = [&](std::initializer_list<long> edges) {
      std::vector<bool> reached(before.size(), false);
      before.emplace_back();
      for (const long e : edges) {
        if (e < 0) continue;
        reached[static_cast<size_t>(e)] = true;
        const auto& theirs = reach[static_cast<size_t>(e)];
        for (size_t i = 0; i < theirs.size(); ++i)
          if (theirs[i]) reached[i] = true;
      }
      reach.push_back(std::move(reached));
      return static_cast<long>(reach.size()) - 1;
    };
    struct Touch {
      long node;
      bool write, host;
    };
    std::vector<Touch> history[kBytes];
    for (int step = 0; step < 60; ++step) {
      const auto s = static_cast<size_t>(random() % kStreams);
      std::vector<OrderReport> reports;
      switch (random() % 6) {
        case 0:
          order.record(event, actors[s], host);
          last_host = node({last_host});
          recorded = last_stream[s] = node({last_stream[s], last_host});
          break;
        case 1:
          order.wait(actors[s], event, host);
          last_host = node({last_host});
          last_stream[s] = node({last_stream[s], last_host, recorded});
          break;
        case 2:
          if (random() % 2 == 0) {
            order.host_wait_event(host, event);
            last_host = node({last_host, recorded});
          }
          break;
        default: {
          const bool by_host = random() % 4 == 0;
          const bool write = random() % 3 == 0;
          const uint64_t begin = random() % kBytes;
          const uint64_t end = begin + 1 + random() % (kBytes - begin);
          last_host = node({last_host});
          if (!by_host) {
            order.submit(actors[s], host);
            last_stream[s] = node({last_stream[s], last_host});
          }
          const long me = by_host ? last_host : last_stream[s];
          const bool raced = order.note(write ? OrderAccess::write : OrderAccess::read, begin, end,
                                        by_host ? host : actors[s], "op", 0, &reports);
          bool expected = false;
          for (uint64_t b = begin; b < end; ++b) {
            // What the checker keeps: the last write and the reads since.
            size_t from = history[b].size();
            while (from > 0 && !history[b][from - 1].write) --from;
            for (size_t i = from > 0 ? from - 1 : 0; i < history[b].size(); ++i) {
              const Touch& other = history[b][i];
              if (!write && !other.write) continue;
              if (!reach[static_cast<size_t>(me)][static_cast<size_t>(other.node)]) expected = true;
            }
            history[b].push_back({me, write, by_host});
          }
          ASSERT_EQ(raced, expected) << "seed " << seed << " step " << step;
        }
      }
    }
  }
}

}  // namespace
}  // namespace mill::sim
