// Views: the same storage with other dims and strides. None has a kernel.
#include <algorithm>

#include "ops/rules.h"

namespace mill::ops {

namespace {

// Replaces the one -1 and checks the count. The result goes to scratch.
void infer_reshape(OpCall& call) {
  const mill_kernel_tensor& x = call.shape(0);
  const uint32_t n = call.n_ints(0);
  int64_t* dims = call.scratch;
  int64_t known = 1;
  int32_t open = -1;
  for (uint32_t i = 0; i < n; ++i) {
    dims[i] = call.ints(0)[i];
    if (dims[i] == -1 && open < 0) {
      open = static_cast<int32_t>(i);
    } else if (dims[i] < 0) {
      fail(MILL_E_SHAPE, "dims[%u] is %lld, it must not be negative (one -1 may be inferred)", i,
           static_cast<long long>(dims[i]));
    } else if (__builtin_mul_overflow(known, dims[i], &known)) {
      fail(MILL_E_SHAPE, "dims %s hold more elements than fit int64, x %s holds %lld",
           format_dims(call.ints(0), static_cast<int32_t>(n)).text, format_dims(*call.in[0]).text,
           static_cast<long long>(x.numel));
    }
  }
  if (open >= 0 && known != 0 && x.numel % known == 0) {
    dims[open] = x.numel / known;
    known = x.numel;
  } else if (open >= 0) {
    known = -1;
  }
  if (known != x.numel) {
    fail(MILL_E_SHAPE, "x is %s with %lld elements, which dims %s cannot hold",
         format_dims(*call.in[0]).text, static_cast<long long>(x.numel),
         format_dims(call.ints(0), static_cast<int32_t>(n)).text);
  }
  call.attr[0] = ints_attr(0, dims, n);
}

// Strides of `dims` over x's elements in row-major order, if x's layout allows: groups of axes that
// lie back to back in memory can be split and merged freely, others not.
bool reshape_strides(const mill_kernel_tensor& x, const int64_t* dims, int32_t rank,
                     int64_t* strides) {
  if (x.numel == 0 || x.numel == 1) {
    dense_strides(dims, rank, strides);
    return true;
  }
  int32_t from = x.rank - 1;
  int32_t to = rank - 1;
  while (from >= 0 || to >= 0) {
    while (from >= 0 && x.dims[from] == 1) --from;
    if (from < 0) {
      for (; to >= 0; --to) strides[to] = 1;
      break;
    }
    // One maximal run of x's axes that are contiguous with each other.
    int64_t stride = x.strides[from];
    int64_t have = x.dims[from];
    int64_t end = x.strides[from] * x.dims[from];
    --from;
    while (from >= 0 && (x.dims[from] == 1 || x.strides[from] == end)) {
      have *= x.dims[from];
      end *= x.dims[from];
      --from;
    }
    int64_t taken = 1;
    while (to >= 0 && (taken < have || dims[to] == 1)) {
      strides[to] = stride;
      stride *= dims[to];
      taken *= dims[to];
      --to;
    }
    if (taken != have) return false;
  }
  return true;
}

TensorRef view_reshape(OpCall& call, mill_tensor* x) {
  const auto rank = static_cast<int32_t>(call.n_ints(0));
  int64_t strides[MILL_MAX_RANK];
  if (!reshape_strides(x->view, call.ints(0), rank, strides)) return nullptr;
  return make_view(x->storage.get(), x->dtype(), call.ints(0), strides, rank, x->offset);
}

void infer_permute(OpCall& call) {
  const mill_kernel_tensor& x = call.shape(0);
  if (call.n_ints(0) != static_cast<uint32_t>(x.rank)) {
    fail(MILL_E_ARG, "axes has %u entries, x %s has rank %d", call.n_ints(0),
         format_dims(*call.in[0]).text, x.rank);
  }
  int64_t* axes = call.scratch;
  bool seen[MILL_MAX_RANK] = {};
  for (int32_t i = 0; i < x.rank; ++i) {
    axes[i] = normal_axis(call.ints(0)[i], x.rank, "axes");
    if (seen[axes[i]]) {
      fail(MILL_E_ARG, "axes names axis %lld twice, each of %d must appear once",
           static_cast<long long>(axes[i]), x.rank);
    }
    seen[axes[i]] = true;
  }
  call.attr[0] = ints_attr(0, axes, static_cast<uint64_t>(x.rank));
}

TensorRef view_permute(OpCall& call, mill_tensor* x) {
  int64_t dims[MILL_MAX_RANK];
  int64_t strides[MILL_MAX_RANK];
  for (int32_t i = 0; i < x->rank(); ++i) {
    dims[i] = x->view.dims[call.ints(0)[i]];
    strides[i] = x->view.strides[call.ints(0)[i]];
  }
  return make_view(x->storage.get(), x->dtype(), dims, strides, x->rank(), x->offset);
}

void gradient_permute(GradCall& c) {
  int64_t inverse[MILL_MAX_RANK];
  const auto* axes = static_cast<const int64_t*>(c.attr[0].p);
  const auto n = static_cast<uint32_t>(c.attr[0].n);
  for (uint32_t i = 0; i < n; ++i) inverse[axes[i]] = i;
  c.set(0, op::permute(c.exec, c.gradient(), inverse, n));
}

// Python's slice: negative bounds count from the end, then both are clamped.
void infer_slice(OpCall& call) {
  const mill_kernel_tensor& x = call.shape(0);
  if (x.rank == 0) fail_argument(MILL_E_SHAPE, 0, "x is [], a slice needs at least one axis");
  const int64_t axis = normal_axis(call.integer(0), x.rank, "axis");
  const int64_t size = x.dims[axis];
  const int64_t step = call.integer(3);
  if (step < 1)
    fail(MILL_E_ARG, "step is %lld, it must be at least 1", static_cast<long long>(step));
  const auto bound = [size](int64_t at) {
    return std::clamp<int64_t>(at < 0 ? at + size : at, 0, size);
  };
  const int64_t start = bound(call.integer(1));
  const int64_t stop = std::max(bound(call.integer(2)), start);
  call.attr[0].i = axis;
  call.attr[1].i = start;
  call.attr[2].i = stop;
}

TensorRef view_slice(OpCall& call, mill_tensor* x) {
  int64_t dims[MILL_MAX_RANK];
  int64_t strides[MILL_MAX_RANK];
  std::copy_n(x->view.dims, x->rank(), dims);
  std::copy_n(x->view.strides, x->rank(), strides);
  const int64_t axis = call.integer(0);
  const int64_t start = call.integer(1);
  const int64_t step = std::min(call.integer(3), std::max<int64_t>(dims[axis], 1));
  const int64_t length = call.integer(2) - start;
  dims[axis] = length == 0 ? 0 : (length - 1) / call.integer(3) + 1;
  const int64_t offset = dims[axis] == 0 ? x->offset : x->offset + start * strides[axis];
  strides[axis] *= step;
  return make_view(x->storage.get(), x->dtype(), dims, strides, x->rank(), offset);
}

void gradient_slice(GradCall& c) {
  c.set(0, op::slice_backward(c.exec, c.gradient(), c.input(0).dims,
                              static_cast<uint32_t>(c.input(0).rank), c.attr[0].i, c.attr[1].i,
                              c.attr[3].i));
}

void infer_expand(OpCall& call) {
  const mill_kernel_tensor& x = call.shape(0);
  const auto rank = static_cast<int32_t>(call.n_ints(0));
  int64_t* dims = call.scratch;
  const int32_t shift = rank - x.rank;
  if (shift < 0) {
    fail(MILL_E_SHAPE, "dims %s have rank %d, x is %s of rank %d",
         format_dims(call.ints(0), rank).text, rank, format_dims(*call.in[0]).text, x.rank);
  }
  for (int32_t i = 0; i < rank; ++i) {
    dims[i] = call.ints(0)[i];
    if (dims[i] == -1 && i >= shift) dims[i] = x.dims[i - shift];
    if (dims[i] < 0 || (i >= shift && x.dims[i - shift] != 1 && x.dims[i - shift] != dims[i])) {
      fail(MILL_E_SHAPE, "x is %s, which does not expand to %s", format_dims(*call.in[0]).text,
           format_dims(call.ints(0), rank).text);
    }
  }
  checked_count(dims, rank, x.dtype);
  call.attr[0] = ints_attr(0, dims, static_cast<uint64_t>(rank));
}

TensorRef view_expand(OpCall& call, mill_tensor* x) {
  const auto rank = static_cast<int32_t>(call.n_ints(0));
  const int32_t shift = rank - x->rank();
  int64_t strides[MILL_MAX_RANK];
  for (int32_t i = 0; i < rank; ++i) {
    const bool own = i >= shift && x->view.dims[i - shift] == call.ints(0)[i];
    strides[i] = own ? x->view.strides[i - shift] : 0;
  }
  return make_view(x->storage.get(), x->dtype(), call.ints(0), strides, rank, x->offset);
}

void gradient_reshape(GradCall& c) {
  c.set(0, reshape_like(c.exec, c.gradient(), c.input(0)));
}

void gradient_expand(GradCall& c) {
  set_reduced(c, 0, share(c.gradient()));
}

}  // namespace

extern const OpRules rules_reshape = {
    .infer = infer_reshape, .view = view_reshape, .gradient = gradient_reshape};
extern const OpRules rules_permute = {
    .infer = infer_permute, .view = view_permute, .gradient = gradient_permute};
extern const OpRules rules_slice = {
    .infer = infer_slice, .view = view_slice, .gradient = gradient_slice};
extern const OpRules rules_expand = {
    .infer = infer_expand, .view = view_expand, .gradient = gradient_expand};

}  // namespace mill::ops
