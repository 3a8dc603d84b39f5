#include "ops/rules.h"

#include <algorithm>

#include "millrace/op_numbers.h"
#include "millrace/ops.h"

namespace mill::ops {

int64_t normal_axis(int64_t axis, int32_t rank, const char* name) {
  const int64_t span = std::max(rank, 1);
  if (axis < -span || axis >= span) {
    fail(MILL_E_ARG, "%s is %lld, a tensor of rank %d has axes %lld to %lld", name,
         static_cast<long long>(axis), rank, static_cast<long long>(-span),
         static_cast<long long>(span - 1));
  }
  return axis < 0 ? axis + span : axis;
}

void normal_axes(OpCall& call, uint32_t k, int32_t rank) {
  int64_t* list = call.scratch;
  const uint32_t n = call.n_ints(k);
  uint32_t count = 0;
  if (n == 0) {
    for (int32_t i = 0; i < rank; ++i) list[count++] = i;
  } else {
    for (uint32_t i = 0; i < n; ++i) list[count++] = normal_axis(call.ints(k)[i], rank, "axes");
    std::sort(list, list + count);
    for (uint32_t i = 1; i < count; ++i) {
      if (list[i] == list[i - 1]) {
        fail(MILL_E_ARG, "axes names axis %lld twice, each may appear once",
             static_cast<long long>(list[i]));
      }
    }
    if (rank == 0) count = 0;
  }
  call.attr[k] = ints_attr(static_cast<int32_t>(k), list, count);
}

void expect_rank(const OpCall& call, uint32_t k, int32_t rank) {
  if (call.in[k]->rank() != rank) {
    fail_argument(MILL_E_SHAPE, static_cast<int32_t>(k), "%s is %s, its rank must be %d",
                  call.row.inputs[k].name, format_dims(*call.in[k]).text, rank);
  }
}

void expect_dims(const OpCall& call, uint32_t k, const int64_t* dims, int32_t rank) {
  const mill_kernel_tensor& view = call.shape(k);
  bool same = view.rank == rank;
  for (int32_t i = 0; same && i < rank; ++i) same = view.dims[i] == dims[i];
  if (!same) {
    fail_argument(MILL_E_SHAPE, static_cast<int32_t>(k), "%s is %s, it must be %s",
                  call.row.inputs[k].name, format_dims(*call.in[k]).text,
                  format_dims(dims, rank).text);
  }
}

void expect_one_element(const OpCall& call, uint32_t k) {
  if (call.in[k]->numel() != 1) {
    fail_argument(MILL_E_SHAPE, static_cast<int32_t>(k), "%s is %s, it must have one element",
                  call.row.inputs[k].name, format_dims(*call.in[k]).text);
  }
}

void expect_broadcast(const mill_tensor& x, int32_t argument, const char* name,
                      const mill_kernel_tensor& to, const char* whose) {
  const int32_t missing = to.rank - x.rank();
  bool fits = missing >= 0;
  for (int32_t i = 0; fits && i < x.rank(); ++i)
    fits = x.view.dims[i] == 1 || x.view.dims[i] == to.dims[missing + i];
  if (fits) return;
  fail_argument(MILL_E_SHAPE, argument, "%s is %s, it must broadcast to %s %s", name,
                format_dims(x).text, whose, format_dims(to.dims, to.rank).text);
}

void set_dims_from_attr(OpCall& call, uint32_t out, uint32_t k) {
  checked_count(call.ints(k), call.n_ints(k), call.out[out].dtype);
  call.set_dims(out, call.ints(k), static_cast<int32_t>(call.n_ints(k)));
}

void set_reduced(GradCall& c, uint32_t k, TensorRef gradient) {
  const SavedValue& input = c.input(k);
  const mill_kernel_tensor& view = gradient->view;
  bool same = view.rank == input.rank;
  for (int32_t i = 0; same && i < view.rank; ++i) same = view.dims[i] == input.dims[i];
  if (same) {
    c.set(k, std::move(gradient));
  } else {
    c.set(k, op::sum_to(c.exec, gradient.get(), input.dims, static_cast<uint32_t>(input.rank)));
  }
}

TensorRef scalar(Exec& exec, int32_t dtype, double value) {
  return op::fill(exec, nullptr, 0, dtype, value);
}

TensorRef reshape(Exec& exec, mill_tensor* x, const int64_t* dims, int32_t rank) {
  return op::reshape(exec, x, dims, static_cast<uint32_t>(rank));
}

TensorRef reshape_like(Exec& exec, mill_tensor* x, const SavedValue& model) {
  return reshape(exec, x, model.dims, model.rank);
}

TensorRef expand_like(Exec& exec, mill_tensor* x, const SavedValue& model) {
  return op::expand(exec, x, model.dims, static_cast<uint32_t>(model.rank));
}

TensorRef cast(Exec& exec, mill_tensor* x, int32_t dtype) {
  if (x->dtype() == dtype) return share(x);
  return op::cast(exec, x, dtype);
}

TensorRef sum_axis(Exec& exec, mill_tensor* x, int64_t axis) {
  return op::sum(exec, x, &axis, 1, true);
}

TensorRef transpose(Exec& exec, mill_tensor* x) {
  int64_t axes[MILL_MAX_RANK];
  const int32_t rank = x->rank();
  for (int32_t i = 0; i < rank; ++i) axes[i] = i;
  std::swap(axes[rank - 1], axes[rank - 2]);
  return op::permute(exec, x, axes, static_cast<uint32_t>(rank));
}

TensorRef compare(Exec& exec, mill_tensor* a, mill_tensor* b, int32_t relation, int32_t dtype) {
  const TensorRef mask = op::compare(exec, a, b, relation);
  return cast(exec, mask.get(), dtype);
}

mill_tensor* target_of(GradCall& c, uint32_t k, Autocast policy, bool* accumulate) {
  *accumulate = false;
  const int32_t dtype = c.input(k).dtype;
  return autocast_dtype(c.exec, policy, dtype) == dtype ? c.target(k, accumulate) : nullptr;
}

void matmul_gradient(GradCall& c, uint32_t k, mill_tensor* left, mill_tensor* right) {
  bool accumulate = false;
  mill_tensor* target = target_of(c, k, Autocast::low, &accumulate);
  if (!target) {
    set_reduced(c, k, op::matmul(c.exec, left, right));
    return;
  }
  mill_tensor* in[2] = {left, right};
  if (accumulate) {
    invoke_accumulate(c.exec, MILL_OP_MATMUL, in, 2, nullptr, 0, target);
  } else {
    invoke(c.exec, MILL_OP_MATMUL, in, 2, nullptr, 0, &target, 1);
  }
  c.set_written(k);
}

}  // namespace mill::ops
