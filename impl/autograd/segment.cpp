#include "autograd/segment.h"

#include "autograd/keeper.h"
#include "autograd/pass.h"
#include "dispatch/user_error.h"
#include "ops/calls.gen.h"

namespace mill {

namespace {

constexpr InputRow kSegmentInputs[] = {{"input", false, true, false, 0}};
constexpr OutputRow kSegmentOutputs[] = {{"output", ResultType::same}};
// For the node; the pass knows what to do with it, and its rule is never called.
constexpr OpRules kSegmentRules = {.gradient = [](GradCall&) {}, .saved_inputs = ~0u};
constexpr OpRow kSegmentRow = {-1,
                               1,
                               "checkpoint",
                               "tape",
                               OpKind::dense,
                               GradientKind::yes,
                               Autocast::keep,
                               false,
                               kSegmentInputs,
                               1,
                               kSegmentOutputs,
                               1,
                               nullptr,
                               0,
                               nullptr,
                               0,
                               "",
                               &kSegmentRules};

// Segments nest; one that runs itself would run out of stack.
constexpr uint32_t kDeepestSegment = 64;

// Handles that calls on the exec return inside fn, which runs one level deeper, end with it.
class InnerScope {
 public:
  explicit InnerScope(Exec& exec) : exec_(exec), marks_(exec.scope_marks.size()) {
    const ExecGuard deeper(exec);
    exec.begin_scope();
  }
  ~InnerScope() {
    while (exec_.scope_marks.size() > marks_) exec_.end_scope();
  }
  InnerScope(const InnerScope&) = delete;
  InnerScope& operator=(const InnerScope&) = delete;

 private:
  Exec& exec_;
  const size_t marks_;
};

void describe(SavedValue& saved, mill_tensor& tensor, uint32_t value, bool keep) {
  saved.present = true;
  saved.value = value;
  saved.dtype = tensor.dtype();
  saved.rank = static_cast<int16_t>(tensor.rank());
  for (int32_t i = 0; i < tensor.rank(); ++i) saved.dims[i] = tensor.view.dims[i];
  if (!keep) return;
  saved.tensor = TensorRef::share(&tensor);
  saved.version = tensor.storage->version.load(std::memory_order_relaxed);
}

// A handle that only the segment knows. Parameters stay themselves: each tape tracks them.
TensorRef alias(mill_tensor& tensor) {
  if (tensor.leaf) return TensorRef::share(&tensor);
  return make_view(tensor.storage.get(), tensor.dtype(), tensor.view.dims, tensor.view.strides,
                   tensor.rank(), tensor.offset);
}

// The private tape is empty again when this goes, whatever happened.
class InnerTape {
 public:
  explicit InnerTape(TapeKeeper& keeper) : keeper_(keeper), tape_(keeper.take_inner()) {
    tape_->passing = true;
  }
  ~InnerTape() {
    tape_->passing = false;
    tape_->keeper->notes = false;
    tape_->keeper->seen.clear();
    tape_->reset();
    tape_->drop_sinks();  // a group that two tapes hold would never go
    keeper_.inner = std::move(tape_);
  }
  InnerTape(const InnerTape&) = delete;
  InnerTape& operator=(const InnerTape&) = delete;
  mill_tape& operator*() const { return *tape_; }
  mill_tape* operator->() const { return tape_.get(); }

 private:
  TapeKeeper& keeper_;
  Ref<mill_tape> tape_;
};

// Watching an alias on a private tape says of its memory that this tape tracks it.
class TrackedBy {
 public:
  explicit TrackedBy(uint32_t n) { before_.reserve(n); }
  ~TrackedBy() {
    for (const Entry& entry : before_)
      entry.storage->tracked_by.store(entry.serial, std::memory_order_relaxed);
  }
  TrackedBy(const TrackedBy&) = delete;
  TrackedBy& operator=(const TrackedBy&) = delete;
  void note(const mill_tensor& tensor) {
    Storage* storage = tensor.storage.get();
    before_.push_back({Ref<Storage>::share(storage), storage->tracked_by.load()});
  }

 private:
  struct Entry {
    Ref<Storage> storage;
    uint64_t serial;
  };
  std::vector<Entry> before_;
};

// The generator as it is now, for one who draws the same again.
Ref<mill_generator> snapshot(Exec& exec) {
  if (!exec.generator) return {};
  const Ref<mill_generator> generator = exec.generator;
  generator->begin_use();
  struct End {
    mill_generator& generator;
    ~End() { generator.end_use(); }
  } end{*generator};
  const RecorderScope quiet(exec, nullptr);
  return Ref<mill_generator>::adopt(
      slab_new<mill_generator>(op::copy(exec, generator->state.get())));
}

std::vector<TensorRef> run_on(Exec& exec, mill_tape& tape, const TapeSegment& segment,
                              const std::vector<TensorRef>& inputs) {
  std::vector<mill_tensor*> in;
  in.reserve(inputs.size());
  for (const TensorRef& input : inputs) in.push_back(input.get());
  const RecorderScope scope(exec, &tape.face);
  return segment.call(exec, in.data());
}

std::vector<TensorRef> record(Exec& exec, mill_tape& tape, std::unique_ptr<TapeSegment> owned,
                              mill_tensor* const* inputs) {
  TapeSegment& segment = *owned;
  const TapeGuard guard(tape);
  TapeKeeper& keeper = tape.need_keeper();
  if (keeper.closed) fail(MILL_E_STATE, "a callback runs in which this tape records nothing");
  segment.state = SegmentSettings::of(exec);
  segment.state.generator = snapshot(exec);

  bool tracked = false;
  std::vector<TensorRef> aliases;
  segment.values.reserve(segment.n_inputs + segment.n_outputs);
  for (uint32_t k = 0; k < segment.n_inputs; ++k) {
    mill_tensor& input = *inputs[k];
    if (input.leaf) tape.reserve_leaf(input.sink, input.sink_index);
    const uint32_t value = tape.value_of(&input);
    describe(segment.values.emplace_back(), input, value, true);
    aliases.push_back(alias(input));
    tracked = tracked || value != 0;
    if (value != 0 && !input.leaf) aliases.back()->tape_serial = tape.serial();  // as value 0
  }

  std::vector<TensorRef> out;
  {
    const TapeClosed shut(keeper);
    const InnerTape notes(keeper);
    notes->keeper->notes = true;
    notes->face.borrow(tape.serial());
    const SegmentSettings settings(exec, SegmentSettings::of(exec));
    out = run_on(exec, *notes, segment, aliases);
    for (const TensorRef& parameter : notes->keeper->seen) {
      tape.reserve_leaf(parameter->sink, parameter->sink_index);
      describe(segment.values.emplace_back(), *parameter, tape.value_of(parameter.get()), true);
      tracked = true;
    }
  }
  const auto depends = [&](const mill_tensor& tensor) {
    return !tensor.leaf && tensor.tape_serial == tape.serial() && tensor.value == 0;
  };
  bool any = false;
  for (const TensorRef& one : out) any = any || depends(*one);
  if (!tracked || !any) return out;

  const auto n_in = static_cast<uint32_t>(segment.values.size());
  segment.values.resize(n_in + segment.n_outputs);
  Node node{};
  node.row = &kSegmentRow;
  node.n_in = n_in;
  node.n_out = segment.n_outputs;
  tape.make_value_room(segment.n_outputs);
  if (tape.nodes.size() == tape.nodes.capacity()) tape.nodes.reserve(2 * tape.nodes.size() + 64);
  if (keeper.budget) {
    const bool hooked = keeper.packed.hooks != nullptr;
    keeper.budget->prepare_segment(n_in, segment.n_outputs, hooked);
  }
  keeper.pack(exec, segment.values.data(), n_in);
  // From here on nothing fails.
  const auto index = static_cast<uint32_t>(tape.nodes.size());
  for (uint32_t k = 0; k < n_in; ++k) tape.note_use(segment.values[k].value, index);
  for (uint32_t k = 0; k < segment.n_outputs; ++k) {
    mill_tensor& tensor = *out[k];
    const bool made = depends(tensor);
    const uint32_t value = made ? tape.add_value() : 0;
    describe(segment.values[n_in + k], tensor, value, false);
    if (!made) continue;
    tensor.value = value;
    tensor.storage->tracked_by.store(tape.serial(), std::memory_order_relaxed);
  }
  node.values = segment.values.data();
  node.segment = owned.release();
  tape.nodes.push_back(node);
  if (keeper.budget) keeper.budget->recorded_segment(node);
  return out;
}

}  // namespace

std::vector<TensorRef> TapeSegment::call(Exec& exec, mill_tensor* const* inputs) const {
  if (exec.depth() > kDeepestSegment)
    fail(MILL_E_STATE, "segments are nested more than %u deep", kDeepestSegment);
  std::vector<TensorRef> out(n_outputs);
  std::vector<mill_tensor*> stored(n_outputs);
  const InnerScope scope(exec);
  UserError error;
  const mill_status status =
      fn(user, &exec, inputs, n_inputs, stored.data(), n_outputs, error.handle());
  if (status < 0) error.rethrow(status, "checkpoint");
  for (uint32_t k = 0; k < n_outputs; ++k) {
    if (!valid(stored[k], HandleKind::tensor)) {
      fail(MILL_E_STATE, "the segment left output %u without a tensor, it has %u outputs", k,
           n_outputs);
    }
    if (&stored[k]->device() != &exec.device) {
      fail(MILL_E_DEVICE, "the segment made output %u on another device or context than the exec's",
           k);
    }
    out[k] = TensorRef::share(stored[k]);
  }
  return out;
}

std::vector<TensorRef> checkpoint(Exec& exec, std::unique_ptr<TapeSegment> segment,
                                  mill_tensor* const* inputs) {
  mill_tape* tape = exec.recorder ? static_cast<mill_tape*>(exec.recorder->handle()) : nullptr;
  // Inside a segment's forward nothing is kept anyway.
  if (tape && !(tape->keeper && tape->keeper->notes))
    return record(exec, *tape, std::move(segment), inputs);
  const RecorderScope same(exec, exec.recorder);
  const SegmentSettings settings(exec, SegmentSettings::of(exec));
  return segment->call(exec, inputs);
}

void Pass::run_segment(const Node& node, TensorRef* seeds) {
  const TapeSegment& segment = *node.segment;
  const InnerTape inner(tape_.need_keeper());
  std::vector<TensorRef> aliases;
  TrackedBy tracked(segment.n_inputs);
  for (uint32_t k = 0; k < segment.n_inputs; ++k) {
    const SavedValue& saved = node.values[k];
    aliases.push_back(alias(*saved.tensor));
    if (saved.value == 0 || saved.tensor->leaf) continue;
    tracked.note(*aliases.back());
    inner->watch(aliases.back().get());
  }
  std::vector<TensorRef> out;
  {
    exec_.trace.set_forward(0);
    const SegmentSettings settings(exec_, segment.state);
    // Its generator moves on; the node's stays for another backward.
    if (segment.state.generator) {
      const RecorderScope quiet(exec_, nullptr);
      exec_.generator = Ref<mill_generator>::adopt(
          slab_new<mill_generator>(op::copy(exec_, segment.state.generator->state.get())));
    }
    out = run_on(exec_, *inner, segment, aliases);
  }
  for (uint32_t k = 0; k < segment.n_outputs; ++k) {
    const SavedValue& first = node.values[node.n_in + k];
    bool same = out[k]->rank() == first.rank && out[k]->dtype() == first.dtype;
    for (int32_t i = 0; same && i < first.rank; ++i) same = out[k]->view.dims[i] == first.dims[i];
    if (!same) {
      Error error(MILL_E_STATE,
                  "output %u of the segment is %s %s when it runs again, it was %s %s", k,
                  dtype_name(out[k]->dtype()), format_dims(*out[k]).text, dtype_name(first.dtype),
                  format_dims(first.dims, first.rank).text);
      throw error.with_operation("checkpoint");
    }
  }
  std::vector<uint32_t> values(inner->leaves.size());
  for (size_t k = 0; k < values.size(); ++k) {
    const Leaf& leaf = inner->leaves[k];
    if (leaf.sink) {
      values[k] = tape_.leaf_value(leaf.sink, leaf.sink_index);
      if (values[k] != 0) continue;
      Error error(MILL_E_STATE,
                  "the segment uses a parameter when it runs again that it did not use before");
      throw error.with_operation("checkpoint");
    }
    for (uint32_t j = 0; j < segment.n_inputs; ++j) {
      if (aliases[j].get() == leaf.tensor.get()) values[k] = node.values[j].value;
    }
  }
  Pass pass(*inner, exec_, functional_, false);
  try {
    pass.run_inner(*this, values, out, seeds);
  } catch (...) {
    pass.clear();
    throw;
  }
  pass.clear();
}

}  // namespace mill
