#include "data/device_stage.h"

#include <algorithm>

#include "dispatch/trace_op.h"
#include "tensor/order.h"

namespace mill {

namespace {

constexpr uint64_t kUsualPiece = uint64_t{64} << 20;

}  // namespace

DeviceStage::DeviceStage(mill_context& context, Device& device, Ref<mill_stream> copies,
                         uint32_t slots, uint32_t workers, const std::vector<StagedColumn>& columns,
                         int64_t batch_rows, uint64_t bytes)
    : context_(context), device_(device), copies_(std::move(copies)), model_(device.modelled()) {
  const uint64_t shares = static_cast<uint64_t>(slots) * std::max<size_t>(columns.size(), 1);
  const uint64_t share = bytes == 0 ? kUsualPiece : bytes / shares;
  for (const StagedColumn& shape : columns) {
    Column column{shape, batch_rows, 1};
    const uint64_t row = std::max<uint64_t>(shape.row_bytes, 1);
    if (row * static_cast<uint64_t>(batch_rows) > share) {
      column.pieces = 2;
      column.piece_rows = static_cast<int64_t>(
          std::clamp<uint64_t>(share / 2 / row, 1, static_cast<uint64_t>(batch_rows)));
    }
    columns_.push_back(column);
  }
  pieces_.resize(shares * 2);
  ready_.resize(shares);
  try {
    for (uint32_t s = 0; s < slots; ++s) {
      for (uint32_t c = 0; c < columns_.size(); ++c) {
        const Column& column = columns_[c];
        for (uint32_t p = 0; p < column.pieces; ++p) {
          const uint64_t n = column.shape.row_bytes * static_cast<uint64_t>(column.piece_rows);
          pieces_[(s * columns_.size() + c) * 2 + p].block =
              device_.pinned().allocate(n, copies_->memory_id, 0);
          pinned_bytes_ += n;
        }
      }
    }
    if (model_) workers_.resize(workers);
    for (uint32_t k = 0; k < workers_.size(); ++k) {
      mill_kernel_error error{};
      Worker& worker = workers_[k];
      worker.thread = device_.next_thread();
      const uint32_t free = slots / workers + (k < slots % workers ? 1 : 0);
      check(model_->semaphore_create(device_.self(), free, &worker.free, &error), error);
      check(model_->semaphore_create(device_.self(), 0, &worker.filled, &error), error);
    }
  } catch (...) {
    free_all();
    throw;
  }
}

DeviceStage::~DeviceStage() {
  free_all();
}

void DeviceStage::worker_announced(uint32_t worker) {
  if (model_) model_->thread_announce(device_.self(), workers_[worker].thread);
}
void DeviceStage::worker_begins(uint32_t worker) {
  if (model_) model_->thread_attach(device_.self(), workers_[worker].thread);
}
void DeviceStage::worker_ends() {
  if (model_) model_->thread_detach(device_.self());
}
void DeviceStage::worker_joined(uint32_t worker) {
  if (model_) model_->thread_join(device_.self(), workers_[worker].thread);
}
bool DeviceStage::take_free(uint32_t worker) {
  return !model_ || model_->semaphore_acquire(device_.self(), workers_[worker].free) != 0;
}
void DeviceStage::give_filled(uint32_t worker) {
  if (model_) model_->semaphore_release(device_.self(), workers_[worker].filled);
}
void DeviceStage::take_filled(uint32_t worker) {
  if (model_) model_->semaphore_acquire(device_.self(), workers_[worker].filled);
}
void DeviceStage::give_free(uint32_t worker) {
  if (model_) model_->semaphore_release(device_.self(), workers_[worker].free);
}
void DeviceStage::close() {
  for (const Worker& worker : workers_) {
    model_->semaphore_close(device_.self(), worker.free);
    model_->semaphore_close(device_.self(), worker.filled);
  }
}

// The allocator waits for the copies before it gives the memory to anybody else.
void DeviceStage::free_all() noexcept {
  for (Piece& one : pieces_) {
    if (one.block) device_.pinned().free(one.block);
    one.block = nullptr;
  }
  for (const Worker& worker : workers_) {
    if (worker.free) model_->semaphore_destroy(device_.self(), worker.free);
    if (worker.filled) model_->semaphore_destroy(device_.self(), worker.filled);
  }
  workers_.clear();
}

DeviceStage::Piece& DeviceStage::piece(uint32_t slot, uint32_t column, int64_t first) {
  const Column& c = columns_[column];
  const auto turn = static_cast<size_t>((first / c.piece_rows) % c.pieces);
  return pieces_[(slot * columns_.size() + column) * 2 + turn];
}

void DeviceStage::begin(uint32_t slot, int64_t rows) {
  for (uint32_t c = 0; c < columns_.size(); ++c) {
    const StagedColumn& shape = columns_[c].shape;
    int64_t dims[MILL_MAX_RANK];
    std::copy_n(shape.dims, shape.rank, dims);
    dims[0] = rows;
    ready_[slot * columns_.size() + c] =
        make_tensor(device_, shape.dtype, dims, shape.rank, copies_->memory_id, 0);
  }
}

void* DeviceStage::acquire(uint32_t slot, uint32_t column, int64_t first, int64_t rows) {
  Piece& one = piece(slot, column, first);
  device_.stream_table().host_wait(one.copied);
  if (model_) {
    const uint64_t n = columns_[column].shape.row_bytes * static_cast<uint64_t>(rows);
    model_->work(device_.self(), 0, n);
    mill_kernel_error error{};
    check(model_->host_access(device_.self(), one.block->data, n, 1, &error), error);
  }
  return one.block->data;
}

void DeviceStage::commit(uint32_t slot, uint32_t column, int64_t first, int64_t rows) {
  Piece& one = piece(slot, column, first);
  mill_tensor& to = *ready_[slot * columns_.size() + column];
  const uint64_t row = columns_[column].shape.row_bytes;
  const uint64_t bytes = static_cast<uint64_t>(rows) * row;
  const bool traced = bytes > 0 && (context_.tracer.mask() & MILL_TRACE_COPIES) != 0;
  const TurnHold turn(device_.turns());
  const uint64_t before = traced ? device_.trace_time(context_.tracer).now() : 0;
  device_.copy(copies_->native,
               static_cast<char*>(to.view.data) + static_cast<uint64_t>(first) * row,
               one.block->data, bytes, MILL_COPY_HOST_TO_DEVICE);
  one.copied = copies_->ticket();
  mark_write(*to.storage, one.copied);
  if (traced) record_copy(to, bytes, before);
}

// Of no exec, also where the program's own thread gathers: the stream is the loader's.
void DeviceStage::record_copy(mill_tensor& to, uint64_t bytes, uint64_t before) const {
  Tracer& tracer = context_.tracer;
  mill_trace_record record{};
  const TraceTime time = device_.trace_time(tracer);
  record.clock = time.clock();
  record.start_ns = before;
  record.duration_ns = time.now() - before;
  record.kind = MILL_RECORD_COPY;
  record.detail = MILL_RECORD_COPY_ASYNC;
  record.stream = static_cast<uint32_t>(copies_->id);
  record.tensor = trace_id(context_, to);
  record.storage = trace_id(context_, *to.storage);
  record.tensor_version =
      static_cast<uint32_t>(to.storage->version.load(std::memory_order_relaxed));
  record.bytes = bytes;
  record.dtypes = pack_bytes(to.dtype());
  record.memory =
      pack_bytes(memory_kind(),
                 device_.host_memory() ? MILL_RECORD_MEMORY_PAGEABLE : MILL_RECORD_MEMORY_DEVICE, 0,
                 static_cast<int32_t>(device_.index()));
  tracer.record_shared(record);
}

TensorRef DeviceStage::take(uint32_t slot, uint32_t column) {
  return std::move(ready_[slot * columns_.size() + column]);
}

}  // namespace mill
