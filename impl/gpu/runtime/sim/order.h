// Finds accesses that nothing orders: the stream races of a program, whether or not they went wrong
// this time.
//
// Every stream and every host thread is an actor with a vector clock (Lamport 1978; Mattern 1988):
// what of every other actor's doing is known to be over, or certain to be over, when the actor acts
// next. Submitting joins the host's clock into the stream's; recording takes a copy of the
// stream's; a stream's wait joins that copy, a blocking wait joins it into the host's. Work on two
// streams is ordered only by such edges, never by the order of calls, and a host thread is ordered
// after work that it waited for only.
//
// Device memory and pinned host memory keep, for each range, its last write and the reads since of
// which none is ordered after another. Two host threads are never reported against each other: that
// is for a thread sanitizer.
//
// Not thread safe: whoever shares one locks around every call, which come in the order in which the
// program made them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace mill::sim {

enum class OrderAccess : uint8_t { read, write };

struct OrderReport {
  enum class Kind : uint8_t {
    read_after_write,  // the earlier one may still write what the later one reads
    write_after_read,
    write_after_write,
    host_read_before_ready,  // the later one is the host
    early_free,              // the later one frees memory that the earlier one may still use
    use_after_free           // the earlier one freed it; also a second free
  };
  struct Party {
    const char* name;   // of the op
    uint64_t sequence;  // of the op, the caller's
    uint64_t tag;       // of the stream or thread
    bool host;
  };
  Kind kind;
  Party earlier;
  Party later;
  uint64_t begin;  // the bytes that they have in common, from the first to the last
  uint64_t end;
};

// "kernel_b (op 7, stream 2) reads 256 bytes at 0x1000 while kernel_a (op 6, stream 1) may still
// write them"
std::string describe(const OrderReport& report);

struct OrderOptions {
  // Host threads know of each other what happened in earlier calls, as if each call handed over to
  // the next. For programs whose own hand-over between threads is not visible; finds less.
  bool host_calls_are_ordered = false;
};

class StreamOrder {
 public:
  using ActorId = uint32_t;
  using EventId = uint32_t;

  explicit StreamOrder(const OrderOptions& options = {}) : options_(options) {}

  // `tag` is what reports call it by.
  ActorId add_stream(uint64_t tag) { return add_actor(tag, false); }
  ActorId add_host(uint64_t tag) { return add_actor(tag, true); }
  // What it did stays known.
  void remove(ActorId actor);
  EventId add_event();
  void remove_event(EventId event);

  // Before the notes of every op that a host thread puts on a stream.
  void submit(ActorId stream, ActorId host);
  void record(EventId event, ActorId stream, ActorId host);
  void wait(ActorId stream, EventId event, ActorId host);
  // The host has waited for it, or asked and was told that it is over.
  void host_wait_event(ActorId host, EventId event);
  void host_wait_stream(ActorId host, ActorId stream);

  // Actor `who` accesses [begin, end) in op `name`. Appends what is not ordered to `out`, one
  // report per earlier op and kind, and answers whether there was any. `name` stays valid as long
  // as this.
  bool note(OrderAccess access, uint64_t begin, uint64_t end, ActorId who, const char* name,
            uint64_t sequence, std::vector<OrderReport>* out);
  // The memory is given back: by the host, or in a stream's order when `who` is one.
  bool free(uint64_t begin, uint64_t end, ActorId who, const char* name, uint64_t sequence,
            std::vector<OrderReport>* out);
  // The memory is new. What a stream freed in its order is not used by others before that.
  void allocate(uint64_t begin, uint64_t end);
  // Nothing is known of it any more.
  void forget(uint64_t begin, uint64_t end);

  size_t ranges() const { return cells_.size(); }
  size_t stored_accesses() const;

 private:
  using Clock = std::vector<uint64_t>;
  struct Actor {
    uint64_t tag = 0;
    bool host = false;
    bool live = false;
    Clock clock;
  };
  struct Point {  // something that an actor did
    ActorId actor = 0;
    uint64_t count = 0;  // 0: nothing
    const char* name = nullptr;
    uint64_t sequence = 0;
    bool operator==(const Point&) const = default;
  };
  struct Cell {
    uint64_t end = 0;
    uint64_t freed = 0;  // number of the free, 0: not freed
    Point write;         // of freed memory, the free
    std::vector<Point> reads;
    bool same(const Cell& o) const {
      return freed == o.freed && write == o.write && reads == o.reads;
    }
  };
  using Cells = std::map<uint64_t, Cell>;

  ActorId add_actor(uint64_t tag, bool host);
  bool stored(ActorId actor) const;
  static uint64_t& at(Clock& clock, ActorId actor);
  static void join(Clock& to, const Clock& from);
  bool ordered(const Point& earlier, ActorId who) const;
  void enter(ActorId host);
  void leave(ActorId host);
  Point point(ActorId who, const char* name, uint64_t sequence);
  void split(uint64_t at);
  void merge(uint64_t begin, uint64_t end);
  void report(OrderReport::Kind kind, const Point& earlier, const Point& later, uint64_t begin,
              uint64_t end, size_t first, std::vector<OrderReport>* out) const;
  void trim_freed();

  OrderOptions options_;
  std::vector<Actor> actors_;
  std::vector<Clock> events_;
  std::vector<EventId> free_events_;
  Clock common_;  // of host threads whose calls are ordered
  Cells cells_;
  uint64_t frees_ = 0;
  size_t freed_cells_ = 0;
};

}  // namespace mill::sim
