// Prepared calls: everything about an op call that does not depend on the data, worked out once.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "dispatch/exec.h"

struct mill_call : mill::Handle {
  static constexpr mill::HandleKind kKind = mill::HandleKind::call;

  // Throws what mill_op_invoke would answer for these arguments.
  mill_call(mill_exec& exec, int32_t op, mill_tensor* const* in, uint32_t n_in,
            const mill_attr* attrs, uint32_t n_attrs);

  void run(mill_exec& exec, mill_tensor* const* in, uint32_t n_in, mill_tensor** out,
           uint32_t n_out);
  const mill::OpRow& row() const { return row_; }

 private:
  struct Input {
    bool present;
    mill_kernel_tensor view;
  };
  void copy_attrs(const mill_attr* attrs, uint32_t n_attrs);
  void check_inputs(mill_tensor* const* in, uint32_t n_in) const;

  mill::Ref<mill_context> context_;
  const mill::OpRow& row_;
  std::vector<Input> inputs_;
  std::vector<mill_attr> attrs_;  // as given: for calls that must be worked out each time
  std::vector<std::unique_ptr<int64_t[]>> payloads_;
  std::vector<std::string> texts_;
  int32_t autocast_;  // of the exec when it was prepared
  // Filled when neither a cast of an input, nor a fresh random key, nor a callback can change the
  // outcome from call to call.
  bool direct_ = false;
  std::vector<mill_attr> normal_;
  std::vector<mill::OutputSpec> outputs_;
};

inline void retain(mill_call* call) noexcept {
  call->retain();
}
void release(mill_call* call) noexcept;
