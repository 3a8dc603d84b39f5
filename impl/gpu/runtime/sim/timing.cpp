#include "gpu/runtime/sim/timing.h"

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <utility>

#include "gpu/guard.h"

namespace mill::sim {

namespace {

constexpr size_t kTimelineRecords = size_t{1} << 20;

// Details of operations in the log.
enum Detail : uint16_t { kNoDetail = 0, kPinned = 1, kPageable = 2 };

Time to_time(uint64_t bytes, int64_t rate) {
  const unsigned __int128 picoseconds =
      static_cast<unsigned __int128>(bytes) * 1'000'000'000'000u / static_cast<uint64_t>(rate);
  return picoseconds > static_cast<uint64_t>(kEndOfTime) ? kEndOfTime
                                                         : static_cast<Time>(picoseconds);
}

ClockOptions options_of(const Profile& profile) {
  ClockOptions options = clock_options(profile);
  options.log_capacity = 0;  // until somebody asks for the timeline
  return options;
}

}  // namespace

Timing::Timing(const Profile& profile, const mill_host_services* host)
    : profile_(profile),
      services_(host),
      clock_(options_of(profile)),
      // What one thread of the program hands to another is not seen here.
      order_(OrderOptions{.host_calls_are_ordered = true}) {}

StreamOrder::ActorId Timing::actor(HostClock::ThreadId id) {
  const auto found = hosts_.find(id);
  if (found != hosts_.end()) return found->second;
  const StreamOrder::ActorId made = order_.add_host(id);
  hosts_.emplace(id, made);
  return made;
}

Queue Timing::add_queue(uint64_t tag) {
  const Time cost = call_cost(profile_, Call::stream_create);
  const HostClock::Turn turn = host_.call(cost);
  note({.what = MILL_CALL_CREATE, .start = turn.now() - cost, .end = turn.now()});
  return {clock_.create_stream(tag), order_.add_stream(tag), tag};
}

void Timing::remove_queue(const Queue& queue) {
  const HostClock::Turn turn = host_.call(0);
  clock_.destroy_stream(queue.clock);
  order_.remove(queue.actor);
}

EventTime Timing::add_event() {
  const Time cost = call_cost(profile_, Call::event_create);
  const HostClock::Turn turn = host_.call(cost);
  note({.what = MILL_CALL_CREATE, .start = turn.now() - cost, .end = turn.now()});
  return {clock_.create_event(), order_.add_event(), false, 0};
}

void Timing::remove_event(const EventTime& event) {
  const HostClock::Turn turn = host_.call(0);
  clock_.destroy_event(event.clock);
  order_.remove_event(event.order);
}

void Timing::put(Operation operation, const Queue& queue, const HostClock::Turn& turn,
                 const char* name) {
  operation.stream = queue.clock;
  operation.submit = turn.now();
  operation.name = name;
  operation.correlation = ++calls_;
  clock_.submit(operation);
}

mill_status Timing::say_race(mill_kernel_error* error) const {
  if (reports_.empty()) return MILL_OK;
  return gpu::refuse(error, MILL_E_STATE, "stream race: %s", describe(reports_.front()).c_str());
}

mill_status Timing::check(StreamOrder::ActorId who, const char* name,
                          std::span<const Touch> touches, mill_kernel_error* error) {
  reports_.clear();
  for (const Touch& touch : touches) {
    if (touch.begin < touch.end)
      order_.note(touch.access, touch.begin, touch.end, who, name, calls_, &reports_);
  }
  return say_race(error);
}

mill_status Timing::kernel(const Queue& queue, const char* name, const KernelWork& work,
                           std::span<const Touch> touches, mill_kernel_error* error) {
  const Time cost = call_cost(profile_, Call::launch);
  const HostClock::Turn turn = host_.call(cost);
  order_.submit(queue.actor, actor(turn.id()));
  put(kernel_operation(profile_, work), queue, turn, name);
  note({.what = MILL_CALL_LAUNCH,
        .start = turn.now() - cost,
        .end = turn.now(),
        .queue = &queue,
        .correlation = calls_});
  return check(queue.actor, name, touches, error);
}

mill_status Timing::copy(const Queue& queue, int32_t kind, bool pinned, uint64_t bytes,
                         std::span<const Touch> touches, mill_kernel_error* error) {
  const Time cost = call_cost(profile_, Call::copy);
  HostClock::Turn turn = host_.call(cost);
  const StreamOrder::ActorId host = actor(turn.id());
  order_.submit(queue.actor, host);
  Operation operation = kind == MILL_COPY_DEVICE_TO_DEVICE ? device_copy_operation(profile_, bytes)
                        : kind == MILL_COPY_HOST_TO_DEVICE
                            ? copy_operation(profile_, Direction::host_to_device, pinned, bytes)
                            : copy_operation(profile_, Direction::device_to_host, pinned, bytes);
  operation.detail = kind == MILL_COPY_DEVICE_TO_DEVICE ? kNoDetail : pinned ? kPinned : kPageable;
  const char* name = kind == MILL_COPY_DEVICE_TO_DEVICE ? "copy on the device"
                     : kind == MILL_COPY_HOST_TO_DEVICE ? "copy to the device"
                                                        : "copy to the host";
  put(operation, queue, turn, name);
  const mill_status status = check(queue.actor, name, touches, error);
  HostCall call{.what = MILL_CALL_COPY,
                .start = turn.now() - cost,
                .end = turn.now(),
                .queue = &queue,
                .correlation = calls_,
                .bytes = bytes};
  if (!pinned && kind != MILL_COPY_DEVICE_TO_DEVICE) {
    order_.host_wait_stream(host, queue.actor);
    turn.wait(clock_, clock_.last_of(queue.clock), 0);
    call.end = host_.now();
  }
  note(call);
  return status;
}

mill_status Timing::fill(const Queue& queue, uint64_t bytes, std::span<const Touch> touches,
                         mill_kernel_error* error) {
  const Time cost = call_cost(profile_, Call::fill);
  const HostClock::Turn turn = host_.call(cost);
  order_.submit(queue.actor, actor(turn.id()));
  put(fill_operation(profile_, bytes), queue, turn, "fill");
  note({.what = MILL_CALL_FILL,
        .start = turn.now() - cost,
        .end = turn.now(),
        .queue = &queue,
        .correlation = calls_,
        .bytes = bytes});
  return check(queue.actor, "fill", touches, error);
}

void Timing::host_function(const Queue& queue) {
  const Time cost = call_cost(profile_, Call::host_function);
  const HostClock::Turn turn = host_.call(cost);
  put(host_operation(profile_), queue, turn, "host function");
  note({.what = MILL_CALL_HOST_FUNCTION,
        .start = turn.now() - cost,
        .end = turn.now(),
        .queue = &queue,
        .correlation = calls_});
}

void Timing::record(EventTime& event, const Queue& queue) {
  const Time cost = call_cost(profile_, Call::event_record);
  const HostClock::Turn turn = host_.call(cost);
  order_.record(event.order, queue.actor, actor(turn.id()));
  put(record_operation(event.clock), queue, turn, nullptr);
  event.recorded = true;
  event.correlation = calls_;
  note({.what = MILL_CALL_EVENT_RECORD,
        .start = turn.now() - cost,
        .end = turn.now(),
        .queue = &queue,
        .correlation = calls_});
}

void Timing::wait_event(const Queue& queue, const EventTime& event) {
  const Time cost = call_cost(profile_, Call::event_wait);
  const HostClock::Turn turn = host_.call(cost);
  order_.wait(queue.actor, event.order, actor(turn.id()));
  const EventId events[1] = {event.clock};
  put(wait_operation(events), queue, turn, nullptr);
  note({.what = MILL_CALL_EVENT_WAIT,
        .start = turn.now() - cost,
        .end = turn.now(),
        .queue = &queue,
        .correlation = calls_,
        .waits_for = event.correlation});
}

bool Timing::event_done(const EventTime& event) {
  HostClock::Turn turn = host_.call(0);
  if (!event.recorded) return true;
  const Time start = turn.now();
  const bool done =
      turn.poll(clock_, clock_.recorded_by(event.clock), call_cost(profile_, Call::query));
  note(
      {.what = MILL_CALL_QUERY, .start = start, .end = turn.now(), .waits_for = event.correlation});
  if (done) order_.host_wait_event(actor(turn.id()), event.order);
  return done;
}

bool Timing::event_wait(const EventTime& event, uint64_t timeout_ns) {
  HostClock::Turn turn = host_.call(0);
  if (!event.recorded) return true;
  const StreamOrder::ActorId host = actor(turn.id());
  const Time start = turn.now();
  const Time deadline = timeout_ns >= static_cast<uint64_t>(to_ns(kEndOfTime))
                            ? kEndOfTime + 1
                            : after(turn.now(), from_ns(static_cast<int64_t>(timeout_ns)));
  const bool done =
      turn.wait(clock_, clock_.recorded_by(event.clock), call_cost(profile_, Call::sync), deadline);
  note({.what = MILL_CALL_SYNC_EVENT,
        .start = start,
        .end = host_.now(),
        .waits_for = event.correlation});
  if (done) {
    const HostClock::Turn again = host_.call(0);
    order_.host_wait_event(host, event.order);
  }
  return done;
}

bool Timing::queue_done(const Queue& queue) {
  HostClock::Turn turn = host_.call(0);
  const Time start = turn.now();
  const bool done =
      turn.poll(clock_, clock_.last_of(queue.clock), call_cost(profile_, Call::query));
  note({.what = MILL_CALL_QUERY, .start = start, .end = turn.now(), .queue = &queue});
  if (done) order_.host_wait_stream(actor(turn.id()), queue.actor);
  return done;
}

void Timing::queue_wait(const Queue& queue) {
  HostClock::Turn turn = host_.call(0);
  order_.host_wait_stream(actor(turn.id()), queue.actor);
  const Time start = turn.now();
  turn.wait(clock_, clock_.last_of(queue.clock), call_cost(profile_, Call::sync));
  note({.what = MILL_CALL_SYNC_STREAM, .start = start, .end = host_.now(), .queue = &queue});
}

bool Timing::elapsed(const EventTime& from, const EventTime& to, double* out_ns) {
  const HostClock::Turn turn = host_.call(0);
  const Time first = from.recorded ? clock_.event_time(from.clock) : -1;
  const Time last = to.recorded ? clock_.event_time(to.clock) : -1;
  if (first < 0 || last < 0) return false;
  *out_ns = static_cast<double>(last - first) / static_cast<double>(kNanosecond);
  return true;
}

void Timing::call(Call kind) {
  const Time cost = call_cost(profile_, kind);
  const HostClock::Turn turn = host_.call(cost);
  note({.what = kind == Call::pinned_allocate ? MILL_CALL_HOST_ALLOCATE
                : kind == Call::pinned_free   ? MILL_CALL_HOST_FREE
                                              : MILL_CALL_ALLOCATE,
        .start = turn.now() - cost,
        .end = turn.now()});
}

void Timing::allocated(uint64_t begin, uint64_t bytes) {
  const Time cost = call_cost(profile_, Call::allocate);
  const HostClock::Turn turn = host_.call(cost);
  note({.what = MILL_CALL_ALLOCATE, .start = turn.now() - cost, .end = turn.now(), .bytes = bytes});
  order_.allocate(begin, begin + bytes);
}

mill_status Timing::freed(uint64_t begin, uint64_t bytes, mill_kernel_error* error) {
  const Time cost = call_cost(profile_, Call::free);
  const HostClock::Turn turn = host_.call(cost);
  note({.what = MILL_CALL_FREE, .start = turn.now() - cost, .end = turn.now(), .bytes = bytes});
  reports_.clear();
  order_.free(begin, begin + bytes, actor(turn.id()), "free", ++calls_, &reports_);
  order_.forget(begin, begin + bytes);
  return say_race(error);
}

mill_status Timing::host_access(uint64_t begin, uint64_t bytes, bool write,
                                mill_kernel_error* error) {
  const HostClock::Turn turn = host_.call(0);
  const Touch touch{write ? OrderAccess::write : OrderAccess::read, begin, begin + bytes};
  return check(actor(turn.id()), write ? "host write" : "host read", {&touch, 1}, error);
}

bool Semaphore::acquire() {
  HostClock::Turn turn = clock_.call(0);
  while (released_.empty() && !closed_) turn.sleep(sleepers_);
  if (closed_) return false;
  turn.advance_to(released_.front());  // later than now only where calls are not ordered
  released_.pop_front();
  return true;
}

void Semaphore::release() {
  HostClock::Turn turn = clock_.call(0);
  released_.push_back(turn.now());
  turn.wake_one(sleepers_);
}

void Semaphore::close() {
  HostClock::Turn turn = clock_.call(0);
  closed_ = true;
  turn.wake_all(sleepers_);
}

void Timing::work(int64_t ns, uint64_t bytes) {
  const Time moving = to_time(bytes, profile_.staging_bandwidth);
  host_.charge(after(from_ns(ns), moving));
}

void Timing::keep(const HostCall& call) {
  mill_timeline_record record{};
  record.kind = MILL_TIMELINE_CALL;
  record.call = call.what;
  record.submit_ns = record.ready_ns = record.start_ns = to_ns(call.start);
  record.end_ns = to_ns(call.end);
  if (call.queue) record.stream = call.queue->tag;
  record.correlation = call.correlation;
  record.waits_for = call.waits_for;
  record.bytes = call.bytes;
  record.thread = static_cast<uint32_t>(gettid());
  if (services_ && services_->size >= offsetof(mill_host_services, op_instance) + sizeof(void*) &&
      services_->op_instance)
    record.instance = services_->op_instance(services_->self);
  const std::lock_guard lock(kept_);
  if (host_calls_.size() < kTimelineRecords) {
    host_calls_.push_back(record);
  } else {
    ++host_calls_lost_;
  }
}

void Timing::start_timeline(uint32_t what) {
  const std::unique_lock<std::mutex> held = host_.hold();
  clock_.set_log_capacity(kTimelineRecords);
  calls_wanted_ = (what & MILL_TIMELINE_CALLS) != 0;
}

void Timing::stop_timeline() {
  const std::unique_lock<std::mutex> held = host_.hold();
  clock_.set_log_capacity(0);
  calls_wanted_ = false;
}

namespace {

// False for what is no work.
bool convert(const Record& from, mill_timeline_record& to) {
  if (from.kind == OpKind::record || from.kind == OpKind::wait) return false;
  to = {};
  to.kind = from.kind == OpKind::kernel ? MILL_TIMELINE_KERNEL
            : from.kind == OpKind::copy ? MILL_TIMELINE_COPY
            : from.kind == OpKind::fill ? MILL_TIMELINE_FILL
                                        : MILL_TIMELINE_HOST;
  to.copy_kind = from.kind != OpKind::copy               ? 0
                 : from.engine == Engine::host_to_device ? MILL_COPY_HOST_TO_DEVICE
                 : from.engine == Engine::device_to_host ? MILL_COPY_DEVICE_TO_HOST
                                                         : MILL_COPY_DEVICE_TO_DEVICE;
  to.name = from.name;
  to.stream = from.stream;
  to.correlation = from.correlation;
  to.submit_ns = to_ns(from.submit);
  to.ready_ns = to_ns(from.ready);
  to.start_ns = to_ns(from.start);
  to.end_ns = to_ns(from.end);
  to.bytes = from.bytes;
  to.flops = from.flops;
  to.host_memory = from.detail == kPinned     ? MILL_RECORD_MEMORY_PINNED
                   : from.detail == kPageable ? MILL_RECORD_MEMORY_PAGEABLE
                                              : MILL_RECORD_MEMORY_NONE;
  return true;
}

}  // namespace

size_t Timing::drain(mill_timeline_record* out, size_t capacity, uint64_t* lost) {
  size_t kept = 0;
  {
    const std::unique_lock<std::mutex> held = host_.hold();
    // What is left out makes room for more: less than `capacity` means that there is no more.
    drained_.resize(std::min<size_t>(capacity, 1024));
    size_t n = 0;
    do {
      n = clock_.drain(drained_.data(), std::min(capacity - kept, drained_.size()));
      for (size_t k = 0; k < n; ++k) kept += convert(drained_[k], out[kept]) ? 1 : 0;
    } while (n > 0 && kept < capacity);
    *lost = clock_.take_lost();
  }
  const std::lock_guard lock(kept_);
  while (kept < capacity && !host_calls_.empty()) {
    out[kept++] = host_calls_.front();
    host_calls_.pop_front();
  }
  *lost += std::exchange(host_calls_lost_, 0);
  return kept;
}

}  // namespace mill::sim
