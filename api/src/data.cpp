#include "millrace/data.h"

#include <algorithm>
#include <utility>

#include "dispatch/launch.h"
#include "dispatch/transfer.h"
#include "loader_handle.h"
#include "ops/calls.gen.h"

using namespace mill;       // NOLINT
using namespace mill::api;  // NOLINT

namespace {

LoaderColumn describe(const mill_tensor& tensor, uint32_t index) {
  if (tensor.rank() == 0) {
    fail_argument(MILL_E_SHAPE, 1,
                  "columns[%u] is [], a column needs a first axis that counts the rows", index);
  }
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
  for (uint32_t k = 0; k < n; ++k) out.push_back(describe(*tensors[k], k));
  return out;
}

LoaderOptions options_of(const mill_loader_opts& opts, Tracer* tracer) {
  LoaderOptions out;
  out.tracer = tracer;
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

// The caller's wait. What a worker does it tells by itself.
void record_wait(mill_exec& exec, uint64_t bytes, uint64_t before) {
  if (!exec.trace.on(MILL_TRACE_LOADER)) return;
  mill_trace_record record = exec.trace.begin(MILL_RECORD_LOADER);
  record.start_ns = before;
  record.wait_ns = exec.trace.now() - before;
  record.detail = MILL_RECORD_LOADER_NEXT;
  record.bytes = bytes;
  record.memory = pack_bytes(MILL_RECORD_MEMORY_PAGEABLE, MILL_RECORD_MEMORY_PAGEABLE);
  exec.trace.end(record);
}

}  // namespace

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

mill_loader::mill_loader(mill_context& owner, mill_tensor* const* tensors, uint32_t n,
                         const mill_loader_opts& opts)
    : context(Ref<mill_context>::share(&owner)),
      device(owner.devices[opts.device]),
      late(n),
      core(describe_all(tensors, n).data(), n,
           tensors[0]->rank() > 0 ? tensors[0]->view.dims[0] : 0, options_of(opts, &owner.tracer)),
      pinned_bytes_(opts.pinned_bytes) {
  for (uint32_t k = 0; k < n; ++k) columns.push_back(TensorRef::share(tensors[k]));
}

TensorRef mill_loader::new_buffer(uint32_t column) const {
  const mill_tensor& source = *columns[column];
  int64_t dims[MILL_MAX_RANK];
  dims[0] = core.batch_rows();
  for (int32_t i = 1; i < source.rank(); ++i) dims[i] = source.view.dims[i];
  checked_count(dims, source.rank(), core.column_dtype(column));
  return make_tensor(context->devices[0], core.column_dtype(column), dims, source.rank(), 0, 0);
}

void mill_loader::make_buffers() {
  if (!buffers.empty()) return;
  std::vector<std::vector<TensorRef>> made(core.slots());
  for (auto& slot : made) {
    for (uint32_t k = 0; k < core.columns(); ++k) slot.push_back(new_buffer(k));
  }
  // Together: a loader without its first batch keeps nothing that a failure interrupted.
  std::vector<TensorRef> first_spare;
  for (uint32_t k = 0; k < core.columns(); ++k) first_spare.push_back(new_buffer(k));
  indices.reserve(static_cast<size_t>(core.batch_rows()));
  for (uint32_t s = 0; s < core.slots(); ++s) {
    for (uint32_t k = 0; k < core.columns(); ++k) core.set_buffer(s, k, made[s][k]->storage->data);
  }
  buffers = std::move(made);
  spare = std::move(first_spare);
}

void mill_loader::set_transform(uint32_t column, const LoaderTransform& transform) {
  const int32_t from = columns[column]->dtype();
  const bool floating = is_compute_float(transform.dtype);
  const bool wider = is_dtype(transform.dtype) && dtype_size(transform.dtype) >= dtype_size(from) &&
                     (floating || (transform.scale == 1 && transform.shift == 0)) &&
                     dtype_kind(from) != Kind::complex;
  LoaderTransform none;
  // Checked as the host's work in any case.
  core.set_transform(column, transform);
  late[column] = none;
  if (device.runs_inline() || !wider) return;
  core.set_transform(column, none);
  late[column] = transform;
}

void mill_loader::refill_spare() {
  for (uint32_t k = 0; k < core.columns(); ++k) {
    if (!spare[k]) spare[k] = new_buffer(k);
  }
}

// The loader's own stream ends with it.
void mill_loader::make_stage() {
  if (stage) return;
  std::vector<StagedColumn> shapes;
  for (uint32_t k = 0; k < core.columns(); ++k) {
    const mill_tensor& source = *columns[k];
    StagedColumn shape{core.column_dtype(k), source.rank(), {}, core.row_bytes(k)};
    for (int32_t i = 1; i < source.rank(); ++i) shape.dims[i] = source.view.dims[i];
    shape.dims[0] = core.batch_rows();
    checked_count(shape.dims, shape.rank, shape.dtype);
    shapes.push_back(shape);
  }
  auto copies = Ref<mill_stream>::adopt(
      slab_new<mill_stream>(device, context->next_id.fetch_add(1, std::memory_order_relaxed)));
  indices.reserve(static_cast<size_t>(core.batch_rows()));
  stage = std::make_unique<DeviceStage>(device, std::move(copies), core.slots(), core.workers(),
                                        std::move(shapes), core.batch_rows(), pinned_bytes_);
  core.set_stage(stage.get());
}

TensorRef mill_loader::delivered(mill_exec& exec, uint32_t slot, uint32_t column) {
  TensorRef batch = stage->take(slot, column);
  const LoaderTransform& then = late[column];
  if (then.dtype == MILL_DTYPE_NONE) return batch;
  const RecorderScope quiet(exec, nullptr);
  TensorRef wide = op::cast(exec, batch.get(), then.dtype);
  if (then.scale == 1 && then.shift == 0) return wide;
  return op::affine(exec, wide.get(), then.scale, then.shift);
}

mill_status mill_loader::next(mill_exec& exec, mill_tensor** out, uint32_t n) {
  const bool staged = !device.runs_inline();
  if (staged) {
    make_stage();
  } else {
    make_buffers();
    refill_spare();
  }
  exec.reserve_notes(n);
  has_batch = false;
  indices.clear();
  const uint64_t before = exec.trace.now();
  LoaderBatch batch;
  if (!core.next(batch)) return MILL_END;
  uint64_t bytes = 0;
  if (staged) {
    OutputOwner made(out, n);
    try {
      for (uint32_t k = 0; k < n; ++k) {
        out[k] = delivered(exec, batch.slot, k).release();
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
  }
  for (uint32_t k = 0; k < n && !staged; ++k) {
    std::vector<TensorRef>& held = buffers[batch.slot];
    core.set_buffer(batch.slot, k, spare[k]->storage->data);
    std::swap(held[k], spare[k]);
    TensorRef made = std::move(spare[k]);
    if (made->numel() > 0 && batch.rows < made->view.dims[0]) {
      made->view.numel = made->view.numel / made->view.dims[0] * batch.rows;
      made->view.dims[0] = batch.rows;
    }
    bytes += made->bytes();
    out[k] = made.release();
  }
  indices.assign(batch.indices, batch.indices + batch.rows);
  has_batch = true;
  core.release_batch();
  record_wait(exec, bytes, before);
  for (uint32_t k = 0; k < n; ++k) exec.note(out[k]);
  return MILL_OK;
}

mill_status mill_loader_create(mill_context* context, mill_tensor* const* columns, uint32_t n,
                               const mill_loader_opts* opts, mill_loader** out_loader,
                               mill_error* err) {
  return guard("mill_loader_create", err, [&] {
    clear_out(out_loader, 4, "out_loader");
    mill_context& c = need_context(context);
    if (n == 0 || n > MILL_MAX_OP_INPUTS) {
      fail_argument(MILL_E_ARG, 2, "n is %u, a loader has 1 to %d columns", n, MILL_MAX_OP_INPUTS);
    }
    need_out(columns, 1, "columns");
    for (uint32_t k = 0; k < n; ++k) {
      const mill_tensor& column = need(columns[k], 1, "columns");
      if (column.device().owner() != &c)
        fail_argument(MILL_E_DEVICE, 1, "columns[%u] belongs to another context", k);
      if (!column.device().host_memory()) {
        fail_argument(MILL_E_DEVICE, 1, "columns[%u] is on %s, the host cannot read it", k,
                      column.device().table().name);
      }
    }
    const mill_loader_opts given = read_struct(opts, MILL_STRUCT_LOADER_OPTS, "opts", 3);
    constexpr uint64_t known = MILL_LOADER_SHUFFLE | MILL_LOADER_DROP_LAST | MILL_LOADER_INLINE;
    if ((given.flags & ~known) != 0) {
      fail_argument(MILL_E_ARG, 3, "opts->flags is %llu, the known bits are %llu",
                    static_cast<unsigned long long>(given.flags),
                    static_cast<unsigned long long>(known));
    }
    if (given.batch < 0) {
      fail_argument(MILL_E_ARG, 3, "opts->batch is %lld, it must not be negative",
                    static_cast<long long>(given.batch));
    }
    if (given.prefetch > LoaderOptions::kMaxPrefetch) {
      fail_argument(MILL_E_ARG, 3, "opts->prefetch is %u, it must be at most %u", given.prefetch,
                    LoaderOptions::kMaxPrefetch);
    }
    if (given.workers > LoaderOptions::kMaxWorkers) {
      fail_argument(MILL_E_ARG, 3, "opts->workers is %u, it must be at most %u", given.workers,
                    LoaderOptions::kMaxWorkers);
    }
    if (given.reserved != 0) fail_argument(MILL_E_ARG, 3, "opts->reserved is not 0");
    if (given.device >= c.devices.size()) {
      fail_argument(MILL_E_ARG, 3, "opts->device is %u, the context has %u", given.device,
                    c.devices.size());
    }
    *out_loader = slab_new<mill_loader>(c, columns, n, given);
  });
}

void mill_loader_retain(mill_loader* loader) {
  if (valid(loader, HandleKind::loader)) loader->retain();
}

void mill_loader_release(mill_loader* loader) {
  if (!valid(loader, HandleKind::loader) || loader->context->fork_generation != fork_generation())
    return;
  // The last reference, given up by a callback for which the loader waits.
  if (loader->refs() == 1 && (loader->lock.mine() || loader->core.on_worker())) return;
  if (!loader->release()) return;
  const Ref<mill_context> context = loader->context;
  slab_delete(loader);
}

mill_status mill_loader_set_transform(mill_loader* loader, uint32_t column, mill_dtype dtype,
                                      double scale, double shift, mill_error* err) {
  return guard("mill_loader_set_transform", err, [&] {
    LoaderGuard l(loader, 0);
    if (column >= l->core.columns()) {
      fail_argument(MILL_E_ARG, 1, "column is %u, the loader has %u", column, l->core.columns());
    }
    if (!l->buffers.empty() || l->stage)
      fail(MILL_E_STATE, "the loader has given out a batch, transforms are set before");
    LoaderTransform transform;
    transform.dtype = dtype;
    transform.scale = scale;
    transform.shift = shift;
    l->set_transform(column, transform);
  });
}

mill_status mill_loader_set_augment(mill_loader* loader, mill_augment fn, void* user,
                                    void (*destroy)(void* user), mill_error* err) {
  bool accepted = false;
  std::unique_ptr<UserAugment> old;  // its end is the program's code: not inside the loader
  const mill_status status = guard("mill_loader_set_augment", err, [&] {
    LoaderGuard l(loader, 0);
    if (!l->buffers.empty() || l->stage)
      fail(MILL_E_STATE, "the loader has given out a batch, an augment function is set before");
    std::unique_ptr<UserAugment> made;
    if (fn || destroy) {
      made.reset(new UserAugment(fn, user, destroy));
      accepted = true;
    }
    l->core.set_augment(fn ? made.get() : nullptr);
    old = std::exchange(l->augment, std::move(made));
  });
  if (!accepted && destroy) destroy(user);
  return status;
}

mill_status mill_loader_next(mill_loader* loader, mill_exec* exec, mill_tensor** out_batch,
                             uint32_t n, mill_error* err) {
  return guard("mill_loader_next", err, [&] {
    if (n > 0) need_out(out_batch, 2, "out_batch");
    for (uint32_t k = 0; k < n && k < MILL_MAX_OP_INPUTS; ++k) out_batch[k] = nullptr;
    LoaderGuard l(loader, 0);
    mill_exec& e = need(exec, 1, "exec");
    const ExecGuard entered(e);
    if (n != l->core.columns()) {
      fail_argument(MILL_E_ARG, 3, "n is %u, the loader has %u columns", n, l->core.columns());
    }
    if (&e.device != &l->device) {
      fail_argument(MILL_E_DEVICE, 1,
                    "the exec is on device %u, the loader gives batches on device %u",
                    e.device.index(), l->device.index());
    }
    return l->next(e, out_batch, n);
  });
}

mill_status mill_loader_indices(mill_loader* loader, int64_t* indices, uint64_t capacity,
                                uint64_t* out_count, mill_error* err) {
  return guard("mill_loader_indices", err, [&]() -> mill_status {
    need_out(out_count, 3, "out_count") = 0;
    LoaderGuard l(loader, 0);
    if (capacity > 0 && !indices)
      fail_argument(MILL_E_ARG, 1, "indices is NULL, its capacity is not 0");
    const std::vector<int64_t>& have = l->indices;
    for (size_t k = 0; k < have.size() && k < capacity; ++k) indices[k] = have[k];
    *out_count = have.size();
    return have.size() > capacity ? MILL_INCOMPLETE : MILL_OK;
  });
}

mill_status mill_loader_batches(mill_loader* loader, int64_t* out_count, mill_error* err) {
  return guard("mill_loader_batches", err, [&] {
    need_out(out_count, 1, "out_count") = 0;
    LoaderGuard l(loader, 0);
    *out_count = l->core.batches();
  });
}

mill_status mill_loader_rewind(mill_loader* loader, mill_error* err) {
  return guard("mill_loader_rewind", err, [&] { LoaderGuard(loader, 0)->core.rewind(); });
}

mill_status mill_loader_get_position(mill_loader* loader, uint64_t* out_seed, uint64_t* out_epoch,
                                     int64_t* out_batch, mill_error* err) {
  return guard("mill_loader_get_position", err, [&] {
    LoaderGuard l(loader, 0);
    const LoaderPosition at = l->core.position();
    if (out_seed) *out_seed = at.seed;
    if (out_epoch) *out_epoch = at.epoch;
    if (out_batch) *out_batch = at.batch;
  });
}

mill_status mill_loader_set_position(mill_loader* loader, uint64_t seed, uint64_t epoch,
                                     int64_t batch, mill_error* err) {
  return guard("mill_loader_set_position", err, [&] {
    LoaderGuard l(loader, 0);
    LoaderPosition at;
    at.seed = seed;
    at.epoch = epoch;
    at.batch = batch;
    l->core.set_position(at);
  });
}
