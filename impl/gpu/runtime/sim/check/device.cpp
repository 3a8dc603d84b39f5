// The device's side of the checked flavour: the setting, the choice at each launch, the reports.
#include "gpu/runtime/sim/device.h"

#include <cstring>
#include <new>

#include "gpu/guard.h"
#include "gpu/runtime/sim/check/report.h"
#include "gpu/runtime/sim/check/twin.h"

namespace mill::sim {

namespace {

constexpr size_t kMostReports = 64;

bool same_line(const Site& a, const Site& b) {
  if (a.line != b.line || !a.file != !b.file) return false;
  return !a.file || std::strcmp(a.file, b.file) == 0;
}

}  // namespace

mill_status Device::set_checked(int64_t every, mill_kernel_error* error) {
  if (const char* reason = no_checked_flavour(); every != 0 && reason) {
    return gpu::refuse(error, MILL_E_UNSUPPORTED,
                       "checked is %lld, this sim plugin has no checked flavour: %s",
                       static_cast<long long>(every), reason);
  }
  const std::lock_guard lock(mutex_);
  const bool on = checked_.load(std::memory_order_relaxed) != 0;
  if (every != 0 && !on) {
    try {
      if (!shadow_) shadow_ = std::make_unique<Shadow>(space_);
    } catch (const std::bad_alloc&) {
      return gpu::refuse(
          error, MILL_E_MEMORY,
          "checked is %lld, the system refused the addresses for what checks remember",
          static_cast<long long>(every));
    }
    // Nobody has seen what was written since they were last on.
    shadow_->forget();
    space_.watch(shadow_.get());
  } else if (every == 0 && on) {
    space_.watch(nullptr);
  }
  checked_.store(every, std::memory_order_release);
  return MILL_OK;
}

mill_status Device::run_grid(const mill_kernel_args* args, const KernelInfo& kernel,
                             const GridShape& shape, void* const* argv) {
  const int64_t every = checked_.load(std::memory_order_acquire);
  GridReport report;
  if (every == 0) [[likely]] {
    if (GridEngine::here().run(kernel, shape, grid_device(), argv, &report)) return MILL_OK;
  } else {
    const KernelInfo* checked = checked_twin(kernel);
    if (!checked) {
      return gpu::refuse(args->error, MILL_E_INTERNAL,
                         "kernel %s: it is not in the checked flavour", kernel.name);
    }
    try {
      if (shadow_->run(args, kernel, *checked, every, shape, grid_device(), argv, &report))
        return MILL_OK;
    } catch (const std::bad_alloc&) {
      return gpu::refuse(args->error, MILL_E_MEMORY, "kernel %s: out of host memory for its checks",
                         kernel.name);
    }
    find_lines(&report);
  }
  describe(report, kernel.name, args->error->text, sizeof args->error->text);
  keep_report(kernel.name, report, args->error->text);
  return MILL_E_INTERNAL;
}

void Device::keep_report(const char* kernel, const GridReport& report, const char* text) {
  const std::lock_guard lock(mutex_);
  for (KernelReport& known : reports_) {
    if (known.report.fault == report.fault && same_line(known.report.site, report.site) &&
        known.kernel == kernel) {
      ++known.hits;
      return;
    }
  }
  if (reports_.size() < kMostReports) reports_.push_back({kernel, report, text});
}

}  // namespace mill::sim
