#include "dispatch/prepared.h"

#include <cstring>
#include <new>

#include "base/fork.h"
#include "dispatch/invoke.h"
#include "dispatch/launch.h"
#include "dispatch/trace_op.h"
#include "millrace/op_numbers.h"

namespace {

// An attribute whose array now belongs to the call.
mill_attr own(const mill_attr& attr, std::vector<std::unique_ptr<int64_t[]>>& payloads,
              std::vector<std::string>& texts) {
  mill_attr copy = attr;
  if (attr.kind == MILL_ATTR_INTS || attr.kind == MILL_ATTR_FLOATS) {
    static_assert(sizeof(double) == sizeof(int64_t));
    auto values = std::make_unique<int64_t[]>(attr.n + 1);
    if (attr.n > 0) std::memcpy(values.get(), attr.p, attr.n * sizeof(int64_t));
    copy.p = values.get();
    payloads.push_back(std::move(values));
  } else if (attr.kind == MILL_ATTR_STRING) {
    texts.emplace_back(static_cast<const char*>(attr.p), attr.n);
    copy.p = texts.back().data();
  }
  return copy;
}

}  // namespace

mill_call::mill_call(mill_exec& exec, int32_t op, mill_tensor* const* in, uint32_t n_in,
                     const mill_attr* attrs, uint32_t n_attrs)
    : context_(exec.context), row_(exec.context->row(op)), autocast_(exec.autocast) {
  texts_.reserve(n_attrs);
  if (n_attrs > MILL_MAX_OP_ATTRS)
    mill::fail(MILL_E_ARG, "%u attributes given, the limit is %d", n_attrs, MILL_MAX_OP_ATTRS);
  // Before the arrays behind the attributes are read.
  mill::check_attrs(row_, attrs, n_attrs);
  for (uint32_t k = 0; k < n_attrs; ++k) attrs_.push_back(own(attrs[k], payloads_, texts_));
  for (uint32_t k = 0; k < n_in; ++k) {
    inputs_.push_back({in[k] != nullptr, in[k] ? in[k]->view : mill_kernel_tensor{}});
  }
  if (row_.number >= MILL_OP_CUSTOM) return;
  mill::OpCall call(exec, row_);
  mill::Temporaries keep;
  const bool draws = row_.random && n_in == row_.n_inputs && n_in > 0 && !in[n_in - 1];
  if (draws) return;
  const mill::RecorderScope quiet(exec, nullptr);
  mill::infer_call(call, in, n_in, attrs, n_attrs, row_.n_outputs, keep);
  for (uint32_t k = 0; k < n_in; ++k) {
    if (call.in[k] != in[k]) return;  // promoted or autocast
  }
  for (uint32_t k = 0; k < row_.n_attrs; ++k)
    normal_.push_back(own(call.attr[k], payloads_, texts_));
  outputs_.assign(call.out, call.out + call.n_out);
  direct_ = true;
}

void mill_call::check_inputs(mill_tensor* const* in, uint32_t n_in) const {
  if (n_in != inputs_.size()) {
    mill::fail(MILL_E_ARG, "%u inputs given, the call was prepared with %zu", n_in, inputs_.size());
  }
  for (uint32_t k = 0; k < n_in; ++k) {
    const Input& want = inputs_[k];
    if ((in[k] != nullptr) != want.present) {
      mill::fail_argument(MILL_E_ARG, static_cast<int32_t>(k), "input %u is %s, it was prepared %s",
                          k, in[k] ? "given" : "NULL", want.present ? "given" : "NULL");
    }
    if (!in[k]) continue;
    const mill_kernel_tensor& have = in[k]->view;
    if (have.dtype != want.view.dtype) {
      mill::fail_argument(MILL_E_DTYPE, static_cast<int32_t>(k),
                          "input %u is %s, it was prepared as %s", k, mill::dtype_name(have.dtype),
                          mill::dtype_name(want.view.dtype));
    }
    if (!mill::same_dims(have, want.view) || !mill::same_strides(have, want.view)) {
      mill::fail_argument(MILL_E_SHAPE, static_cast<int32_t>(k),
                          "input %u is %s strides %s, it was prepared as %s strides %s", k,
                          mill::format_dims(have.dims, have.rank).text,
                          mill::format_dims(have.strides, have.rank).text,
                          mill::format_dims(want.view.dims, want.view.rank).text,
                          mill::format_dims(want.view.strides, want.view.rank).text);
    }
  }
}

void mill_call::run(mill_exec& exec, mill_tensor* const* in, uint32_t n_in, mill_tensor** out,
                    uint32_t n_out) {
  if (exec.context.get() != context_.get()) {
    mill::fail(MILL_E_DEVICE, "the call was prepared in another context than the exec's");
  }
  try {
    check_inputs(in, n_in);
  } catch (mill::Error& error) {
    error.with_operation(row_.name);
    throw;
  }
  const bool other_policy = exec.autocast != autocast_ && row_.autocast != mill::Autocast::keep;
  if (!direct_ || other_policy) {
    mill::invoke(exec, row_.number, in, n_in, attrs_.data(), static_cast<uint32_t>(attrs_.size()),
                 out, n_out);
    return;
  }
  mill::OpSpan span(exec.trace, row_.number);
  mill::OpCall call(exec, row_);
  call.instance = span.instance();
  try {
    if (n_out != row_.n_outputs) {
      mill::fail(MILL_E_ARG, "%u outputs given, %s has %u", n_out, row_.name, row_.n_outputs);
    }
    call.n_in = n_in;
    call.n_out = n_out;
    for (uint32_t k = 0; k < n_in; ++k) {
      if (in[k] && &in[k]->device() != &exec.device) {
        mill::fail_argument(MILL_E_DEVICE, static_cast<int32_t>(k),
                            "input %u is on device %u, the exec on %u", k, in[k]->device().index(),
                            exec.device.index());
      }
      call.in[k] = in[k];
    }
    for (size_t k = 0; k < normal_.size(); ++k) call.attr[k] = normal_[k];
    for (uint32_t k = 0; k < n_out; ++k) call.out[k] = outputs_[k];
    mill::run_inferred(call, out);
  } catch (mill::Error& error) {
    error.with_operation(row_.name);
    span.fail(error.status());
    throw;
  } catch (const std::bad_alloc&) {
    span.fail(MILL_E_MEMORY);
    throw;
  }
  if (span.on()) [[unlikely]]
    span.finish(mill::op_facts(call, out));
}

void release(mill_call* call) noexcept {
  if (call->release()) mill::slab_delete(call);
}
