// The tape: what ran, in order, and what backward needs of it. Creation order is a topological
// order, so backward is one scan from the end: no hash maps, no worker threads.
//
// Memory is kept from step to step: after the first few steps recording allocates nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/handle.h"
#include "base/owner_lock.h"
#include "dispatch/exec.h"
#include "dispatch/op_rules.h"
#include "dispatch/recorder.h"
#include "millrace/tape.h"

namespace mill {

struct TapeSegment;
struct TapeKeeper;

struct Node {
  const OpRow* row;
  uint64_t instance;   // the trace's number of the call
  SavedValue* values;  // n_in inputs, then n_out outputs; null once freed
  const mill_attr* attrs;
  uint32_t n_in;
  uint32_t n_out;
  TapeSegment* segment;  // of a checkpointed segment; owns values then
};

// A tensor that gradients are taken by: a parameter (sink) or a watched tensor.
struct Leaf {
  GradientSink* sink = nullptr;
  uint32_t sink_index = 0;
  TensorRef tensor;    // watched tensors only
  TensorRef gradient;  // of the last backward; not for sinks
  uint32_t value = 0;
  uint32_t first_node = UINT32_MAX;  // once backward has passed it, the gradient is final
};

// Pieces of memory that never move and are reused after a reset.
template <class T>
class Pool {
 public:
  // n adjacent elements, default-constructed or left from an earlier use.
  T* take(uint32_t n) {
    reserve(n);
    T* at = chunks_[chunk_].get() + used_;
    used_ += n;
    return at;
  }
  void reserve(uint32_t n) {
    if (chunk_ < chunks_.size() && used_ + n <= kChunk) return;
    if (chunk_ < chunks_.size()) ++chunk_;
    used_ = 0;
    if (chunk_ == chunks_.size()) chunks_.push_back(std::make_unique<T[]>(kChunk));
  }
  void rewind() {
    chunk_ = 0;
    used_ = 0;
  }

 private:
  static constexpr uint32_t kChunk = 1024;
  std::vector<std::unique_ptr<T[]>> chunks_;
  size_t chunk_ = 0;
  uint32_t used_ = 0;
};

}  // namespace mill

struct mill_tape : mill::Handle {
  static constexpr mill::HandleKind kKind = mill::HandleKind::tape;

  // What dispatch sees. A member, not a base: a handle must begin with its header, which a vtable
  // would displace.
  class Face final : public mill::Recorder {
   public:
    explicit Face(mill_tape& tape) : tape_(tape) {}
    void reserve(const mill::OpCall& call) override { tape_.reserve(call); }
    void record(const mill::OpCall& call, mill_tensor* const* out) override {
      tape_.record(call, out);
    }
    void done() noexcept override { tape_.leave(); }
    void retain_recorder() noexcept override { tape_.retain(); }
    void release_recorder() noexcept override;
    mill::Handle* handle() noexcept override { return &tape_; }
    void renew() noexcept;
    // Marks of another tape count as this one's until the next renew.
    void borrow(uint64_t serial) noexcept { serial_ = serial; }

   private:
    mill_tape& tape_;
  };

  explicit mill_tape(mill_context* owner);
  ~mill_tape();

  void reserve(const mill::OpCall& call);
  void record(const mill::OpCall& call, mill_tensor* const* out);
  // What reserve and record do for an op whose tensors just stay where they are.
  void make_room(const mill::OpCall& call);
  void append(const mill::OpCall& call, mill_tensor* const* out) noexcept;
  // The next value's number. Room has been made.
  uint32_t add_value() noexcept;
  void make_value_room(uint32_t n);
  // Between the value and the node that uses it.
  void note_use(uint32_t value, uint32_t node) noexcept;
  uint64_t serial() const { return face.serial(); }

  void watch(mill_tensor* tensor);
  void reset();
  // Lets go of the groups, which a reset keeps for the next step. After one.
  void drop_sinks() noexcept;
  // 0 when the tape does not track it.
  uint32_t value_of(const mill_tensor* tensor) const;
  // A parameter's value; 0 when it was not met yet. Reserving one meets it.
  uint32_t leaf_value(const mill::GradientSink* sink, uint32_t index) const;
  void reserve_leaf(mill::GradientSink* sink, uint32_t index);
  // Number of a value's leaf, or -1.
  int32_t leaf_of(uint32_t value) const { return leaf_of_value_[value]; }
  // The gradient that the last backward left for a watched tensor; null if none.
  mill_tensor* gradient_of(const mill_tensor* tensor) const;

  // Throws MILL_E_BUSY when another thread is inside.
  void enter();
  void leave() noexcept { lock_.leave(); }

  Face face{*this};
  mill::Ref<mill_context> context;
  std::vector<mill::Node> nodes;
  std::vector<mill::Leaf> leaves;
  size_t sink_count() const { return sinks_.size(); }
  mill::GradientSink* sink(size_t k) const { return sinks_[k].sink; }
  uint32_t value_count() const { return static_cast<uint32_t>(leaf_of_value_.size()); }
  void free_node(mill::Node& node, uint32_t index) noexcept;

  mill_gradient_hook hook = nullptr;
  void* hook_user = nullptr;
  void (*hook_destroy)(void*) = nullptr;
  void set_hook(mill_gradient_hook next, void* user, void (*destroy)(void*));

  // While a pass goes over the nodes, callbacks may look at the tape and record on it, no more.
  bool passing = false;
  void require_no_pass() const;

  // Scratch of backward, kept for its memory.
  std::vector<mill::TensorRef> gradients;
  std::vector<uint8_t> reached;
  mill::TensorRef one;  // scalar 1: where most backward passes begin

  // Null until the program asks for what trades time for memory.
  std::unique_ptr<mill::TapeKeeper> keeper;
  mill::TapeKeeper& need_keeper();

 private:
  struct SinkValues {
    mill::GradientSink* sink;  // its handle is retained
    std::vector<uint32_t> values;
  };
  void forget() noexcept;
  uint32_t add_leaf(mill::Leaf leaf);
  uint32_t attr_slots(const mill::OpCall& call) const;

  mill::OwnerLock lock_;
  mill::Pool<mill::SavedValue> values_;
  mill::Pool<mill_attr> attrs_;  // attributes, and the integers that they point to
  std::vector<int32_t> leaf_of_value_;
  std::vector<SinkValues> sinks_;
  // After a reset the leaves of the last backward, so that their gradients can still be asked for.
  std::vector<mill::Leaf> last_leaves_;
};

inline void retain(mill_tape* tape) noexcept {
  tape->retain();
}
void release(mill_tape* tape) noexcept;

namespace mill {

class TapeGuard {
 public:
  explicit TapeGuard(mill_tape& tape) : tape_(&tape) { tape.enter(); }
  ~TapeGuard() {
    if (tape_) tape_->leave();
  }
  // Somebody else will leave.
  void stay() noexcept { tape_ = nullptr; }
  TapeGuard(const TapeGuard&) = delete;
  TapeGuard& operator=(const TapeGuard&) = delete;

 private:
  mill_tape* tape_;
};

class PassMark {
 public:
  explicit PassMark(mill_tape& tape) : tape_(tape) {
    tape.require_no_pass();
    tape.passing = true;
  }
  ~PassMark() { tape_.passing = false; }
  PassMark(const PassMark&) = delete;
  PassMark& operator=(const PassMark&) = delete;

 private:
  mill_tape& tape_;
};

}  // namespace mill
