#include "profiler/session/session.h"
#include "profiler/timeline/rows.h"

#include <signal.h>

#include <algorithm>
#include <new>
#include <utility>

namespace mill::prof {

namespace {

// Somebody else may have switched records on: then there are always more.
constexpr int kMostDrains = 64;
// A session that is shorter has no unrecorded steps: its timeline would have holes for the sake of
// a figure that so few steps cannot give.
constexpr Ns kUndisturbed = 1'000'000'000;

// Calls whose device work had not been handed over when the recording ended.
void mark_unfinished(Trace& trace) {
  std::vector<uint64_t> last(trace.devices.size(), 0);
  for (uint32_t row = 0; row < trace.work.size(); ++row) {
    const uint32_t device = trace.work.device[row];
    if (device < last.size()) last[device] = std::max(last[device], trace.work.correlation[row]);
  }
  for (uint32_t row = 0; row < trace.calls.size(); ++row) {
    const auto kind = static_cast<CallKind>(trace.calls.kind[row]);
    const uint32_t device = trace.calls.device[row];
    if (!asks_for_work(kind) || device >= last.size() ||
        trace.calls.correlation[row] <= last[device])
      continue;
    trace.calls.flags[row] |= kUnfinished;
    ++trace.unfinished;
  }
}

}  // namespace

// ---- live ---------------------------------------------------------------------------------------

LiveSession::LiveSession(const mill_profiler_host& host, mill_context* context,
                         const mill_prof_opts& opts)
    : engine_(host, context), opts_(opts) {
  options_.budget = options_.limits.o1_budget = opts.budget;
  if (opts.warm_up_steps > 0) options_.timeline.warm_up_steps = opts.warm_up_steps;
}

LiveSession::~LiveSession() {
  std::string why;
  if (running_) stop(&why);
}

mill_status LiveSession::start(std::string* why) {
  {
    const std::lock_guard lock(mutex_);
    if (!store_) store_ = std::make_unique<RecordStore>(engine_, opts_.store_bytes);
    if (!budget_) budget_ = std::make_unique<BudgetController>(opts_.budget, kUndisturbed);
    watched_.clear();
    met_ = 0;
    store_->base().notes.clear();
    meet_devices();
    const mill_status status = engine_.set_mask(MILL_TRACE_RECORDS, why);
    if (status != MILL_OK) {
      for (const uint32_t device : watched_) engine_.watch(device, false, nullptr);
      return status;
    }
    started_ = engine_.now();
    recording_ = true;
    recorded_.push_back({started_, INT64_MAX});
    running_ = true;
    stopping_ = false;
    next_sample_ = 0;
  }
  // Signals are the program's threads' to handle.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    thread_ = std::thread([this] { run(); });
  } catch (...) {
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    const std::lock_guard lock(mutex_);
    engine_.set_mask(0, nullptr);
    for (const uint32_t device : watched_) engine_.watch(device, false, nullptr);
    recorded_.pop_back();
    recording_ = false;
    running_ = false;
    *why = "no thread could be started";
    return MILL_E_MEMORY;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return MILL_OK;
}

void LiveSession::meet_devices() {
  const std::vector<DeviceInfo> devices = engine_.devices();
  Trace& base = store_->base();
  base.devices = devices;
  for (; met_ < devices.size(); ++met_) {
    const DeviceInfo& device = devices[met_];
    if (device.kind != DeviceKind::accelerator) continue;
    if (modelled_ && met_ != store_->clock()) {
      base.notes.push_back(device.name + " has another clock and is left out");
      continue;
    }
    std::string reason;
    if (engine_.watch(met_, true, &reason)) {
      watched_.push_back(met_);
    } else {
      base.notes.push_back(device.name + ": " + reason);
    }
  }
  base.has_device_clock = !watched_.empty();
}

// Real time says nothing beside a modelled one: the session is then about that alone. A device that
// is there and does nothing changes nothing.
void LiveSession::follow(uint16_t clock) {
  modelled_ = true;
  store_->set_clock(clock);
  Trace& base = store_->base();
  for (const uint32_t other : std::exchange(watched_, {})) {
    if (other == clock) {
      watched_.push_back(other);
      continue;
    }
    engine_.watch(other, false, nullptr);
    base.notes.push_back(base.devices[other].name + " has another clock and is left out");
  }
  base.has_device_clock = !watched_.empty();
  if (!recording_ && !stopping_)
    recording_ = engine_.set_mask(MILL_TRACE_RECORDS, nullptr) == MILL_OK;
  recorded_ = {{started_, INT64_MAX}};
  holes_ = false;
}

void LiveSession::device_added() {
  const std::lock_guard lock(mutex_);
  if (running_) meet_devices();
}

mill_status LiveSession::stop(std::string*) {
  stopping_ = true;
  engine_.wake();
  // The process ends on its last thread, which may be the session's own.
  if (thread_.get_id() == std::this_thread::get_id()) {
    thread_.detach();
  } else if (thread_.joinable()) {
    thread_.join();
  }
  const std::lock_guard lock(mutex_);
  engine_.set_mask(0, nullptr);
  const Ns now = engine_.now();
  for (int k = 0; k < kMostDrains && drain_once() > 0; ++k) {
  }
  if (!recorded_.empty() && recorded_.back().end == INT64_MAX) recorded_.back().end = now;
  recording_ = false;
  try {
    sample(now);
  } catch (const std::bad_alloc&) {  // NOLINT(bugprone-empty-catch): a stop cannot fail
  }
  for (const uint32_t device : watched_) engine_.watch(device, false, nullptr);
  ran_ += now - started_;
  running_ = false;
  return MILL_OK;
}

// The store's memory is given back where the store is not in use.
struct LiveSession::Copy {
  explicit Copy(std::mutex& held) : mutex(held) {}
  ~Copy() { drop(); }
  Copy(const Copy&) = delete;
  Copy& operator=(const Copy&) = delete;
  void drop() {
    const std::lock_guard lock(mutex);
    of_store.reset();
  }
  std::mutex& mutex;
  std::optional<RecordCopy> of_store;
};

std::unique_ptr<const Analysis> LiveSession::snapshot() {
  std::vector<Interval> recorded;
  CostEstimate cost;
  Copy copy(mutex_);
  {
    const std::lock_guard lock(mutex_);
    if (running_) drain_once();
    if (store_) copy.of_store.emplace(store_->copy(lost_));
    // One span that goes on to the end is no hole.
    if (recorded_.size() > 1 || holes_) {
      recorded = recorded_;
      for (Interval& span : recorded) {
        if (span.end == INT64_MAX) span.end = engine_.now();
      }
    }
    if (budget_) cost = budget_->cost();
  }
  // Tables of a million records take a second, in which the rings go on filling.
  Trace trace = copy.of_store ? copy.of_store->tables() : Trace();
  trace.recorded = std::move(recorded);
  // Noise may have it that recording costs less than nothing.
  const double share = cost.share > -1 ? std::max(0.0, cost.share) : -1;
  trace.own_cost = {share, cost.low, record_ns(), opts_.budget};
  copy.drop();
  mark_unfinished(trace);
  return analyse(std::move(trace), options_);
}

// ---- of a file ----------------------------------------------------------------------------------

FileSession::FileSession(Trace trace, const mill_prof_opts& opts) : trace_(std::move(trace)) {
  // What the recording was kept below, where it says so.
  const double budget = trace_.own_cost.budget > 0 ? trace_.own_cost.budget : opts.budget;
  options_.budget = options_.limits.o1_budget = budget;
  if (opts.warm_up_steps > 0) options_.timeline.warm_up_steps = opts.warm_up_steps;
}

mill_status FileSession::start(std::string* why) {
  *why = "the session is of a file, it cannot be started";
  return MILL_E_STATE;
}

mill_status FileSession::stop(std::string* why) {
  *why = "the session is of a file, it does not run";
  return MILL_E_STATE;
}

void FileSession::overhead(mill_prof_overhead_info* info) {
  info->step_share = info->step_share_low = info->step_share_high = -1;
  info->duty = 1;
  info->records = trace_.rows();
  // What was given up or is of another clock was not lost.
  for (const Loss& loss : trace_.losses) {
    if (loss.where == "store") info->forgotten += loss.lost;
    if (loss.where != "store" && loss.where != "other clock") info->lost += loss.lost;
  }
  info->store_bytes = trace_.bytes();
}

std::unique_ptr<const Analysis> FileSession::snapshot() {
  return analyse(trace_, options_);
}

}  // namespace mill::prof
