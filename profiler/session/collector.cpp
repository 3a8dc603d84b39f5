// What a live session's thread does: it takes records, samples counters and keeps to the budget;
// and what that costs.
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <new>
#include <span>

#include "profiler/session/processors.h"
#include "profiler/session/session.h"

namespace mill::prof {

namespace {

constexpr Ns kSecond = 1'000'000'000;
constexpr Ns kSampleEvery = kSecond / 20;
constexpr uint64_t kDelayEvery = 8;  // samples
constexpr Ns kTimelineEvery = kSecond / 100;
constexpr uint64_t kMostAtOnce = 131072;  // of the trace, and of each timeline
constexpr size_t kBusy = 16384;           // of 65,536 that a ring holds: more come meanwhile
constexpr int kNice = 10;                 // a tenth of a core that another thread wants as well

double seconds(const timeval& t) {
  return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
}

Used used_by_this_thread() {
  Used used;
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  used.cpu_ns = static_cast<uint64_t>(t.tv_sec) * kSecond + static_cast<uint64_t>(t.tv_nsec);
  rusage usage{};
  if (getrusage(RUSAGE_THREAD, &usage) == 0) {
    used.minor_faults = usage.ru_minflt;
    used.major_faults = usage.ru_majflt;
  }
  return used;
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

void LiveSession::run() {
  pthread_setname_np(pthread_self(), "mill-prof");
  // A worker of the program that it keeps from its core holds up all the others: it takes what they
  // leave, and where they leave nothing its small share; the rings hold what comes meanwhile.
  setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kNice);
  const sched_param none{};
  pthread_setschedparam(pthread_self(), SCHED_BATCH, &none);  // woken, it interrupts nobody
  // A ring that fills up wakes it: each time it comes unasked it costs a program that has no core
  // to spare some time, however few records there are.
  const Ns longest = Ns{opts_.interval_ms} * 1'000'000;
  Ns pause = std::min(longest, kTimelineEvery);
  Used before;  // what threads of earlier starts took
  {
    const std::lock_guard lock(mutex_);
    before = own_;
    own_thread_ = gettid();
  }
  for (;;) {
    if (pause > 0) engine_.rest(pause);
    if (stopping_) return;
    size_t came = 0;
    bool timelines = false;
    try {
      const std::lock_guard lock(mutex_);
      timelines = !watched_.empty();
      came = drain_once();
      const Ns now = engine_.now();
      if (now >= next_sample_) sample(now);
      control();
      own_ = before + used_by_this_thread();
    } catch (const std::bad_alloc&) {  // NOLINT(bugprone-empty-catch): the next sample is taken
    }
    // The C library then ends the process, as it would without us.
    if (came == 0 && is_last_thread()) return;
    // Nothing rings for the timelines of devices.
    pause = came > kBusy ? 0 : timelines ? std::min(longest, kTimelineEvery) : longest;
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
      if (record.clock != 0 && !modelled_) follow(record.clock);
      store_->add(record);
      ++stored_;
      if (record.kind == MILL_RECORD_STEP && record.clock == 0 && !recorded_.empty())
        tell_budget(record);
    }
  }
  for (size_t k = 0; k < watched_.size(); ++k) {
    const uint32_t device = watched_[k];
    enough = came_ + kMostAtOnce;
    for (size_t n = Engine::kPiece; n == Engine::kPiece && came_ < enough;) {
      const std::span<const mill_timeline_record> records = engine_.take(device, &lost_);
      n = records.size();
      came_ += n;
      if (n > 0 && !modelled_ && store_->base().devices[device].modelled) {
        follow(static_cast<uint16_t>(device));
        k = 0;  // the only one now
      }
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
  // The program's own: the store takes memory too.
  const auto count = [&](const char* name, double all, double own) {
    store_->count(name, kNoRow, now, std::max(0.0, all - own));
  };
  count("minor_faults", static_cast<double>(usage.ru_minflt),
        static_cast<double>(own_.minor_faults));
  count("major_faults", static_cast<double>(usage.ru_majflt),
        static_cast<double>(own_.major_faults));
  count("cpu_time_ns", 1e9 * (seconds(usage.ru_utime) + seconds(usage.ru_stime)),
        static_cast<double>(own_.cpu_ns));
  // A file for each thread: not every time, but when it ends.
  if (samples_++ % kDelayEvery == 0 || stopping_) {
    if (const double delay = run_delay_ns(own_thread_); delay >= 0)
      store_->count("run_delay_ns", kNoRow, now, delay);
  }
  if (processors_ == 0) processors_ = usable_processors();
  store_->count("processors", kNoRow, now, processors_);
}

// In modelled time recording costs the program's timeline nothing.
void LiveSession::control() {
  if (modelled_) return;
  const bool want = budget_->want(engine_.now());
  if (want == recording_) return;
  // Ranges go on, so that each end meets its own beginning.
  const uint64_t mask = want ? MILL_TRACE_RECORDS : MILL_TRACE_STEPS | MILL_TRACE_SCOPES;
  const Ns now = engine_.now();
  if (engine_.set_mask(mask, nullptr) != MILL_OK) return;
  if (!want) recorded_.back().end = now;
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

// ---- what it costs ------------------------------------------------------------------------------

namespace {

double measure() {
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

}  // namespace

double record_ns() {
  static const double measured = measure();
  return measured;
}

void LiveSession::overhead(mill_prof_overhead_info* info) {
  info->record_ns = record_ns();
  const std::lock_guard lock(mutex_);
  const CostEstimate cost = budget_ ? budget_->cost() : CostEstimate{};
  info->step_share = cost.share;
  info->step_share_low = cost.low;
  info->step_share_high = cost.high;
  info->duty = budget_ && !modelled_ ? budget_->duty() : 1;
  const Ns ran = ran_ + (running_ ? engine_.now() - started_ : 0);
  info->collector_share = ran > 0 ? static_cast<double>(own_.cpu_ns) / static_cast<double>(ran) : 0;
  info->records = store_ ? store_->records() : 0;
  info->lost = lost_;
  info->forgotten = store_ ? store_->forgotten() : 0;
  info->store_bytes = store_ ? store_->bytes() : 0;
}

}  // namespace mill::prof
