// What every call on a loader begins with.
#pragma once

#include "data/loader_handle.h"
#include "guard.h"

namespace mill::api {

class LoaderGuard {
 public:
  LoaderGuard(mill_loader* loader, int32_t argument) : loader_(need(loader, argument, "loader")) {
    check_fork(*loader_.context);
    // A worker is refused before it takes the lock, which would refuse the program meanwhile.
    if (loader_.core.on_worker()) refuse_callback();
    if (!loader_.lock.try_enter()) fail(MILL_E_BUSY, "the loader is being used by another thread");
    if (loader_.lock.depth() > 1) {
      loader_.lock.leave();
      refuse_callback();
    }
  }
  ~LoaderGuard() { loader_.lock.leave(); }
  LoaderGuard(const LoaderGuard&) = delete;
  LoaderGuard& operator=(const LoaderGuard&) = delete;
  mill_loader* operator->() { return &loader_; }
  mill_loader& operator*() { return loader_; }

 private:
  [[noreturn]] static void refuse_callback() {
    fail(MILL_E_BUSY, "the loader is waiting for the callback that uses it");
  }

  mill_loader& loader_;
};

}  // namespace mill::api
