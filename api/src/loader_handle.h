// The loader handle: the loader core over tensors, whose batches are given out without a copy.
#pragma once

#include <memory>
#include <vector>

#include "data/device_stage.h"
#include "data/loader.h"
#include "guard.h"

namespace mill::api {

// The program's function, as the loader's core sees it.
class UserAugment final : public LoaderAugment {
 public:
  UserAugment(mill_augment fn, void* user, void (*destroy)(void* user))
      : fn_(fn), user_(user), destroy_(destroy) {}
  ~UserAugment() override {
    if (destroy_) destroy_(user_);
  }
  UserAugment(const UserAugment&) = delete;
  UserAugment& operator=(const UserAugment&) = delete;
  void run(const mill_augment_args& args) override;

 private:
  mill_augment fn_;
  void* user_;
  void (*destroy_)(void* user);
};

}  // namespace mill::api

struct mill_loader : mill::Handle {
  static constexpr mill::HandleKind kKind = mill::HandleKind::loader;

  mill_loader(mill_context& owner, mill_tensor* const* tensors, uint32_t n,
              const mill_loader_opts& opts);

  mill_status next(mill_exec& exec, mill_tensor** out, uint32_t n);
  void set_transform(uint32_t column, const mill::LoaderTransform& transform);

  mill::Ref<mill_context> context;
  mill::OwnerLock lock;
  std::vector<mill::TensorRef> columns;  // the dataset, kept alive while the worker reads it
  // What the worker gathers into, [slot][column]. A batch that was given out keeps its memory; the
  // slot gets new. Declared before the core, which must not outlive it.
  std::vector<std::vector<mill::TensorRef>> buffers;
  std::vector<mill::TensorRef> spare;  // for the slot that the next batch empties
  std::vector<int64_t> indices;        // of the last batch
  bool has_batch = false;
  mill::Device& device;                      // where batches go
  std::vector<mill::LoaderTransform> late;   // per column, what is done on the device
  std::unique_ptr<mill::DeviceStage> stage;  // null for the CPU; made by the first batch
  std::unique_ptr<mill::api::UserAugment> augment;
  mill::BatchLoader core;

 private:
  mill::TensorRef new_buffer(uint32_t column) const;
  void make_buffers();
  void refill_spare();
  void make_stage();
  mill::TensorRef delivered(mill_exec& exec, uint32_t slot, uint32_t column);
  uint64_t pinned_bytes_;
};

namespace mill::api {

class LoaderGuard {
 public:
  LoaderGuard(mill_loader* loader, int32_t argument) : loader_(need(loader, argument, "loader")) {
    check_fork(*loader_.context);
    if (!loader_.lock.try_enter()) fail(MILL_E_BUSY, "the loader is being used by another thread");
    if (loader_.lock.depth() > 1 || loader_.core.on_worker()) {
      loader_.lock.leave();
      fail(MILL_E_BUSY, "the loader is waiting for the callback that uses it");
    }
  }
  ~LoaderGuard() { loader_.lock.leave(); }
  LoaderGuard(const LoaderGuard&) = delete;
  LoaderGuard& operator=(const LoaderGuard&) = delete;
  mill_loader* operator->() { return &loader_; }
  mill_loader& operator*() { return loader_; }

 private:
  mill_loader& loader_;
};

}  // namespace mill::api
