// What an op family knows of an op: how its result's shape follows, and how a gradient flows back
// through it.
#pragma once

#include <cstdint>

#include "base/error.h"
#include "dispatch/op_table.h"
#include "tensor/tensor.h"

struct mill_exec;

namespace mill {

class KeyDraw;

using Exec = ::mill_exec;

struct OutputSpec {
  int32_t dtype;
  int32_t rank;
  bool wanted;   // false: the kernel is told not to compute it
  bool strided;  // strides below are to be used; otherwise row-major
  int64_t dims[MILL_MAX_RANK];
  int64_t strides[MILL_MAX_RANK];
};

// One invocation while it is being checked and run. Lives on the stack.
struct OpCall {
  Exec& exec;
  const OpRow& row;
  uint32_t n_in = 0;
  uint32_t n_out = 0;
  bool accumulate = false;
  uint64_t instance = 0;                // the trace's number of this call
  KeyDraw* draw = nullptr;              // of a random op that may draw its key
  mill_tensor* in[MILL_MAX_OP_INPUTS];  // after promotion; null = absent
  mill_attr attr[MILL_MAX_OP_ATTRS];    // dense, defaults filled, normalised by infer
  OutputSpec out[MILL_MAX_OP_OUTPUTS];  // dtype is set before infer runs
  int64_t scratch[4 * MILL_MAX_RANK];   // for normalised integer lists

  OpCall(Exec& e, const OpRow& r) : exec(e), row(r) {}

  int64_t integer(uint32_t k) const { return attr[k].i; }
  double real(uint32_t k) const { return attr[k].f; }
  const int64_t* ints(uint32_t k) const { return static_cast<const int64_t*>(attr[k].p); }
  uint32_t n_ints(uint32_t k) const { return static_cast<uint32_t>(attr[k].n); }
  const mill_kernel_tensor& shape(uint32_t k) const { return in[k]->view; }

  void set_dims(uint32_t k, const int64_t* dims, int32_t rank);
  void set_like(uint32_t k, uint32_t input) { set_dims(k, shape(input).dims, shape(input).rank); }
};

// A value on a tape: its description, and the tensor itself where the op's rules asked for it and
// nothing else keeps it.
struct SavedValue {
  TensorRef tensor;
  uint64_t version = 0;
  uint32_t value = 0;  // number on the tape; 0 = not tracked
  int32_t dtype = 0;
  uint32_t packed = 0;  // number of what a program's hook made of it; 0 = nothing
  int16_t rank = 0;
  bool present = false;
  int64_t dims[MILL_MAX_RANK];
};

// What a gradient rule sees. It runs ops on `exec` and hands in one gradient per wanted input.
class GradCall {
 public:
  Exec& exec;
  const OpRow& row;
  const mill_attr* attr;
  uint32_t n_in;
  uint32_t n_out;

  mill_tensor* in(uint32_t k) const {
    return inputs_[k].tensor.get();
  }  // null unless saved_inputs has bit k
  mill_tensor* out(uint32_t k) const { return outputs_[k].tensor.get(); }  // likewise saved_outputs
  const SavedValue& input(uint32_t k) const { return inputs_[k]; }
  const SavedValue& output(uint32_t k) const { return outputs_[k]; }
  mill_tensor* gradient(uint32_t k = 0) const {
    return gradients_[k];
  }  // by output k; null if nothing flows
  bool wanted(uint32_t k) const { return inputs_[k].value != 0; }

  // Gradient by input k, of the input's dims (or of dims that broadcast to it from sum_to). Called
  // at most once each.
  virtual void set(uint32_t k, TensorRef gradient) = 0;
  // Memory where the gradient by input k can be written at once, or null. If accumulate comes back
  // true it must be added. Use set_written afterwards.
  virtual mill_tensor* target(uint32_t k, bool* accumulate) = 0;
  virtual void set_written(uint32_t k) = 0;

 protected:
  GradCall(Exec& e, const OpRow& r, const mill_attr* a, const SavedValue* inputs, uint32_t n_inputs,
           const SavedValue* outputs, uint32_t n_outputs, mill_tensor* const* gradients)
      : exec(e),
        row(r),
        attr(a),
        n_in(n_inputs),
        n_out(n_outputs),
        inputs_(inputs),
        outputs_(outputs),
        gradients_(gradients) {}
  ~GradCall() = default;

 private:
  const SavedValue* inputs_;
  const SavedValue* outputs_;
  mill_tensor* const* gradients_;
};

struct OpRules {
  // Checks shapes, sets the outputs' dims, normalises attributes. Null: pointwise, the engine
  // broadcasts.
  void (*infer)(OpCall& call) = nullptr;
  // View ops: the result over the input's storage, or null when a row-major copy must be viewed
  // instead.
  TensorRef (*view)(OpCall& call, mill_tensor* x) = nullptr;
  // Null with GradientKind::yes is an error that a test catches.
  void (*gradient)(GradCall& call) = nullptr;
  uint64_t (*flops)(const OpCall& call) = nullptr;
  uint32_t saved_inputs = 0;  // bit k: backward needs the values of input k
  uint32_t saved_outputs = 0;
};

}  // namespace mill
