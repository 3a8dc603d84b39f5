// A part of the forward that keeps its inputs only and runs again in backward.
#pragma once

#include <cstdint>
#include <vector>

#include "autograd/tape.h"
#include "dispatch/generator.h"

namespace mill {

// What of an exec's settings a segment's second run must find as the first did.
struct SegmentState {
  Ref<mill_generator> generator;
  uint32_t tag = 0;
  int32_t order = MILL_ORDER_AUTO;
  bool deterministic = true;
  int32_t autocast = MILL_DTYPE_NONE;
};

struct TapeSegment {
  mill_segment fn = nullptr;
  void* user = nullptr;
  void (*destroy)(void*) = nullptr;
  uint32_t n_inputs = 0;  // given to fn; the node's further inputs are the parameters it uses
  uint32_t n_outputs = 0;
  std::vector<SavedValue> values;  // the node's
  SegmentState state;              // its generator is private, as it was when the segment began

  TapeSegment() = default;
  ~TapeSegment() {
    if (destroy) destroy(user);
  }
  TapeSegment(const TapeSegment&) = delete;
  TapeSegment& operator=(const TapeSegment&) = delete;

  // Runs fn in a scope of its own, on the exec's present tape.
  std::vector<TensorRef> call(Exec& exec, mill_tensor* const* inputs) const;
};

// Runs the segment and records it as one node where the exec's tape tracks what it uses.
std::vector<TensorRef> checkpoint(Exec& exec, std::unique_ptr<TapeSegment> segment,
                                  mill_tensor* const* inputs);

// Puts settings into an exec, and the old ones back.
class SegmentSettings {
 public:
  SegmentSettings(Exec& exec, const SegmentState& state) : exec_(exec), before_(of(exec)) {
    put(state);
  }
  ~SegmentSettings() { put(before_); }
  SegmentSettings(const SegmentSettings&) = delete;
  SegmentSettings& operator=(const SegmentSettings&) = delete;

  static SegmentState of(const Exec& exec) {
    return {exec.generator, exec.tag, exec.order, exec.deterministic, exec.autocast};
  }

 private:
  void put(const SegmentState& state) noexcept {
    exec_.generator = state.generator;
    exec_.tag = state.tag;
    exec_.order = state.order;
    exec_.set_deterministic(state.deterministic);
    exec_.autocast = state.autocast;
  }
  Exec& exec_;
  const SegmentState before_;
};

}  // namespace mill
