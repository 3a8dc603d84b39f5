#include "dispatch/exec.h"

#include <algorithm>

#include "base/fork.h"
#include "dispatch/generator.h"
#include "dispatch/late_reads.h"
#include "dispatch/prepared.h"
#include "dispatch/transfer.h"

mill_exec::mill_exec(mill_context* owner, mill::Device& on, mill::Ref<mill_stream> queue)
    : context(mill::Ref<mill_context>::share(owner)),
      device(on),
      stream(std::move(queue)),
      trace(owner->tracer, on.trace_time(owner->tracer)),
      host(on.host_services()),
      kernels(std::make_unique<mill::CachedKernel[]>(kKernelSlots)) {
  trace.set_stream(static_cast<uint32_t>(stream->id));
  trace.set_device(on.index());
}

mill_exec::~mill_exec() {
  while (!scope_marks.empty()) end_scope();
  set_recorder(nullptr);
}

void destroy_exec(mill_exec* exec) noexcept {
  if (exec->context->fork_generation != mill::fork_generation() || exec->outlives_release()) return;
  // The context must outlive the exec's own members.
  const mill::Ref<mill_context> context = exec->context;
  mill::slab_delete(exec);
}

void mill_exec::set_recorder(mill::Recorder* next) noexcept {
  if (next) next->retain_recorder();
  if (recorder) recorder->release_recorder();
  recorder = next;
}

void mill_exec::set_deterministic(bool on) noexcept {
  if (on == deterministic) return;
  deterministic = on;
  // The device may have other kernels for it.
  for (uint32_t k = 0; k < kKernelSlots; ++k) kernels[k].key = 0;
  for (mill::CachedKernel& cached : quick_) cached.key = 0;
}

const mill_kernel& mill_exec::resolve(const mill::OpRow& row, const int32_t* dtypes, uint32_t n_in,
                                      uint32_t n_out) {
  // Dtypes beyond the third input follow from the first ones for every op, or are checked by its
  // rule.
  uint64_t key = static_cast<uint64_t>(row.number) << 32;
  const uint32_t n = std::min(n_in + n_out, 6u);
  for (uint32_t k = 0; k < n; ++k) key |= static_cast<uint64_t>(dtypes[k]) << (5 * k);
  key |= uint64_t{1} << 63;
  const uint32_t slot =
      (static_cast<uint32_t>(row.number) * 7u + static_cast<uint32_t>(dtypes[0]) * 31u) %
      kKernelSlots;
  mill::CachedKernel& cached = kernels[slot];
  if (cached.key == key) [[likely]]
    return cached.kernel;
  mill_kernel found{};
  mill_kernel_error error{};
  mill::check(
      device.table().ops->resolve(device.self(), row.number, dtypes, n_in, n_out,
                                  deterministic ? MILL_KERNEL_DETERMINISTIC : 0, &found, &error),
      error);
  cached.kernel = found;
  cached.key = key;
  return cached.kernel;
}

const mill_kernel& mill_exec::resolve_quick(const mill::OpRow& row, const int32_t* dtypes,
                                            uint32_t n_in) {
  mill::CachedKernel& cached = quick_[quick_slot(row.number, dtypes[0])];
  cached.kernel = resolve(row, dtypes, n_in, 1);
  cached.key = quick_key(row.number, dtypes[0]);
  return cached.kernel;
}

void mill_exec::enter() {
  if (context->fork_generation != mill::fork_generation()) [[unlikely]] {
    mill::fail(MILL_E_FORKED, "the exec was made before fork(); make a new context in the child");
  }
  if (!lock_.try_enter()) mill::fail(MILL_E_BUSY, "the exec is being used by another thread");
  // Allocations are told by the allocator, which knows no exec.
  if (trace.on(MILL_TRACE_ALLOCATIONS) && lock_.depth() == 1) [[unlikely]] {
    told_before_ = mill::ExecTrace::set_current(&trace);
    told_ = true;
  }
  if (device.has_retired() && lock_.depth() == 1) [[unlikely]]
    mill::run_deleters(device);
}

void mill_exec::begin_scope() {
  scope_handles.reserve(std::max<size_t>(scope_handles.capacity(), 64));
  scope_marks.push_back({scope_handles.size(), lock_.depth()});
}

void mill_exec::stop_telling() noexcept {
  mill::ExecTrace::set_current(told_before_);
  told_ = false;
}

void mill_exec::end_release() noexcept {
  if (!lock_.mine()) destroy_exec(this);
}

void mill_exec::grow_notes(size_t n) {
  scope_handles.reserve(2 * scope_handles.capacity() + n);
}

namespace {
void release_any(mill::Handle* handle) noexcept {
  switch (handle->kind()) {
    case mill::HandleKind::tensor: release(static_cast<mill_tensor*>(handle)); break;
    case mill::HandleKind::future: release(static_cast<mill_future*>(handle)); break;
    case mill::HandleKind::call: release(static_cast<mill_call*>(handle)); break;
    default: break;
  }
}
}  // namespace

void mill_exec::end_scope() {
  if (scope_marks.empty()) mill::fail(MILL_E_STATE, "no scope has begun on this exec");
  const size_t mark = scope_marks.back().at;
  while (scope_handles.size() > mark) {
    mill::Handle* handle = scope_handles.back();
    scope_handles.pop_back();
    release_any(handle);
  }
  scope_marks.pop_back();
}

void mill_exec::keep(mill_tensor* tensor) {
  if (scope_marks.empty()) mill::fail(MILL_E_STATE, "no scope has begun on this exec");
  const auto begin = scope_handles.begin() + static_cast<std::ptrdiff_t>(scope_marks.back().at);
  const auto found = std::find(begin, scope_handles.end(), static_cast<mill::Handle*>(tensor));
  if (found == scope_handles.end())
    mill::fail(MILL_E_STATE, "the tensor was not made in the innermost scope");
  scope_handles.erase(found);
}
