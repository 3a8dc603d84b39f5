#include "data/loader_handle.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "dispatch/launch.h"
#include "dispatch/user_error.h"
#include "ops/calls.gen.h"

using namespace mill;  // NOLINT

namespace {

LoaderColumn describe(const mill_tensor& tensor) {
  LoaderColumn column;
  column.base = tensor.view.data;
  column.dtype = tensor.dtype();
  column.rows = tensor.view.dims[0];
  column.row_stride = tensor.view.strides[0];
  column.rank = static_cast<uint32_t>(tensor.rank() - 1);
  for (uint32_t i = 0; i < column.rank; ++i) {
    column.dims[i] = tensor.view.dims[i + 1];
    column.strides[i] = tensor.view.strides[i + 1];
  }
  return column;
}

std::vector<LoaderColumn> describe_all(mill_tensor* const* tensors, uint32_t n) {
  std::vector<LoaderColumn> out;
  for (uint32_t k = 0; k < n; ++k) out.push_back(describe(*tensors[k]));
  return out;
}

LoaderOptions options_of(const mill_loader_opts& opts, Tracer* tracer, const Device& device) {
  LoaderOptions out;
  out.tracer = tracer;
  out.time = device.trace_time(*tracer);
  out.seed = opts.seed;
  out.batch = opts.batch == 0 ? 1 : opts.batch;
  out.shuffle = (opts.flags & MILL_LOADER_SHUFFLE) != 0;
  out.drop_last = (opts.flags & MILL_LOADER_DROP_LAST) != 0;
  out.workers = std::max(opts.workers, 1u);
  out.prefetch = (opts.flags & MILL_LOADER_INLINE) != 0 ? 0
                 : opts.prefetch == 0                   ? std::max(out.workers, 2u)
                                                        : opts.prefetch;
  return out;
}

// Rows may be empty, and then so is the memory; the core wants to be told of some all the same.
void* memory_of(const mill_tensor& buffer) {
  static char nothing;
  return buffer.storage->data ? buffer.storage->data : &nothing;
}

}  // namespace

namespace mill {

void UserAugment::run(const mill_augment_args& args) {
  UserError error;
  const mill_status status = fn_(user_, &args, error.handle());
  if (status >= 0) return;
  const char* const said = error.handle()->message;
  fail(status,
       "the augment function, given column %u, rows %lld to %lld of batch %lld of epoch %llu, "
       "returned status %d%s%s",
       args.column, static_cast<long long>(args.first),
       static_cast<long long>(args.first + args.rows - 1), static_cast<long long>(args.batch),
       static_cast<unsigned long long>(args.epoch), status, said[0] != 0 ? ": " : "", said);
}

}  // namespace mill

mill_loader::mill_loader(mill_context& owner, mill_tensor* const* columns, uint32_t n,
                         const mill_loader_opts& opts)
    : context(Ref<mill_context>::share(&owner)),
      device(owner.devices[opts.device]),
      late_(n),
      pinned_bytes_(opts.pinned_bytes),
      core(describe_all(columns, n).data(), n, 0, options_of(opts, &owner.tracer, device)) {
  for (uint32_t k = 0; k < n; ++k) columns_.push_back(TensorRef::share(columns[k]));
}

// ---- before the first batch --------------------------------------------------------------------

void mill_loader::set_transform(uint32_t column, const LoaderTransform& transform) {
  if (begun_) fail(MILL_E_STATE, "the loader has given out a batch, transforms are set before");
  const int32_t from = columns_[column]->dtype();
  const bool floating = is_compute_float(transform.dtype);
  const bool wider = is_dtype(transform.dtype) && dtype_size(transform.dtype) >= dtype_size(from) &&
                     (floating || (transform.scale == 1 && transform.shift == 0)) &&
                     dtype_kind(from) != Kind::complex;
  LoaderTransform none;
  // Checked as the host's work in any case.
  core.set_transform(column, transform);
  late_[column] = none;
  if (device.runs_inline() || !wider) return;
  core.set_transform(column, none);
  late_[column] = transform;
}

void mill_loader::exchange_augment(std::unique_ptr<UserAugment>& augment) {
  if (begun_)
    fail(MILL_E_STATE, "the loader has given out a batch, an augment function is set before");
  core.set_augment(augment && augment->runs() ? augment.get() : nullptr);
  std::swap(augment_, augment);
}

// What the workers used goes after them.
void mill_loader::set_depth(uint32_t prefetch, uint32_t workers) {
  core.set_depth(prefetch, workers);
  core.set_stage(nullptr);
  stage_.reset();
  buffers_.clear();
  spare_.clear();
}

// ---- memory for batches ------------------------------------------------------------------------

TensorRef mill_loader::new_buffer(uint32_t column) const {
  const mill_tensor& source = *columns_[column];
  int64_t dims[MILL_MAX_RANK];
  dims[0] = core.batch_rows();
  for (int32_t i = 1; i < source.rank(); ++i) dims[i] = source.view.dims[i];
  checked_count(dims, source.rank(), core.column_dtype(column));
  return make_tensor(context->devices[0], core.column_dtype(column), dims, source.rank(), 0, 0);
}

void mill_loader::make_buffers() {
  if (buffers_.empty()) {
    std::vector<std::vector<TensorRef>> made(core.slots());
    for (auto& slot : made) {
      for (uint32_t k = 0; k < core.columns(); ++k) slot.push_back(new_buffer(k));
    }
    // Together: a loader without its first batch keeps nothing that a failure interrupted.
    std::vector<TensorRef> first_spare;
    for (uint32_t k = 0; k < core.columns(); ++k) first_spare.push_back(new_buffer(k));
    indices_.reserve(static_cast<size_t>(core.batch_rows()));
    for (uint32_t s = 0; s < core.slots(); ++s) {
      for (uint32_t k = 0; k < core.columns(); ++k) core.set_buffer(s, k, memory_of(*made[s][k]));
    }
    buffers_ = std::move(made);
    spare_ = std::move(first_spare);
  }
  for (uint32_t k = 0; k < core.columns(); ++k) {
    if (!spare_[k]) spare_[k] = new_buffer(k);
  }
}

// The loader's own stream ends with it.
void mill_loader::make_stage() {
  if (stage_) return;
  std::vector<StagedColumn> shapes;
  for (uint32_t k = 0; k < core.columns(); ++k) {
    const mill_tensor& source = *columns_[k];
    StagedColumn shape{core.column_dtype(k), source.rank(), {}, core.row_bytes(k)};
    for (int32_t i = 1; i < source.rank(); ++i) shape.dims[i] = source.view.dims[i];
    shape.dims[0] = core.batch_rows();
    checked_count(shape.dims, shape.rank, shape.dtype);
    shapes.push_back(shape);
  }
  auto copies = Ref<mill_stream>::adopt(
      slab_new<mill_stream>(device, context->next_id.fetch_add(1, std::memory_order_relaxed)));
  indices_.reserve(static_cast<size_t>(core.batch_rows()));
  stage_ = std::make_unique<DeviceStage>(*context, device, std::move(copies), core.slots(),
                                         core.workers(), std::move(shapes), core.batch_rows(),
                                         pinned_bytes_);
  core.set_stage(stage_.get());
}

// ---- batches -----------------------------------------------------------------------------------

mill_status mill_loader::next(mill_exec& exec, mill_tensor** out) {
  const bool staged = !device.runs_inline();
  if (staged) {
    make_stage();
  } else {
    make_buffers();
  }
  begun_ = true;
  exec.reserve_notes(core.columns());
  indices_.clear();
  const uint64_t before = exec.trace.now();
  LoaderBatch batch;
  if (!core.next(batch)) return MILL_END;
  // A batch that lay there was not waited for, whatever handing it over takes.
  const uint64_t ready = exec.trace.now();
  const bool waited = batch.wait_ns > 0 || exec.trace.modelled();
  const uint64_t bytes = staged ? give_staged(exec, batch, out) : give_gathered(batch, out);
  indices_.assign(batch.indices, batch.indices + batch.rows);
  core.release_batch();
  record_wait(exec, batch, bytes, before, waited ? ready - before : 0);
  for (uint32_t k = 0; k < core.columns(); ++k) exec.note(out[k]);
  return MILL_OK;
}

// The tensors that were gathered into go out, the spare ones take their place.
uint64_t mill_loader::give_gathered(const LoaderBatch& batch, mill_tensor** out) {
  uint64_t bytes = 0;
  for (uint32_t k = 0; k < core.columns(); ++k) {
    core.set_buffer(batch.slot, k, memory_of(*spare_[k]));
    std::swap(buffers_[batch.slot][k], spare_[k]);
    TensorRef made = std::move(spare_[k]);
    if (batch.rows < made->view.dims[0]) {
      made->view.numel = made->view.numel / made->view.dims[0] * batch.rows;
      made->view.dims[0] = batch.rows;
    }
    bytes += made->bytes();
    out[k] = made.release();
  }
  return bytes;
}

uint64_t mill_loader::give_staged(mill_exec& exec, const LoaderBatch& batch, mill_tensor** out) {
  OutputOwner made(out, core.columns());
  uint64_t bytes = 0;
  try {
    for (uint32_t k = 0; k < core.columns(); ++k) {
      out[k] = take_staged(exec, batch.slot, k).release();
      bytes += out[k]->bytes();
    }
  } catch (...) {
    LoaderPosition again = core.position();
    again.batch = batch.batch;
    again.epoch = batch.epoch;
    core.set_position(again);
    throw;
  }
  made.commit();
  return bytes;
}

TensorRef mill_loader::take_staged(mill_exec& exec, uint32_t slot, uint32_t column) {
  TensorRef batch = stage_->take(slot, column);
  const LoaderTransform& then = late_[column];
  if (then.dtype == MILL_DTYPE_NONE) return batch;
  const RecorderScope quiet(exec, nullptr);
  TensorRef wide = op::cast(exec, batch.get(), then.dtype);
  if (then.scale == 1 && then.shift == 0) return wide;
  return op::affine(exec, wide.get(), then.scale, then.shift);
}

// The caller's wait. What a worker does it tells by itself.
void mill_loader::record_wait(mill_exec& exec, const LoaderBatch& batch, uint64_t bytes,
                              uint64_t before, uint64_t waited) const {
  if (!exec.trace.on(MILL_TRACE_LOADER)) return;
  mill_trace_record record = exec.trace.begin(MILL_RECORD_LOADER);
  record.start_ns = before;
  record.wait_ns = waited;
  record.detail = MILL_RECORD_LOADER_NEXT;
  record.storage = core.number();
  record.instance = batch.number;
  record.bytes = bytes;
  record.memory =
      pack_bytes(stage_ ? stage_->memory_kind() : MILL_RECORD_MEMORY_PAGEABLE,
                 device.host_memory() ? MILL_RECORD_MEMORY_PAGEABLE : MILL_RECORD_MEMORY_DEVICE, 0,
                 static_cast<int32_t>(device.index()));
  exec.trace.end(record);
}
