#include "memory/stream_clock.h"

#include <algorithm>

#include "memory/block.h"

namespace mill {

StreamClock::~StreamClock() {
  for (State& state : states_) {
    if (state.event) source_.release_event(state.event);
  }
}

StreamClock::State* StreamClock::find(uint64_t stream) noexcept {
  for (State& state : states_) {
    if (state.stream == stream) return &state;
  }
  return nullptr;
}

void StreamClock::know(uint64_t stream) {
  if (inline_ || stream == kAnyStream || find(stream)) return;
  states_.push_back(State{.stream = stream});
}

uint64_t StreamClock::draw(uint64_t stream) noexcept {
  if (inline_) return 0;
  State* state = find(stream);
  if (!state) return 0;
  // An ended stream's last event covers whatever is freed later.
  return state->retired ? state->drawn : ++state->drawn;
}

bool StreamClock::done(uint64_t stream, uint64_t ticket) const noexcept {
  if (inline_ || stream == kAnyStream) return true;
  const State* state = find(stream);
  return !state || ticket <= state->done;
}

bool StreamClock::record(State& state) noexcept {
  if (source_.record(state.stream, &state.event) != MILL_OK) return false;
  state.recorded = true;
  state.event_ticket = state.drawn;
  return true;
}

bool StreamClock::poll(State& state) noexcept {
  const uint64_t before = state.done;
  if (state.recorded && source_.query(state.event) == MILL_OK) {
    state.recorded = false;
    state.done = state.event_ticket;
  }
  if (!state.recorded && !state.retired && state.done < state.drawn && record(state) &&
      source_.query(state.event) == MILL_OK) {
    state.recorded = false;
    state.done = state.event_ticket;
  }
  return state.done > before;
}

bool StreamClock::poll() noexcept {
  if (inline_) return false;
  bool more = false;
  for (State& state : states_) more = poll(state) || more;
  forget_ended();
  return more;
}

std::vector<StreamClock::Wait> StreamClock::begin_wait() {
  std::vector<Wait> waits;
  if (inline_) return waits;
  waits.reserve(states_.size());
  for (State& state : states_) {
    if (state.done >= state.drawn) continue;
    if (!state.retired && state.event_ticket < state.drawn && !record(state)) continue;
    if (!state.recorded && !state.retired && !record(state)) continue;
    if (!state.recorded) continue;
    waits.push_back({state.stream, state.event_ticket, state.event, false});
    state.event = nullptr;
    state.recorded = false;
  }
  return waits;
}

void StreamClock::wait(Source& source, std::vector<Wait>& waits) noexcept {
  for (Wait& w : waits) w.finished = source.wait(w.event) == MILL_OK;
}

void StreamClock::end_wait(const std::vector<Wait>& waits) noexcept {
  for (const Wait& w : waits) {
    State* state = find(w.stream);
    if (state && w.finished) state->done = std::max(state->done, w.ticket);
    if (state && !w.finished && !state->event) {
      state->event = w.event;
      state->event_ticket = w.ticket;
      state->recorded = true;
    } else {
      source_.release_event(w.event);
    }
  }
  forget_ended();
}

void StreamClock::retire(uint64_t stream) noexcept {
  if (inline_) return;
  State* state = find(stream);
  if (!state || state->retired) return;
  // Live blocks of the stream will be freed later: one ticket for all of them, covered by an event
  // made now.
  ++state->drawn;
  record(*state);
  poll(*state);
  state->retired = true;
  forget_ended();
}

void StreamClock::forget_ended() noexcept {
  std::erase_if(states_, [this](State& state) {
    if (!state.retired || state.done < state.drawn) return false;
    if (state.event) source_.release_event(state.event);
    return true;
  });
}

}  // namespace mill
