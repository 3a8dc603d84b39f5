// Programs on several streams of the simulated device, through the ABI. Each is written once, with
// its events and without them: without, under MILL_ORDER_MANUAL, the device must name the two
// operations that nothing orders; with them it must be quiet, and so must MILL_ORDER_AUTO where the
// engine can see who shares memory with whom.
#include <gtest/gtest.h>

#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "conformance/api.h"

namespace mill_test {
namespace {

using Stream = Owner<mill_stream, mill_stream_release>;
using Event = Owner<mill_event, mill_event_release>;
using Future = Owner<mill_future, mill_future_release>;
using Values = std::vector<float>;

constexpr int64_t kCount = 1000;
const Dims kDims{kCount};

// Three streams of one device with an exec on each, and shorthands that throw what they are told.
class Lanes {
 public:
  explicit Lanes(int32_t order, const char* spec = "sim:ideal,memory=67108864") {
    ok(mill_device_open(w_.context(), spec, MILL_NTS, &device_, err()));
    for (int k = 0; k < 3; ++k) {
      ok(mill_stream_create(w_.context(), device_, streams_[k].out(), err()));
      execs_[k] = exec_on(streams_[k].get(), order);
    }
  }

  mill_exec* a() const { return execs_[0].get(); }
  mill_exec* b() const { return execs_[1].get(); }
  mill_exec* c() const { return execs_[2].get(); }
  mill_stream* stream_a() const { return streams_[0].get(); }
  mill_stream* stream_b() const { return streams_[1].get(); }
  mill_stream* stream_c() const { return streams_[2].get(); }
  mill_exec* host() const { return w_.exec(); }
  mill_context* context() const { return w_.context(); }
  uint32_t device() const { return device_; }
  mill_error* err() const { return w_.error(); }
  std::string message() const { return w_.message(); }
  void ok(mill_status status) const { w_.ok(status); }

  Exec exec_on(mill_stream* stream, int32_t order) const {
    Exec exec;
    ok(mill_exec_create(w_.context(), device_, stream, exec.out(), err()));
    ok(mill_exec_set_order(exec.get(), order, err()));
    return exec;
  }
  Event event() const {
    Event made;
    ok(mill_event_create(stream_a(), made.out(), err()));
    return made;
  }
  // Everything on `to` comes after what is on `from` now.
  void order(mill_stream* from, mill_stream* to) const {
    const Event between = event();
    record(between, from);
    wait(to, between);
  }
  void record(const Event& event, mill_stream* on) const {
    ok(mill_event_record(event.get(), on, err()));
  }
  void wait(mill_stream* stream, const Event& event) const {
    ok(mill_stream_wait_event(stream, event.get(), err()));
  }

  // The host waits for the copy, so that any stream may use it.
  Tensor make(float value, mill_exec* exec = nullptr) const {
    const Values values(kCount, value);
    Tensor out;
    ok(mill_tensor_from_host(exec ? exec : a(), MILL_F32, kDims.data(), 1, values.data(),
                             values.size() * sizeof(float), out.out(), err()));
    return out;
  }
  Tensor neg(mill_exec* exec, const Tensor& x) const {
    Tensor out;
    ok(mill_neg(exec, x.get(), out.out(), err()));
    return out;
  }
  Tensor affine(mill_exec* exec, const Tensor& x, double scale, double shift) const {
    Tensor out;
    ok(mill_affine(exec, x.get(), scale, shift, out.out(), err()));
    return out;
  }
  void affine_into(mill_exec* exec, const Tensor& x, double scale, double shift,
                   const Tensor& to) const {
    mill_tensor* given = to.get();
    ok(mill_affine(exec, x.get(), scale, shift, &given, err()));
  }
  // The same memory as another tensor, of which the engine does not know that it is the same.
  Tensor alias(mill_exec* exec, const Tensor& of) const {
    void* data = nullptr;
    Tensor out;
    ok(mill_tensor_data(of.get(), 0, &data, err()));
    ok(mill_tensor_import(exec, MILL_F32, kDims.data(), nullptr, 1, data, nullptr, nullptr,
                          out.out(), err()));
    return out;
  }
  Future read_async(mill_exec* exec, const Tensor& x) const {
    Future out;
    ok(mill_tensor_read_async(exec, x.get(), out.out(), err()));
    return out;
  }
  const void* data_of(const Future& future) const {
    const void* data = nullptr;
    uint64_t bytes = 0;
    ok(mill_future_wait(future.get(), UINT64_MAX, err()));
    ok(mill_future_data(future.get(), &data, &bytes, err()));
    return data;
  }
  Values read(mill_exec* exec, const Tensor& x) const {
    Values values(static_cast<size_t>(mill_tensor_count(x.get())));
    ok(mill_tensor_read(exec, x.get(), values.data(), values.size() * sizeof(float), err()));
    return values;
  }
  void expect(mill_exec* exec, const Tensor& x, float value) const {
    EXPECT_EQ(read(exec, x), Values(kCount, value));
  }
  void settle() const {
    for (const Stream& stream : streams_) ok(mill_stream_wait(stream.get(), err()));
  }

 private:
  World w_;
  uint32_t device_ = 0;
  Stream streams_[3];
  Exec execs_[3];
};

struct Program {
  const char* name;
  const char* earlier;  // what a report says, with the stream's number left out
  const char* later;
  const char* conflict;
  bool engine_sees;  // MILL_ORDER_AUTO orders it without events
  // Throws what the library says, and checks its values when it says nothing.
  std::function<void(const Lanes&, bool events)> run;
};

// Kernels are reported by their own names, with what they were made for.
constexpr const char* kNegName = "Neg, float";
constexpr const char* kAffineName = "Affine, float";
constexpr const char* kToDevice = "copy to the device";
constexpr const char* kToHost = "copy to the host";

const std::vector<Program>& programs() {
  static const std::vector<Program> all = {
      {"ReadBeforeTheWriteOnAnotherStream", kAffineName, kNegName, "may still write", true,
       [](const Lanes& l, bool events) {
         const Tensor x = l.make(1);
         const Tensor y = l.affine(l.a(), x, 2, 1);
         if (events) l.order(l.stream_a(), l.stream_b());
         l.expect(l.b(), l.neg(l.b(), y), -3);
       }},
      {"WriteWhileAnotherStreamReads", kNegName, kAffineName, "may still read", true,
       [](const Lanes& l, bool events) {
         const Tensor x = l.make(5);
         const Tensor y = l.neg(l.a(), x);
         if (events) l.order(l.stream_a(), l.stream_b());
         l.affine_into(l.b(), x, 0, 7, x);
         l.expect(l.a(), y, -5);
         l.expect(l.b(), x, 7);
       }},
      {"TwoStreamsWriteOneTensor", kAffineName, kNegName, "may still write", true,
       [](const Lanes& l, bool events) {
         const Tensor x = l.make(1), z = l.make(9), out = l.make(0);
         l.affine_into(l.a(), x, 2, 0, out);
         if (events) l.order(l.stream_a(), l.stream_b());
         mill_tensor* given = out.get();
         l.ok(mill_neg(l.b(), z.get(), &given, l.err()));
         l.expect(l.b(), out, -9);
       }},
      {"CopyIntoABufferStillInUse", kNegName, kToDevice, "may still read", true,
       [](const Lanes& l, bool events) {
         const Tensor x = l.make(4);
         const Values next(kCount, 6);
         const Tensor y = l.neg(l.a(), x);
         if (events) l.order(l.stream_a(), l.stream_b());
         l.ok(mill_tensor_write(l.b(), x.get(), next.data(), next.size() * sizeof(float), l.err()));
         l.expect(l.a(), y, -4);
         l.expect(l.b(), x, 6);
       }},
      {"HostReadsThroughAStreamThatDoesNotWait", kAffineName, kToHost, "may still write", true,
       [](const Lanes& l, bool events) {
         const Tensor x = l.make(1);
         const Tensor y = l.affine(l.a(), x, 3, 0);
         if (events) l.order(l.stream_a(), l.stream_b());
         l.expect(l.b(), y, 3);
       }},
      {"AsynchronousReadThroughAStreamThatDoesNotWait", kAffineName, "copy_", "may still write",
       true,
       [](const Lanes& l, bool events) {
         const Tensor x = l.make(1);
         const Tensor y = l.affine(l.a(), x, 3, 0);
         if (events) l.order(l.stream_a(), l.stream_b());
         const Future future = l.read_async(l.b(), y);
         EXPECT_EQ(static_cast<const float*>(l.data_of(future))[kCount - 1], 3.0f);
       }},
      {"EventRecordedBeforeTheWork", kAffineName, kNegName, "may still write", true,
       [](const Lanes& l, bool events) {
         const Tensor x = l.make(1);
         const Event done = l.event();
         if (!events) l.record(done, l.stream_a());
         const Tensor y = l.affine(l.a(), x, 2, 0);
         if (events) l.record(done, l.stream_a());
         l.wait(l.stream_b(), done);
         l.expect(l.b(), l.neg(l.b(), y), -2);
       }},
      {"WaitForTheWrongEvent", kAffineName, kNegName, "may still write", true,
       [](const Lanes& l, bool events) {
         const Tensor x = l.make(1);
         const Event right = l.event(), wrong = l.event();
         const Tensor y = l.affine(l.a(), x, 2, 0);
         const Tensor other = l.affine(l.c(), x, 3, 0);
         l.record(right, l.stream_a());
         l.record(wrong, l.stream_c());
         l.wait(l.stream_b(), events ? right : wrong);
         l.expect(l.b(), l.neg(l.b(), y), -2);
       }},
      {"EventRecordedAgainElsewhere", kAffineName, kNegName, "may still write", true,
       [](const Lanes& l, bool events) {
         const Tensor x = l.make(1);
         const Event done = l.event();
         const Tensor y = l.affine(l.a(), x, 2, 0);
         l.record(done, l.stream_a());
         if (events) l.wait(l.stream_b(), done);
         l.record(done, l.stream_c());  // what it stood for is forgotten
         if (!events) l.wait(l.stream_b(), done);
         l.expect(l.b(), l.neg(l.b(), y), -2);
       }},
      {"WaitOnTheWrongStream", kAffineName, kNegName, "may still write", true,
       [](const Lanes& l, bool events) {
         const Tensor x = l.make(1);
         const Event done = l.event();
         const Tensor y = l.affine(l.a(), x, 2, 0);
         l.record(done, l.stream_a());
         l.wait(events ? l.stream_b() : l.stream_c(), done);
         l.expect(l.b(), l.neg(l.b(), y), -2);
       }},
      {"ChainOfEventsClosedTooEarly", kAffineName, kNegName, "may still write", true,
       [](const Lanes& l, bool events) {
         const Tensor x = l.make(1);
         const Event first = l.event(), second = l.event();
         const Tensor y = l.affine(l.a(), x, 2, 0);
         l.record(first, l.stream_a());
         if (!events) l.record(second, l.stream_c());
         l.wait(l.stream_c(), first);
         if (events) l.record(second, l.stream_c());
         l.wait(l.stream_b(), second);
         l.expect(l.b(), l.neg(l.b(), y), -2);
       }},
      {"WaitBeforeTheSecondWrite", kAffineName, kNegName, "may still write", true,
       [](const Lanes& l, bool events) {
         const Tensor x = l.make(1), y = l.make(0);
         l.affine_into(l.a(), x, 2, 0, y);
         l.order(l.stream_a(), l.stream_b());
         l.affine_into(l.a(), x, 4, 0, y);
         if (events) l.order(l.stream_a(), l.stream_b());
         l.expect(l.b(), l.neg(l.b(), y), -4);
       }},
      {"WeightsUpdatedWhileAProductReadsThem", "matmul", kAffineName, "may still read", true,
       [](const Lanes& l, bool events) {
         const int64_t dims[2] = {20, 50}, one[2] = {1, 50};
         const Tensor flat = l.make(1);
         const Values ones(50, 1);
         Tensor weight, x, y;
         l.ok(mill_tensor_view(flat.get(), dims, nullptr, 2, 0, weight.out(), l.err()));
         l.ok(mill_tensor_from_host(l.a(), MILL_F32, one, 2, ones.data(), 200, x.out(), l.err()));
         l.ok(mill_linear(l.a(), x.get(), weight.get(), nullptr, y.out(), l.err()));
         if (events) l.order(l.stream_a(), l.stream_b());
         l.affine_into(l.b(), flat, 0.5, 0, flat);
         EXPECT_EQ(l.read(l.a(), y), Values(20, 50));
         l.expect(l.b(), flat, 0.5f);
       }},
      {"WrappedStreamOfAnotherQueue", kAffineName, kNegName, "may still write", true,
       [](const Lanes& l, bool events) {
         void* native = nullptr;
         Stream wrapped;
         l.ok(mill_stream_native(l.stream_c(), &native, l.err()));
         l.ok(mill_stream_wrap(l.context(), l.device(), native, wrapped.out(), l.err()));
         const Exec foreign = l.exec_on(wrapped.get(), MILL_ORDER_MANUAL);
         const Tensor x = l.make(1);
         const Tensor y = l.affine(foreign.get(), x, 2, 0);
         // The event is recorded on the stream that was wrapped: they are one queue.
         if (events) l.order(l.stream_c(), l.stream_b());
         l.expect(l.b(), l.neg(l.b(), y), -2);
       }},
      {"MemoryGivenBackWhileAnotherStreamReads", kNegName, kAffineName, "may still read", false,
       [](const Lanes& l, bool events) {
         const Tensor x = l.make(1);
         Tensor kept = l.make(8);
         const Tensor other = l.alias(l.b(), kept);
         void *before = nullptr, *after = nullptr;
         l.ok(mill_tensor_data(kept.get(), 0, &before, l.err()));
         const Tensor y = l.neg(l.b(), other);
         kept.reset();  // the engine knows of no use on stream b
         if (events) l.order(l.stream_b(), l.stream_a());
         Tensor fresh;
         l.ok(mill_tensor_create(l.a(), MILL_F32, kDims.data(), 1, fresh.out(), l.err()));
         l.ok(mill_tensor_data(fresh.get(), 0, &after, l.err()));
         ASSERT_EQ(before, after);
         l.affine_into(l.a(), x, 2, 0, fresh);
         l.expect(l.b(), y, -8);
         l.expect(l.a(), fresh, 2);
       }},
  };
  return all;
}

class StreamRaces : public testing::TestWithParam<size_t> {
 protected:
  const Program& program() const { return programs()[GetParam()]; }
};

// "" or what the library said, which must be MILL_E_STATE.
std::string said(const Program& program, const Lanes& lanes, bool events) {
  try {
    program.run(lanes, events);
    return "";
  } catch (const std::runtime_error& error) {
    EXPECT_EQ(mill_error_status(lanes.err()), MILL_E_STATE) << error.what();
    return lanes.message();
  }
}

TEST_P(StreamRaces, WithoutItsEventsBothOperationsAreNamed) {
  const Lanes lanes(MILL_ORDER_MANUAL);
  const std::string text = said(program(), lanes, false);
  const size_t race = text.find("stream race: ");
  ASSERT_NE(race, std::string::npos) << "\"" << text << "\"";
  const size_t between = text.find(" while ", race);
  ASSERT_NE(between, std::string::npos) << text;
  EXPECT_NE(text.substr(race, between - race).find(program().later), std::string::npos) << text;
  EXPECT_NE(text.find(program().earlier, between), std::string::npos) << text;
  EXPECT_NE(text.find(program().conflict, between), std::string::npos) << text;
  // The device goes on: done right, the same program is quiet beside what was done wrong.
  lanes.settle();
  EXPECT_EQ(said(program(), lanes, true), "");
}

TEST_P(StreamRaces, WithItsEventsItIsQuiet) {
  for (const char* spec : {"sim:ideal,memory=67108864", "sim:h200-sxm,memory=67108864,seed=3",
                           "sim:rtx4090,memory=67108864,seed=4"}) {
    const Lanes lanes(MILL_ORDER_MANUAL, spec);
    for (int round = 0; round < 3; ++round) EXPECT_EQ(said(program(), lanes, true), "") << spec;
    lanes.settle();
  }
}

TEST_P(StreamRaces, TheEngineOrdersWhatItSees) {
  if (!program().engine_sees) return;
  const Lanes lanes(MILL_ORDER_AUTO);
  for (int round = 0; round < 3; ++round) {
    EXPECT_EQ(said(program(), lanes, false), "");
    EXPECT_EQ(said(program(), lanes, true), "");
  }
  lanes.settle();
}

INSTANTIATE_TEST_SUITE_P(, StreamRaces, testing::Range<size_t>(0, programs().size()),
                         [](const auto& it) { return std::string(programs()[it.param].name); });

// ---- what is no race, and what is told later ----------------------------------------------------

TEST(StreamOrders, AWrappedStreamSharesItsQueueWithTheOneItWraps) {
  const Lanes l(MILL_ORDER_MANUAL);
  void* native = nullptr;
  Stream wrapped;
  l.ok(mill_stream_native(l.stream_a(), &native, l.err()));
  l.ok(mill_stream_wrap(l.context(), l.device(), native, wrapped.out(), l.err()));
  const Exec foreign = l.exec_on(wrapped.get(), MILL_ORDER_MANUAL);
  const Tensor x = l.make(1);
  for (int round = 0; round < 4; ++round) {
    const Tensor y = l.affine(foreign.get(), x, 2, 0);
    l.affine_into(l.a(), y, 1, 1, y);
    l.expect(foreign.get(), y, 3);
  }
}

TEST(StreamOrders, WhatTheHostHasWaitedForNeedsNoEvent) {
  const Lanes l(MILL_ORDER_MANUAL);
  const Tensor x = l.make(1);
  Tensor y = l.affine(l.a(), x, 2, 0);
  l.ok(mill_stream_wait(l.stream_a(), l.err()));
  l.expect(l.b(), l.neg(l.b(), y), -2);
  y = l.affine(l.a(), x, 3, 0);
  const Event done = l.event();
  l.record(done, l.stream_a());
  EXPECT_EQ(mill_event_wait(done.get(), UINT64_MAX, l.err()), MILL_OK);
  l.expect(l.b(), l.neg(l.b(), y), -3);
  y = l.affine(l.a(), x, 4, 0);
  l.record(done, l.stream_a());
  while (mill_event_query(done.get(), l.err()) == MILL_NOT_READY) {
  }
  l.expect(l.b(), l.neg(l.b(), y), -4);
}

TEST(StreamOrders, AWaitThatTimedOutOrdersNothing) {
  const Lanes l(MILL_ORDER_MANUAL, "sim:h200-sxm,memory=67108864");
  const Tensor x = l.make(1);
  const Event done = l.event();
  const Tensor y = l.affine(l.a(), x, 2, 0);
  l.record(done, l.stream_a());
  EXPECT_EQ(mill_event_wait(done.get(), 1, l.err()), MILL_TIMEOUT);
  mill_tensor* out = nullptr;
  EXPECT_EQ(mill_neg(l.b(), y.get(), &out, l.err()), MILL_E_STATE);
  EXPECT_EQ(out, nullptr);
  EXPECT_NE(l.message().find("stream race"), std::string::npos) << l.message();
}

TEST(StreamOrders, PartsOfOneTensorThatDoNotOverlapAreIndependent) {
  const Lanes l(MILL_ORDER_MANUAL);
  const Tensor x = l.make(1);
  const int64_t half[1] = {kCount / 2}, more[1] = {kCount / 2 + 1};
  Tensor low, high, across;
  l.ok(mill_tensor_view(x.get(), half, nullptr, 1, 0, low.out(), l.err()));
  l.ok(mill_tensor_view(x.get(), half, nullptr, 1, kCount / 2, high.out(), l.err()));
  l.ok(mill_tensor_view(x.get(), more, nullptr, 1, 0, across.out(), l.err()));
  l.affine_into(l.a(), low, 2, 0, low);
  l.affine_into(l.b(), high, 3, 0, high);
  // One element more is one too many: four bytes, and the report says so.
  mill_tensor* out = nullptr;
  EXPECT_EQ(mill_neg(l.a(), across.get(), &out, l.err()), MILL_E_STATE);
  EXPECT_NE(l.message().find(" 4 bytes at "), std::string::npos) << l.message();
}

// The engine keeps memory for the streams that it saw use it, whatever the exec's order.
TEST(StreamOrders, ReleasedMemoryStaysUntilEveryStreamIsDoneWithIt) {
  for (const int32_t order : {MILL_ORDER_MANUAL, MILL_ORDER_AUTO}) {
    const Lanes l(order, "sim:h200-sxm,memory=67108864");
    const Tensor x = l.make(1);
    std::vector<Tensor> results;
    for (int round = 0; round < 10; ++round) {
      const Tensor y = l.affine(l.a(), x, 2, round);
      l.order(l.stream_a(), l.stream_b());
      results.push_back(l.neg(l.b(), y));
    }
    for (int round = 0; round < 10; ++round)
      l.expect(l.b(), results[static_cast<size_t>(round)], static_cast<float>(-2 - round));
  }
}

TEST(StreamOrders, FuturesReleasedEarlyDoNotShareTheirMemoryTooSoon) {
  for (const int32_t order : {MILL_ORDER_MANUAL, MILL_ORDER_AUTO}) {
    const Lanes l(order, "sim:h200-sxm,memory=67108864");
    const Tensor x = l.make(1), y = l.make(2);
    for (int round = 0; round < 5; ++round) {
      (void)l.read_async(l.a(), x);
      const Future kept = l.read_async(l.b(), y);
      (void)l.read_async(l.a(), x);
      EXPECT_EQ(static_cast<const float*>(l.data_of(kept))[0], 2.0f);
    }
    l.settle();
  }
}

// A copy from pinned memory does not hold the host up by itself, but what is written is copied when
// the call returns, whatever memory it comes from.
TEST(StreamOrders, PinnedMemoryMayBeUsedAgainAfterAWriteFromIt) {
  const Lanes l(MILL_ORDER_MANUAL, "sim:h200-sxm,memory=67108864");
  const Tensor x = l.make(1), y = l.make(2), z = l.make(0);
  const Future future = l.read_async(l.a(), x);
  auto* pinned = const_cast<float*>(static_cast<const float*>(l.data_of(future)));
  l.ok(mill_tensor_write(l.a(), z.get(), pinned, kCount * sizeof(float), l.err()));
  l.ok(mill_tensor_read(l.b(), y.get(), pinned, kCount * sizeof(float), l.err()));
  EXPECT_EQ(pinned[kCount - 1], 2.0f);
  l.expect(l.a(), z, 1);
}

// Saved on one stream, last written on another.
TEST(StreamOrders, ACheckpointComesAfterTheWritesOfOtherStreams) {
  const Lanes l(MILL_ORDER_AUTO, "sim:h200-sxm,memory=67108864");
  Group group;
  l.ok(mill_group_create(l.context(), MILL_F32, group.out(), l.err()));
  l.ok(mill_group_add(group.get(), "w", kDims.data(), 1, nullptr, l.err()));
  l.ok(mill_group_build(group.get(), l.a(), l.err()));
  Tensor weight;
  l.ok(mill_group_param(group.get(), 0, weight.out(), l.err()));
  l.affine_into(l.a(), l.make(2), 3, 0, weight);
  const std::string path = testing::TempDir() + "millrace-races.safetensors";
  EXPECT_EQ(mill_checkpoint_save(l.b(), path.c_str(), MILL_NTS, group.get(), nullptr, nullptr,
                                 nullptr, l.err()),
            MILL_OK)
      << l.message();
  l.affine_into(l.a(), l.make(1), 1, 0, weight);
  l.ok(mill_checkpoint_load(l.b(), path.c_str(), MILL_NTS, group.get(), nullptr, nullptr, nullptr,
                            l.err()));
  l.expect(l.b(), weight, 6);
  std::remove(path.c_str());
}

// A free itself reports nothing, so the next wait does, once.
TEST(StreamOrders, MemoryReturnedToTheDeviceTooEarlyIsToldByTheNextWait) {
  for (const bool events : {false, true}) {
    const Lanes l(MILL_ORDER_MANUAL, "sim:h200-sxm,memory=67108864");
    const int64_t many[1] = {1 << 20};  // a piece of memory of its own
    Tensor kept, other, y;
    Values values(size_t{1} << 20, 3);
    l.ok(mill_tensor_from_host(l.a(), MILL_F32, many, 1, values.data(), values.size() * 4,
                               kept.out(), l.err()));
    l.ok(mill_stream_wait(l.stream_a(), l.err()));
    void* data = nullptr;
    l.ok(mill_tensor_data(kept.get(), 0, &data, l.err()));
    l.ok(mill_tensor_import(l.b(), MILL_F32, many, nullptr, 1, data, nullptr, nullptr, other.out(),
                            l.err()));
    l.ok(mill_neg(l.b(), other.get(), y.out(), l.err()));
    if (events) l.ok(mill_stream_wait(l.stream_b(), l.err()));
    kept.reset();
    uint64_t returned = 0;
    l.ok(mill_memory_trim(l.context(), l.device(), &returned, l.err()));
    ASSERT_GT(returned, 0u);
    const mill_status status = mill_stream_wait(l.stream_a(), l.err());
    if (events) {
      EXPECT_EQ(status, MILL_OK) << l.message();
    } else {
      EXPECT_EQ(status, MILL_E_STATE);
      EXPECT_NE(l.message().find("stream race: free "), std::string::npos) << l.message();
      EXPECT_NE(l.message().find(kNegName), std::string::npos) << l.message();
      EXPECT_NE(l.message().find("may still use"), std::string::npos) << l.message();
    }
    EXPECT_EQ(mill_stream_wait(l.stream_a(), l.err()), MILL_OK);
    l.ok(mill_tensor_read(l.b(), y.get(), values.data(), values.size() * sizeof(float), l.err()));
    EXPECT_EQ(values.back(), -3.0f);
  }
}

// ---- objects of another device ------------------------------------------------------------------

TEST(StreamOrders, StreamsAndEventsOfAnotherDeviceAreRefused) {
  const Lanes l(MILL_ORDER_MANUAL);
  uint32_t second = 0;
  l.ok(mill_device_open(l.context(), "sim:ideal,memory=16777216", MILL_NTS, &second, l.err()));
  Stream foreign;
  l.ok(mill_stream_create(l.context(), second, foreign.out(), l.err()));
  mill_exec* exec = nullptr;
  EXPECT_EQ(mill_exec_create(l.context(), l.device(), foreign.get(), &exec, l.err()),
            MILL_E_DEVICE);
  EXPECT_EQ(exec, nullptr);
  const Event event = l.event();
  EXPECT_EQ(mill_event_record(event.get(), foreign.get(), l.err()), MILL_E_DEVICE);
  EXPECT_EQ(mill_stream_wait_event(foreign.get(), event.get(), l.err()), MILL_E_DEVICE);
  void* native = nullptr;
  mill_stream* wrapped = nullptr;
  l.ok(mill_stream_native(foreign.get(), &native, l.err()));
  EXPECT_EQ(mill_stream_wrap(l.context(), l.device(), native, &wrapped, l.err()), MILL_E_DEVICE);
  EXPECT_EQ(mill_stream_wrap(l.context(), l.device(), nullptr, &wrapped, l.err()), MILL_E_ARG);
  int nobody = 0;
  EXPECT_EQ(mill_stream_wrap(l.context(), l.device(), &nobody, &wrapped, l.err()), MILL_E_DEVICE);
  EXPECT_EQ(wrapped, nullptr);
  EXPECT_FALSE(l.message().empty());
  const Tensor x = l.make(1);
  l.expect(l.a(), l.neg(l.a(), x), -1);
}

}  // namespace
}  // namespace mill_test
