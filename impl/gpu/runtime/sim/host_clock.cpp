#include "gpu/runtime/sim/host_clock.h"

#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <map>
#include <new>

#include "base/thread_exit.h"

namespace mill::sim {

struct HostClock::Member {
  enum class Phase : uint8_t {
    running,  // may call at its clock or later
    waiting,  // for the device
    asleep    // until another thread's doing
  };

  ThreadId id = 0;
  Time clock = 0;
  Phase phase = Phase::running;
  bool wants_turn = false;
  bool bound = false;  // an announced thread that has not started is not

  VirtualClock* device = nullptr;
  OpRef op;
  Time deadline = 0;
  Time cost = 0;
  bool done = false;

  bool joining = false;
  ThreadId joined = 0;

  std::condition_variable changed;

  bool before(const Member& other) const {
    return clock != other.clock ? clock < other.clock : id < other.id;
  }
};

struct HostClock::State {
  std::mutex mutex;
  std::chrono::milliseconds patience{};
  std::vector<std::shared_ptr<Member>> members;
  std::map<ThreadId, Time> ended;  // last clocks of threads that nobody joined yet
  Time past = 0;                   // the highest clock of those that left
  Time floor = 0;                  // where unordered waits have taken devices
  uint64_t progress = 0;
  ThreadId next_foreign = kFirstForeign;
  Member* stepping = nullptr;  // has a step of several calls
  uint32_t nested = 0;
  bool called = false;  // or charged anything
  bool ordered = true;
  bool deterministic = true;
  bool closed = false;

  Member* find(ThreadId id) const {
    for (const auto& it : members)
      if (it->id == id) return it.get();
    return nullptr;
  }
  Time highest() const {
    Time time = past;
    for (const auto& it : members) time = std::max(time, it->clock);
    return time;
  }
  Member* lowest() const {
    Member* first = nullptr;
    for (const auto& it : members)
      if (it->phase == Member::Phase::running && (first == nullptr || it->before(*first)))
        first = it.get();
    return first;
  }
};

// What a thread knows of the clocks that it has called. Plain thread_local storage: see
// base/thread_exit.h.
struct HostClock::Local {
  struct Binding {
    std::shared_ptr<State> state;
    std::shared_ptr<Member> member;
    Binding* next = nullptr;
    pid_t process = ::getpid();
  };
  ThreadExit exit;
  Binding* first = nullptr;

  static Local& mine() {
    static thread_local Local local;
    return local;
  }

  void drop(Binding** link) {
    const std::unique_ptr<Binding> binding(*link);
    *link = binding->next;
  }
  void drop(const State* state) {
    for (Binding** link = &first; *link != nullptr; link = &(*link)->next)
      if ((*link)->state.get() == state) {
        drop(link);
        return;
      }
  }
  // In a forked child, what the parent's thread was bound to: its mutex may be held, and its
  // condition variables waited on, by threads that are not here. So it is left as it is.
  void forget_inherited() {
    const pid_t here = ::getpid();
    for (Binding** link = &first; *link != nullptr;) {
      if ((*link)->process != here) {
        *link = (*link)->next;
      } else {
        link = &(*link)->next;
      }
    }
  }
  void drop_closed() {
    forget_inherited();
    for (Binding** link = &first; *link != nullptr;) {
      bool closed = false;
      {
        const std::lock_guard lock((*link)->state->mutex);
        closed = (*link)->state->closed;
      }
      if (closed)
        drop(link);
      else
        link = &(*link)->next;
    }
  }

  static void at_exit(ThreadExit*) {
    Local& local = mine();
    local.forget_inherited();
    while (local.first != nullptr) {
      {
        State& state = *local.first->state;
        const std::lock_guard lock(state.mutex);
        if (!state.closed) leave_thread(state, *local.first->member);
      }
      local.drop(&local.first);
    }
  }
};

HostClock::HostClock(std::chrono::milliseconds patience) : state_(std::make_shared<State>()) {
  state_->patience = patience;
}

HostClock::~HostClock() {
  const std::lock_guard lock(state_->mutex);
  state_->closed = true;
  state_->members.clear();
}

// ---- who is there ------------------------------------------------------------------------------

HostClock::Member& HostClock::member() {
  for (const Local::Binding* it = Local::mine().first; it != nullptr; it = it->next)
    if (it->state == state_) return *it->member;
  return join_unknown();
}

// Ties a member to the calling thread, or takes it out again.
HostClock::Member& HostClock::bind(const std::shared_ptr<Member>& member) {
  Local& local = Local::mine();
  try {
    auto binding = std::make_unique<Local::Binding>();
    binding->state = state_;
    binding->member = member;
    if (!on_thread_exit(&local.exit, &Local::at_exit)) throw std::bad_alloc();
    binding->next = local.first;
    local.first = binding.release();
  } catch (...) {
    const std::lock_guard lock(state_->mutex);
    leave_thread(*state_, *member);
    throw;
  }
  return *member;
}

HostClock::Member& HostClock::join_unknown() {
  Local::mine().drop_closed();
  const auto made = std::make_shared<Member>();
  made->bound = true;
  {
    const std::lock_guard lock(state_->mutex);
    State& state = *state_;
    made->clock = state.highest();
    made->id = state.members.empty() ? 0 : state.next_foreign++;
    state.members.push_back(made);
    state.ended.erase(made->id);
    if (made->id != 0) stop_ordering(state);
  }
  return bind(made);
}

bool HostClock::announce(ThreadId id) {
  Member& me = member();
  const std::lock_guard lock(state_->mutex);
  if (id >= kFirstForeign || state_->find(id) != nullptr) return false;
  auto made = std::make_shared<Member>();
  made->id = id;
  made->clock = me.clock;
  state_->ended.erase(id);
  state_->members.push_back(std::move(made));
  return true;
}

bool HostClock::attach(ThreadId id) {
  for (const Local::Binding* it = Local::mine().first; it != nullptr; it = it->next)
    if (it->state == state_) return false;
  if (id >= kFirstForeign) return false;
  Local::mine().drop_closed();
  std::shared_ptr<Member> mine;
  {
    const std::lock_guard lock(state_->mutex);
    State& state = *state_;
    const auto at = std::find_if(state.members.begin(), state.members.end(),
                                 [id](const auto& it) { return it->id == id; });
    if (at != state.members.end()) {
      if ((*at)->bound) return false;
      mine = *at;
    } else {
      mine = std::make_shared<Member>();
      mine->id = id;
      mine->clock = state.highest();
      if (!state.members.empty() && state.called) state.deterministic = false;
      state.ended.erase(id);
      state.members.push_back(mine);
    }
    mine->bound = true;
  }
  bind(mine);
  return true;
}

void HostClock::detach() {
  Local& local = Local::mine();
  for (const Local::Binding* it = local.first; it != nullptr; it = it->next) {
    if (it->state != state_) continue;
    {
      const std::lock_guard lock(state_->mutex);
      leave_thread(*state_, *it->member);
    }
    local.drop(state_.get());
    return;
  }
}

void HostClock::leave_thread(State& state, Member& me) {
  const auto at = std::find_if(state.members.begin(), state.members.end(),
                               [&me](const auto& it) { return it.get() == &me; });
  if (at == state.members.end()) return;
  const std::shared_ptr<Member> keep = *at;
  if (state.stepping == &me) state.stepping = nullptr;
  state.members.erase(at);
  state.past = std::max(state.past, me.clock);
  bool joined = false;
  for (const auto& it : state.members)
    if (it->joining && it->joined == me.id) {
      it->joining = false;
      joined = true;
      wake(state, *it, me.clock);
    }
  if (!joined && me.id < kFirstForeign) {
    try {
      state.ended[me.id] = me.clock;
    } catch (const std::bad_alloc&) {
      state.deterministic = false;  // a later join will not find it
    }
  }
  ++state.progress;
  dispatch(state);
}

bool HostClock::join(ThreadId id) {
  Member& me = member();
  std::unique_lock lock(state_->mutex);
  State& state = *state_;
  if (const auto ended = state.ended.find(id); ended != state.ended.end()) {
    me.clock = std::max(me.clock, ended->second);
    state.ended.erase(ended);
    dispatch(state);
    return true;
  }
  if (id == me.id || state.find(id) == nullptr) return false;
  me.joining = true;
  me.joined = id;
  me.phase = Member::Phase::asleep;
  dispatch(state);
  me.changed.wait(lock, [&me] { return me.phase == Member::Phase::running; });
  return true;
}

// ---- order -------------------------------------------------------------------------------------

// Lets whoever is next know. Called after every change of a clock, a phase or the members.
void HostClock::dispatch(State& state) {
  if (!state.ordered) return;
  for (;;) {
    Member* first = state.lowest();
    if (resolve(state, first == nullptr ? kEndOfTime + 2 : first->clock)) continue;
    if (first != nullptr && first->wants_turn && state.stepping == nullptr)
      first->changed.notify_one();
    return;
  }
}

// Steps the devices that somebody waits for, up to before `limit`, until a waiting thread can go
// on: at most to the moment at which the first one does, since it may then call. True if one did.
bool HostClock::resolve(State& state, Time limit) {
  for (;;) {
    VirtualClock* next_device = nullptr;
    Time next = kEndOfTime + 1;
    Member* late = nullptr;
    bool woke = false;
    for (const auto& it : state.members) {
      if (it->phase != Member::Phase::waiting) continue;
      // One that ends at the limit may be over already, when somebody looked that far.
      const Time end = it->device->end_of(it->op);
      if (end >= 0 && end < limit) {
        it->device->release(it->op);
        it->done = true;
        wake(state, *it, end);
        it->clock = after(it->clock, it->cost);
        woke = true;
        continue;
      }
      if (end >= 0) continue;
      if (const Time event = it->device->next_event(); next_device == nullptr || event < next) {
        next_device = it->device;
        next = event;
      }
      if (late == nullptr || it->deadline < late->deadline) late = it.get();
    }
    if (woke) return true;
    if (next_device == nullptr) return false;
    if (late->deadline < next) {
      if (late->deadline >= limit) return false;
      late->device->release(late->op);
      late->done = false;
      wake(state, *late, late->deadline);
      late->clock = after(late->clock, late->cost);
      return true;
    }
    if (next >= limit || !next_device->step(next)) return false;
  }
}

void HostClock::wake(State& state, Member& sleeper, Time at) {
  sleeper.phase = Member::Phase::running;
  sleeper.clock = std::max(sleeper.clock, at);
  ++state.progress;
  sleeper.changed.notify_one();
}

void HostClock::stop_ordering(State& state) {
  state.ordered = false;
  state.deterministic = false;
  for (const auto& it : state.members) it->changed.notify_one();
}

void HostClock::take_turn(State& state, Member& me, std::unique_lock<std::mutex>& lock) {
  state.called = true;
  if (state.ordered && state.members.size() > 1 && state.stepping != &me) {
    me.wants_turn = true;
    for (;;) {
      dispatch(state);
      if (!state.ordered || (state.lowest() == &me && state.stepping == nullptr)) break;
      const uint64_t progress = state.progress;
      if (me.changed.wait_for(lock, state.patience) == std::cv_status::timeout && state.ordered &&
          state.progress == progress && (state.lowest() != &me || state.stepping != nullptr))
        stop_ordering(state);
    }
    me.wants_turn = false;
  }
  if (!state.ordered) me.clock = std::max(me.clock, state.floor);
  ++state.progress;
}

HostClock::Turn HostClock::call(Time cost) {
  Member& me = member();
  Turn turn(*state_, me);
  take_turn(*state_, me, turn.lock_);
  me.clock = after(me.clock, cost);
  return turn;
}

void HostClock::begin_step() {
  Member& me = member();
  std::unique_lock lock(state_->mutex);
  State& state = *state_;
  take_turn(state, me, lock);
  // Out of order, the program's own locks have to do.
  if (!state.ordered) return;
  state.stepping = &me;
  ++state.nested;
}

void HostClock::end_step() {
  const Member& me = member();
  const std::lock_guard lock(state_->mutex);
  State& state = *state_;
  if (state.stepping != &me) return;
  if (--state.nested != 0) return;
  state.stepping = nullptr;
  ++state.progress;
  dispatch(state);
}

void HostClock::charge(Time duration) {
  Member& me = member();
  const std::lock_guard lock(state_->mutex);
  me.clock = after(me.clock, std::max<Time>(duration, 0));
  state_->called = true;
  ++state_->progress;
  if (state_->members.size() > 1) dispatch(*state_);
}

Time HostClock::now() {
  for (const Local::Binding* it = Local::mine().first; it != nullptr; it = it->next) {
    if (it->state != state_) continue;
    const std::lock_guard lock(state_->mutex);
    return it->member->clock;
  }
  const std::lock_guard lock(state_->mutex);
  return state_->highest();
}

std::unique_lock<std::mutex> HostClock::hold() const {
  return std::unique_lock(state_->mutex);
}

HostClock::ThreadId HostClock::id() {
  const Member& me = member();
  const std::lock_guard lock(state_->mutex);
  return me.id;
}

bool HostClock::deterministic() const {
  const std::lock_guard lock(state_->mutex);
  return state_->deterministic;
}

// ---- a turn ------------------------------------------------------------------------------------

HostClock::Turn::Turn(State& state, Member& me) : state_(&state), me_(&me), lock_(state.mutex) {}

HostClock::Turn::~Turn() {
  if (lock_.owns_lock() && state_->members.size() > 1) dispatch(*state_);
}

Time HostClock::Turn::now() const {
  return me_->clock;
}
HostClock::ThreadId HostClock::Turn::id() const {
  return me_->id;
}

void HostClock::Turn::advance(Time duration) {
  me_->clock = after(me_->clock, std::max<Time>(duration, 0));
}

void HostClock::Turn::advance_to(Time time) {
  me_->clock = std::max(me_->clock, time);
}

bool HostClock::Turn::poll(VirtualClock& device, OpRef op, Time cost) {
  device.run_until(me_->clock);
  state_->floor = std::max(state_->floor, device.now());
  const bool over = device.finished(op);
  advance(over ? cost : std::max(cost, kMinimumPoll));
  return over;
}

bool HostClock::Turn::wait(VirtualClock& device, OpRef op, Time cost, Time deadline) {
  Member& me = *me_;
  State& state = *state_;
  if (!state.ordered || state.members.size() == 1 || state.stepping == &me || !device.hold(op)) {
    const bool ran = !device.finished(op);
    const bool over = device.run_until_done(op, deadline);
    if (!over) device.run_until(deadline);
    if (ran) advance_to(device.now());
    advance(cost);
    state.floor = std::max(state.floor, device.now());
    dispatch(state);
    lock_.unlock();
    return over;
  }
  me.phase = Member::Phase::waiting;
  me.device = &device;
  me.op = op;
  me.deadline = deadline;
  me.cost = cost;
  dispatch(state);
  while (me.phase == Member::Phase::waiting) {
    if (!state.ordered) {
      device.release(op);
      me.done = device.run_until_done(op, deadline);
      if (!me.done) device.run_until(deadline);
      wake(state, me, device.now());
      advance(cost);
      state.floor = std::max(state.floor, device.now());
      break;
    }
    const uint64_t progress = state.progress;
    if (me.changed.wait_for(lock_, state.patience) == std::cv_status::timeout && state.ordered &&
        me.phase == Member::Phase::waiting && state.progress == progress)
      stop_ordering(state);
  }
  lock_.unlock();
  return me.done;
}

void HostClock::Turn::sleep(WaitList& list) {
  Member& me = *me_;
  list.sleepers_.push_back(&me);
  me.phase = Member::Phase::asleep;
  dispatch(*state_);
  me.changed.wait(lock_, [&me] { return me.phase == Member::Phase::running; });
  take_turn(*state_, me, lock_);
}

void HostClock::Turn::wake_one(WaitList& list) {
  const auto first =
      std::min_element(list.sleepers_.begin(), list.sleepers_.end(),
                       [](const Member* a, const Member* b) { return a->before(*b); });
  if (first == list.sleepers_.end()) return;
  Member& sleeper = **first;
  list.sleepers_.erase(first);
  wake(*state_, sleeper, me_->clock);
}

void HostClock::Turn::wake_all(WaitList& list) {
  while (!list.sleepers_.empty()) wake_one(list);
}

}  // namespace mill::sim
