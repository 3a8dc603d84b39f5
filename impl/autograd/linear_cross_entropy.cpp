#include "autograd/linear_cross_entropy.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "autograd/segment.h"
#include "millrace/ops.h"
#include "ops/calls.gen.h"

namespace mill {

namespace {

constexpr int64_t kPartBytes = int64_t{32} << 20;  // of logits in f32, where no rows are given

// The part's losses, each of its own or their sum.
TensorRef part_loss(Exec& exec, mill_tensor* x, mill_tensor* labels, mill_tensor* weight,
                    mill_tensor* bias, const LinearLoss& how) {
  const TensorRef logits = op::linear(exec, x, weight, bias);
  TensorRef out[2];
  op::cross_entropy(exec, logits.get(), labels, how.reduction, how.label_smoothing,
                    how.ignore_index, out);
  return std::move(out[0]);
}

// As a segment: inputs are x, labels, weight and, if there is one, bias.
mill_status run_part(void* user, mill_exec* exec, mill_tensor* const* inputs, uint32_t n_inputs,
                     mill_tensor** outputs, uint32_t, mill_error*) {
  const ExecGuard deeper(*exec);  // a call of the segment's: its scope notes what is handed out
  TensorRef loss = part_loss(*exec, inputs[0], inputs[1], inputs[2],
                             n_inputs > 3 ? inputs[3] : nullptr, *static_cast<LinearLoss*>(user));
  exec->reserve_notes(1);
  exec->note(loss.get());
  outputs[0] = loss.release();
  return MILL_OK;
}

TensorRef reshape(Exec& exec, mill_tensor* x, std::initializer_list<int64_t> dims) {
  return op::reshape(exec, x, dims.begin(), static_cast<uint32_t>(dims.size()));
}

// 1 over how many labels count, in the losses' dtype.
TensorRef share_of_each(Exec& exec, mill_tensor* labels, int64_t ignore_index, int32_t dtype) {
  const TensorRef ids = op::cast(exec, labels, MILL_I64);
  const TensorRef ignored = op::fill(exec, nullptr, 0, MILL_I64, static_cast<double>(ignore_index));
  const TensorRef counts = op::compare(exec, ids.get(), ignored.get(), MILL_COMPARE_NE);
  const TensorRef ones = op::cast(exec, counts.get(), dtype);
  const TensorRef sum = op::sum(exec, ones.get());
  return op::reciprocal(exec, sum.get());
}

}  // namespace

TensorRef linear_cross_entropy(Exec& exec, const LinearLoss& loss) {
  if (loss.reduction < MILL_REDUCE_MEAN || loss.reduction > MILL_REDUCE_NONE) {
    fail_argument(MILL_E_ARG, 5, "reduction is %lld, it must be %d to %d",
                  static_cast<long long>(loss.reduction), MILL_REDUCE_MEAN, MILL_REDUCE_NONE);
  }
  if (loss.rows < 0) {
    fail_argument(MILL_E_ARG, 8, "rows is %lld, it must not be negative",
                  static_cast<long long>(loss.rows));
  }
  const mill_kernel_tensor& x = loss.x->view;
  const mill_kernel_tensor& labels = loss.labels->view;
  bool fits = x.rank > 0 && labels.rank == x.rank - 1;
  for (int32_t i = 0; fits && i < labels.rank; ++i) fits = labels.dims[i] == x.dims[i];
  if (!fits) {
    fail_argument(MILL_E_SHAPE, 4, "labels is %s, x is %s: labels has x's axes but the last",
                  format_dims(*loss.labels).text, format_dims(*loss.x).text);
  }
  if (loss.weight->rank() != 2) {
    fail_argument(MILL_E_SHAPE, 2, "weight is %s, its rank must be 2",
                  format_dims(*loss.weight).text);
  }
  const int64_t rows = loss.labels->numel();
  const int64_t classes = std::max<int64_t>(loss.weight->view.dims[0], 1);
  const int64_t chosen = std::max<int64_t>(kPartBytes / 4 / classes, 1);
  const int64_t part = loss.rows > 0 ? loss.rows : chosen;
  if (rows <= part) return part_loss(exec, loss.x, loss.labels, loss.weight, loss.bias, loss);

  const TensorRef lines = reshape(exec, loss.x, {rows, x.dims[x.rank - 1]});
  const TensorRef ids = reshape(exec, loss.labels, {rows});
  const bool single = loss.reduction == MILL_REDUCE_NONE;
  TensorRef total;
  std::vector<TensorRef> losses;
  for (int64_t at = 0; at < rows; at += part) {
    const TensorRef some = op::slice(exec, lines.get(), 0, at, std::min(at + part, rows));
    const TensorRef of_some = op::slice(exec, ids.get(), 0, at, std::min(at + part, rows));
    mill_tensor* const inputs[4] = {some.get(), of_some.get(), loss.weight, loss.bias};
    auto segment = std::make_unique<TapeSegment>();
    auto how = std::make_unique<LinearLoss>(loss);
    if (!single) how->reduction = MILL_REDUCE_SUM;
    segment->fn = run_part;
    segment->destroy = [](void* user) { delete static_cast<LinearLoss*>(user); };
    segment->user = how.release();
    segment->n_inputs = loss.bias ? 4 : 3;
    segment->n_outputs = 1;
    TensorRef made = std::move(checkpoint(exec, std::move(segment), inputs)[0]);
    if (single) {
      losses.push_back(std::move(made));
    } else {
      total = total ? op::add(exec, total.get(), made.get()) : std::move(made);
    }
  }
  if (single) {
    // As many at a time as an op takes.
    std::vector<mill_tensor*> handles;
    TensorRef joined = std::move(losses[0]);
    for (size_t k = 1; k < losses.size();) {
      handles.assign(1, joined.get());
      while (k < losses.size() && handles.size() < MILL_MAX_OP_INPUTS)
        handles.push_back(losses[k++].get());
      joined = op::concat(exec, handles.data(), static_cast<uint32_t>(handles.size()), 0);
    }
    return op::reshape(exec, joined.get(), labels.dims, static_cast<uint32_t>(labels.rank));
  }
  if (loss.reduction == MILL_REDUCE_SUM) return total;
  const TensorRef factor = share_of_each(exec, ids.get(), loss.ignore_index, total->dtype());
  return op::mul(exec, total.get(), factor.get());
}

}  // namespace mill
