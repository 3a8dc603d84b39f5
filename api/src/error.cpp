#include "millrace/error.h"

#include <cstdio>

#include "guard.h"

using namespace mill;       // NOLINT
using namespace mill::api;  // NOLINT

mill_status mill_error_create(mill_error** out_error) {
  return guard("mill_error_create", nullptr, [&] {
    clear_out(out_error, 0, "out_error");
    *out_error = slab_new<mill_error>();
  });
}

void mill_error_retain(mill_error* error) {
  if (valid(error, HandleKind::error)) error->retain();
}

void mill_error_release(mill_error* error) {
  if (valid(error, HandleKind::error) && error->release()) slab_delete(error);
}

void mill_error_clear(mill_error* error) {
  if (valid(error, HandleKind::error)) error->clear();
}

mill_status mill_error_status(const mill_error* error) {
  return valid(error, HandleKind::error) ? error->status : MILL_E_BAD_HANDLE;
}

const char* mill_error_message(const mill_error* error) {
  return valid(error, HandleKind::error) ? error->message : "";
}

const char* mill_error_operation(const mill_error* error) {
  return valid(error, HandleKind::error) ? error->operation : "";
}

int32_t mill_error_argument(const mill_error* error) {
  return valid(error, HandleKind::error) ? error->argument : -1;
}

int32_t mill_error_native_code(const mill_error* error) {
  return valid(error, HandleKind::error) ? error->native : 0;
}

void mill_error_memory(const mill_error* error, uint64_t* out_requested, uint64_t* out_in_use,
                       uint64_t* out_limit) {
  const bool live = valid(error, HandleKind::error);
  if (out_requested) *out_requested = live ? error->requested : 0;
  if (out_in_use) *out_in_use = live ? error->in_use : 0;
  if (out_limit) *out_limit = live ? error->limit : 0;
}

mill_status mill_error_set(mill_error* error, mill_status status, const char* message) {
  return guard("mill_error_set", nullptr, [&] {
    mill_error& e = need(error, 0, "error");
    need_out(message, 2, "message");
    e.clear();
    e.status = status;
    std::snprintf(e.message, sizeof e.message, "%s", message);
  });
}
