#include "autograd/pass.h"

#include <algorithm>

#include "autograd/keeper.h"
#include "autograd/segment.h"
#include "dispatch/user_error.h"
#include "ops/calls.gen.h"

namespace mill {

class Pass::Rule final : public GradCall {
 public:
  Rule(Pass& pass, const Node& node, mill_tensor* const* gradients)
      : GradCall(pass.exec_, *node.row, node.attrs, node.values, node.n_in, node.values + node.n_in,
                 node.n_out, gradients),
        pass_(pass) {}

  void set(uint32_t k, TensorRef gradient) override {
    const SavedValue& input_value = input(k);
    if (input_value.value == 0 || !gradient) return;
    if (gradient->dtype() != input_value.dtype)
      gradient = op::cast(exec, gradient.get(), input_value.dtype);
    pass_.add(input_value.value, std::move(gradient));
  }

  mill_tensor* target(uint32_t k, bool* accumulate) override {
    *accumulate = false;
    Leaf* leaf = sink_leaf(k);
    if (!leaf || exec.recorder) return nullptr;
    mill_tensor* slot = leaf->sink->gradient(leaf->sink_index);
    *accumulate = leaf->sink->fresh(leaf->sink_index);
    return slot;
  }

  void set_written(uint32_t k) override {
    Leaf* leaf = sink_leaf(k);
    leaf->sink->set_fresh(leaf->sink_index, true);
  }

 private:
  Leaf* sink_leaf(uint32_t k) const {
    const uint32_t value = input(k).value;
    if (value == 0 || pass_.functional_) return nullptr;
    const int32_t index = pass_.tape_.leaf_of(value);
    if (index < 0) return nullptr;
    Leaf* leaf = &pass_.tape_.leaves[static_cast<size_t>(index)];
    return leaf->sink ? leaf : nullptr;
  }

  Pass& pass_;
};

namespace {

// Adds two gradients. In place when nobody else can see the first.
TensorRef sum(Exec& exec, const TensorRef& a, mill_tensor* b) {
  const bool own = !exec.recorder && a->refs() == 1 && a->dense && a->storage->block &&
                   a->storage->refs.load(std::memory_order_relaxed) == 1 && a.get() != b;
  return op::add(exec, a.get(), b, own ? a.get() : nullptr);
}

}  // namespace

void Pass::add_to_sink(Leaf& leaf, mill_tensor* gradient) {
  const RecorderScope quiet(exec_, nullptr);
  mill_tensor* slot = leaf.sink->gradient(leaf.sink_index);
  if (leaf.sink->fresh(leaf.sink_index)) {
    op::add(exec_, slot, gradient, slot);
  } else {
    op::copy(exec_, gradient, slot);
    leaf.sink->set_fresh(leaf.sink_index, true);
  }
}

void Pass::add(uint32_t value, TensorRef gradient) {
  const int32_t index = tape_.leaf_of(value);
  if (index >= 0 && !functional_) {
    Leaf& leaf = tape_.leaves[static_cast<size_t>(index)];
    if (leaf.sink) {
      add_to_sink(leaf, gradient.get());
      return;
    }
  }
  if (index >= 0 && outer_) {
    outer_->add((*outer_values_)[static_cast<size_t>(index)], std::move(gradient));
    return;
  }
  if (index >= 0 && !functional_) {
    Leaf& leaf = tape_.leaves[static_cast<size_t>(index)];
    leaf.gradient = leaf.gradient ? sum(exec_, leaf.gradient, gradient.get()) : std::move(gradient);
    return;
  }
  TensorRef& slot = tape_.gradients[value];
  slot = slot ? sum(exec_, slot, gradient.get()) : std::move(gradient);
}

void Pass::check_node(const Node& node, uint32_t index) const {
  if (node.row->gradient == GradientKind::no || !node.row->rules->gradient) {
    Error error(MILL_E_NO_GRADIENT,
                "%s has no gradient, and the result depends on a tracked tensor through it",
                node.row->name);
    throw error.with_operation("backward");
  }
  if (!node.values)
    fail(MILL_E_STATE, "the tape was already used up by a backward without MILL_BACKWARD_KEEP");
  if (node.segment && exec_.recorder) {
    Error error(
        MILL_E_NO_GRADIENT,
        "a checkpointed segment has no second derivative: take the tape off the exec first");
    throw error.with_operation("backward");
  }
  for (uint32_t k = 0; k < node.n_in + node.n_out; ++k) {
    const SavedValue& saved = node.values[k];
    if (!saved.tensor) continue;
    const uint64_t now = saved.tensor->storage->version.load(std::memory_order_relaxed);
    if (now == saved.version) continue;
    fail_stale(node, k, *saved.tensor, now, saved.version);
  }
  if (tape_.keeper && tape_.keeper->budget) [[unlikely]]
    tape_.keeper->budget->check(node, index);
}

// Which values the result depends on, and whether the way back exists: before anything is changed.
void Pass::mark_reached(uint32_t last) {
  for (uint32_t index = last + 1; index-- > 0;) {
    const Node& node = tape_.nodes[index];
    if (!node.values) {
      if (index == last) check_node(node, index);
      continue;
    }
    bool any = false;
    for (uint32_t k = 0; k < node.n_out; ++k)
      any = any || tape_.reached[node.values[node.n_in + k].value] != 0;
    if (!any || node.row->gradient == GradientKind::zero) continue;
    check_node(node, index);
    for (uint32_t k = 0; k < node.n_in; ++k) tape_.reached[node.values[k].value] = 1;
    tape_.reached[0] = 0;
  }
}

void Pass::tell_final(const Node& node, uint32_t index) {
  for (uint32_t k = 0; k < node.n_in; ++k) {
    bool again = false;  // the op uses it twice
    for (uint32_t j = 0; j < k; ++j) again = again || node.values[j].value == node.values[k].value;
    const uint32_t value = node.values[k].value;
    // A gradient that an earlier backward left is none of this one's.
    if (again || tape_.reached[value] == 0) continue;
    const int32_t at = tape_.leaf_of(value);
    if (at < 0) continue;
    Leaf& leaf = tape_.leaves[static_cast<size_t>(at)];
    if (!leaf.sink || leaf.first_node != index || !leaf.sink->fresh(leaf.sink_index)) continue;
    UserError error;
    const mill_status status =
        tape_.hook(tape_.hook_user, &exec_, leaf.sink->group(), leaf.sink_index, error.handle());
    if (status < 0) error.rethrow(status, "on_gradient");
  }
}

void Pass::run_node(Node& node, uint32_t index) {
  // What was checked before the pass a hook may have written to since.
  if (tape_.hook && !functional_) check_node(node, index);
  mill_tensor* gradients[MILL_MAX_OP_OUTPUTS];
  bool any = false;
  for (uint32_t k = 0; k < node.n_out; ++k) {
    const uint32_t value = node.values[node.n_in + k].value;
    gradients[k] = value != 0 ? tape_.gradients[value].get() : nullptr;
    any = any || gradients[k];
  }
  if (any && node.segment) {
    const Restored restored(tape_, exec_, node, index);
    TensorRef seeds[MILL_MAX_OP_OUTPUTS];
    for (uint32_t k = 0; k < node.n_out; ++k) {
      const uint32_t value = node.values[node.n_in + k].value;
      if (!gradients[k]) continue;
      // The segment's pass adds to it.
      seeds[k] = is_wanted(value) ? tape_.gradients[value] : std::move(tape_.gradients[value]);
    }
    run_segment(node, seeds);
  } else if (any && node.row->gradient == GradientKind::yes) {
    const Restored restored(tape_, exec_, node, index);
    exec_.trace.set_forward(node.instance);
    Rule rule(*this, node, gradients);
    node.row->rules->gradient(rule);
  }
  for (uint32_t k = 0; k < node.n_out; ++k) {
    const uint32_t value = node.values[node.n_in + k].value;
    if (!is_wanted(value)) tape_.gradients[value].reset();
  }
  if (tape_.hook && !functional_) tell_final(node, index);
  if (!keep_)
    tape_.free_node(node, index);
  else if (tape_.keeper) [[unlikely]]
    tape_.keeper->passed(node, index);
}

// The gradient of a one-element tensor by itself. A scalar is kept on the tape from pass to pass,
// as long as nobody has written to it: a gradient that the caller gets may be a view of it.
TensorRef Pass::one_like(const mill_tensor& from, bool shared) {
  TensorRef& kept = tape_.one;
  if (shared && from.rank() == 0 && kept && kept->dtype() == from.dtype() &&
      &kept->device() == &exec_.device &&
      kept->storage->version.load(std::memory_order_relaxed) == 0) {
    return kept;
  }
  TensorRef made =
      op::fill(exec_, from.view.dims, static_cast<uint32_t>(from.rank()), from.dtype(), 1);
  if (shared && from.rank() == 0) kept = made;
  return made;
}

void Pass::run(mill_tensor& from, mill_tensor* seed) {
  const uint32_t value = tape_.value_of(&from);
  if (value == 0) {
    Error error(MILL_E_STATE,
                "the tensor %s is not on this tape: no recorded op made it and it is not watched",
                format_dims(from).text);
    throw error.with_argument(2);
  }
  begin();
  tape_.reached[value] = 1;
  const uint32_t last = last_node();
  if (last != UINT32_MAX) mark_reached(last);
  TensorRef start;
  if (seed) {
    if (!same_dims(seed->view, from.view)) {
      fail_argument(MILL_E_SHAPE, 3, "seed is %s, the tensor it belongs to is %s",
                    format_dims(*seed).text, format_dims(from).text);
    }
    start = seed->dtype() == from.dtype() ? TensorRef::share(seed)
                                          : op::cast(exec_, seed, from.dtype());
  } else {
    if (from.numel() != 1) {
      fail_argument(MILL_E_SHAPE, 2, "the tensor is %s, without a seed it must have one element",
                    format_dims(from).text);
    }
    start = one_like(from, tape_.leaf_of(value) < 0 && !functional_);
  }
  // From here on what an earlier pass left is gone; up to here a refused call keeps it.
  if (!functional_) {
    for (Leaf& leaf : tape_.leaves) leaf.gradient.reset();
  }
  running_ = true;
  add(value, std::move(start));
  sweep(last);
}

void Pass::run_inner(Pass& outer, const std::vector<uint32_t>& outer_values,
                     std::vector<TensorRef>& from, TensorRef* seeds) {
  outer_ = &outer;
  outer_values_ = &outer_values;
  begin();
  std::vector<uint32_t> values(from.size());
  for (size_t k = 0; k < from.size(); ++k) {
    values[k] = seeds[k] ? tape_.value_of(from[k].get()) : 0;
    if (values[k] != 0) tape_.reached[values[k]] = 1;
  }
  const uint32_t last = last_node();
  if (last != UINT32_MAX) mark_reached(last);
  running_ = true;
  for (size_t k = 0; k < from.size(); ++k) {
    if (values[k] != 0) add(values[k], std::move(seeds[k]));
  }
  from.clear();  // the tape holds what it needs
  sweep(last);
}

void Pass::begin() {
  if (tape_.keeper && tape_.keeper->budget) [[unlikely]]
    tape_.keeper->budget->begin_pass();
  tape_.gradients.resize(tape_.value_count());
  tape_.reached.assign(tape_.value_count(), 0);
}

// Of those that made a reached value; UINT32_MAX if none did.
uint32_t Pass::last_node() const {
  for (uint32_t index = static_cast<uint32_t>(tape_.nodes.size()); index-- > 0;) {
    const Node& node = tape_.nodes[index];
    if (!node.values) continue;
    for (uint32_t k = 0; k < node.n_out; ++k) {
      const uint32_t value = node.values[node.n_in + k].value;
      if (value != 0 && tape_.reached[value] != 0) return index;
    }
  }
  return UINT32_MAX;
}

void Pass::sweep(uint32_t last) {
  if (last == UINT32_MAX) return;
  struct ForwardMark {
    Exec& exec;
    ~ForwardMark() { exec.trace.set_forward(0); }
  } mark{exec_};
  for (uint32_t index = last + 1; index-- > 0;) {
    Node node = tape_.nodes[index];  // ops that are recorded meanwhile may move the array
    if (!node.values) continue;
    run_node(node, index);
    if (!keep_) {
      tape_.nodes[index].values = nullptr;
      tape_.nodes[index].segment = nullptr;
    }
  }
}

}  // namespace mill
