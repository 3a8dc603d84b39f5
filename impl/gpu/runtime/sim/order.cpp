#include "gpu/runtime/sim/order.h"

#include <algorithm>
#include <cstddef>
#include <cstdio>

namespace mill::sim {
namespace {

// Freed memory that is remembered, in ranges; the oldest are forgotten.
constexpr size_t kMostFreed = size_t{1} << 14;

std::string party(const OrderReport::Party& it) {
  char text[96];
  std::snprintf(text, sizeof text, " (op %llu, %s %llu)",
                static_cast<unsigned long long>(it.sequence), it.host ? "host thread" : "stream",
                static_cast<unsigned long long>(it.tag));
  return std::string(it.name == nullptr ? "an op" : it.name) + text;
}

struct Phrase {
  const char* does;
  const char* link;
  const char* tail;
};

Phrase phrase_of(OrderReport::Kind kind) {
  using Kind = OrderReport::Kind;
  switch (kind) {
    case Kind::read_after_write:
    case Kind::host_read_before_ready: return {"reads", " while ", " may still write them"};
    case Kind::write_after_read: return {"writes", " while ", " may still read them"};
    case Kind::write_after_write: return {"writes", " while ", " may still write them"};
    case Kind::early_free: return {"frees", " while ", " may still use them"};
    case Kind::use_after_free: break;
  }
  return {"uses", " that ", " has freed"};
}

}  // namespace

std::string describe(const OrderReport& report) {
  const Phrase phrase = phrase_of(report.kind);
  char range[80];
  std::snprintf(range, sizeof range, " %s %llu bytes at 0x%llx", phrase.does,
                static_cast<unsigned long long>(report.end - report.begin),
                static_cast<unsigned long long>(report.begin));
  return party(report.later) + range + phrase.link + party(report.earlier) + phrase.tail;
}

// ---- actors ------------------------------------------------------------------------------------

uint64_t& StreamOrder::at(Clock& clock, ActorId actor) {
  if (clock.size() <= actor) clock.resize(actor + 1, 0);
  return clock[actor];
}

void StreamOrder::join(Clock& to, const Clock& from) {
  if (to.size() < from.size()) to.resize(from.size(), 0);
  for (size_t i = 0; i < from.size(); ++i) to[i] = std::max(to[i], from[i]);
}

bool StreamOrder::stored(ActorId actor) const {
  for (const auto& [begin, cell] : cells_) {
    if (cell.write.count != 0 && cell.write.actor == actor) return true;
    for (const Point& read : cell.reads)
      if (read.actor == actor) return true;
  }
  return false;
}

StreamOrder::ActorId StreamOrder::add_actor(uint64_t tag, bool host) {
  // A place is taken over only when nothing stored names it: a new actor must not pass for the old
  // one. Looking is worth it only when many are dead.
  size_t live = 0;
  for (const Actor& actor : actors_) live += actor.live ? 1 : 0;
  ActorId id = static_cast<ActorId>(actors_.size());
  if (actors_.size() >= 2 * live + 8)
    for (ActorId i = 0; i < actors_.size(); ++i)
      if (!actors_[i].live && !stored(i)) {
        id = i;
        break;
      }
  if (id == actors_.size()) actors_.emplace_back();
  Actor& actor = actors_[id];
  // The count goes on where it was, since others' clocks may hold it.
  const uint64_t count = at(actor.clock, id) + 1;
  actor = Actor{.tag = tag, .host = host, .live = true, .clock = {}};
  at(actor.clock, id) = count;
  return id;
}

void StreamOrder::remove(ActorId actor) {
  actors_[actor].live = false;
}

StreamOrder::EventId StreamOrder::add_event() {
  if (free_events_.empty()) {
    events_.emplace_back();
    return static_cast<EventId>(events_.size() - 1);
  }
  const EventId id = free_events_.back();
  free_events_.pop_back();
  return id;
}

void StreamOrder::remove_event(EventId event) {
  events_[event].clear();
  free_events_.push_back(event);
}

// ---- edges -------------------------------------------------------------------------------------

void StreamOrder::enter(ActorId host) {
  if (options_.host_calls_are_ordered) join(actors_[host].clock, common_);
}

// What the host does from now on is not covered by what it has just handed on.
void StreamOrder::leave(ActorId host) {
  if (options_.host_calls_are_ordered) join(common_, actors_[host].clock);
  ++at(actors_[host].clock, host);
}

void StreamOrder::submit(ActorId stream, ActorId host) {
  enter(host);
  join(actors_[stream].clock, actors_[host].clock);
  ++at(actors_[stream].clock, stream);
  leave(host);
}

void StreamOrder::record(EventId event, ActorId stream, ActorId host) {
  submit(stream, host);
  events_[event] = actors_[stream].clock;
}

void StreamOrder::wait(ActorId stream, EventId event, ActorId host) {
  submit(stream, host);
  join(actors_[stream].clock, events_[event]);
}

void StreamOrder::host_wait_event(ActorId host, EventId event) {
  enter(host);
  join(actors_[host].clock, events_[event]);
  leave(host);
}

void StreamOrder::host_wait_stream(ActorId host, ActorId stream) {
  enter(host);
  join(actors_[host].clock, actors_[stream].clock);
  leave(host);
}

bool StreamOrder::ordered(const Point& earlier, ActorId who) const {
  if (earlier.actor == who || (actors_[earlier.actor].host && actors_[who].host)) return true;
  const Clock& clock = actors_[who].clock;
  return earlier.actor < clock.size() && clock[earlier.actor] >= earlier.count;
}

StreamOrder::Point StreamOrder::point(ActorId who, const char* name, uint64_t sequence) {
  if (actors_[who].host) enter(who);
  return {who, at(actors_[who].clock, who), name, sequence};
}

// ---- memory ------------------------------------------------------------------------------------

// Makes `at` a border between cells.
void StreamOrder::split(uint64_t at) {
  const auto after = cells_.upper_bound(at);
  if (after == cells_.begin()) return;
  const auto it = std::prev(after);
  if (it->first == at || it->second.end <= at) return;
  Cell tail = it->second;
  it->second.end = at;
  if (tail.freed != 0) ++freed_cells_;
  cells_.emplace_hint(after, at, std::move(tail));
}

// Joins equal neighbours from the one before `begin` to the one after `end`.
void StreamOrder::merge(uint64_t begin, uint64_t end) {
  auto it = cells_.lower_bound(begin);
  if (it != cells_.begin()) --it;
  while (it != cells_.end()) {
    const auto next = std::next(it);
    if (next == cells_.end() || next->first > end) return;
    if (it->second.end == next->first && it->second.same(next->second)) {
      it->second.end = next->second.end;
      if (next->second.freed != 0) --freed_cells_;
      cells_.erase(next);
    } else {
      it = next;
    }
  }
}

void StreamOrder::report(OrderReport::Kind kind, const Point& earlier, const Point& later,
                         uint64_t begin, uint64_t end, size_t first,
                         std::vector<OrderReport>* out) const {
  const auto party_of = [this](const Point& point) {
    const Actor& actor = actors_[point.actor];
    return OrderReport::Party{point.name, point.sequence, actor.tag, actor.host};
  };
  const OrderReport::Party other = party_of(earlier);
  for (size_t i = first; i < out->size(); ++i) {
    OrderReport& it = (*out)[i];
    if (it.kind != kind || it.earlier.sequence != other.sequence || it.earlier.tag != other.tag ||
        it.earlier.host != other.host || it.earlier.name != other.name)
      continue;
    it.begin = std::min(it.begin, begin);
    it.end = std::max(it.end, end);
    return;
  }
  out->push_back({kind, other, party_of(later), begin, end});
}

bool StreamOrder::note(OrderAccess access, uint64_t begin, uint64_t end, ActorId who,
                       const char* name, uint64_t sequence, std::vector<OrderReport>* out) {
  if (begin >= end) return false;
  using Kind = OrderReport::Kind;
  const size_t first = out->size();
  const Point me = point(who, name, sequence);
  split(begin);
  split(end);
  auto it = cells_.lower_bound(begin);
  for (uint64_t from = begin; from < end;) {
    if (it == cells_.end() || it->first > from) {
      const uint64_t to = it == cells_.end() ? end : std::min(end, it->first);
      it = cells_.emplace_hint(it, from, Cell{.end = to, .freed = 0, .write = {}, .reads = {}});
    }
    Cell& cell = it->second;
    const uint64_t to = cell.end;
    if (cell.freed != 0) {
      report(Kind::use_after_free, cell.write, me, from, to, first, out);
    } else {
      if (cell.write.count != 0 && !ordered(cell.write, who)) {
        const Kind kind = access == OrderAccess::write ? Kind::write_after_write
                          : actors_[who].host          ? Kind::host_read_before_ready
                                                       : Kind::read_after_write;
        report(kind, cell.write, me, from, to, first, out);
      }
      if (access == OrderAccess::write) {
        for (const Point& read : cell.reads)
          if (!ordered(read, who)) report(Kind::write_after_read, read, me, from, to, first, out);
        cell.reads.clear();
        cell.write = me;
      } else {
        // A later write that is ordered after this read is ordered after those as well.
        std::erase_if(cell.reads, [&](const Point& read) {
          const bool hosts = actors_[read.actor].host && actors_[who].host;
          return ordered(read, who) && (!hosts || read.actor == who);
        });
        cell.reads.push_back(me);
      }
    }
    from = to;
    ++it;
  }
  merge(begin, end);
  return out->size() > first;
}

bool StreamOrder::free(uint64_t begin, uint64_t end, ActorId who, const char* name,
                       uint64_t sequence, std::vector<OrderReport>* out) {
  if (begin >= end) return false;
  using Kind = OrderReport::Kind;
  const size_t first = out->size();
  const Point me = point(who, name, sequence);
  split(begin);
  split(end);
  for (auto it = cells_.lower_bound(begin); it != cells_.end() && it->first < end;) {
    const Cell& cell = it->second;
    if (cell.freed != 0) {
      report(Kind::use_after_free, cell.write, me, it->first, cell.end, first, out);
      --freed_cells_;
    } else {
      if (cell.write.count != 0 && !ordered(cell.write, who))
        report(Kind::early_free, cell.write, me, it->first, cell.end, first, out);
      for (const Point& read : cell.reads)
        if (!ordered(read, who))
          report(Kind::early_free, read, me, it->first, cell.end, first, out);
    }
    it = cells_.erase(it);
  }
  cells_.emplace(begin, Cell{.end = end, .freed = ++frees_, .write = me, .reads = {}});
  ++freed_cells_;
  trim_freed();
  return out->size() > first;
}

void StreamOrder::allocate(uint64_t begin, uint64_t end) {
  if (begin >= end) return;
  split(begin);
  split(end);
  for (auto it = cells_.lower_bound(begin); it != cells_.end() && it->first < end;) {
    Cell& cell = it->second;
    if (cell.freed != 0) --freed_cells_;
    if (cell.freed != 0 && !actors_[cell.write.actor].host) {
      // Whoever uses it has to come after the stream that gave it back.
      cell.freed = 0;
      ++it;
    } else {
      it = cells_.erase(it);
    }
  }
  merge(begin, end);
}

void StreamOrder::forget(uint64_t begin, uint64_t end) {
  if (begin >= end) return;
  split(begin);
  split(end);
  for (auto it = cells_.lower_bound(begin); it != cells_.end() && it->first < end;) {
    if (it->second.freed != 0) --freed_cells_;
    it = cells_.erase(it);
  }
}

// Half at a time, so that it costs next to nothing per free.
void StreamOrder::trim_freed() {
  if (freed_cells_ <= kMostFreed) return;
  std::vector<uint64_t> numbers;
  for (const auto& [begin, cell] : cells_)
    if (cell.freed != 0) numbers.push_back(cell.freed);
  const auto middle = numbers.begin() + static_cast<ptrdiff_t>(numbers.size() / 2);
  std::nth_element(numbers.begin(), middle, numbers.end());
  const uint64_t oldest = *middle;
  for (auto it = cells_.begin(); it != cells_.end();) {
    if (it->second.freed != 0 && it->second.freed < oldest) {
      --freed_cells_;
      it = cells_.erase(it);
    } else {
      ++it;
    }
  }
}

size_t StreamOrder::stored_accesses() const {
  size_t count = 0;
  for (const auto& [begin, cell] : cells_)
    count += cell.reads.size() + (cell.write.count != 0 ? 1 : 0);
  return count;
}

}  // namespace mill::sim
