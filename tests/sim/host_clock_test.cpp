#include "gpu/runtime/sim/host_clock.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "gpu/runtime/sim/timing.h"

namespace mill::sim {
namespace {

Operation timed(Engine engine, StreamId stream, Time duration, Time submit) {
  Operation op;
  op.engine = engine;
  op.stream = stream;
  op.latency = duration;
  op.submit = submit;
  return op;
}

std::string text_of(VirtualClock& device) {
  std::string all;
  Record it;
  while (device.drain(&it, 1) == 1)
    all += std::to_string(it.op) + " " + std::to_string(it.stream) + " " +
           std::to_string(it.submit) + " " + std::to_string(it.start) + " " +
           std::to_string(it.end) + "\n";
  return all;
}

class RealDelays {
 public:
  explicit RealDelays(uint64_t seed) : random_(seed) {}
  void maybe() {
    const uint64_t draw = random_() % 8;
    if (draw == 0) std::this_thread::sleep_for(std::chrono::microseconds(random_() % 300));
    if (draw == 1) std::this_thread::yield();
  }

 private:
  std::mt19937_64 random_;
};

TEST(HostClock, OneThreadPaysItsCallsAndWaits) {
  HostClock host;
  VirtualClock device;
  const StreamId stream = device.create_stream(1);
  for (int i = 0; i < 100; ++i) {
    HostClock::Turn turn = host.call(2000);
    device.submit(timed(Engine::compute, stream, 700, turn.now()));
  }
  EXPECT_EQ(host.now(), 200000);
  host.charge(50);
  EXPECT_TRUE(host.call(10).wait(device, device.last_of(stream), 5));
  EXPECT_EQ(host.now(), 200000 + 700 + 5);
  EXPECT_EQ(host.id(), 0u);
  EXPECT_TRUE(host.deterministic());
}

TEST(HostClock, AWaitWithADeadlineEndsThere) {
  HostClock host;
  VirtualClock device;
  const StreamId stream = device.create_stream(1);
  const OpRef op = device.submit(timed(Engine::compute, stream, 1000, 0));
  EXPECT_FALSE(host.call(0).wait(device, op, 0, 999));
  EXPECT_EQ(host.now(), 999);
  EXPECT_TRUE(host.call(0).wait(device, op, 0, 1000));
  EXPECT_EQ(host.now(), 1000);
}

TEST(HostClock, ALoopOfFreeQueriesComesToAnEnd) {
  HostClock host;
  VirtualClock device;
  const OpRef op =
      device.submit(timed(Engine::compute, device.create_stream(1), 10 * kMinimumPoll, 0));
  int polls = 0;
  while (!host.call(0).poll(device, op, 0)) ++polls;
  EXPECT_EQ(polls, 10);
  EXPECT_EQ(host.now(), 10 * kMinimumPoll);
}

// A bounded queue as a program builds one: units in semaphores, items moved in steps.
class Batches {
 public:
  Batches(HostClock& host, uint64_t capacity) : host_(host), room_(host, capacity) {}
  bool push(OpRef op) {
    if (!room_.acquire()) return false;
    host_.begin_step();
    ops_.push_back(op);
    items_.release();
    host_.end_step();
    return true;
  }
  bool pop(OpRef* out) {
    if (!items_.acquire()) return false;
    host_.begin_step();
    *out = ops_.front();
    ops_.pop_front();
    room_.release();
    host_.end_step();
    return true;
  }

 private:
  HostClock& host_;
  Semaphore room_;
  Semaphore items_{host_, 0};
  std::deque<OpRef> ops_;
};

// Three loaders prepare batches at declared costs and copy them; the trainer takes batches in the
// order in which they are done, computes, and now and then waits. Real delays are random.
std::string loader_run(uint64_t real_seed, bool* deterministic) {
  constexpr int kLoaders = 3;
  constexpr int kBatches = 20;
  HostClock host;
  VirtualClock device({.duplex_rate = 2'000'000'000});
  const StreamId compute = device.create_stream(100);
  Batches ready(host, 2);
  EXPECT_TRUE(host.attach(0));
  std::vector<std::thread> loaders;
  for (uint32_t k = 1; k <= kLoaders; ++k) {
    EXPECT_TRUE(host.announce(k));
    loaders.emplace_back([&, k] {
      RealDelays delays(real_seed * 31 + k);
      delays.maybe();
      EXPECT_TRUE(host.attach(k));
      StreamId stream = 0;
      {
        const HostClock::Turn turn = host.call(0);
        stream = device.create_stream(k);
      }
      std::mt19937_64 work(k);
      for (int i = 0; i < kBatches; ++i) {
        host.charge(static_cast<Time>(1000 + work() % 700 * k));
        delays.maybe();
        OpRef op;
        {
          HostClock::Turn turn = host.call(30);
          Operation copy = timed(Engine::host_to_device, stream, 20, turn.now());
          copy.rate = 1'000'000'000'000;
          copy.bytes = 200 + work() % 100;
          op = device.submit(copy);
        }
        delays.maybe();
        if (i % 4 == 3) {
          EXPECT_TRUE(host.call(7).wait(device, op, 3));
        }
        EXPECT_TRUE(ready.push(op));
      }
      if (k != 2) host.detach();  // the second one just ends
    });
  }
  RealDelays delays(real_seed * 31);
  std::string text;
  for (int i = 0; i < kLoaders * kBatches; ++i) {
    OpRef item;
    if (!ready.pop(&item)) {
      ADD_FAILURE() << "the queue was closed";
      break;
    }
    delays.maybe();
    OpRef kernel;
    {
      HostClock::Turn turn = host.call(25);
      kernel = device.submit(timed(Engine::compute, compute, 400 + 17 * (i % 5), turn.now()));
    }
    text += std::to_string(item.id) + "\n";
    if (i % 3 == 0) {
      EXPECT_TRUE(host.call(5).wait(device, kernel, 2));
    }
    if (i % 7 == 0) host.call(0).poll(device, item, 11);
    text += std::to_string(host.now()) + "\n";
  }
  for (uint32_t k = 1; k <= kLoaders; ++k) EXPECT_TRUE(host.join(k));
  for (std::thread& it : loaders) it.join();
  text += std::to_string(host.now()) + "\n";
  EXPECT_TRUE(host.call(0).wait(device, device.last_of(compute), 0));
  device.run_until(kEndOfTime);
  *deterministic = host.deterministic();
  return text + text_of(device);
}

TEST(HostClock, LoaderThreadsWithRandomRealDelaysGiveOneTimeline) {
  bool deterministic = false;
  const std::string first = loader_run(1, &deterministic);
  EXPECT_TRUE(deterministic);
  EXPECT_GT(first.size(), 2000u);
  for (uint64_t seed = 2; seed <= 30; ++seed) {
    ASSERT_EQ(loader_run(seed, &deterministic), first) << "real delays of seed " << seed;
    ASSERT_TRUE(deterministic);
  }
}

TEST(HostClock, CallsTakePlaceInOrderOfClockThenId) {
  for (int round = 0; round < 20; ++round) {
    HostClock host;
    std::vector<std::pair<Time, uint32_t>> calls;
    ASSERT_TRUE(host.attach(0));
    std::vector<std::thread> threads;
    for (uint32_t k = 1; k <= 4; ++k) {
      ASSERT_TRUE(host.announce(k));
      threads.emplace_back([&, k] {
        ASSERT_TRUE(host.attach(k));
        for (int i = 0; i < 50; ++i) {
          HostClock::Turn turn = host.call(0);
          calls.emplace_back(turn.now(), k);
          turn.advance(k % 2 == 0 ? 20 : 30);
        }
        host.detach();
      });
    }
    for (uint32_t k = 1; k <= 4; ++k) EXPECT_TRUE(host.join(k));
    for (std::thread& it : threads) it.join();
    EXPECT_EQ(calls.size(), 200u);
    EXPECT_TRUE(std::is_sorted(calls.begin(), calls.end()));
    EXPECT_EQ(host.now(), 50 * 30);
  }
}

TEST(HostClock, AWaitThatEndsWhenAnotherThreadCallsComesSecond) {
  HostClock host;
  VirtualClock device;
  const StreamId stream = device.create_stream(1);
  std::vector<int> order;
  ASSERT_TRUE(host.attach(0));
  ASSERT_TRUE(host.announce(5));
  const OpRef op = device.submit(timed(Engine::compute, stream, 100, 0));
  std::thread other([&] {
    ASSERT_TRUE(host.attach(5));
    host.charge(100);
    // Looks as far as its own time: that must not let the other one overtake.
    EXPECT_TRUE(host.call(0).poll(device, op, 0));
    {
      const HostClock::Turn turn = host.call(0);
      order.push_back(5);
    }
    {
      const HostClock::Turn turn = host.call(1);
      order.push_back(5);
    }
  });
  EXPECT_TRUE(host.call(0).wait(device, op, 0));
  {
    const HostClock::Turn turn = host.call(0);
    order.push_back(0);
  }
  EXPECT_TRUE(host.join(5));
  other.join();
  EXPECT_EQ(order, (std::vector<int>{5, 5, 0}));
  EXPECT_EQ(host.now(), 101);
}

TEST(HostClock, AThreadThatEndsOrDetachesInTheMiddleHoldsNobodyUp) {
  HostClock host;
  ASSERT_TRUE(host.attach(0));
  ASSERT_TRUE(host.announce(1));
  ASSERT_TRUE(host.announce(2));
  std::thread ends([&] {
    ASSERT_TRUE(host.attach(1));
    host.call(40);
  });
  std::thread detaches([&] {
    ASSERT_TRUE(host.attach(2));
    host.call(70);
    host.detach();
  });
  host.charge(1000);
  EXPECT_EQ(host.call(1).now(), 1001);
  EXPECT_TRUE(host.join(1));
  EXPECT_TRUE(host.join(2));
  EXPECT_FALSE(host.join(2));
  EXPECT_FALSE(host.join(9));
  EXPECT_EQ(host.now(), 1001);
  ends.join();
  detaches.join();
  EXPECT_TRUE(host.deterministic());
}

TEST(HostClock, IdsAreGivenOnceAndNotToForeigners) {
  HostClock host;
  EXPECT_TRUE(host.attach(4));
  EXPECT_FALSE(host.attach(5));
  EXPECT_FALSE(host.announce(4));
  EXPECT_FALSE(host.announce(HostClock::kFirstForeign));
  EXPECT_TRUE(host.announce(6));
  EXPECT_FALSE(host.announce(6));
  EXPECT_EQ(host.id(), 4u);
}

TEST(HostClock, AForeignThreadJoinsAtTheMaximumClockAndEndsDeterminism) {
  HostClock host;
  VirtualClock device;
  const StreamId stream = device.create_stream(1);
  host.call(500);
  Time joined_at = 0;
  HostClock::ThreadId id = 0;
  // This thread makes no call while it waits for the other: with order, that would hang.
  std::thread foreign([&] {
    {
      HostClock::Turn turn = host.call(0);
      joined_at = turn.now();
      id = turn.id();
      device.submit(timed(Engine::compute, stream, 1000, turn.now()));
    }
    EXPECT_TRUE(host.call(0).wait(device, device.last_of(stream), 0));
  });
  foreign.join();
  EXPECT_EQ(joined_at, 500);
  EXPECT_GE(id, HostClock::kFirstForeign);
  EXPECT_FALSE(host.deterministic());
  EXPECT_EQ(host.call(0).now(), 1500);  // time does not run backwards
}

TEST(HostClock, AnAttachWithoutAnnouncementAfterCallsEndsDeterminism) {
  HostClock host;
  host.call(10);
  std::thread late([&] { EXPECT_TRUE(host.attach(1)); });
  late.join();
  EXPECT_FALSE(host.deterministic());
}

TEST(HostClock, AnUndeclaredBlockGivesUpOrderInsteadOfHanging) {
  HostClock host(std::chrono::milliseconds(20));
  ASSERT_TRUE(host.attach(0));
  ASSERT_TRUE(host.announce(1));
  std::thread other([&] {
    ASSERT_TRUE(host.attach(1));
    host.call(5);
  });
  other.join();  // without telling the clock
  EXPECT_FALSE(host.deterministic());
}

TEST(HostClock, TwoDevicesAreSteppedNoFurtherThanTheFirstCompletion) {
  for (int round = 0; round < 20; ++round) {
    HostClock host;
    VirtualClock a, b;
    const StreamId on_a = a.create_stream(1), on_b = b.create_stream(2);
    ASSERT_TRUE(host.attach(0));
    ASSERT_TRUE(host.announce(1));
    const OpRef slow = a.submit(timed(Engine::compute, on_a, 1000, 0));
    const OpRef quick = b.submit(timed(Engine::compute, on_b, 100, 0));
    OpRef late;
    std::thread other([&] {
      ASSERT_TRUE(host.attach(1));
      EXPECT_TRUE(host.call(0).wait(b, quick, 0));
      HostClock::Turn turn = host.call(0);
      EXPECT_LE(a.now(), 100);
      late = a.submit(timed(Engine::host_to_device, a.create_stream(3), 50, turn.now()));
      ASSERT_TRUE(a.hold(late));
    });
    EXPECT_TRUE(host.call(0).wait(a, slow, 0));
    EXPECT_EQ(host.now(), 1000);
    EXPECT_TRUE(host.join(1));
    other.join();
    EXPECT_EQ(a.end_of(late), 150);
  }
}

TEST(HostClock, AClosedSemaphoreLetsItsSleepersGo) {
  HostClock host;
  ASSERT_TRUE(host.attach(0));
  ASSERT_TRUE(host.announce(1));
  Semaphore items(host, 0);
  std::thread reader([&] {
    ASSERT_TRUE(host.attach(1));
    EXPECT_TRUE(items.acquire());
    EXPECT_FALSE(items.acquire());
    EXPECT_EQ(host.now(), 10);
    EXPECT_FALSE(items.acquire());
  });
  items.release();
  host.charge(10);
  items.close();
  EXPECT_TRUE(host.join(1));
  reader.join();
  EXPECT_TRUE(host.deterministic());
}

TEST(HostClock, ThreadsMayOutliveAClock) {
  std::atomic<int> phase = 0;
  auto host = std::make_unique<HostClock>();
  std::thread other([&] {
    host->call(1);
    phase = 1;
    while (phase != 2) std::this_thread::yield();
    HostClock fresh;
    EXPECT_EQ(fresh.call(3).now(), 3);
  });
  while (phase != 1) std::this_thread::yield();
  host.reset();
  phase = 2;
  other.join();
}

}  // namespace
}  // namespace mill::sim
