#include "device/stream_table.h"

#include <algorithm>

#include "device/device.h"

namespace mill {

StreamTable::StreamTable(const mill_device_table& table, const Turns& turns)
    : table_(table), mutex_(turns) {}

StreamTable::~StreamTable() {
  for (State& state : states_) {
    for (const Recorded& one : state.events) table_.streams->event_destroy(table_.self, one.event);
  }
  for (void* event : spare_) table_.streams->event_destroy(table_.self, event);
}

uint64_t StreamTable::add(void* native, std::shared_ptr<StreamCount> count) {
  const std::lock_guard lock(mutex_);
  states_.push_back({next_, native, std::move(count), 0, {}, {}});
  return next_++;
}

uint64_t StreamTable::number(const void* native) const {
  const std::lock_guard lock(mutex_);
  for (const State& state : states_) {
    if (state.native == native) return state.number;
  }
  return 0;
}

StreamTable::State* StreamTable::find(uint64_t number) {
  for (State& state : states_) {
    if (state.number == number) return &state;
  }
  return nullptr;
}

uint64_t StreamTable::count_wait(uint64_t number) {
  const std::lock_guard lock(mutex_);
  const State* state = find(number);
  return state ? state->count->next() : 0;
}

void* StreamTable::take_event() {
  if (!spare_.empty()) {
    void* event = spare_.back();
    spare_.pop_back();
    return event;
  }
  spare_.reserve(events_ + 1);
  void* event = nullptr;
  mill_kernel_error error{};
  check(table_.streams->event_create(table_.self, &event, &error), error);
  ++events_;
  return event;
}

// The oldest event that covers the sequence, recorded now if there is none.
StreamTable::Recorded& StreamTable::covering(State& state, uint64_t sequence) {
  for (Recorded& one : state.events) {
    if (one.covers >= sequence) return one;
  }
  const uint64_t covers = state.count->submitted.load(std::memory_order_acquire);
  state.events.reserve(state.events.size() + 1);
  void* event = take_event();
  mill_kernel_error error{};
  const mill_status status = table_.streams->event_record(table_.self, event, state.native, &error);
  if (status < 0) {
    spare_.push_back(event);
    check(status, error);
  }
  state.events.push_back({event, covers, 0});
  return state.events.back();
}

// Drops events that have happened. Returns why the device cannot be asked, if it cannot.
mill_status StreamTable::look(State& state) noexcept {
  mill_kernel_error error;
  error.text[0] = 0;
  mill_status status = MILL_OK;
  size_t kept = 0;
  for (const Recorded& one : state.events) {
    if (status == MILL_OK) status = table_.streams->event_query(table_.self, one.event, &error);
    if (status == MILL_OK) state.done = std::max(state.done, one.covers);
    if (status == MILL_OK && one.waiters == 0) {
      spare_.push_back(one.event);
    } else {
      state.events[kept++] = one;
    }
  }
  state.events.resize(kept);
  return std::min(status, mill_status{MILL_OK});
}

// Streams that are gone and finished.
void StreamTable::forget() noexcept {
  std::erase_if(states_, [this](const State& state) {
    if (state.native || state.done < state.count->submitted.load(std::memory_order_relaxed))
      return false;
    for (const Recorded& one : state.events) {
      if (one.waiters != 0) return false;
    }
    // Where the device could not be asked any more.
    for (const Recorded& one : state.events) {
      table_.streams->event_destroy(table_.self, one.event);
      --events_;
    }
    return true;
  });
}

void StreamTable::wait(uint64_t waiter, const Ticket& ticket) {
  if (ticket.stream == 0 || ticket.stream == waiter) return;
  const std::lock_guard lock(mutex_);
  State* state = find(ticket.stream);
  State* self = find(waiter);
  if (!state || !self || ticket.sequence <= state->done) return;
  Waited* waited = nullptr;
  for (Waited& one : self->waits) {
    if (one.stream == ticket.stream) waited = &one;
  }
  if (waited && waited->sequence >= ticket.sequence) return;
  look(*state);
  if (ticket.sequence <= state->done) return;
  if (!waited) {
    self->waits.push_back({ticket.stream, 0});
    waited = &self->waits.back();
  }
  const Recorded& event = covering(*state, ticket.sequence);
  mill_kernel_error error{};
  check(table_.streams->wait_event(table_.self, self->native, event.event, &error), error);
  waited->sequence = event.covers;
}

bool StreamTable::done(const Ticket& ticket) noexcept {
  if (ticket.stream == 0) return true;
  const std::lock_guard lock(mutex_);
  State* state = find(ticket.stream);
  if (!state || ticket.sequence <= state->done) return true;
  try {
    covering(*state, ticket.sequence);
  } catch (...) {
    return true;
  }
  const mill_status asked = look(*state);
  return ticket.sequence <= state->done || asked < 0;
}

void StreamTable::host_wait(const Ticket& ticket) {
  if (ticket.stream == 0) return;
  void* event = nullptr;
  {
    const std::lock_guard lock(mutex_);
    State* state = find(ticket.stream);
    if (!state || ticket.sequence <= state->done) return;
    Recorded& recorded = covering(*state, ticket.sequence);
    ++recorded.waiters;
    event = recorded.event;
  }
  // Without the lock: others go on meanwhile, and may wait for the same event.
  mill_kernel_error error{};
  const mill_status status = table_.streams->event_wait(table_.self, event, UINT64_MAX, &error);
  {
    const std::lock_guard lock(mutex_);
    State& state = *find(ticket.stream);  // has a waiter, so it was not forgotten
    const auto found = std::find_if(state.events.begin(), state.events.end(),
                                    [&](const Recorded& one) { return one.event == event; });
    if (status >= 0) state.done = std::max(state.done, found->covers);
    if (--found->waiters == 0 && status >= 0) {
      spare_.push_back(event);
      state.events.erase(found);
    }
  }
  check(status, error);
}

void StreamTable::note_done(uint64_t number, uint64_t sequence) noexcept {
  const std::lock_guard lock(mutex_);
  if (State* state = find(number)) state->done = std::max(state->done, sequence);
}

void StreamTable::drop(uint64_t number) noexcept {
  const std::lock_guard lock(mutex_);
  State* state = find(number);
  if (!state) return;
  try {
    const uint64_t all = state->count->submitted.load(std::memory_order_acquire);
    if (all > state->done) covering(*state, all);
  } catch (...) {
    state->done = UINT64_MAX;  // a device that records no event finishes nothing any more either
  }
  state->native = nullptr;
  for (State& other : states_) {
    if (look(other) < 0 && !other.native) other.done = UINT64_MAX;
  }
  forget();
  for (State& other : states_) {
    std::erase_if(other.waits, [&](const Waited& w) { return !find(w.stream); });
  }
}

mill_status StreamTable::record(uint64_t number, void** event) noexcept {
  mill_kernel_error error;
  error.text[0] = 0;
  void* target = *event;
  if (!target) {
    const mill_status made = table_.streams->event_create(table_.self, &target, &error);
    if (made != MILL_OK) return made;
  }
  // The lock keeps the stream from being destroyed under the call.
  const std::lock_guard lock(mutex_);
  const State* state = find(number);
  const mill_status status =
      state && state->native
          ? table_.streams->event_record(table_.self, target, state->native, &error)
          : mill_status{MILL_E_STATE};
  if (status != MILL_OK) {
    if (!*event) table_.streams->event_destroy(table_.self, target);
    return status;
  }
  *event = target;
  return MILL_OK;
}

}  // namespace mill
