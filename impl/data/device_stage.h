// Batches on their way to a device: gathered into pinned memory, copied on a stream of their own,
// and ready when the copy's event is. The program's stream waits for it by the storage's ticket, so
// copying overlaps whatever the device computes.
//
// Pinned memory is a fixed ring, allocated at the start: per slot and column as much as a batch
// needs, or two pieces of it in turn where that is more than the limit. A piece is filled again
// only after its copy has finished. Device memory comes from the device's allocator on the copy
// stream: memory of a batch that the program has released is used again when the device is done
// with it.
#pragma once

#include <cstdint>
#include <vector>

#include "data/stage.h"
#include "dispatch/context.h"
#include "dispatch/stream.h"
#include "tensor/tensor.h"

namespace mill {

struct StagedColumn {
  int32_t dtype;
  int32_t rank;  // with the rows' axis
  int64_t dims[MILL_MAX_RANK];
  uint64_t row_bytes;
};

class DeviceStage final : public LoaderStage {
 public:
  // bytes: of pinned memory at most, 0 = 64 MiB for each slot and column; a row is never split.
  // Throws MILL_E_MEMORY.
  DeviceStage(mill_context& context, Device& device, Ref<mill_stream> copies, uint32_t slots,
              uint32_t workers, const std::vector<StagedColumn>& columns, int64_t batch_rows,
              uint64_t bytes);
  ~DeviceStage() override;

  void begin(uint32_t slot, int64_t rows) override;
  int64_t rows_at_once(uint32_t column) const override { return columns_[column].piece_rows; }
  void* acquire(uint32_t slot, uint32_t column, int64_t first, int64_t rows) override;
  void commit(uint32_t slot, uint32_t column, int64_t first, int64_t rows) override;
  int32_t memory_kind() const override {
    return device_.has_pinned() ? MILL_RECORD_MEMORY_PINNED : MILL_RECORD_MEMORY_PAGEABLE;
  }
  void worker_announced(uint32_t worker) override;
  void worker_begins(uint32_t worker) override;
  void worker_ends() override;
  void worker_joined(uint32_t worker) override;
  bool take_free(uint32_t worker) override;
  void give_filled(uint32_t worker) override;
  void take_filled(uint32_t worker) override;
  void give_free(uint32_t worker) override;
  void close() override;
  const Turns& turns() const override { return device_.turns(); }

  // The batch's tensors, one per column, off the slot.
  TensorRef take(uint32_t slot, uint32_t column);
  uint64_t pinned_bytes() const { return pinned_bytes_; }

 private:
  struct Column {
    StagedColumn shape;
    int64_t piece_rows;
    uint32_t pieces;  // 1 or 2
  };
  struct Piece {
    Block* block = nullptr;
    Ticket copied;
  };
  Piece& piece(uint32_t slot, uint32_t column, int64_t first);
  void record_copy(mill_tensor& to, uint64_t bytes, uint64_t before) const;
  void free_all() noexcept;

  mill_context& context_;
  Device& device_;
  Ref<mill_stream> copies_;
  std::vector<Column> columns_;
  std::vector<Piece> pieces_;     // [slot][column][2]
  std::vector<TensorRef> ready_;  // [slot][column]
  uint64_t pinned_bytes_ = 0;
  const mill_timeline_functions* model_;
  // Empty unless the device's time is modelled.
  struct Worker {
    uint32_t thread = 0;
    void* free = nullptr;
    void* filled = nullptr;
  };
  std::vector<Worker> workers_;
};

}  // namespace mill
