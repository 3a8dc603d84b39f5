// A tape that keeps no more bytes than it is given. While it records, it lets go of kept values,
// those first that are cheap to make again for their size, and runs their ops again when backward
// needs them: Kirisame et al., Dynamic Tensor Rematerialization, ICLR 2021. Unlike there the ops of
// one restoration run in the order in which they were recorded, each once, so that its work is at
// most that of the forward whatever the budget.
#pragma once

#include <cstdint>
#include <vector>

#include "autograd/tape.h"

namespace mill {

class TapeBudget {
 public:
  // What the plan says; all in bytes but runs.
  struct Totals {
    uint64_t kept = 0;
    uint64_t peak = 0;
    uint64_t evicted = 0;
    uint64_t least = 0;
    uint64_t runs = 0;
    bool met = true;
  };
  struct Row {
    uint32_t node;
    uint64_t kept;
    uint64_t again;
    uint64_t cost;
  };

  explicit TapeBudget(mill_tape& tape) : tape_(tape), groups_(1) {}

  uint64_t limit() const { return limit_; }
  void set_limit(uint64_t bytes);

  // Around the append of a node. prepare makes all the room, so that recorded cannot fail. hooked:
  // its values have gone to the program's hooks.
  void prepare(const OpCall& call, mill_tensor* const* out, bool hooked);
  void recorded(const OpCall& call, mill_tensor* const* out) noexcept;
  void prepare_segment(uint32_t n_in, uint32_t n_out, bool hooked);
  void recorded_segment(const Node& node) noexcept;

  void begin_pass();
  // Whether what the node needs is as it was recorded, or can be made again from what is. Throws
  // MILL_E_STALE_SAVED.
  void check(const Node& node, uint32_t index);
  // The tensors that the node's rule asks for, until the matching unrestore.
  void restore(Exec& exec, const Node& node, uint32_t index);
  void unrestore(const Node& node, uint32_t index) noexcept;
  // Backward is behind it, and comes again.
  void passed(const Node& node, uint32_t index) noexcept;
  // It does not.
  void freed(const Node& node, uint32_t index) noexcept;
  void forget() noexcept;

  Totals totals() const;
  std::vector<Row> rows() const;

 private:
  static constexpr uint32_t kNone = UINT32_MAX;

  struct Value {
    TensorRef tensor;  // null: not kept, or evicted while uses > 0
    uint64_t version = 0;
    uint32_t producer = kNone;
    uint32_t group = 0;
    uint32_t next = 0;  // in its group; 0 ends it
    uint32_t edge = kNone;
    uint32_t uses = 0;  // nodes still to be passed that have it as an input, or whose rule asks
    uint32_t asks = 0;  // of those, how many rules ask for it
    uint32_t pins = 0;
    bool restored = false;
  };
  // Values over one storage: they go together. Number 0: memory that is not the tape's to free.
  struct Group {
    uint32_t first = 0;
    bool evictable = true;
    uint64_t bytes = 0;  // kept now
    uint64_t size = 0;   // the most that was kept of it
  };
  struct Source {
    TensorRef tensor;  // an input that is no value of the tape, or a leaf
    uint64_t version = 0;
  };
  struct Info {
    uint64_t cost = 0;
    bool again = false;    // its op can run again
    bool counted = false;  // its values are here
    bool deterministic = true;
    std::vector<Source> sources;
    std::vector<OutputSpec> specs;
  };
  struct Edge {
    uint32_t node;
    uint32_t next;
  };
  class Pins;

  bool here(uint32_t value) const { return value != 0 && tape_.leaf_of(value) < 0; }
  bool evicted(const Value& value) const { return !value.tensor && value.uses > 0; }
  void make_room(uint32_t n_in, uint32_t n_out);
  void start() noexcept;
  void add_input(const SavedValue& saved, mill_tensor* tensor, uint32_t node, bool asked) noexcept;
  void add_output(uint32_t value, uint32_t node, uint32_t group, bool again) noexcept;
  uint32_t group_of(const OpCall& call, const Node& node, const mill_tensor& out) noexcept;
  void hold(uint32_t value, mill_tensor* tensor) noexcept;
  void recount(uint32_t group) noexcept;
  void drop(uint32_t value) noexcept;
  void unuse(uint32_t value, bool asked) noexcept;

  void enforce(bool recording) noexcept;
  uint32_t cheapest() noexcept;
  uint32_t last_resort() const noexcept;
  double score(uint32_t group) noexcept;
  bool needed_by_evicted(uint32_t value) const noexcept;
  uint64_t add_ancestors(uint32_t node) noexcept;
  void evict(uint32_t group, bool recording) noexcept;

  void find_missing(const Node& wanting, std::vector<uint32_t>& nodes);
  void check_sources(uint32_t node) const;
  void run_again(Exec& exec, uint32_t node);

  mill_tape& tape_;
  uint64_t limit_ = 0;
  uint64_t kept_ = 0;
  Totals stats_;
  bool fresh_ = true;  // nothing recorded since the reset
  std::vector<Value> values_;
  std::vector<Group> groups_;
  std::vector<Info> infos_;
  std::vector<Edge> edges_;
  Info next_;
  // Scratch.
  uint32_t stamp_ = 0;
  std::vector<uint32_t> stamps_;   // of nodes
  std::vector<uint32_t> checked_;  // of nodes, by pass
  uint32_t pass_ = 0;
  std::vector<uint32_t> stack_;
  std::vector<uint8_t> missing_;  // of values
};

// Which tensors a rule asks for: inputs, then outputs.
inline bool rule_asks(const OpRules& rules, uint32_t k, uint32_t n_in) {
  if (k < n_in) return ((rules.saved_inputs >> (k < 31 ? k : 31)) & 1u) != 0;
  return ((rules.saved_outputs >> (k - n_in)) & 1u) != 0;
}

[[noreturn]] void fail_stale(const Node& node, uint32_t k, const mill_tensor& tensor, uint64_t now,
                             uint64_t recorded);

// The plan of a tape without a budget: what each op's results take that the tape keeps.
std::vector<TapeBudget::Row> kept_rows(const mill_tape& tape);

}  // namespace mill
