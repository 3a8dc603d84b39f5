// What a tape has besides its nodes once memory is traded for time: packed values, a segment that
// runs, a byte budget. A tape without any of it has no keeper.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "autograd/budget.h"
#include "autograd/saved_hooks.h"
#include "autograd/tape.h"

namespace mill {

struct TapeKeeper {
  explicit TapeKeeper(mill_tape& of) : tape(of) {}

  mill_tape& tape;
  PackedValues packed;
  std::unique_ptr<TapeBudget> budget;  // null: none
  bool closed = false;                 // a callback runs in which nothing may be recorded here

  // The tape of a segment's forward: it keeps nothing and notes which parameters it meets.
  bool notes = false;
  std::vector<TensorRef> seen;
  // Private tape for segments, kept for its memory.
  Ref<mill_tape> inner;
  Ref<mill_tape> take_inner();

  // The tape's reserve, record and free_node go through these.
  void before(const OpCall& call);
  void record(const OpCall& call, mill_tensor* const* out);
  void free_node(Node& node, uint32_t index) noexcept;
  void forget() noexcept {
    if (budget) budget->forget();
  }
  // Backward has passed a node that stays.
  void passed(const Node& node, uint32_t index) noexcept {
    if (budget) budget->passed(node, index);
  }

  // Gives a packed form to each of these values that the hooks take; all or none.
  void pack(Exec& exec, SavedValue* values, uint32_t n);

  // Puts the tensors that a gradient rule sees into the node, and takes them out again.
  void restore(Exec& exec, const Node& node, uint32_t index);
  void unrestore(const Node& node, uint32_t index) noexcept;
};

// While a callback of the program's runs in the middle of something, nothing is recorded on the
// tape and nobody resets it.
class TapeClosed {
 public:
  explicit TapeClosed(TapeKeeper& keeper)
      : keeper_(keeper), closed_(keeper.closed), passing_(keeper.tape.passing) {
    keeper.closed = keeper.tape.passing = true;
  }
  ~TapeClosed() {
    keeper_.closed = closed_;
    keeper_.tape.passing = passing_;
  }
  TapeClosed(const TapeClosed&) = delete;
  TapeClosed& operator=(const TapeClosed&) = delete;

 private:
  TapeKeeper& keeper_;
  const bool closed_;
  const bool passing_;
};

// The node's tensors are there as long as this lives.
class Restored {
 public:
  Restored(mill_tape& tape, Exec& exec, const Node& node, uint32_t index)
      : tape_(tape), node_(node), index_(index) {
    if (tape.keeper) [[unlikely]]
      tape.keeper->restore(exec, node, index);
  }
  ~Restored() {
    if (tape_.keeper) [[unlikely]]
      tape_.keeper->unrestore(node_, index_);
  }
  Restored(const Restored&) = delete;
  Restored& operator=(const Restored&) = delete;

 private:
  mill_tape& tape_;
  const Node& node_;
  const uint32_t index_;
};

}  // namespace mill
