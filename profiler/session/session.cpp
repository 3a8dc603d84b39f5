#include "profiler/session/session.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <span>

namespace mill::prof {

namespace {

constexpr Ns kSecond = 1'000'000'000;
constexpr Ns kSampleEvery = kSecond / 20;
// Somebody else may have switched records on: then there are always more.
constexpr int kMostDrains = 64;
constexpr uint64_t kMostAtOnce = 131072;  // of the trace, and of each timeline
constexpr int kNice = 10;                 // a tenth of a core that another thread wants as well
// A session that is shorter has no unrecorded steps: its timeline would have holes for the sake of
// a figure that so few steps cannot give.
constexpr Ns kUndisturbed = kSecond;

Ns thread_cpu_ns() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<Ns>(t.tv_sec) * kSecond + t.tv_nsec;
}

double seconds(const timeval& t) {
  return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
}

// Calls whose device work had not been handed over when the recording ended.
void mark_unfinished(Trace& trace) {
  std::vector<uint64_t> last(trace.devices.size(), 0);
  for (uint32_t row = 0; row < trace.work.size(); ++row) {
    const uint32_t device = trace.work.device[row];
    if (device < last.size()) last[device] = std::max(last[device], trace.work.correlation[row]);
  }
  for (uint32_t row = 0; row < trace.calls.size(); ++row) {
    const auto kind = static_cast<CallKind>(trace.calls.kind[row]);
    const bool launches = kind == CallKind::launch || kind == CallKind::copy ||
                          kind == CallKind::fill || kind == CallKind::host_function;
    const uint32_t device = trace.calls.device[row];
    if (!launches || device >= last.size() || trace.calls.correlation[row] <= last[device])
      continue;
    trace.calls.flags[row] |= kUnfinished;
    ++trace.unfinished;
  }
}

// Whether the program's threads have all ended without a call of exit, so that only this one keeps
// the process. The first thread stays listed, as a zombie, until then.
bool is_last_thread() {
  struct stat tasks {};
  constexpr nlink_t kOwnLinks = 2;
  if (stat("/proc/self/task", &tasks) != 0 || tasks.st_nlink != kOwnLinks + 2) return false;
  const int file = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  char text[128] = {};  // "123 (at most 15 bytes) Z ..."
  const ssize_t got = read(file, text, sizeof text - 1);
  close(file);
  const char* const end = got > 0 ? std::strrchr(text, ')') : nullptr;
  return end != nullptr && std::strncmp(end, ") Z", 3) == 0;
}

}  // namespace

double measure_record_ns() {
  constexpr int kTimes = 4096;
  std::array<mill_trace_record, 64> ring;
  Ns best = INT64_MAX;
  for (int attempt = 0; attempt < 5; ++attempt) {
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC, &t);
    const Ns begin = static_cast<Ns>(t.tv_sec) * kSecond + t.tv_nsec;
    for (int k = 0; k < kTimes; ++k) {
      mill_trace_record& record = ring[static_cast<size_t>(k) % ring.size()];
      record = {};
      clock_gettime(CLOCK_MONOTONIC, &t);
      record.start_ns = static_cast<uint64_t>(t.tv_nsec);
      clock_gettime(CLOCK_MONOTONIC, &t);
      record.duration_ns = static_cast<uint64_t>(t.tv_nsec) - record.start_ns;
      asm volatile("" : : "r"(&record) : "memory");  // it is written, though nobody reads it
    }
    const Ns end = static_cast<Ns>(t.tv_sec) * kSecond + t.tv_nsec;
    best = std::min(best, end - begin);
  }
  return static_cast<double>(best) / kTimes;
}

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
    if (device.modelled && store_->clock() == 0) {
      // Real time says nothing beside a modelled one.
      modelled_ = true;
      store_->set_clock(static_cast<uint16_t>(met_));
      for (const uint32_t other : watched_) engine_.watch(other, false, nullptr);
      watched_.clear();
    }
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

void LiveSession::device_added() {
  const std::lock_guard lock(mutex_);
  if (running_) meet_devices();
}

mill_status LiveSession::stop(std::string*) {
  {
    const std::lock_guard lock(wake_mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  // The process ends on its last thread, which may be the session's own.
  if (thread_.get_id() == std::this_thread::get_id()) {
    thread_.detach();
  } else if (thread_.joinable()) {
    thread_.join();
  }
  const std::lock_guard lock(mutex_);
  engine_.set_mask(0, nullptr);
  const Ns now = engine_.now();
  if (recording_ && !recorded_.empty()) recorded_.back().end = now;
  recording_ = false;
  for (int k = 0; k < kMostDrains && drain_once() > 0; ++k) {
  }
  try {
    sample(now);
  } catch (const std::bad_alloc&) {  // NOLINT(bugprone-empty-catch): a stop cannot fail
  }
  for (const uint32_t device : watched_) engine_.watch(device, false, nullptr);
  ran_ += now - started_;
  running_ = false;
  return MILL_OK;
}

void LiveSession::run() {
  pthread_setname_np(pthread_self(), "mill-prof");
  // A worker of the program that it keeps from its core holds up all the others: it takes what they
  // leave, and where they leave nothing its small share; the rings hold what comes meanwhile.
  setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kNice);
  const sched_param none{};
  pthread_setschedparam(pthread_self(), SCHED_BATCH, &none);  // woken, it interrupts nobody
  auto pause = std::chrono::milliseconds(1);
  const auto longest = std::chrono::milliseconds(opts_.interval_ms);
  uint64_t before = 0;  // what threads of earlier starts took
  {
    const std::lock_guard lock(mutex_);
    before = collector_ns_;
  }
  for (;;) {
    {
      std::unique_lock lock(wake_mutex_);
      if (wake_.wait_for(lock, pause, [this] { return stopping_; })) return;
    }
    size_t came = 0;
    try {
      const std::lock_guard lock(mutex_);
      came = drain_once();
      const Ns now = engine_.now();
      if (now >= next_sample_) sample(now);
      control();
      collector_ns_ = before + static_cast<uint64_t>(thread_cpu_ns());
    } catch (const std::bad_alloc&) {  // NOLINT(bugprone-empty-catch): the next sample is taken
    }
    // The C library then ends the process, as it would without us.
    if (came == 0 && is_last_thread()) return;
    // A ring holds 65,536 records: it must be met before it is full, however fast ops come, and a
    // program that does little must not be woken up for nothing.
    pause = came > 16384  ? std::chrono::milliseconds(0)
            : came > 2048 ? std::max(pause / 2, std::chrono::milliseconds(1))
                          : std::min(pause + std::chrono::milliseconds(1), longest);
  }
}

size_t LiveSession::drain_once() {
  const uint64_t before = came_;
  try {
    drain_into_store();
  } catch (const std::bad_alloc&) {
    // The rings count what follows until there is memory again.
    lost_ += came_ - stored_;
    stored_ = came_;
  }
  return came_ - before;
}

// A producer that is as fast as this must not keep it for ever.
void LiveSession::drain_into_store() {
  uint64_t enough = came_ + kMostAtOnce;
  for (size_t n = Engine::kPiece; n == Engine::kPiece && came_ < enough;) {
    const std::span<const mill_trace_record> records = engine_.take(&lost_);
    n = records.size();
    came_ += n;
    for (const mill_trace_record& record : records) {
      store_->add(record);
      ++stored_;
      if (record.kind == MILL_RECORD_STEP && record.clock == 0 && !recorded_.empty())
        tell_budget(record);
    }
  }
  for (const uint32_t device : watched_) {
    enough = came_ + kMostAtOnce;
    for (size_t n = Engine::kPiece; n == Engine::kPiece && came_ < enough;) {
      const std::span<const mill_timeline_record> records = engine_.take(device, &lost_);
      n = records.size();
      came_ += n;
      for (const mill_timeline_record& record : records) {
        store_->add(device, record);
        ++stored_;
      }
    }
  }
}

void LiveSession::tell_budget(const mill_trace_record& step) {
  const auto begin = static_cast<Ns>(step.start_ns);
  const auto end = static_cast<Ns>(step.start_ns + step.duration_ns);
  bool whole = false;
  bool touched = false;
  // The newest spans are the last ones; a step reaches back over few of them.
  for (size_t k = recorded_.size(); k-- > 0 && recorded_[k].end > begin;) {
    whole = whole || (recorded_[k].begin <= begin && recorded_[k].end >= end);
    touched = touched || recorded_[k].begin < end;
  }
  budget_->step(begin, end, whole, touched && !whole);
}

void LiveSession::sample(Ns now) {
  next_sample_ = now + kSampleEvery;
  // Real time says nothing there, and an allocator that is asked may ask its device: a thread that
  // the model does not know would take turns from those that it does.
  if (modelled_) return;
  for (uint32_t k = 0; k < store_->base().devices.size(); ++k) {
    mill_memory_stats stats;
    if (!engine_.memory(k, &stats)) continue;
    store_->count("used_bytes", k, now, static_cast<double>(stats.in_use_bytes));
    store_->count("reserved_bytes", k, now, static_cast<double>(stats.reserved_bytes));
  }
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) != 0) return;
  store_->count("minor_faults", kNoRow, now, static_cast<double>(usage.ru_minflt));
  store_->count("major_faults", kNoRow, now, static_cast<double>(usage.ru_majflt));
  store_->count("cpu_time_ns", kNoRow, now,
                1e9 * (seconds(usage.ru_utime) + seconds(usage.ru_stime)));
}

// In modelled time recording costs the program's timeline nothing.
void LiveSession::control() {
  if (modelled_) return;
  const bool want = budget_->want(engine_.now());
  if (want == recording_) return;
  // Ranges go on, so that each end meets its own beginning.
  const uint64_t mask = want ? MILL_TRACE_RECORDS : MILL_TRACE_STEPS | MILL_TRACE_SCOPES;
  if (!want) recorded_.back().end = engine_.now();
  if (engine_.set_mask(mask, nullptr) != MILL_OK) return;
  if (want) {
    // A session may go on for days: spans whose records are gone go too.
    const auto kept = std::find_if(recorded_.begin(), recorded_.end(), [&](const Interval& span) {
      return span.end > store_->kept_from();
    });
    recorded_.erase(recorded_.begin(), kept);
    recorded_.push_back({engine_.now(), INT64_MAX});
  }
  recording_ = want;
  holes_ = true;
}

void LiveSession::overhead(mill_prof_overhead_info* info) {
  info->record_ns = measure_record_ns();
  const std::lock_guard lock(mutex_);
  const CostEstimate cost = budget_ ? budget_->cost() : CostEstimate{};
  info->step_share = cost.share;
  info->step_share_low = cost.low;
  info->step_share_high = cost.high;
  info->duty = budget_ && !modelled_ ? budget_->duty() : 1;
  const Ns ran = ran_ + (running_ ? engine_.now() - started_ : 0);
  info->collector_share =
      ran > 0 ? static_cast<double>(collector_ns_) / static_cast<double>(ran) : 0;
  info->records = store_ ? store_->records() : 0;
  info->lost = lost_;
  info->forgotten = store_ ? store_->forgotten() : 0;
  info->store_bytes = store_ ? store_->bytes() : 0;
}

std::unique_ptr<const Analysis> LiveSession::snapshot() {
  Trace trace;
  AnalysisOptions options = options_;
  {
    const std::lock_guard lock(mutex_);
    if (running_) drain_once();
    if (store_) trace = store_->copy(lost_);
    // One span that goes on to the end is no hole.
    if (recorded_.size() > 1 || holes_) {
      trace.recorded = recorded_;
      for (Interval& span : trace.recorded) {
        if (span.end == INT64_MAX) span.end = engine_.now();
      }
    }
    const CostEstimate cost = budget_ ? budget_->cost() : CostEstimate{};
    options.own_cost = cost.share;
    options.own_cost_low = cost.low;
  }
  mark_unfinished(trace);
  return analyse(std::move(trace), options);
}

// ---- of a file ----------------------------------------------------------------------------------

FileSession::FileSession(Trace trace, const mill_prof_opts& opts) : trace_(std::move(trace)) {
  options_.budget = options_.limits.o1_budget = opts.budget;
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
