// The loader handle: the loader's core over tensors. Batches are given out without a copy, or come
// to a device by way of a stage.
#pragma once

#include <memory>
#include <vector>

#include "base/owner_lock.h"
#include "data/device_stage.h"
#include "data/loader.h"
#include "dispatch/exec.h"
#include "millrace/data.h"

namespace mill {

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

  // False: there is no function, only something to destroy.
  bool runs() const { return fn_ != nullptr; }
  void run(const mill_augment_args& args) override;

 private:
  mill_augment fn_;
  void* user_;
  void (*destroy_)(void* user);
};

}  // namespace mill

struct mill_loader : mill::Handle {
  static constexpr mill::HandleKind kKind = mill::HandleKind::loader;

  // Columns have a rank of at least 1 and lie in the host's memory. Throws what the core refuses.
  mill_loader(mill_context& owner, mill_tensor* const* columns, uint32_t n,
              const mill_loader_opts& opts);

  // Before the first batch only.
  void set_transform(uint32_t column, const mill::LoaderTransform& transform);
  // Before the first batch only. Null: none. Gives back the one before in its place.
  void exchange_augment(std::unique_ptr<mill::UserAugment>& augment);

  // From the next batch on; see the core.
  void set_depth(uint32_t prefetch, uint32_t workers);

  // One tensor for each column; the exec is of the loader's device. MILL_END at an epoch's end.
  // When it throws, the position has not moved and `out` is all null.
  mill_status next(mill_exec& exec, mill_tensor** out);
  // Which rows the last batch holds; none at an epoch's end.
  const std::vector<int64_t>& indices() const { return indices_; }

  // Whether the calling thread is inside a callback for which the loader waits.
  bool waits_for_caller() const { return lock.mine() || core.on_worker(); }

  mill::Ref<mill_context> context;
  mill::Device& device;  // where batches go
  mill::OwnerLock lock;

 private:
  mill::TensorRef new_buffer(uint32_t column) const;
  void make_buffers();
  void make_stage();
  uint64_t give_gathered(const mill::LoaderBatch& batch, mill_tensor** out);
  uint64_t give_staged(mill_exec& exec, const mill::LoaderBatch& batch, mill_tensor** out);
  mill::TensorRef take_staged(mill_exec& exec, uint32_t slot, uint32_t column);
  // before: when the call began; waited: how long for the batch, both in the exec's ticks.
  void record_wait(mill_exec& exec, const mill::LoaderBatch& batch, uint64_t bytes, uint64_t before,
                   uint64_t waited) const;

  // Kept alive while a worker reads them, as is all below that a worker uses: declared before the
  // core, whose end waits for the workers.
  std::vector<mill::TensorRef> columns_;
  // What workers gather into where there is no stage, [slot][column]. A batch that was given out
  // keeps its memory; the slot gets that of a spare.
  std::vector<std::vector<mill::TensorRef>> buffers_;
  std::vector<mill::TensorRef> spare_;        // for the slot that the next batch empties
  std::unique_ptr<mill::DeviceStage> stage_;  // null for the CPU; made by the first batch
  std::vector<mill::LoaderTransform> late_;   // per column, what is done on the device
  std::unique_ptr<mill::UserAugment> augment_;
  std::vector<int64_t> indices_;  // of the last batch
  uint64_t pinned_bytes_;
  bool begun_ = false;  // memory for batches has been made once

 public:
  mill::BatchLoader core;
};
