// Tickets against a device that does what it is told and counts what it is asked.
#include "device/stream_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "base/error.h"

namespace mill {
namespace {

// Streams are addresses; events happen when the test says so.
class FakeDevice {
 public:
  struct Event {
    void* stream = nullptr;
    bool happened = true;
  };

  FakeDevice() {
    streams_.size = sizeof streams_;
    streams_.event_create = [](void* self, void** out, mill_kernel_error* error) {
      return of(self).create(out, error);
    };
    streams_.event_destroy = [](void* self, void* event) { of(self).destroy(event); };
    streams_.event_record = [](void* self, void* event, void* stream, mill_kernel_error* error) {
      return of(self).record(static_cast<Event*>(event), stream, error);
    };
    streams_.event_query = [](void* self, void* event, mill_kernel_error* error) {
      return of(self).query(static_cast<Event*>(event), error);
    };
    streams_.event_wait = [](void* self, void* event, uint64_t, mill_kernel_error* error) {
      return of(self).wait(static_cast<Event*>(event), error);
    };
    streams_.wait_event = [](void* self, void* stream, void* event, mill_kernel_error* error) {
      return of(self).wait_event(stream, static_cast<Event*>(event), error);
    };
    table.size = sizeof table;
    table.name = "fake";
    table.self = this;
    table.streams = &streams_;
  }
  ~FakeDevice() { EXPECT_TRUE(events_.empty()) << events_.size() << " events are left"; }

  // Everything recorded so far happens.
  void finish() {
    const std::lock_guard lock(mutex_);
    for (Event* event : events_) event->happened = true;
    changed_.notify_all();
  }
  void fail_records(mill_status status) { locked(fail_record_, status); }
  void fail_creates(mill_status status) { locked(fail_create_, status); }
  void lose() { locked(lost_, true); }
  void leave_out_nul() { locked(no_nul_, true); }
  void end_stream(void* stream) {
    const std::lock_guard lock(mutex_);
    ended_.insert(stream);
  }
  // Blocks until so many host threads wait.
  void until_waiting(int n) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return waiting_ >= n; });
  }

  size_t live() const {
    const std::lock_guard lock(mutex_);
    return events_.size();
  }
  int created() const { return copy_of(created_); }
  int recorded() const { return copy_of(recorded_); }
  std::vector<std::pair<void*, void*>> waits() const { return copy_of(waits_); }
  // Of any kind but waits of the host.
  int calls() const {
    const std::lock_guard lock(mutex_);
    return created_ + recorded_ + queried_ + static_cast<int>(waits_.size());
  }

  mill_device_table table{};

 private:
  static FakeDevice& of(void* self) { return *static_cast<FakeDevice*>(self); }

  template <class T, class V>
  void locked(T& to, V value) {
    const std::lock_guard lock(mutex_);
    to = value;
    changed_.notify_all();
  }
  template <class T>
  T copy_of(const T& value) const {
    const std::lock_guard lock(mutex_);
    return value;
  }

  mill_status fails(mill_status status, mill_kernel_error* error) const {
    EXPECT_EQ(error->text[0], 0) << "a buffer that does not begin empty";
    if (no_nul_) {
      std::memset(error->text, 'x', sizeof error->text);
    } else {
      std::snprintf(error->text, sizeof error->text, "the fake fails as it was told to");
    }
    return status;
  }

  mill_status create(void** out, mill_kernel_error* error) {
    const std::lock_guard lock(mutex_);
    if (fail_create_ < 0) return fails(fail_create_, error);
    ++created_;
    *out = *events_.insert(new Event).first;
    return MILL_OK;
  }
  void destroy(void* event) {
    const std::lock_guard lock(mutex_);
    EXPECT_EQ(events_.erase(static_cast<Event*>(event)), 1u) << "destroyed twice, or nobody's";
    delete static_cast<Event*>(event);
  }
  mill_status record(Event* event, void* stream, mill_kernel_error* error) {
    const std::lock_guard lock(mutex_);
    EXPECT_TRUE(events_.count(event)) << "no event";
    EXPECT_NE(stream, nullptr) << "recorded on no stream";
    EXPECT_FALSE(ended_.count(stream)) << "recorded on a stream that is gone";
    EXPECT_TRUE(event->happened) << "recorded again before it happened";
    if (lost_) return fails(MILL_E_DEVICE_LOST, error);
    if (fail_record_ < 0) return fails(fail_record_, error);
    ++recorded_;
    *event = {stream, false};
    return MILL_OK;
  }
  mill_status query(Event* event, mill_kernel_error* error) {
    const std::lock_guard lock(mutex_);
    EXPECT_TRUE(events_.count(event)) << "no event";
    ++queried_;
    if (lost_) return fails(MILL_E_DEVICE_LOST, error);
    return event->happened ? MILL_OK : MILL_NOT_READY;
  }
  mill_status wait(Event* event, mill_kernel_error* error) {
    std::unique_lock lock(mutex_);
    ++waiting_;
    changed_.notify_all();
    changed_.wait(lock, [&] {
      if (!events_.count(event)) ADD_FAILURE() << "destroyed while somebody waits for it";
      return event->happened || lost_;
    });
    --waiting_;
    return lost_ ? fails(MILL_E_DEVICE_LOST, error) : mill_status{MILL_OK};
  }
  mill_status wait_event(void* stream, Event* event, mill_kernel_error* error) {
    const std::lock_guard lock(mutex_);
    EXPECT_TRUE(events_.count(event)) << "no event";
    EXPECT_FALSE(ended_.count(stream)) << "a stream that is gone waits";
    if (lost_) return fails(MILL_E_DEVICE_LOST, error);
    waits_.emplace_back(stream, event);
    return MILL_OK;
  }

  mill_stream_functions streams_{};
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::set<Event*> events_;
  std::set<void*> ended_;
  std::vector<std::pair<void*, void*>> waits_;
  int created_ = 0;
  int recorded_ = 0;
  int queried_ = 0;
  int waiting_ = 0;
  mill_status fail_record_ = MILL_OK;
  mill_status fail_create_ = MILL_OK;
  bool lost_ = false;
  bool no_nul_ = false;
};

// A stream as the engine keeps one.
struct Stream {
  std::shared_ptr<StreamCount> count = std::make_shared<StreamCount>();
  uint64_t number = 0;
  char native = 0;

  Ticket submit() { return {number, count->next()}; }
};

class Streams : public testing::Test {
 protected:
  Streams() : table_(std::make_unique<StreamTable>(device_.table)) {
    for (Stream* one : {&a_, &b_, &c_}) one->number = table_->add(&one->native, one->count);
  }
  ~Streams() override { table_.reset(); }

  void drop(Stream& stream) {
    table_->drop(stream.number);
    device_.end_stream(&stream.native);
  }
  template <class F>
  void throws(mill_status status, const char* text, F&& f) {
    try {
      f();
      ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.status(), status) << error.text();
      EXPECT_NE(std::string(error.text()).find(text), std::string::npos) << error.text();
    }
  }

  FakeDevice device_;
  std::unique_ptr<StreamTable> table_;
  Stream a_, b_, c_;
};

TEST_F(Streams, NothingIsAskedWhereNobodyElseNeedsIt) {
  Ticket last;
  for (int k = 0; k < 100; ++k) last = a_.submit();
  table_->wait(a_.number, last);
  table_->wait(b_.number, Ticket{});
  table_->host_wait(Ticket{});
  EXPECT_TRUE(table_->done(Ticket{}));
  EXPECT_EQ(device_.calls(), 0);
}

TEST_F(Streams, OneEventServesAllThatWasSubmittedBeforeIt) {
  const Ticket first = a_.submit();
  const Ticket second = a_.submit();
  const Ticket third = a_.submit();
  table_->wait(b_.number, first);
  EXPECT_EQ(device_.recorded(), 1);
  ASSERT_EQ(device_.waits().size(), 1u);
  EXPECT_EQ(device_.waits()[0].first, &b_.native);
  // b waits for all three already.
  table_->wait(b_.number, second);
  table_->wait(b_.number, third);
  EXPECT_EQ(device_.waits().size(), 1u);
  // c needs a wait of its own, and no event.
  table_->wait(c_.number, third);
  EXPECT_EQ(device_.recorded(), 1);
  ASSERT_EQ(device_.waits().size(), 2u);
  EXPECT_EQ(device_.waits()[1], (std::pair<void*, void*>(&c_.native, device_.waits()[0].second)));
}

TEST_F(Streams, LaterWorkNeedsALaterEvent) {
  table_->wait(b_.number, a_.submit());
  table_->wait(b_.number, a_.submit());
  EXPECT_EQ(device_.recorded(), 2);
  ASSERT_EQ(device_.waits().size(), 2u);
  EXPECT_NE(device_.waits()[0].second, device_.waits()[1].second);
}

TEST_F(Streams, FinishedWorkNeedsNoWait) {
  const Ticket early = a_.submit();
  table_->wait(b_.number, early);
  device_.finish();
  table_->wait(c_.number, early);
  EXPECT_EQ(device_.waits().size(), 1u);
  const Ticket late = a_.submit();
  table_->note_done(a_.number, late.sequence);  // as after a wait of the host for the stream
  const int before = device_.calls();
  table_->wait(c_.number, late);
  table_->host_wait(late);
  EXPECT_TRUE(table_->done(late));
  EXPECT_EQ(device_.calls(), before);
  EXPECT_FALSE(table_->done(a_.submit()));
}

TEST_F(Streams, EventsAreUsedAgain) {
  for (int k = 0; k < 200; ++k) {
    table_->wait(b_.number, a_.submit());
    table_->wait(a_.number, b_.submit());
    device_.finish();
  }
  EXPECT_EQ(device_.recorded(), 400);
  EXPECT_LE(device_.created(), 4);
}

TEST_F(Streams, DoneAsksAndNeverWaits) {
  const Ticket ticket = a_.submit();
  EXPECT_FALSE(table_->done(ticket));
  EXPECT_FALSE(table_->done(ticket));
  EXPECT_EQ(device_.recorded(), 1);
  device_.finish();
  EXPECT_TRUE(table_->done(ticket));
  EXPECT_TRUE(device_.waits().empty());
  EXPECT_TRUE(table_->done({77, 1})) << "a stream that nobody knows";
}

TEST_F(Streams, TheHostWaitsForAnEvent) {
  const Ticket ticket = a_.submit();
  std::thread waiter([&] { table_->host_wait(ticket); });
  device_.until_waiting(1);
  EXPECT_FALSE(table_->done(ticket));  // others go on meanwhile
  table_->wait(b_.number, ticket);
  EXPECT_EQ(device_.recorded(), 1);
  device_.finish();
  waiter.join();
  const int before = device_.calls();
  table_->host_wait(ticket);
  EXPECT_EQ(device_.calls(), before);
}

TEST_F(Streams, NumbersAreNeverGivenAgain) {
  std::set<uint64_t> seen = {a_.number, b_.number, c_.number};
  EXPECT_EQ(seen.count(0), 0u);
  for (int k = 0; k < 50; ++k) {
    Stream stream;
    stream.number = table_->add(&stream.native, stream.count);
    EXPECT_TRUE(seen.insert(stream.number).second);
    EXPECT_EQ(table_->number(&stream.native), stream.number);
    table_->drop(stream.number);
    EXPECT_EQ(table_->number(&stream.native), 0u);
  }
  EXPECT_EQ(device_.calls(), 0) << "streams without work";
}

TEST_F(Streams, TicketsOfADroppedStreamStayGood) {
  const Ticket ticket = a_.submit();
  drop(a_);
  EXPECT_EQ(device_.recorded(), 1);
  table_->wait(b_.number, ticket);
  ASSERT_EQ(device_.waits().size(), 1u);
  EXPECT_FALSE(table_->done(ticket));
  std::thread waiter([&] { table_->host_wait(ticket); });
  device_.until_waiting(1);
  device_.finish();
  waiter.join();
  EXPECT_TRUE(table_->done(ticket));
  EXPECT_EQ(device_.recorded(), 1);
  // It is forgotten when the next one goes, and its event is free for others.
  drop(b_);
  table_->wait(c_.number, ticket);
  EXPECT_EQ(device_.waits().size(), 1u);
}

TEST_F(Streams, AStreamThatIsDroppedFinishedLeavesNothing) {
  const Ticket ticket = a_.submit();
  table_->wait(b_.number, ticket);
  table_->note_done(a_.number, ticket.sequence);
  device_.finish();
  drop(a_);
  EXPECT_EQ(device_.recorded(), 1);
  EXPECT_TRUE(table_->done(ticket));
  EXPECT_EQ(table_->count_wait(a_.number), 0u);
}

TEST_F(Streams, AWaitThatWasAddedCountsAsWork) {
  a_.submit();
  EXPECT_EQ(table_->count_wait(a_.number), 2u);
  EXPECT_EQ(a_.submit().sequence, 3u);
  EXPECT_EQ(table_->count_wait(99), 0u);
}

// The second wait comes when the stream is gone and the first still uses its event.
TEST_F(Streams, TwoThreadsWaitForOneTicketOfADroppedStream) {
  const Ticket ticket = a_.submit();
  std::thread first([&] { table_->host_wait(ticket); });
  device_.until_waiting(1);
  drop(a_);
  std::thread second([&] { table_->host_wait(ticket); });
  device_.until_waiting(2);
  table_->wait(b_.number, ticket);
  drop(c_);
  device_.finish();
  first.join();
  second.join();
  EXPECT_EQ(device_.recorded(), 1);
  EXPECT_TRUE(table_->done(ticket));
}

TEST_F(Streams, TwoThreadsSubmitAndWaitForEachOther) {
  constexpr int kRounds = 2000;
  std::atomic<uint64_t> last[2] = {0, 0};
  const auto work = [&](int own) {
    Stream& mine = own == 0 ? a_ : b_;
    const Stream& other = own == 0 ? b_ : a_;
    for (int k = 0; k < kRounds; ++k) {
      last[own].store(mine.submit().sequence, std::memory_order_release);
      const Ticket theirs{other.number, last[1 - own].load(std::memory_order_acquire)};
      table_->wait(mine.number, theirs);
      if (k % 16 == 0) device_.finish();
      if (k % 8 == 0) table_->done(theirs);
      if (k % 64 == 0) {
        void* event = nullptr;
        EXPECT_EQ(table_->record(mine.number, &event), MILL_OK);
        device_.finish();
        device_.table.streams->event_destroy(&device_, event);
      }
    }
  };
  std::thread first(work, 0);
  std::thread second(work, 1);
  first.join();
  second.join();
  const Ticket ends[2] = {{a_.number, last[0]}, {b_.number, last[1]}};
  for (const Ticket& end : ends) table_->done(end);  // records an event where there is none yet
  device_.finish();
  for (const Ticket& end : ends) EXPECT_TRUE(table_->done(end));
  EXPECT_LE(device_.live(), 2u * kRounds);
}

TEST_F(Streams, StreamsComeAndGoBesideWaits) {
  std::atomic<bool> stop{false};
  std::thread other([&] {
    while (!stop.load()) {
      Stream stream;
      stream.number = table_->add(&stream.native, stream.count);
      const Ticket ticket = stream.submit();
      table_->wait(a_.number, ticket);
      table_->drop(stream.number);
      device_.finish();
      EXPECT_TRUE(table_->done(ticket));
    }
  });
  for (int k = 0; k < 500; ++k) {
    const Ticket ticket = b_.submit();
    table_->wait(c_.number, ticket);
    device_.finish();
    table_->host_wait(ticket);
  }
  stop = true;
  other.join();
}

TEST_F(Streams, ADeviceThatCannotRecordSaysWhy) {
  const Ticket ticket = a_.submit();
  device_.fail_records(MILL_E_MEMORY);
  throws(MILL_E_MEMORY, "as it was told", [&] { table_->wait(b_.number, ticket); });
  throws(MILL_E_MEMORY, "as it was told", [&] { table_->host_wait(ticket); });
  EXPECT_TRUE(table_->done(ticket)) << "it cannot be asked";
  EXPECT_EQ(device_.created(), 1) << "the event that was not recorded is used again";
  device_.fail_records(MILL_OK);
  table_->wait(b_.number, ticket);
  EXPECT_EQ(device_.waits().size(), 1u);
  EXPECT_EQ(device_.created(), 1);
}

TEST_F(Streams, ADeviceWithoutEventsLeftSaysWhy) {
  const Ticket ticket = a_.submit();
  device_.fail_creates(MILL_E_MEMORY);
  throws(MILL_E_MEMORY, "as it was told", [&] { table_->wait(b_.number, ticket); });
  void* event = nullptr;
  EXPECT_EQ(table_->record(a_.number, &event), MILL_E_MEMORY);
  EXPECT_EQ(event, nullptr);
  device_.fail_creates(MILL_OK);
  table_->wait(b_.number, ticket);
  EXPECT_EQ(device_.waits().size(), 1u);
}

TEST_F(Streams, ASentenceWithoutItsEndIsCut) {
  device_.fail_records(MILL_E_DEVICE);
  device_.leave_out_nul();
  throws(MILL_E_DEVICE, "xxx", [&] { table_->wait(b_.number, a_.submit()); });
}

TEST_F(Streams, DroppedWithoutARecordAStreamIsTakenForFinished) {
  const Ticket ticket = a_.submit();
  device_.fail_records(MILL_E_DEVICE);
  drop(a_);
  EXPECT_TRUE(table_->done(ticket));
  table_->wait(b_.number, ticket);
  EXPECT_TRUE(device_.waits().empty());
}

TEST_F(Streams, ALostDeviceUsesNothingAnyMore) {
  const Ticket first = a_.submit();
  table_->wait(b_.number, first);
  const Ticket second = b_.submit();
  table_->wait(c_.number, second);
  device_.lose();
  EXPECT_TRUE(table_->done(first));
  EXPECT_TRUE(table_->done(second));
  throws(MILL_E_DEVICE_LOST, "as it was told", [&] { table_->wait(c_.number, a_.submit()); });
  throws(MILL_E_DEVICE_LOST, "as it was told", [&] { table_->host_wait(b_.submit()); });
  const size_t before = device_.live();
  drop(a_);
  drop(b_);
  EXPECT_LT(device_.live(), before) << "what it kept of the streams is gone with them";
}

TEST_F(Streams, AWaitThatIsCutShortByALossReports) {
  const Ticket ticket = a_.submit();
  std::thread waiter(
      [&] { throws(MILL_E_DEVICE_LOST, "as it was told", [&] { table_->host_wait(ticket); }); });
  device_.until_waiting(1);
  device_.lose();
  waiter.join();
  EXPECT_TRUE(table_->done(ticket));
}

TEST_F(Streams, TheAllocatorsEventsAreItsOwn) {
  a_.submit();
  void* event = nullptr;
  ASSERT_EQ(table_->record(a_.number, &event), MILL_OK);
  ASSERT_NE(event, nullptr);
  void* const same = event;
  device_.finish();
  ASSERT_EQ(table_->record(a_.number, &event), MILL_OK);
  EXPECT_EQ(event, same);
  EXPECT_EQ(device_.created(), 1);
  device_.finish();
  drop(a_);
  EXPECT_EQ(table_->record(a_.number, &event), MILL_E_STATE);
  EXPECT_EQ(event, same);
  void* none = nullptr;
  EXPECT_EQ(table_->record(a_.number, &none), MILL_E_STATE);
  EXPECT_EQ(none, nullptr);
  device_.table.streams->event_destroy(&device_, event);
}

}  // namespace
}  // namespace mill
