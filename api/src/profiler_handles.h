// Handles of what the profiler's plugin makes, and how calls find it behind them.
#pragma once

#include <atomic>
#include <cstring>

#include "guard.h"
#include "profiler_host.h"

// The plugin stays loaded, so its table outlives them.
struct mill_prof : mill::Handle {
  static constexpr mill::HandleKind kKind = mill::HandleKind::prof;

  mill_prof(mill_context& owner, const mill_profiler_table& table, bool of_context)
      : context(mill::Ref<mill_context>::share(&owner)), plugin(table), live(of_context) {}
  ~mill_prof() {
    stopped();
    if (self) plugin.session_destroy(self);
  }
  void stopped() {
    if (running.exchange(false, std::memory_order_acq_rel)) context->profile.end();
  }

  mill::Ref<mill_context> context;
  const mill_profiler_table& plugin;
  const bool live;  // it watches its context; otherwise it is of a file
  void* self = nullptr;
  mill::OwnerLock lock;  // around what the plugin takes one of at a time
  std::atomic<bool> running{false};
};

// A child of fork has neither the thread nor the locks that a session needs: it stays as it is.
inline void retain(mill_prof* prof) noexcept {
  prof->retain();
}
inline void release(mill_prof* prof) noexcept {
  if (prof->release() && prof->context->fork_generation == mill::fork_generation())
    mill::slab_delete(prof);
}

struct mill_prof_view : mill::Handle {
  static constexpr mill::HandleKind kKind = mill::HandleKind::prof_view;

  explicit mill_prof_view(const mill_prof& of)
      : context(of.context), plugin(of.plugin), live(of.live) {}
  ~mill_prof_view() {
    if (self) plugin.view_destroy(self);
  }

  mill::Ref<mill_context> context;
  const mill_profiler_table& plugin;
  const bool live;  // of a session that watches its context
  void* self = nullptr;
};

inline void retain(mill_prof_view* view) noexcept {
  view->retain();
}
inline void release(mill_prof_view* view) noexcept {
  if (view->release() && view->context->fork_generation == mill::fork_generation())
    mill::slab_delete(view);
}

struct mill_prof_result : mill::Handle {
  static constexpr mill::HandleKind kKind = mill::HandleKind::prof_result;

  explicit mill_prof_result(mill_prof_view& of) : view(mill::Ref<mill_prof_view>::share(&of)) {}
  ~mill_prof_result() {
    if (self) view->plugin.result_destroy(self);
  }

  mill::Ref<mill_prof_view> view;  // texts of the result are the view's
  void* self = nullptr;
};

inline void retain(mill_prof_result* result) noexcept {
  result->retain();
}
inline void release(mill_prof_result* result) noexcept {
  if (result->release() && result->view->context->fork_generation == mill::fork_generation())
    mill::slab_delete(result);
}

namespace mill::api {

inline void say(mill_status status, const mill_kernel_error& error) {
  if (status >= 0) return;
  const size_t n = strnlen(error.text, sizeof error.text);
  fail(status, "%.*s", static_cast<int>(n), n > 0 ? error.text : "the profiler gave no reason");
}

inline mill_prof_view& need_view(mill_prof_view* view) {
  mill_prof_view& found = need(view, 0, "view");
  check_fork(*found.context);
  return found;
}

inline const mill_prof_view& need_finding(mill_prof_view* view, uint32_t index) {
  const mill_prof_view& v = need_view(view);
  const uint32_t n = v.plugin.view_findings(v.self);
  if (index >= n) fail_argument(MILL_E_ARG, 1, "index is %u, there are %u findings", index, n);
  return v;
}

}  // namespace mill::api
