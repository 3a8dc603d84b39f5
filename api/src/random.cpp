#include "millrace/random.h"

#include "dispatch/generator.h"
#include "guard.h"

using namespace mill;       // NOLINT
using namespace mill::api;  // NOLINT

mill_status mill_generator_create(mill_exec* exec, uint64_t seed, mill_generator** out_generator,
                                  mill_error* err) {
  return guard("mill_generator_create", err, [&] {
    clear_out(out_generator, 2, "out_generator");
    mill_exec& e = need(exec, 0, "exec");
    const ExecGuard entered(e);
    *out_generator = slab_new<mill_generator>(e, seed);
  });
}

void mill_generator_retain(mill_generator* generator) {
  if (valid(generator, HandleKind::generator)) retain(generator);
}

void mill_generator_release(mill_generator* generator) {
  if (valid(generator, HandleKind::generator)) release(generator);
}

mill_status mill_generator_get_state(mill_generator* generator, uint64_t* out_seed,
                                     uint64_t* out_calls, mill_error* err) {
  return guard("mill_generator_get_state", err, [&] {
    mill_generator& g = need(generator, 0, "generator");
    check_fork(context_of(*g.state));
    need_out(out_seed, 1, "out_seed");
    need_out(out_calls, 2, "out_calls");
    g.get(out_seed, out_calls);
  });
}

mill_status mill_generator_set_state(mill_exec* exec, mill_generator* generator, uint64_t seed,
                                     uint64_t calls, mill_error* err) {
  return guard("mill_generator_set_state", err, [&] {
    mill_exec& e = need(exec, 0, "exec");
    mill_generator& g = need(generator, 1, "generator");
    const ExecGuard entered(e);
    check_same_device(e, *g.state, 1, "generator");
    g.set(e, seed, calls);
  });
}

mill_status mill_generator_next(mill_exec* exec, mill_generator* generator, mill_tensor** out_key,
                                mill_error* err) {
  return guard("mill_generator_next", err, [&] {
    clear_out(out_key, 2, "out_key");
    mill_exec& e = need(exec, 0, "exec");
    mill_generator& g = need(generator, 1, "generator");
    const ExecGuard entered(e);
    check_same_device(e, *g.state, 1, "generator");
    give(e, g.next(e), out_key);
  });
}
