#include "profiler_knobs.h"

#include <algorithm>
#include <cmath>

#include "dispatch/late_reads.h"
#include "guard.h"
#include "loader_guard.h"

namespace mill::api {

namespace {

// What is not in use lies here: the program's while the trial's is in place, and the other way
// round.
template <class T>
class ExecKnob final : public Knob {
 public:
  ExecKnob(mill_exec& exec, std::unique_ptr<T> mill_exec::*place, std::unique_ptr<T> mine,
           double value, uint32_t settling)
      : exec_(exec), place_(place), other_(std::move(mine)) {
    value_ = value;
    settling_ = settling;
  }
  void set(bool on) override {
    if (on == on_) return;
    const ExecGuard entered(exec_);
    std::swap(exec_.*place_, other_);
    on_ = on;
  }

 private:
  mill_exec& exec_;
  std::unique_ptr<T> mill_exec::*const place_;
  std::unique_ptr<T> other_;
  bool on_ = false;
};

class LoaderKnob final : public Knob {
 public:
  LoaderKnob(mill_loader& loader, uint32_t prefetch, uint32_t workers, double value)
      : loader_(loader),
        before_{loader.core.slots() - 1, std::max(loader.core.workers(), 1u)},
        after_{prefetch, workers} {
    value_ = value;
    ahead_ = std::max(before_.prefetch, after_.prefetch);
    settling_ = 2 * ahead_;
  }
  void set(bool on) override {
    if (on == on_) return;
    const Depth& depth = on ? after_ : before_;
    LoaderGuard(&loader_, 2)->set_depth(depth.prefetch, depth.workers);
    on_ = on;
  }

 private:
  struct Depth {
    uint32_t prefetch;
    uint32_t workers;
  };
  mill_loader& loader_;
  const Depth before_;
  const Depth after_;
  bool on_ = false;
};

uint32_t whole(double value, uint32_t least, uint32_t most) {
  if (!std::isfinite(value)) return least;
  return static_cast<uint32_t>(
      std::clamp(std::round(value), static_cast<double>(least), static_cast<double>(most)));
}

std::unique_ptr<Knob> staging(const Fix& fix, mill_exec& exec) {
  if (exec.device.runs_inline() || !exec.device.has_pinned()) {
    fail_argument(MILL_E_UNSUPPORTED, 2,
                  "subject->run_on is on %s, which copies nothing through page-locked memory",
                  exec.device.table().name);
  }
  // A slot for the largest copy, that it goes in one piece, within bounds.
  constexpr double kLeast = double{1u << 18};
  constexpr double kMost = double{1u << 26};
  const double slot = fix.largest_bytes > 0 ? std::clamp(fix.largest_bytes, kLeast, kMost) : kMost;
  const uint64_t bytes = static_cast<uint64_t>(slot) * StagingRing::kSlots;
  const ExecGuard entered(exec);
  auto ring = std::make_unique<StagingRing>(exec.device, bytes, exec.stream_id(), exec.tag);
  exec.stream->wait();  // as mill_exec_set_staging
  return std::make_unique<ExecKnob<StagingRing>>(exec, &mill_exec::staging, std::move(ring),
                                                 static_cast<double>(bytes), 1);
}

std::unique_ptr<Knob> late_reads(const Fix& fix, mill_exec& exec) {
  if (exec.device.runs_inline()) {
    fail_argument(MILL_E_UNSUPPORTED, 2, "subject->run_on is on %s, where no read waits",
                  exec.device.table().name);
  }
  const uint32_t steps = whole(fix.value, 1, LateReads::kMostSteps);
  return std::make_unique<ExecKnob<LateReads>>(exec, &mill_exec::late_reads,
                                               std::make_unique<LateReads>(steps),
                                               static_cast<double>(steps), steps + 1);
}

mill_loader& need_loader(const Fix& fix, mill_loader* loader) {
  if (loader) return *loader;
  fail_argument(MILL_E_ARG, 2, "subject->loader is NULL, the fix %.*s is one of loaders",
                static_cast<int>(fix.knob.size()), fix.knob.data());
}

std::unique_ptr<Knob> depth(const Fix& fix, mill_loader& loader) {
  const uint32_t now = loader.core.slots() - 1;
  const uint32_t next = whole(now + fix.value, 2, LoaderOptions::kMaxPrefetch);
  return std::make_unique<LoaderKnob>(loader, next, std::max(loader.core.workers(), 1u),
                                      static_cast<double>(next));
}

std::unique_ptr<Knob> workers(const Fix& fix, mill_loader& loader) {
  // As many as the fix says, and more than there are: that those do not suffice was seen.
  const uint32_t now = loader.core.workers();
  const uint32_t next = whole(std::max(fix.value, now + 1.0), 1, LoaderOptions::kMaxWorkers);
  return std::make_unique<LoaderKnob>(loader, std::max({loader.core.slots() - 1, next, 2u}), next,
                                      static_cast<double>(next));
}

}  // namespace

std::unique_ptr<Knob> make_knob(const Fix& fix, mill_exec& exec, mill_loader* loader) {
  if (fix.knob == "pinned_staging") return staging(fix, exec);
  if (fix.knob == "defer_read") return late_reads(fix, exec);
  if (fix.knob == "prefetch_depth") return depth(fix, need_loader(fix, loader));
  if (fix.knob == "loader_workers") return workers(fix, need_loader(fix, loader));
  fail_argument(MILL_E_UNSUPPORTED, 1, "the fix %.*s is the program's to make",
                static_cast<int>(fix.knob.size()), fix.knob.data());
}

}  // namespace mill::api
