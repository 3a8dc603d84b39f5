// Streams, events and reads in flight on a device of its own memory. Each case gives one stream
// work that lasts, so that an order which nobody keeps shows in the values.
#include <poll.h>
#include <unistd.h>

#include <thread>

#include "gpu/device_fixture.h"

namespace mill_test {
namespace {

class Streams : public OnDevice {};

// ---- events -------------------------------------------------------------------------------------

TEST_F(Streams, AnEventThatWasNeverRecordedHasHappened) {
  const Lane lane = new_lane();
  const Event event = new_event(lane);
  EXPECT_EQ(mill_event_query(event.get(), err()), MILL_OK);
  EXPECT_EQ(mill_event_wait(event.get(), 0, err()), MILL_OK);
}

TEST_F(Streams, EventsHappenInTheOrderOfTheirStream) {
  const Lane lane = new_lane();
  const Event first = new_event(lane);
  const Event second = new_event(lane);
  const Event third = new_event(lane);
  const Tensor matrix = averaging(*lane);
  ok(mill_event_record(first.get(), lane.stream.get(), err()));
  const Tensor a = long_work(*lane, matrix.get());
  ok(mill_event_record(second.get(), lane.stream.get(), err()));
  const Tensor b = long_work(*lane, matrix.get());
  ok(mill_event_record(third.get(), lane.stream.get(), err()));
  EXPECT_EQ(mill_event_wait(third.get(), UINT64_MAX, err()), MILL_OK);
  EXPECT_EQ(mill_event_query(first.get(), err()), MILL_OK);
  EXPECT_EQ(mill_event_query(second.get(), err()), MILL_OK);
  double to_second = -1;
  double to_third = -1;
  ok(mill_event_elapsed(first.get(), second.get(), &to_second, err()));
  ok(mill_event_elapsed(first.get(), third.get(), &to_third, err()));
  EXPECT_GT(to_second, 0);
  EXPECT_GT(to_third, to_second);
}

TEST_F(Streams, AWaitOfNoTimeSaysWhetherItHasHappened) {
  const Lane lane = new_lane();
  const Event event = new_event(lane);
  const Tensor matrix = averaging(*lane);
  const Tensor work = long_work(*lane, matrix.get());
  ok(mill_event_record(event.get(), lane.stream.get(), err()));
  const mill_status now = mill_event_wait(event.get(), 0, err());
  EXPECT_TRUE(now == MILL_OK || now == MILL_TIMEOUT) << now;
  const mill_status asked = mill_event_query(event.get(), err());
  EXPECT_TRUE(asked == MILL_OK || asked == MILL_NOT_READY) << asked;
  EXPECT_EQ(mill_event_wait(event.get(), UINT64_MAX, err()), MILL_OK);
  EXPECT_EQ(mill_event_wait(event.get(), 0, err()), MILL_OK);
}

TEST_F(Streams, TimeToAnEventThatWasNeverRecordedIsRefused) {
  const Lane lane = new_lane();
  const Event recorded = new_event(lane);
  const Event other = new_event(lane);
  ok(mill_event_record(recorded.get(), lane.stream.get(), err()));
  ok(mill_stream_wait(lane.stream.get(), err()));
  double ns = 0;
  EXPECT_EQ(mill_event_elapsed(recorded.get(), other.get(), &ns, err()), MILL_E_STATE);
}

TEST_F(Streams, AnEventOfAnotherDeviceIsRefused) {
  const Lane lane = new_lane();
  const Event event = new_event(lane);
  Stream cpu;
  ok(mill_stream_create(context(), 0, cpu.out(), err()));
  EXPECT_EQ(mill_event_record(event.get(), cpu.get(), err()), MILL_E_DEVICE);
  EXPECT_EQ(mill_exec_wait(there(), err()), MILL_OK);
}

TEST_F(Streams, EventsOrderTwoStreamsThatNothingElseOrders) {
  const Lane writer = new_lane(MILL_ORDER_MANUAL);
  const Lane reader = new_lane(MILL_ORDER_MANUAL);
  const Event written = new_event(writer);
  const Event taken = new_event(reader);
  const int64_t n = by_device(1 << 12, 1 << 22);
  const Tensor matrix = averaging(*writer);
  const Tensor x = make_on<float>(*writer, {n}, std::vector<float>(static_cast<size_t>(n), 0));
  std::vector<Tensor> seen;
  for (int round = 0; round < 6; ++round) {
    const Tensor delay = long_work(*writer, matrix.get());
    affine_in_place(*writer, x.get(), 1, 1);
    ok(mill_event_record(written.get(), writer.stream.get(), err()));
    ok(mill_stream_wait_event(reader.stream.get(), written.get(), err()));
    seen.push_back(affine(*reader, x.get(), 10, 0));
    ok(mill_event_record(taken.get(), reader.stream.get(), err()));
    ok(mill_stream_wait_event(writer.stream.get(), taken.get(), err()));
  }
  for (size_t round = 0; round < seen.size(); ++round)
    expect_all(*reader, seen[round].get(), 10 * (static_cast<float>(round) + 1));
}

// ---- order by what is touched -------------------------------------------------------------------

TEST_F(Streams, AReadWaitsForTheWriteOnAnotherStream) {
  const Lane one = new_lane();
  const Lane two = new_lane();
  const Tensor matrix = averaging(*one);
  const Tensor late = long_work(*one, matrix.get());
  const Tensor seen = affine(*two, late.get(), 2, 1);
  expect_all(*two, seen.get(), 3);
}

TEST_F(Streams, AWriteWaitsForTheReadOnAnotherStream) {
  const Lane one = new_lane();
  const Lane two = new_lane();
  const Tensor matrix = averaging(*one);
  const Tensor late = long_work(*one, matrix.get());
  affine_in_place(*two, matrix.get(), 0, 7);
  expect_all(*one, late.get(), 1);
  expect_all(*two, matrix.get(), 7);
}

TEST_F(Streams, AWriteWaitsForTheWriteOnAnotherStream) {
  const Lane one = new_lane();
  const Lane two = new_lane();
  const Tensor matrix = averaging(*one);
  const Tensor target = long_work(*one, matrix.get());
  const Tensor delay = long_work(*one, matrix.get());
  affine_in_place(*one, target.get(), 1, 4);
  affine_in_place(*two, target.get(), 0, 9);
  expect_all(*one, target.get(), 9);
}

TEST_F(Streams, AWriteOfTheHostWaitsForTheReaders) {
  const Lane lane = new_lane();
  const Tensor matrix = averaging(*lane);
  const Tensor late = long_work(*lane, matrix.get());
  const std::vector<float> zeros(static_cast<size_t>(mill_tensor_count(matrix.get())), 0);
  ok(mill_tensor_write(there(), matrix.get(), zeros.data(), zeros.size() * sizeof(float), err()));
  expect_all(*lane, late.get(), 1);
  expect_all(there(), matrix.get(), 0);
}

TEST_F(Streams, FourStreamsMeetInADiamond) {
  const Lane lanes[4] = {new_lane(), new_lane(), new_lane(), new_lane()};
  const Tensor matrix = averaging(*lanes[0]);
  for (int round = 0; round < 3; ++round) {
    const Tensor top = long_work(*lanes[0], matrix.get());
    const Tensor left = affine(*lanes[1], top.get(), 1, 1);
    const Tensor right = affine(*lanes[2], top.get(), 1, 2);
    Tensor bottom;
    ok(mill_add(*lanes[3], left.get(), right.get(), bottom.out(), err()));
    expect_all(*lanes[3], bottom.get(), 5);
  }
}

TEST_F(Streams, MemoryGivenBackWhileInUseIsNotHandedOutTooEarly) {
  const Lane one = new_lane();
  const Lane two = new_lane();
  std::vector<Tensor> late;
  for (int round = 0; round < 4; ++round) {
    Tensor matrix = averaging(*one);
    late.push_back(long_work(*one, matrix.get()));
    matrix.reset();  // the device still reads it
    const int64_t dims[2] = {side(), side()};
    Tensor fresh;
    ok(mill_fill(*two, dims, 2, MILL_F32, 99, fresh.out(), err()));
  }
  for (const Tensor& result : late) expect_all(*one, result.get(), 1);
}

TEST_F(Streams, TwoThreadsShareAnInput) {
  const Tensor matrix = averaging(there());
  float got[2] = {};
  std::thread threads[2];
  for (int k = 0; k < 2; ++k) {
    threads[k] = std::thread([&, k] {
      Error error;
      mill_test::Exec exec;
      if (mill_error_create(error.out()) < 0 ||
          mill_exec_create(context(), device(), nullptr, exec.out(), error.get()) < 0)
        return;
      Tensor x;
      if (mill_affine(exec.get(), matrix.get(), static_cast<double>(side()), k, x.out(),
                      error.get()) < 0)
        return;
      for (int round = 0; round < 50; ++round) {
        mill_tensor* in_place = x.get();
        if (mill_affine(exec.get(), x.get(), 1, k + 1, &in_place, error.get()) < 0) return;
      }
      std::vector<float> values(static_cast<size_t>(mill_tensor_count(x.get())));
      if (mill_tensor_read(exec.get(), x.get(), values.data(), values.size() * sizeof(float),
                           error.get()) < 0)
        return;
      got[k] = values.back();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(got[0], 51.0f);
  EXPECT_EQ(got[1], 102.0f);
}

// ---- streams of the device's own ----------------------------------------------------------------

TEST_F(Streams, WorkOnAWrappedStreamIsOrderedByTheNativeOne) {
  const Lane own = new_lane(MILL_ORDER_MANUAL);
  void* native = nullptr;
  const mill_status status = mill_stream_native(own.stream.get(), &native, err());
  if (status == MILL_E_UNSUPPORTED) GTEST_SKIP() << w_->message();
  ok(status);
  Stream wrapped;
  ok(mill_stream_wrap(context(), device(), native, wrapped.out(), err()));
  void* again = nullptr;
  ok(mill_stream_native(wrapped.get(), &again, err()));
  // The simulator shows a view of the stream, of which each handle has its own.
  if (!simulated()) {
    EXPECT_EQ(again, native);
  }
  {
    const Lane foreign = lane_on(wrapped.get(), MILL_ORDER_MANUAL);
    const Tensor matrix = averaging(*own);
    const Tensor late = long_work(*own, matrix.get());
    affine_in_place(*foreign, late.get(), 1, 1);
    affine_in_place(*own, late.get(), 3, 0);
    affine_in_place(*foreign, late.get(), 1, -2);
    expect_all(*own, late.get(), 4);
  }
  // The wrapper goes, the stream stays.
  wrapped.reset();
  const Tensor after = averaging(*own);
  expect_all(*own, after.get(), 1.0f / static_cast<float>(side()));
}

TEST_F(Streams, NothingAndAStreamOfTheCpuAreNotWrapped) {
  Stream wrapped;
  EXPECT_EQ(mill_stream_wrap(context(), device(), nullptr, wrapped.out(), err()), MILL_E_ARG);
  EXPECT_FALSE(wrapped);
  int anything = 0;
  EXPECT_EQ(mill_stream_wrap(context(), 0, &anything, wrapped.out(), err()), MILL_E_UNSUPPORTED);
  EXPECT_FALSE(wrapped);
}

// ---- descriptors --------------------------------------------------------------------------------

TEST_F(Streams, ADescriptorWakesAPollWhenTheEventHasHappened) {
  const Lane lane = new_lane();
  const Event event = new_event(lane);
  const Tensor matrix = averaging(*lane);
  const Tensor work = long_work(*lane, matrix.get());
  ok(mill_event_record(event.get(), lane.stream.get(), err()));
  int32_t fd = -1;
  ok(mill_event_descriptor(event.get(), &fd, err()));
  pollfd waiting{fd, POLLIN, 0};
  EXPECT_EQ(poll(&waiting, 1, 60000), 1);
  uint64_t value = 0;
  EXPECT_EQ(::read(fd, &value, sizeof value), 8);
  EXPECT_EQ(mill_event_query(event.get(), err()), MILL_OK);
  ::close(fd);
  EXPECT_EQ(mill_event_wait(event.get(), UINT64_MAX, err()), MILL_OK);
  expect_all(*lane, work.get(), 1);
}

TEST_F(Streams, ADescriptorStaysWithThePointItWasMadeFor) {
  const Lane lane = new_lane();
  const Event event = new_event(lane);
  const Tensor matrix = averaging(*lane);
  ok(mill_event_record(event.get(), lane.stream.get(), err()));
  int32_t fd = -1;
  ok(mill_event_descriptor(event.get(), &fd, err()));
  const Tensor work = long_work(*lane, matrix.get());
  ok(mill_event_record(event.get(), lane.stream.get(), err()));
  pollfd waiting{fd, POLLIN, 0};
  EXPECT_EQ(poll(&waiting, 1, 60000), 1);
  // Closed before it is read, and while later work still runs.
  ::close(fd);
  EXPECT_EQ(mill_event_wait(event.get(), UINT64_MAX, err()), MILL_OK);
}

TEST_F(Streams, ADescriptorMayBeClosedBeforeItsEventHappens) {
  const Lane lane = new_lane();
  const Event event = new_event(lane);
  const Tensor matrix = averaging(*lane);
  const Tensor work = long_work(*lane, matrix.get());
  ok(mill_event_record(event.get(), lane.stream.get(), err()));
  int32_t fd = -1;
  ok(mill_event_descriptor(event.get(), &fd, err()));
  ::close(fd);
  expect_all(*lane, work.get(), 1);
}

// Several tries, because the late event may happen before this thread looks.
TEST_F(Streams, ADescriptorOfAnEarlyEventDoesNotWaitForALateOne) {
  if (simulated() && test_device().find("async=1") == std::string::npos)
    GTEST_SKIP() << "needs real time: in virtual time a poll wakes at once";
  const Lane slow = new_lane();
  const Lane idle = new_lane();
  const Event late = new_event(slow);
  const Event early = new_event(idle);
  const Tensor matrix = averaging(*slow);
  bool overtook = false;
  for (int k = 0; k < 20 && !overtook; ++k) {
    const Tensor work = long_work(*slow, matrix.get());
    ok(mill_event_record(late.get(), slow.stream.get(), err()));
    ok(mill_event_record(early.get(), idle.stream.get(), err()));
    int32_t first = -1;
    int32_t second = -1;
    ok(mill_event_descriptor(late.get(), &first, err()));
    ok(mill_event_descriptor(early.get(), &second, err()));
    pollfd waiting{second, POLLIN, 0};
    EXPECT_EQ(poll(&waiting, 1, 60000), 1);
    waiting.fd = first;
    overtook = poll(&waiting, 1, 0) == 0;
    EXPECT_EQ(mill_event_wait(late.get(), UINT64_MAX, err()), MILL_OK);
    EXPECT_EQ(poll(&waiting, 1, 60000), 1);
    ::close(first);
    ::close(second);
  }
  EXPECT_TRUE(overtook);
}

// ---- reads in flight ----------------------------------------------------------------------------

TEST_F(Streams, AReadInFlightHoldsTheValuesOfItsMoment) {
  const Lane lane = new_lane();
  const Tensor matrix = averaging(*lane);
  const Tensor delay = long_work(*lane, matrix.get());
  const Tensor counter = make_on<float>(*lane, {1000}, std::vector<float>(1000, 0));
  std::vector<Future> futures(24);
  for (Future& future : futures) {
    affine_in_place(*lane, counter.get(), 1, 1);
    ok(mill_tensor_read_async(*lane, counter.get(), future.out(), err()));
  }
  // The last one first: those before it have happened then.
  for (size_t k = futures.size(); k-- > 0;) {
    const std::vector<float> values = values_of<float>(futures[k].get());
    EXPECT_EQ(values, std::vector<float>(1000, static_cast<float>(k) + 1));
    if (k + 1 == futures.size()) {
      EXPECT_EQ(mill_future_query(futures[0].get(), err()), MILL_OK);
    }
  }
}

TEST_F(Streams, AReadInFlightOfATransposedTensorIsRowMajor) {
  const int64_t rows = by_device(37, 1023);
  const int64_t columns = by_device(21, 517);
  std::vector<int32_t> values(static_cast<size_t>(rows * columns));
  std::iota(values.begin(), values.end(), 0);
  const Tensor x = make_on(there(), {rows, columns}, values);
  const int64_t dims[2] = {columns, rows};
  const int64_t strides[2] = {1, columns};
  Tensor turned;
  ok(mill_tensor_view(x.get(), dims, strides, 2, 0, turned.out(), err()));
  Future future;
  ok(mill_tensor_read_async(there(), turned.get(), future.out(), err()));
  const std::vector<int32_t> got = values_of<int32_t>(future.get());
  ASSERT_EQ(got.size(), values.size());
  size_t wrong = 0;
  for (int64_t c = 0; c < columns; ++c) {
    for (int64_t r = 0; r < rows; ++r)
      wrong += got[static_cast<size_t>(c * rows + r)] != r * columns + c ? 1 : 0;
  }
  EXPECT_EQ(wrong, 0u);
}

TEST_F(Streams, AReadThatNobodyAwaitsHarmsNothing) {
  const Lane lane = new_lane();
  const Tensor matrix = averaging(*lane);
  for (int round = 0; round < 5; ++round) {
    const Tensor work = long_work(*lane, matrix.get());
    Future future;
    ok(mill_tensor_read_async(*lane, work.get(), future.out(), err()));
  }
  const Tensor work = long_work(*lane, matrix.get());
  Future future;
  ok(mill_tensor_read_async(*lane, work.get(), future.out(), err()));
  EXPECT_EQ(values_of<float>(future.get()).back(), 1.0f);
}

}  // namespace
}  // namespace mill_test
