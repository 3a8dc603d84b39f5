#include "millrace/data.h"

#include <memory>

#include "loader_guard.h"

using namespace mill;       // NOLINT
using namespace mill::api;  // NOLINT

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
      if (!columns[k]) fail_argument(MILL_E_ARG, 1, "columns[%u] is NULL", k);
      const mill_tensor& column = need(columns[k], 1, "columns");
      if (column.device().owner() != &c)
        fail_argument(MILL_E_DEVICE, 1, "columns[%u] belongs to another context", k);
      if (!column.device().host_memory()) {
        fail_argument(MILL_E_DEVICE, 1, "columns[%u] is on %s, the host cannot read it", k,
                      column.device().table().name);
      }
      if (column.rank() == 0) {
        fail_argument(MILL_E_SHAPE, 1,
                      "columns[%u] is [], a column needs a first axis that counts the rows", k);
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
  if (loader->refs() == 1 && loader->waits_for_caller()) return;
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
    LoaderTransform transform;
    transform.dtype = dtype;
    transform.scale = scale;
    transform.shift = shift;
    l->set_transform(column, transform);
  });
}

mill_status mill_loader_set_prefetch(mill_loader* loader, uint32_t prefetch, uint32_t workers,
                                     mill_error* err) {
  return guard("mill_loader_set_prefetch", err, [&] {
    LoaderGuard l(loader, 0);
    if (prefetch > LoaderOptions::kMaxPrefetch) {
      fail_argument(MILL_E_ARG, 1, "prefetch is %u, it must be at most %u", prefetch,
                    LoaderOptions::kMaxPrefetch);
    }
    if (workers > LoaderOptions::kMaxWorkers) {
      fail_argument(MILL_E_ARG, 2, "workers is %u, it must be at most %u", workers,
                    LoaderOptions::kMaxWorkers);
    }
    l->set_depth(prefetch, workers == 0 ? 1 : workers);
  });
}

mill_status mill_loader_set_augment(mill_loader* loader, mill_augment fn, void* user,
                                    void (*destroy)(void* user), mill_error* err) {
  bool accepted = false;
  // The new one, and after the exchange the old one. Its end is the program's code: not inside the
  // loader.
  std::unique_ptr<UserAugment> augment;
  const mill_status status = guard("mill_loader_set_augment", err, [&] {
    if (fn || destroy) augment = std::make_unique<UserAugment>(fn, user, destroy);
    accepted = true;
    LoaderGuard(loader, 0)->exchange_augment(augment);
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
    return l->next(e, out_batch);
  });
}

mill_status mill_loader_indices(mill_loader* loader, int64_t* indices, uint64_t capacity,
                                uint64_t* out_count, mill_error* err) {
  return guard("mill_loader_indices", err, [&]() -> mill_status {
    need_out(out_count, 3, "out_count") = 0;
    LoaderGuard l(loader, 0);
    if (capacity > 0 && !indices)
      fail_argument(MILL_E_ARG, 1, "indices is NULL, its capacity is not 0");
    const std::vector<int64_t>& have = l->indices();
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
