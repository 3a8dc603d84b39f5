// The simulated device's time: a discrete-event model of in-order streams that share engines.
//
// Time is a whole number of picoseconds and rates are whole bytes per second, so what a copy has
// left to move is a whole number of byte-picoseconds per second and is kept in 128 bits: nothing
// is rounded while rates change, and an end is rounded up to the picosecond once. Sums and maxima
// of durations are therefore exact, and a closed form holds to the last digit. The range is 53
// days; whatever would end later ends then.
//
// Simulated time only moves when somebody steps it (run_until, run_until_done), and must not be
// moved past a time at which an operation may still be submitted; a later submit time is raised to
// now(). Under that rule results do not depend on when and how far time is stepped.
//
// An engine serves what can start first (ties: ready first, then submitted first), never what was
// submitted first: an operation that waits for another stream lets others overtake it.
//
// Not thread safe: whoever shares one locks around every call. A submission and the end of an
// operation cost O(log operations in flight) plus one pass over at most one waiting operation per
// stream. Memory is bounded by the most operations, streams and events that there were at one time,
// and by the log's capacity.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <vector>

namespace mill::sim {

using Time = int64_t;  // picoseconds
inline constexpr Time kNanosecond = 1000;
inline constexpr Time kEndOfTime = Time{1} << 62;

// Never past the end of time.
constexpr Time after(Time t, Time duration) {
  return duration >= kEndOfTime - t ? kEndOfTime : t + duration;
}
constexpr Time from_ns(int64_t ns) {
  return ns >= kEndOfTime / kNanosecond ? kEndOfTime : ns * kNanosecond;
}
// Rounded down: order is kept.
constexpr int64_t to_ns(Time t) {
  return t / kNanosecond;
}

enum class Engine : uint8_t { none, compute, host_to_device, device_to_host };
inline constexpr int kEngines = 4;
enum class OpKind : uint8_t { kernel, copy, fill, record, wait, host_call };

using StreamId = uint32_t;
using EventId = uint32_t;
inline constexpr EventId kNoEvent = UINT32_MAX;
inline constexpr uint32_t kFullShare = 1u << 30;  // of the compute engine

// Names an operation for as long as anybody likes: one that is over stays recognisable as such.
struct OpRef {
  uint64_t id = 0;  // counts submissions from 1; 0: none, which is finished
  uint32_t slot = 0;
};

struct Operation {
  OpKind kind = OpKind::kernel;
  Engine engine = Engine::none;
  uint16_t detail = 0;  // the caller's, for the log
  StreamId stream = 0;
  Time submit = 0;
  Time latency = 0;  // for which the engine is held before bytes move; of a kernel, all of it
  int64_t rate = 0;  // bytes per second on a copy engine; 0: no bytes move, latency is all
  uint32_t share = kFullShare;  // of the compute engine
  uint64_t bytes = 0;
  uint64_t flops = 0;
  std::span<const EventId> waits = {};  // as last recorded; one never recorded is no wait
  EventId records = kNoEvent;           // takes place when the operation ends
  const char* name = nullptr;           // outlives the log
  uint64_t correlation = 0;
};

struct Record {
  uint64_t op;
  uint64_t stream;  // its tag
  OpKind kind;
  Engine engine;
  uint16_t detail;
  Time submit;
  Time ready;  // when everything before it was done
  Time start;
  Time end;
  uint64_t bytes;
  uint64_t flops;
  const char* name;
  uint64_t correlation;
};

struct ClockOptions {
  int64_t duplex_rate = 0;   // bytes per second; each direction gets half at most while both move.
                             // 0: no limit
  uint32_t jitter_ppm = 0;   // durations vary evenly by up to so many millionths, by the seed, the
  uint64_t jitter_seed = 0;  // stream's tag and the operation's place in its stream alone
  size_t log_capacity = size_t{1} << 20;  // records; those beyond are counted and lost. 0: no log
};

class VirtualClock {
 public:
  explicit VirtualClock(const ClockOptions& options = {});

  // `tag` is what the log and the jitter know the stream by.
  StreamId create_stream(uint64_t tag);
  // What was submitted still runs. The number may be given again after that.
  void destroy_stream(StreamId stream);
  EventId create_event();
  void destroy_event(EventId event);

  OpRef submit(const Operation& operation);

  Time now() const { return now_; }  // the time up to which everything has happened
  // When the next thing happens; kEndOfTime + 1 if nothing is under way.
  Time next_event() const;
  // Takes time to the next event, if that is not later than `limit`.
  bool step(Time limit);
  void run_until(Time time);
  // Leaves now() at the operation's end. False when it does not end by `limit`.
  bool run_until_done(OpRef op, Time limit = kEndOfTime);

  bool finished(OpRef op) const;
  // Keeps the operation's end for end_of until the matching release. False: it is over already.
  bool hold(OpRef op);
  Time end_of(OpRef op) const;  // of one that is held; -1: not finished
  void release(OpRef op);
  OpRef last_of(StreamId stream) const;  // finished when the stream is

  // Whether the event had taken place by the host's time; true for one never recorded.
  bool query(EventId event, Time host_time);
  OpRef recorded_by(EventId event) const;  // the last record submitted
  // Of the last record, -1 when it has not taken place or there was none.
  Time event_time(EventId event) const;

  // Finished operations in order of start, without gap: one that still runs holds back what
  // started after it.
  size_t drain(Record* out, size_t capacity);
  // Records lost since the last time, because the log was full.
  uint64_t take_lost();
  void set_log_capacity(size_t records) { options_.log_capacity = records; }

  size_t in_flight() const { return in_flight_; }

 private:
  __extension__ typedef unsigned __int128 Work;  // bytes times 10^12: what is left of a copy
  static constexpr uint32_t kNone = UINT32_MAX;

  struct Node {
    Operation op;
    uint64_t id = 0;  // 0: free
    uint64_t log = 0;
    Time ready = 0;
    Time end = -1;
    Work work = 0;
    uint32_t pending = 0;   // predecessors that have not ended
    uint32_t next = kNone;  // in its stream; of a free one, the next free one
    uint32_t dependents = kNone;
    uint32_t holds = 0;
  };
  struct Edge {
    uint32_t node;
    uint32_t next;
  };
  struct Stream {
    uint64_t tag = 0;
    uint64_t submitted = 0;
    OpRef last;
    bool live = false;
    bool closing = false;
  };
  struct Event {
    OpRef recorder;
    Time time = -1;
    bool live = false;
  };
  struct Key {
    Time time;
    uint64_t id;
    uint32_t slot;
    bool operator<(const Key& o) const { return time != o.time ? time < o.time : id < o.id; }
    bool operator>(const Key& o) const { return o < *this; }
  };
  // One direction of the link.
  struct Lane {
    uint32_t slot = kNone;
    bool moving = false;
    Time moves_at = 0;
    Time since = 0;
    Time end = 0;
    int64_t rate = 0;  // now
    Work left = 0;
  };

  Lane& lane_of(Engine engine) { return lanes_[engine == Engine::device_to_host ? 1 : 0]; }
  const Node* find(OpRef op) const;
  uint32_t new_node();
  void free_node(uint32_t slot);
  void unblock(uint32_t slot, Time time);
  void instant(Time time);
  void admit();
  const Key* startable(Engine engine) const;
  void start(Engine engine, Key key);
  void complete(uint32_t slot);
  void settle_link();
  void price_link();

  ClockOptions options_;
  Time now_ = 0;
  uint64_t next_id_ = 1;
  size_t in_flight_ = 0;
  uint32_t free_share_ = kFullShare;
  uint32_t free_nodes_ = kNone;
  uint32_t free_edges_ = kNone;
  Lane lanes_[2];
  std::vector<Node> nodes_;
  std::vector<Edge> edges_;
  std::vector<Stream> streams_;
  std::vector<uint32_t> free_streams_;
  std::vector<Event> events_;
  std::vector<uint32_t> free_events_;
  std::vector<Key> coming_;             // heap: nothing before them is unfinished
  std::vector<Key> running_;            // heap by end
  std::vector<Key> waiting_[kEngines];  // heads that are ready, the first one last
  std::deque<Record> log_;              // in order of start; end is -1 while it runs
  uint64_t log_first_ = 0;              // number of log_.front()
  uint64_t lost_ = 0;
};

}  // namespace mill::sim
