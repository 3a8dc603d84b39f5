// The second half of an invocation: outputs, aliasing, memory layout, the kernel itself.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "dispatch/op_rules.h"

namespace mill {

// Owns tensors that an invocation made on the way. Only calls with many inputs to convert need the
// heap.
class Temporaries {
 public:
  mill_tensor* adopt(mill_tensor* tensor) {
    TensorRef ref = TensorRef::adopt(tensor);
    if (count_ < kInline) {
      held_[count_++] = std::move(ref);
    } else {
      more_.push_back(std::move(ref));
    }
    return tensor;
  }

 private:
  static constexpr uint32_t kInline = 8;
  uint32_t count_ = 0;
  TensorRef held_[kInline];
  std::vector<TensorRef> more_;
};

// Releases the outputs that an unfinished invocation allocated and sets them to null again.
class OutputOwner {
 public:
  OutputOwner(mill_tensor** out, uint32_t n) : out_(out), n_(n) {
    for (uint32_t k = 0; k < n; ++k) {
      if (out[k]) given_ |= 1u << k;
    }
  }
  ~OutputOwner() {
    if (!out_) return;
    for (uint32_t k = 0; k < n_; ++k) {
      if (((given_ >> k) & 1u) == 0 && out_[k]) {
        ::release(out_[k]);
        out_[k] = nullptr;
      }
    }
  }
  OutputOwner(const OutputOwner&) = delete;
  OutputOwner& operator=(const OutputOwner&) = delete;
  void commit() { out_ = nullptr; }

 private:
  mill_tensor** out_;
  uint32_t n_;
  uint32_t given_ = 0;
};

// Loads and checks inputs and attributes, promotes, and runs the shape rule. `keep` owns what was
// made on the way.
void infer_call(OpCall& call, mill_tensor* const* in, uint32_t n_in, const mill_attr* attrs,
                uint32_t n_attrs, uint32_t n_out, Temporaries& keep);
// The part of it that looks at the attributes only.
void check_attrs(const OpRow& row, const mill_attr* attrs, uint32_t n_attrs);
// Runs and records an inferred call.
void run_inferred(OpCall& call, mill_tensor** out);

// Allocates or checks the outputs of an inferred call and runs its kernel.
void launch(OpCall& call, mill_tensor** out);

// A user's op.
void run_custom(OpCall& call, mill_tensor* const* in, uint32_t n_in, uint32_t n_attrs,
                mill_tensor** out, uint32_t n_out);

}  // namespace mill
