#include "millrace/context.h"

#include "auto_profile.h"
#include "guard.h"

using namespace mill;       // NOLINT
using namespace mill::api;  // NOLINT

mill_status mill_context_create(const mill_context_opts* opts, mill_context** out_context,
                                mill_error* err) {
  return guard("mill_context_create", err, [&] {
    clear_out(out_context, 1, "out_context");
    const mill_context_opts given = read_struct(opts, MILL_STRUCT_CONTEXT_OPTS, "opts", 0);
    if (given.gemm < MILL_GEMM_AUTO || given.gemm > MILL_GEMM_ONEDNN) {
      fail_argument(MILL_E_ARG, 0, "opts->gemm is %d, it must be 0 to 2", given.gemm);
    }
    if (given.reserved != 0) fail_argument(MILL_E_ARG, 0, "opts->reserved is not 0");
    *out_context = at_argument(0, [&] { return slab_new<mill_context>(given); });
    begin_auto_profile(**out_context);
  });
}

void mill_context_retain(mill_context* context) {
  if (valid(context, HandleKind::context)) retain(context);
}

void mill_context_release(mill_context* context) {
  if (valid(context, HandleKind::context)) release(context);
}
