#include "profiler/session/session.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <unordered_map>

namespace mill::prof {

namespace {

constexpr Ns kSecond = 1'000'000'000;
constexpr Ns kSampleEvery = kSecond / 20;
// Somebody else may have switched records on: then there are always more.
constexpr int kMostDrains = 64;
constexpr size_t kMostCalibration = size_t{16} << 20;  // bytes; more than any is
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

}  // namespace

double measure_record_ns() {
  constexpr int kTimes = 4096;
  std::vector<mill_trace_record> ring(256);
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
    }
    const Ns end = static_cast<Ns>(t.tv_sec) * kSecond + t.tv_nsec;
    best = std::min(best, end - begin);
  }
  return static_cast<double>(best) / kTimes;
}

// ---- what all sessions have ---------------------------------------------------------------------

namespace {

struct LinkFigure {
  const char* name;
  CopyKind kind;
  Memory memory;
  bool latency;
};
constexpr std::array kLinkFigures = {
    LinkFigure{"pinned_to_device_bytes_per_s", CopyKind::host_to_device, Memory::pinned, false},
    LinkFigure{"pinned_to_device_latency_ns", CopyKind::host_to_device, Memory::pinned, true},
    LinkFigure{"pinned_to_host_bytes_per_s", CopyKind::device_to_host, Memory::pinned, false},
    LinkFigure{"pinned_to_host_latency_ns", CopyKind::device_to_host, Memory::pinned, true},
    LinkFigure{"pageable_to_device_bytes_per_s", CopyKind::host_to_device, Memory::pageable, false},
    LinkFigure{"pageable_to_device_latency_ns", CopyKind::host_to_device, Memory::pageable, true},
    LinkFigure{"pageable_to_host_bytes_per_s", CopyKind::device_to_host, Memory::pageable, false},
    LinkFigure{"pageable_to_host_latency_ns", CopyKind::device_to_host, Memory::pageable, true},
};

// As few single changes as possible between two names.
size_t distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t k = 0; k <= b.size(); ++k) row[k] = k;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t k = 1; k <= b.size(); ++k) {
      const size_t above = row[k];
      row[k] = std::min({above + 1, row[k - 1] + 1, diagonal + (a[i - 1] == b[k - 1] ? 0u : 1u)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

bool Session::set(const std::string& name, double value, std::string* why) {
  if (set_threshold(options_.limits, name, value)) return true;
  const auto model = [&]() -> LinkModel& {
    if (!calibration_) calibration_ = std::make_unique<LinkModel>();
    options_.calibration = calibration_.get();
    return *calibration_;
  };
  for (const LinkFigure& figure : kLinkFigures) {
    if (name != figure.name) continue;
    LinkLine line;
    for (const LinkLine& known : model().lines()) {
      if (known.kind == figure.kind && known.memory == figure.memory &&
          known.source == LinkSource::user)
        line = known;
    }
    line.device = LinkModel::kAnyDevice;
    line.kind = figure.kind;
    line.memory = figure.memory;
    line.source = LinkSource::user;
    (figure.latency ? line.alpha_ns : line.bytes_per_s) = value;
    model().set(line);
    return true;
  }
  if (name == "host_copy_bytes_per_s") {
    model().host_copy_bytes_per_s = value;
    return true;
  }
  if (name == "stream_bytes_per_s") {
    model().stream_bytes_per_s = value;
    return true;
  }
  std::string nearest;
  size_t least = SIZE_MAX;
  const auto look = [&](const char* known) {
    const size_t far = distance(name.substr(0, 64), known);
    if (far < least) {
      least = far;
      nearest = known;
    }
  };
  for (const ThresholdInfo& info : threshold_list()) look(info.name);
  for (const LinkFigure& figure : kLinkFigures) look(figure.name);
  *why =
      "there is no setting \"" + name.substr(0, 64) + "\"; the nearest name is \"" + nearest + "\"";
  return false;
}

bool Session::read_calibration(const std::string& path, std::string* why, bool* readable) {
  // Not a stream, which takes running out of memory for the end of the file.
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rbe"),
                                                             std::fclose);
  *readable = file != nullptr;
  std::string text;
  if (file) {
    std::array<char, 4096> piece;
    for (size_t n = 0; (n = std::fread(piece.data(), 1, piece.size(), file.get())) > 0;) {
      text.append(piece.data(), n);
      if (text.size() > kMostCalibration) break;
    }
    *readable = std::ferror(file.get()) == 0;
  }
  if (!*readable) {
    *why = "\"" + path + "\" cannot be read: " + strerrordesc_np(errno != 0 ? errno : EIO);
    return false;
  }
  auto model = std::make_unique<LinkModel>();
  if (!LinkModel::read(text, model.get(), why)) {
    *why = "\"" + path + "\": " + *why;
    return false;
  }
  calibration_ = std::move(model);
  options_.calibration = calibration_.get();
  return true;
}

// ---- live ---------------------------------------------------------------------------------------

LiveSession::LiveSession(const mill_profiler_host& host, mill_context* context,
                         const mill_prof_opts& opts)
    : engine_(host, context), opts_(opts) {
  options_.budget = opts.budget;
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
    records_.reserve(16384);
    timeline_.reserve(1024);
    // What is left of earlier recordings is not this session's.
    for (int k = 0; k < kMostDrains; ++k) {
      records_.clear();
      engine_.drain(records_);
      if (records_.empty()) break;
    }
    watched_.clear();
    met_ = 0;
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
  if (thread_.joinable()) thread_.join();
  const std::lock_guard lock(mutex_);
  engine_.set_mask(0, nullptr);
  const Ns now = engine_.now();
  if (recording_ && !recorded_.empty()) recorded_.back().end = now;
  recording_ = false;
  // A stop cannot fail: without memory what is left in the rings is lost, and counted.
  try {
    for (int k = 0; k < kMostDrains && drain_once() > 0; ++k) {
    }
    sample(now);
  } catch (const std::bad_alloc&) {
    lost_ += records_.size() + timeline_.size();
    records_.clear();
    timeline_.clear();
  }
  for (const uint32_t device : watched_) engine_.watch(device, false, nullptr);
  ran_ += now - started_;
  running_ = false;
  return MILL_OK;
}

void LiveSession::run() {
  pthread_setname_np(pthread_self(), "mill-prof");
  auto pause = std::chrono::milliseconds(1);
  const auto longest = std::chrono::milliseconds(opts_.interval_ms);
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
      collector_ns_ = static_cast<uint64_t>(thread_cpu_ns());
    } catch (const std::bad_alloc&) {
      // What was taken is lost; the rings count what follows until there is memory again.
      const std::lock_guard lock(mutex_);
      lost_ += records_.size() + timeline_.size();
      records_.clear();
      timeline_.clear();
    }
    // A ring holds 65,536 records: it must be met before it is full, however fast ops come, and a
    // program that does little must not be woken up for nothing.
    pause = came > 16384  ? std::chrono::milliseconds(0)
            : came > 2048 ? std::max(pause / 2, std::chrono::milliseconds(1))
                          : std::min(pause + std::chrono::milliseconds(1), longest);
  }
}

size_t LiveSession::drain_once() {
  size_t came = 0;
  records_.clear();
  lost_ += engine_.drain(records_);
  came += records_.size();
  for (const mill_trace_record& record : records_) {
    store_->add(record);
    if (record.kind != MILL_RECORD_STEP || record.clock != 0 || recorded_.empty()) continue;
    const auto begin = static_cast<Ns>(record.start_ns);
    const auto end = static_cast<Ns>(record.start_ns + record.duration_ns);
    bool whole = false;
    bool touched = false;
    // The newest spans are the last ones; a step reaches back over few of them.
    for (size_t k = recorded_.size(); k-- > 0 && recorded_[k].end > begin;) {
      whole = whole || (recorded_[k].begin <= begin && recorded_[k].end >= end);
      touched = touched || recorded_[k].begin < end;
    }
    budget_->step(begin, end, whole, touched && !whole);
  }
  for (const uint32_t device : watched_) {
    timeline_.clear();
    lost_ += engine_.drain(device, timeline_);
    came += timeline_.size();
    for (const mill_timeline_record& record : timeline_) store_->add(device, record);
  }
  return came;
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
  const uint64_t mask = want ? MILL_TRACE_RECORDS : MILL_TRACE_STEPS;
  if (!want) recorded_.back().end = engine_.now();
  if (engine_.set_mask(mask, nullptr) != MILL_OK) return;
  if (want) recorded_.push_back({engine_.now(), INT64_MAX});
  recording_ = want;
}

void LiveSession::overhead(mill_prof_overhead_info* info) {
  const std::lock_guard lock(mutex_);
  const CostEstimate cost = budget_ ? budget_->cost() : CostEstimate{};
  info->step_share = cost.share;
  info->step_share_low = cost.low;
  info->step_share_high = cost.high;
  info->duty = budget_ && !modelled_ ? budget_->duty() : 1;
  const Ns ran = ran_ + (running_ ? engine_.now() - started_ : 0);
  info->collector_share =
      ran > 0 ? static_cast<double>(collector_ns_) / static_cast<double>(ran) : 0;
  info->record_ns = measure_record_ns();
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
    if (recorded_.size() > 1) {
      trace.recorded = recorded_;
      for (Interval& span : trace.recorded) {
        if (span.end == INT64_MAX) span.end = engine_.now();
      }
    }
    options.own_cost = budget_ ? budget_->cost().share : -1;
  }
  trace.source = "session";
  mark_unfinished(trace);
  return analyse(std::move(trace), options);
}

// ---- of a file ----------------------------------------------------------------------------------

FileSession::FileSession(Trace trace, const mill_prof_opts& opts) : trace_(std::move(trace)) {
  options_.budget = opts.budget;
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
  for (const Loss& loss : trace_.losses) info->lost += loss.lost;
  info->store_bytes = trace_.bytes();
}

std::unique_ptr<const Analysis> FileSession::snapshot() {
  return analyse(trace_, options_);
}

}  // namespace mill::prof
