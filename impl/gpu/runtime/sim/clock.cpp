#include "gpu/runtime/sim/clock.h"

#include <algorithm>
#include <functional>

namespace mill::sim {
namespace {

constexpr int64_t kMillion = 1'000'000;
__extension__ typedef __int128 int128;
constexpr uint64_t kNotLogged = UINT64_MAX;

// splitmix64 (Steele, Lea, Flood, 2014).
uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// Millionths to multiply a duration by.
int64_t jitter_factor(const ClockOptions& options, uint64_t tag, uint64_t index) {
  if (options.jitter_ppm == 0) return kMillion;
  const auto ppm = static_cast<int64_t>(std::min<uint32_t>(options.jitter_ppm, kMillion - 1));
  const uint64_t random = mix(mix(options.jitter_seed ^ mix(tag)) ^ index);
  return kMillion - ppm + static_cast<int64_t>(random % static_cast<uint64_t>(2 * ppm + 1));
}

template <class Heap, class Key>
void push(Heap& heap, const Key& key) {
  heap.push_back(key);
  std::push_heap(heap.begin(), heap.end(), std::greater<>());
}

template <class Heap>
void pop(Heap& heap) {
  std::pop_heap(heap.begin(), heap.end(), std::greater<>());
  heap.pop_back();
}

}  // namespace

VirtualClock::VirtualClock(const ClockOptions& options) : options_(options) {}

StreamId VirtualClock::create_stream(uint64_t tag) {
  StreamId id = static_cast<StreamId>(streams_.size());
  if (free_streams_.empty()) {
    streams_.emplace_back();
  } else {
    id = free_streams_.back();
    free_streams_.pop_back();
  }
  streams_[id] = Stream{.tag = tag, .last = {}, .live = true};
  return id;
}

void VirtualClock::destroy_stream(StreamId stream) {
  Stream& it = streams_[stream];
  if (!it.live || it.closing) return;
  it.closing = true;
  if (!finished(it.last)) return;
  it.live = false;
  free_streams_.push_back(stream);
}

EventId VirtualClock::create_event() {
  EventId id = static_cast<EventId>(events_.size());
  if (free_events_.empty()) {
    events_.emplace_back();
  } else {
    id = free_events_.back();
    free_events_.pop_back();
  }
  events_[id] = Event{.recorder = {}, .time = -1, .live = true};
  return id;
}

void VirtualClock::destroy_event(EventId event) {
  if (!events_[event].live) return;
  events_[event] = {};
  free_events_.push_back(event);
}

const VirtualClock::Node* VirtualClock::find(OpRef op) const {
  if (op.id == 0 || op.slot >= nodes_.size() || nodes_[op.slot].id != op.id) return nullptr;
  return &nodes_[op.slot];
}

uint32_t VirtualClock::new_node() {
  if (free_nodes_ == kNone) {
    nodes_.emplace_back();
    return static_cast<uint32_t>(nodes_.size() - 1);
  }
  const uint32_t slot = free_nodes_;
  free_nodes_ = nodes_[slot].next;
  nodes_[slot] = {};
  return slot;
}

void VirtualClock::free_node(uint32_t slot) {
  nodes_[slot].id = 0;
  nodes_[slot].next = free_nodes_;
  free_nodes_ = slot;
}

OpRef VirtualClock::submit(const Operation& operation) {
  const uint32_t slot = new_node();
  Stream& stream = streams_[operation.stream];
  Node& node = nodes_[slot];
  node.op = operation;
  node.op.waits = {};
  node.id = next_id_++;
  // So whatever is over already ended before it.
  node.op.submit = std::max(operation.submit, now_);
  node.op.share = std::clamp(operation.share, 1u, kFullShare);
  const int64_t factor = jitter_factor(options_, stream.tag, stream.submitted++);
  if (factor != kMillion) {
    const auto scaled = static_cast<int128>(std::max<Time>(operation.latency, 0)) * factor;
    node.op.latency = static_cast<Time>(std::min<int128>(scaled / kMillion, kEndOfTime));
  }
  if (node.op.rate > 0)
    node.work = static_cast<Work>(node.op.bytes) * kMillion * static_cast<uint64_t>(factor);
  node.ready = node.op.submit;
  // One for this function, so that nothing starts half made.
  node.pending = 1;

  if (const Node* before = find(stream.last); before != nullptr && before->end < 0) {
    nodes_[stream.last.slot].next = slot;
    ++node.pending;
  }
  for (const EventId id : operation.waits) {
    const Event& event = events_[id];
    const Node* recorder = find(event.recorder);
    if (recorder == nullptr || recorder->end >= 0) continue;
    uint32_t edge = free_edges_;
    if (edge == kNone) {
      edge = static_cast<uint32_t>(edges_.size());
      edges_.emplace_back();
    } else {
      free_edges_ = edges_[edge].next;
    }
    Node& source = nodes_[event.recorder.slot];
    edges_[edge] = {slot, source.dependents};
    source.dependents = edge;
    ++node.pending;
  }

  const OpRef ref{node.id, slot};
  stream.last = ref;
  if (operation.records != kNoEvent) {
    events_[operation.records].recorder = ref;
    events_[operation.records].time = -1;
  }
  ++in_flight_;
  unblock(slot, node.ready);
  return ref;
}

void VirtualClock::unblock(uint32_t slot, Time time) {
  Node& node = nodes_[slot];
  node.ready = std::max(node.ready, time);
  if (--node.pending == 0) push(coming_, Key{node.ready, node.id, slot});
}

Time VirtualClock::next_event() const {
  Time next = kEndOfTime + 1;
  if (!coming_.empty()) next = std::min(next, coming_.front().time);
  if (!running_.empty()) next = std::min(next, running_.front().time);
  for (const Lane& lane : lanes_)
    if (lane.slot != kNone) next = std::min(next, lane.moving ? lane.end : lane.moves_at);
  return std::max(next, now_);
}

bool VirtualClock::step(Time limit) {
  const Time next = next_event();
  if (next > limit || next > kEndOfTime) return false;
  instant(next);
  return true;
}

void VirtualClock::run_until(Time time) {
  while (step(time)) {
  }
  now_ = std::max(now_, time);
}

bool VirtualClock::run_until_done(OpRef op, Time limit) {
  while (!finished(op))
    if (!step(limit)) return false;
  return true;
}

// Everything that happens at one moment: what ends, then what starts, in order of (ready, id) over
// all engines. An operation depends on earlier ids only, so whatever can still become ready at this
// moment comes before anything submitted from now on: stepping early or late gives one result.
void VirtualClock::instant(Time time) {
  now_ = time;
  settle_link();
  for (Lane& lane : lanes_) {
    if (lane.slot == kNone) continue;
    if (!lane.moving && lane.moves_at <= now_) {
      lane.moving = true;
      lane.since = now_;
      lane.end = lane.left == 0 ? now_ : kEndOfTime;
    }
    if (lane.moving && (lane.left == 0 || lane.end <= now_)) {
      const uint32_t slot = lane.slot;
      lane = {};
      complete(slot);
    }
  }
  while (!running_.empty() && running_.front().time <= now_) {
    const uint32_t slot = running_.front().slot;
    pop(running_);
    if (nodes_[slot].op.engine == Engine::compute) free_share_ += nodes_[slot].op.share;
    complete(slot);
  }
  for (;;) {
    admit();
    const Key* first = nullptr;
    Engine engine = Engine::none;
    for (int e = 0; e < kEngines; ++e) {
      const Key* key = startable(static_cast<Engine>(e));
      if (key == nullptr || (first != nullptr && !(*key < *first))) continue;
      first = key;
      engine = static_cast<Engine>(e);
    }
    if (first == nullptr) break;
    start(engine, *first);
  }
  price_link();
}

void VirtualClock::admit() {
  while (!coming_.empty() && coming_.front().time <= now_) {
    const Key key = coming_.front();
    pop(coming_);
    std::vector<Key>& queue = waiting_[static_cast<int>(nodes_[key.slot].op.engine)];
    queue.insert(std::lower_bound(queue.begin(), queue.end(), key, std::greater<>()), key);
  }
}

const VirtualClock::Key* VirtualClock::startable(Engine engine) const {
  const std::vector<Key>& queue = waiting_[static_cast<int>(engine)];
  if (queue.empty()) return nullptr;
  if (engine == Engine::none) return &queue.back();
  if (engine != Engine::compute)
    return lanes_[engine == Engine::device_to_host ? 1 : 0].slot == kNone ? &queue.back() : nullptr;
  if (free_share_ == 0) return nullptr;
  for (size_t i = queue.size(); i-- > 0;)
    if (nodes_[queue[i].slot].op.share <= free_share_) return &queue[i];
  return nullptr;
}

void VirtualClock::start(Engine engine, Key key) {
  std::vector<Key>& queue = waiting_[static_cast<int>(engine)];
  queue.erase(std::lower_bound(queue.begin(), queue.end(), key, std::greater<>()));
  Node& node = nodes_[key.slot];
  const Operation& op = node.op;
  node.log = kNotLogged;
  if (log_.size() < options_.log_capacity) {
    node.log = log_first_ + log_.size();
    log_.push_back({node.id, streams_[op.stream].tag, op.kind, op.engine, op.detail, op.submit,
                    node.ready, now_, -1, op.bytes, op.flops, op.name, op.correlation});
  } else if (options_.log_capacity > 0) {
    ++lost_;
  }

  const Time latency = std::max<Time>(op.latency, 0);
  const bool link = engine == Engine::host_to_device || engine == Engine::device_to_host;
  if (latency == 0 && (!link || node.work == 0)) {
    complete(key.slot);
  } else if (link) {
    lane_of(engine) = Lane{.slot = key.slot,
                           .moving = latency == 0,
                           .moves_at = after(now_, latency),
                           .since = now_,
                           .end = kEndOfTime,
                           .rate = 0,
                           .left = node.work};
  } else {
    if (engine == Engine::compute) free_share_ -= op.share;
    push(running_, Key{after(now_, latency), node.id, key.slot});
  }
}

void VirtualClock::complete(uint32_t slot) {
  Node& node = nodes_[slot];
  node.end = now_;
  --in_flight_;
  if (node.log != kNotLogged) log_[node.log - log_first_].end = now_;
  if (node.op.records != kNoEvent) {
    Event& event = events_[node.op.records];
    // It may have been recorded again, or be another one by now.
    if (event.recorder.id == node.id) event.time = now_;
  }
  if (node.next != kNone) unblock(node.next, now_);
  while (node.dependents != kNone) {
    const uint32_t edge = node.dependents;
    node.dependents = edges_[edge].next;
    unblock(edges_[edge].node, now_);
    edges_[edge].next = free_edges_;
    free_edges_ = edge;
  }
  Stream& stream = streams_[node.op.stream];
  if (stream.closing && stream.last.id == node.id) {
    stream.live = false;
    free_streams_.push_back(node.op.stream);
  }
  if (node.holds == 0) free_node(slot);
}

void VirtualClock::settle_link() {
  for (Lane& lane : lanes_) {
    if (lane.slot == kNone || !lane.moving) continue;
    const Work moved = static_cast<Work>(static_cast<uint64_t>(lane.rate)) *
                       static_cast<uint64_t>(now_ - lane.since);
    lane.left = moved < lane.left ? lane.left - moved : 0;
    lane.since = now_;
  }
}

void VirtualClock::price_link() {
  const bool both = lanes_[0].moving && lanes_[1].moving;
  for (Lane& lane : lanes_) {
    if (lane.slot == kNone || !lane.moving) continue;
    lane.rate = nodes_[lane.slot].op.rate;
    if (both && options_.duplex_rate > 0)
      lane.rate = std::max<int64_t>(1, std::min(lane.rate, options_.duplex_rate / 2));
    const auto rate = static_cast<uint64_t>(lane.rate);
    const Work rest = (lane.left + (rate - 1)) / rate;
    lane.end =
        rest >= static_cast<Work>(kEndOfTime) ? kEndOfTime : after(now_, static_cast<Time>(rest));
  }
}

bool VirtualClock::finished(OpRef op) const {
  const Node* node = find(op);
  return node == nullptr || node->end >= 0;
}

bool VirtualClock::hold(OpRef op) {
  if (finished(op)) return false;
  ++nodes_[op.slot].holds;
  return true;
}

Time VirtualClock::end_of(OpRef op) const {
  const Node* node = find(op);
  return node == nullptr ? -1 : node->end;
}

void VirtualClock::release(OpRef op) {
  if (find(op) == nullptr) return;
  Node& node = nodes_[op.slot];
  if (node.holds > 0 && --node.holds == 0 && node.end >= 0) free_node(op.slot);
}

OpRef VirtualClock::last_of(StreamId stream) const {
  return streams_[stream].last;
}

bool VirtualClock::query(EventId event, Time host_time) {
  run_until(host_time);
  return finished(events_[event].recorder);
}

OpRef VirtualClock::recorded_by(EventId event) const {
  return events_[event].recorder;
}

Time VirtualClock::event_time(EventId event) const {
  return events_[event].time;
}

size_t VirtualClock::drain(Record* out, size_t capacity) {
  size_t count = 0;
  while (count < capacity && !log_.empty() && log_.front().end >= 0) {
    out[count++] = log_.front();
    log_.pop_front();
    ++log_first_;
  }
  return count;
}

uint64_t VirtualClock::take_lost() {
  const uint64_t lost = lost_;
  lost_ = 0;
  return lost;
}

}  // namespace mill::sim
