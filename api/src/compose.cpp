#include "millrace/compose.h"

#include "base/utf8.h"
#include "guard.h"
#include "ops/calls.gen.h"
#include "ops/einsum.h"

using namespace mill;       // NOLINT: the bodies of exported functions are all engine calls
using namespace mill::api;  // NOLINT

mill_status mill_einsum(mill_exec* exec, const char* equation, uint64_t equation_bytes,
                        mill_tensor* const* inputs, uint32_t n_inputs, mill_tensor** out,
                        mill_error* err) {
  return guard("mill_einsum", err, [&] {
    mill_exec& e = need(exec, 0, "exec");
    const ExecGuard entered(e);
    const std::string text = need_text(equation, equation_bytes, 1, "equation");
    need_utf8(text, 1, "equation");
    need_out(out, 5, "out");
    if (*out) need(*out, 5, "out");
    if (n_inputs == 0 || n_inputs > MILL_MAX_OP_INPUTS) {
      fail_argument(MILL_E_ARG, 4, "n_inputs is %u, it must be 1 to %d", n_inputs,
                    MILL_MAX_OP_INPUTS);
    }
    if (!inputs) fail_argument(MILL_E_ARG, 3, "inputs is NULL, its length is %u", n_inputs);
    for (uint32_t k = 0; k < n_inputs; ++k) {
      char name[24];
      std::snprintf(name, sizeof name, "inputs[%u]", k);
      check_same_device(e, need(inputs[k], 3, name), 3, name);
    }
    TensorRef made = ops::einsum(e, text, inputs, n_inputs);
    if (*out) {
      op::copy(e, made.get(), *out);
    } else {
      give(e, std::move(made), out);
    }
  });
}
