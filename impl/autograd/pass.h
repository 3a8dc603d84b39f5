// One scan of a tape from its end.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "autograd/tape.h"

namespace mill {

class Pass {
 public:
  // functional: leaves' gradients stay beside the values instead of going to groups.
  Pass(mill_tape& tape, Exec& exec, bool functional, bool keep)
      : tape_(tape), exec_(exec), functional_(functional), keep_(keep) {}

  void run(mill_tensor& from, mill_tensor* seed);
  // Over a segment's private tape: what flows into its inputs goes on into `outer`, by the value
  // that each leaf of the private tape has there. Uses up `from`.
  void run_inner(Pass& outer, const std::vector<uint32_t>& outer_values,
                 std::vector<TensorRef>& from, TensorRef* seeds);
  TensorRef take(uint32_t value) { return tape_.gradients[value]; }
  void want(uint32_t value) { wanted_.push_back(value); }
  bool is_wanted(uint32_t value) const {
    return std::find(wanted_.begin(), wanted_.end(), value) != wanted_.end();
  }
  // All checks are behind it: a failure now leaves a part of the work done.
  bool running() const { return running_; }
  void clear() noexcept {
    for (TensorRef& gradient : tape_.gradients) gradient.reset();
  }

 private:
  class Rule;

  void begin();
  uint32_t last_node() const;
  void mark_reached(uint32_t last);
  void sweep(uint32_t last);
  void check_node(const Node& node, uint32_t index) const;
  void run_node(Node& node, uint32_t index);
  void run_segment(const Node& node, TensorRef* seeds);
  void add(uint32_t value, TensorRef gradient);
  void add_to_sink(Leaf& leaf, mill_tensor* gradient);
  void tell_final(const Node& node, uint32_t index);
  TensorRef one_like(const mill_tensor& from, bool shared);

  mill_tape& tape_;
  Exec& exec_;
  bool functional_;
  bool keep_;
  bool running_ = false;
  std::vector<uint32_t> wanted_;
  Pass* outer_ = nullptr;
  const std::vector<uint32_t>* outer_values_ = nullptr;
};

}  // namespace mill
