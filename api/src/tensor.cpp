#include "millrace/tensor.h"

#include "dispatch/late_reads.h"
#include "dispatch/trace_op.h"
#include "dispatch/transfer.h"
#include "guard.h"

using namespace mill;       // NOLINT
using namespace mill::api;  // NOLINT

namespace {

void check_dtype(mill_dtype dtype, int32_t argument) {
  if (!is_dtype(dtype)) {
    fail_argument(MILL_E_ARG, argument, "dtype is %d, dtypes are 1 to %d", dtype,
                  MILL_DTYPE_COUNT - 1);
  }
}

// How many elements; `argument` is that of dims.
int64_t need_dims(const int64_t* dims, uint32_t rank, mill_dtype dtype, int32_t argument) {
  if (rank > 0 && !dims) fail_argument(MILL_E_ARG, argument, "dims is NULL, rank is %u", rank);
  return at_argument(argument, [&] { return checked_count(dims, rank, dtype); });
}

TensorRef create(mill_exec& e, mill_dtype dtype, const int64_t* dims, uint32_t rank) {
  check_dtype(dtype, 1);
  need_dims(dims, rank, dtype, 2);
  return make_tensor(e.device, dtype, dims, static_cast<int32_t>(rank), e.stream_id(), e.tag);
}

void check_bytes(const mill_tensor& tensor, uint64_t bytes, const void* data, int32_t argument) {
  if (bytes != tensor.bytes()) {
    fail_argument(MILL_E_SHAPE, argument + 1, "bytes is %llu, %s %s takes %llu",
                  static_cast<unsigned long long>(bytes), dtype_name(tensor.dtype()),
                  format_dims(tensor).text, static_cast<unsigned long long>(tensor.bytes()));
  }
  if (bytes > 0 && !data) {
    fail_argument(MILL_E_ARG, argument, "data is NULL, bytes is %llu",
                  static_cast<unsigned long long>(bytes));
  }
}

// Elements from the first to the last, both included; 0 for an empty shape. Throws for negative
// strides and overflow.
int64_t span(const int64_t* dims, const int64_t* strides, int64_t rank, int64_t numel) {
  int64_t last = 0;
  for (int64_t i = 0; i < rank; ++i) {
    if (strides[i] < 0) {
      fail(MILL_E_SHAPE, "strides[%lld] is %lld, it must not be negative",
           static_cast<long long>(i), static_cast<long long>(strides[i]));
    }
    int64_t reach = 0;
    if (numel == 0) continue;
    if (__builtin_mul_overflow(dims[i] - 1, strides[i], &reach) ||
        __builtin_add_overflow(last, reach, &last)) {
      fail(MILL_E_SHAPE, "strides[%lld] is %lld, with dims[%lld] = %lld the span overflows int64",
           static_cast<long long>(i), static_cast<long long>(strides[i]), static_cast<long long>(i),
           static_cast<long long>(dims[i]));
    }
  }
  if (numel == 0) return 0;
  if (last == INT64_MAX) fail(MILL_E_SHAPE, "the strides span more elements than fit int64");
  return last + 1;
}

// A tape must not lose the values that it needs to an ordinary write.
void check_writable(const mill_exec& e, const mill_tensor& tensor) {
  const Recorder* recorder = e.recorder;
  if (!recorder) return;
  if (tensor.leaf ||
      tensor.storage->tracked_by.load(std::memory_order_relaxed) == recorder->serial()) {
    fail_argument(MILL_E_STATE, 1,
                  "tensor %s is tracked by the recording tape; write to it with the tape off",
                  format_dims(tensor).text);
  }
}

}  // namespace

mill_status mill_tensor_create(mill_exec* exec, mill_dtype dtype, const int64_t* dims,
                               uint32_t rank, mill_tensor** out_tensor, mill_error* err) {
  return guard("mill_tensor_create", err, [&] {
    clear_out(out_tensor, 4, "out_tensor");
    mill_exec& e = need(exec, 0, "exec");
    const ExecGuard entered(e);
    give(e, create(e, dtype, dims, rank), out_tensor);
  });
}

mill_status mill_tensor_from_host(mill_exec* exec, mill_dtype dtype, const int64_t* dims,
                                  uint32_t rank, const void* data, uint64_t bytes,
                                  mill_tensor** out_tensor, mill_error* err) {
  return guard("mill_tensor_from_host", err, [&] {
    clear_out(out_tensor, 6, "out_tensor");
    mill_exec& e = need(exec, 0, "exec");
    const ExecGuard entered(e);
    check_dtype(dtype, 1);
    const int64_t numel = need_dims(dims, rank, dtype, 2);
    const uint64_t want = static_cast<uint64_t>(numel) * static_cast<uint64_t>(dtype_size(dtype));
    if (bytes != want) {
      fail_argument(MILL_E_SHAPE, 5, "bytes is %llu, %s %s takes %llu",
                    static_cast<unsigned long long>(bytes), dtype_name(dtype),
                    format_dims(dims, static_cast<int32_t>(rank)).text,
                    static_cast<unsigned long long>(want));
    }
    if (bytes > 0 && !data) {
      fail_argument(MILL_E_ARG, 4, "data is NULL, bytes is %llu",
                    static_cast<unsigned long long>(bytes));
    }
    TensorRef made = create(e, dtype, dims, rank);
    write_host(e, *made, data, bytes);
    give(e, std::move(made), out_tensor);
  });
}

mill_status mill_tensor_import(mill_exec* exec, mill_dtype dtype, const int64_t* dims,
                               const int64_t* strides, uint32_t rank, void* data,
                               mill_deleter deleter, void* user, mill_tensor** out_tensor,
                               mill_error* err) {
  return guard("mill_tensor_import", err, [&] {
    clear_out(out_tensor, 8, "out_tensor");
    mill_exec& e = need(exec, 0, "exec");
    const ExecGuard entered(e);
    check_dtype(dtype, 1);
    const int64_t numel = need_dims(dims, rank, dtype, 2);
    int64_t dense[MILL_MAX_RANK];
    if (!strides) dense_strides(dims, static_cast<int32_t>(rank), dense);
    const int64_t* used = strides ? strides : dense;
    const int64_t elements = at_argument(3, [&] { return span(dims, used, rank, numel); });
    int64_t bytes = 0;
    if (__builtin_mul_overflow(elements, int64_t{dtype_size(dtype)}, &bytes)) {
      fail_argument(MILL_E_SHAPE, 3,
                    "the strides span %lld elements of %s, more bytes than fit int64",
                    static_cast<long long>(elements), dtype_name(dtype));
    }
    if (numel > 0 && !data)
      fail_argument(MILL_E_ARG, 5, "data is NULL, the tensor has %lld elements",
                    static_cast<long long>(numel));
    const auto align = static_cast<uintptr_t>(
        dtype == MILL_C64 || dtype == MILL_C128 ? dtype_size(dtype) / 2 : dtype_size(dtype));
    if (reinterpret_cast<uintptr_t>(data) % align != 0) {
      fail_argument(MILL_E_ARG, 5, "data is %p, %s needs an alignment of %zu bytes", data,
                    dtype_name(dtype), static_cast<size_t>(align));
    }
    // The deleter goes in last: until everything else has succeeded the memory stays the caller's.
    Ref<Storage> storage =
        Storage::import(e.device, data, static_cast<uint64_t>(bytes), nullptr, nullptr);
    TensorRef made = make_view(storage.get(), dtype, dims, used, static_cast<int32_t>(rank), 0);
    e.reserve_notes(1);
    storage->deleter = deleter;
    storage->user = user;
    storage.reset();
    give(e, std::move(made), out_tensor);
  });
}

mill_status mill_tensor_view(mill_tensor* tensor, const int64_t* dims, const int64_t* strides,
                             uint32_t rank, int64_t offset, mill_tensor** out_view,
                             mill_error* err) {
  return guard("mill_tensor_view", err, [&] {
    clear_out(out_view, 5, "out_view");
    mill_tensor& t = need_tensor(tensor, 0, "tensor");
    const int64_t numel = need_dims(dims, rank, t.dtype(), 1);
    int64_t dense[MILL_MAX_RANK];
    if (!strides) dense_strides(dims, static_cast<int32_t>(rank), dense);
    const int64_t* used = strides ? strides : dense;
    const int64_t elements = at_argument(2, [&] { return span(dims, used, rank, numel); });
    const int64_t held = static_cast<int64_t>(t.storage->bytes) / element_bytes(t.dtype());
    int64_t begin = 0;
    int64_t end = 0;
    if (__builtin_add_overflow(t.offset, offset, &begin) || begin < 0 ||
        __builtin_add_overflow(begin, elements, &end) || end > held) {
      fail_argument(
          MILL_E_SHAPE, 4,
          "offset is %lld and the view spans %lld elements, the storage holds %lld from this "
          "tensor's first",
          static_cast<long long>(offset), static_cast<long long>(elements),
          static_cast<long long>(held - t.offset));
    }
    *out_view = make_view(t.storage.get(), t.dtype(), dims, used, static_cast<int32_t>(rank), begin)
                    .release();
  });
}

mill_status mill_tensor_detach(mill_tensor* tensor, mill_tensor** out_tensor, mill_error* err) {
  return guard("mill_tensor_detach", err, [&] {
    clear_out(out_tensor, 1, "out_tensor");
    mill_tensor& t = need_tensor(tensor, 0, "tensor");
    *out_tensor =
        make_view(t.storage.get(), t.dtype(), t.view.dims, t.view.strides, t.rank(), t.offset)
            .release();
  });
}

void mill_tensor_retain(mill_tensor* tensor) {
  if (valid(tensor, HandleKind::tensor)) retain(tensor);
}

void mill_tensor_release(mill_tensor* tensor) {
  if (valid(tensor, HandleKind::tensor)) release(tensor);
}

mill_dtype mill_tensor_dtype(const mill_tensor* tensor) {
  return valid(tensor, HandleKind::tensor) ? tensor->dtype() : MILL_DTYPE_NONE;
}

uint32_t mill_tensor_rank(const mill_tensor* tensor) {
  return valid(tensor, HandleKind::tensor) ? static_cast<uint32_t>(tensor->rank()) : 0;
}

int64_t mill_tensor_count(const mill_tensor* tensor) {
  return valid(tensor, HandleKind::tensor) ? tensor->numel() : 0;
}

int64_t mill_tensor_dim(const mill_tensor* tensor, int32_t axis) {
  if (!valid(tensor, HandleKind::tensor)) return -1;
  const int32_t at = axis < 0 ? axis + tensor->rank() : axis;
  return at >= 0 && at < tensor->rank() ? tensor->view.dims[at] : -1;
}

mill_status mill_tensor_shape(const mill_tensor* tensor, int64_t* dims, int64_t* strides,
                              uint32_t capacity, uint32_t* out_rank, mill_error* err) {
  return guard("mill_tensor_shape", err, [&]() -> mill_status {
    need_out(out_rank, 4, "out_rank") = 0;
    const mill_tensor& t = need_tensor(tensor, 0, "tensor");
    const auto rank = static_cast<uint32_t>(t.rank());
    for (uint32_t i = 0; i < rank && i < capacity; ++i) {
      if (dims) dims[i] = t.view.dims[i];
      if (strides) strides[i] = t.view.strides[i];
    }
    *out_rank = rank;
    return capacity < rank ? MILL_INCOMPLETE : MILL_OK;
  });
}

mill_status mill_tensor_to(mill_exec* exec, mill_tensor* tensor, mill_tensor** out_tensor,
                           mill_error* err) {
  return guard("mill_tensor_to", err, [&] {
    clear_out(out_tensor, 2, "out_tensor");
    mill_exec& e = need(exec, 0, "exec");
    mill_tensor& t = need(tensor, 1, "tensor");
    const ExecGuard entered(e);
    if (t.device().owner() != e.device.owner()) check_same_device(e, t, 1, "tensor");
    give(e, copy_to(e, t), out_tensor);
  });
}

mill_status mill_tensor_device(const mill_tensor* tensor, uint32_t* out_device, mill_error* err) {
  return guard("mill_tensor_device", err, [&] {
    need_out(out_device, 1, "out_device") = 0;
    *out_device = need_tensor(tensor, 0, "tensor").device().index();
  });
}

mill_status mill_tensor_version(const mill_tensor* tensor, uint64_t* out_version, mill_error* err) {
  return guard("mill_tensor_version", err, [&] {
    need_out(out_version, 1, "out_version") = 0;
    *out_version =
        need_tensor(tensor, 0, "tensor").storage->version.load(std::memory_order_relaxed);
  });
}

mill_status mill_tensor_data(mill_tensor* tensor, mill_bool for_writing, void** out_data,
                             mill_error* err) {
  return guard("mill_tensor_data", err, [&] {
    need_out(out_data, 2, "out_data") = nullptr;
    mill_tensor& t = need_tensor(tensor, 0, "tensor");
    if (for_writing != 0) t.storage->version.fetch_add(1, std::memory_order_relaxed);
    *out_data = t.view.data;
  });
}

mill_status mill_tensor_read(mill_exec* exec, mill_tensor* tensor, void* data, uint64_t bytes,
                             mill_error* err) {
  return guard("mill_tensor_read", err, [&] {
    mill_exec& e = need(exec, 0, "exec");
    mill_tensor& t = need(tensor, 1, "tensor");
    const ExecGuard entered(e);
    check_same_device(e, t, 1, "tensor");
    check_bytes(t, bytes, data, 2);
    read_late(e, t, data, bytes);
  });
}

mill_status mill_tensor_item(mill_exec* exec, mill_tensor* tensor, double* out_value,
                             mill_error* err) {
  return guard("mill_tensor_item", err, [&] {
    need_out(out_value, 2, "out_value") = 0;
    mill_exec& e = need(exec, 0, "exec");
    mill_tensor& t = need(tensor, 1, "tensor");
    const ExecGuard entered(e);
    check_same_device(e, t, 1, "tensor");
    *out_value = item(e, t, true);
  });
}

mill_status mill_tensor_write(mill_exec* exec, mill_tensor* tensor, const void* data,
                              uint64_t bytes, mill_error* err) {
  return guard("mill_tensor_write", err, [&] {
    mill_exec& e = need(exec, 0, "exec");
    mill_tensor& t = need(tensor, 1, "tensor");
    const ExecGuard entered(e);
    check_same_device(e, t, 1, "tensor");
    check_bytes(t, bytes, data, 2);
    check_writable(e, t);
    write_host(e, t, data, bytes);
  });
}

mill_status mill_tensor_read_async(mill_exec* exec, mill_tensor* tensor, mill_future** out_future,
                                   mill_error* err) {
  return guard("mill_tensor_read_async", err, [&] {
    clear_out(out_future, 2, "out_future");
    mill_exec& e = need(exec, 0, "exec");
    mill_tensor& t = need(tensor, 1, "tensor");
    const ExecGuard entered(e);
    check_same_device(e, t, 1, "tensor");
    give(e, read_async(e, t), out_future);
  });
}

void mill_future_retain(mill_future* future) {
  if (valid(future, HandleKind::future)) retain(future);
}

void mill_future_release(mill_future* future) {
  if (valid(future, HandleKind::future)) release(future);
}

namespace {

mill_future& need_future(mill_future* future) {
  mill_future& f = need(future, 0, "future");
  check_fork(context_of(f.device));
  return f;
}

}  // namespace

mill_status mill_future_query(mill_future* future, mill_error* err) {
  return guard("mill_future_query", err, [&] { return need_future(future).query(); });
}

mill_status mill_future_wait(mill_future* future, uint64_t timeout_ns, mill_error* err) {
  return guard("mill_future_wait", err, [&] {
    mill_future& f = need_future(future);
    const WaitRecord waiting(f.device, MILL_RECORD_SYNC_READ, nullptr, 0);
    return f.wait(timeout_ns);
  });
}

mill_status mill_future_data(mill_future* future, const void** out_data, uint64_t* out_bytes,
                             mill_error* err) {
  return guard("mill_future_data", err, [&]() -> mill_status {
    need_out(out_data, 1, "out_data") = nullptr;
    need_out(out_bytes, 2, "out_bytes") = 0;
    mill_future& f = need_future(future);
    const mill_status status = f.query();
    if (status != MILL_OK) return status;
    *out_data = f.data();
    *out_bytes = f.bytes;
    return MILL_OK;
  });
}
