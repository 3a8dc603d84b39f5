#include "gpu/runtime/sim/check/twin.h"

#include <cstring>

// Every kernel of the checked flavour, as launch.h lists them. The linker names a section's ends;
// both are null where no object has one.
extern "C" {
[[gnu::weak,
  gnu::visibility(
      "hidden")]] extern const mill::sim::KernelInfo* const __start_mill_sim_checked_kernels[];
[[gnu::weak,
  gnu::visibility(
      "hidden")]] extern const mill::sim::KernelInfo* const __stop_mill_sim_checked_kernels[];
}

namespace mill::sim {

namespace {

#if defined(MILL_SIM_NO_CHECKED)
constexpr const char* kReason = MILL_SIM_NO_CHECKED;
#else
constexpr const char* kReason = "it was linked without it";
#endif

const KernelInfo* const* list_begin() {
  return &__start_mill_sim_checked_kernels[0];
}
const KernelInfo* const* list_end() {
  return &__stop_mill_sim_checked_kernels[0];
}

constexpr const char kFast[] = "sim_::";
constexpr const char kChecked[] = "sim_check_::";

// The same text but for the flavours' namespaces.
bool same_text(const char* fast, const char* checked) {
  while (*fast != 0 || *checked != 0) {
    if (std::strncmp(checked, kChecked, sizeof kChecked - 1) == 0 &&
        std::strncmp(fast, kFast, sizeof kFast - 1) == 0) {
      checked += sizeof kChecked - 1;
      fast += sizeof kFast - 1;
    } else if (*fast++ != *checked++) {
      return false;
    }
  }
  return true;
}

}  // namespace

const KernelInfo* checked_twin(const KernelInfo& kernel) {
  const KernelInfo* twin = kernel.checked.load(std::memory_order_acquire);
  if (twin) [[likely]]
    return twin;
  for (const KernelInfo* const* at = list_begin(); at != list_end(); ++at) {
    if (std::strcmp((*at)->unit, kernel.unit) == 0 && same_text(kernel.text, (*at)->text)) {
      kernel.checked.store(*at, std::memory_order_release);
      return *at;
    }
  }
  return nullptr;
}

const char* no_checked_flavour() {
  return list_begin() != list_end() ? nullptr : kReason;
}

}  // namespace mill::sim
