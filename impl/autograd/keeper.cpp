#include "autograd/keeper.h"

#include "autograd/segment.h"

namespace mill {

Ref<mill_tape> TapeKeeper::take_inner() {
  Ref<mill_tape> taken = std::move(inner);
  inner = Ref<mill_tape>();
  // A program that still holds the one before keeps it.
  if (!taken || taken->refs() > 1)
    taken = Ref<mill_tape>::adopt(slab_new<mill_tape>(tape.context.get()));
  taken->need_keeper();
  return taken;
}

void TapeKeeper::before(const OpCall& call) {
  if (closed)
    fail(MILL_E_STATE,
         "a callback runs in which this tape records nothing; leave its exec as it is");
  if (!notes) return;
  for (uint32_t k = 0; k < call.n_in; ++k) {
    mill_tensor* tensor = call.in[k];
    if (!tensor) continue;
    if (tensor->leaf) {
      bool known = false;
      for (const TensorRef& one : seen)
        known = known || (one->sink == tensor->sink && one->sink_index == tensor->sink_index);
      if (!known) seen.push_back(TensorRef::share(tensor));
    } else if (tensor->tape_serial == tape.serial() && tensor->value != 0) {
      fail_argument(MILL_E_STATE, static_cast<int32_t>(k),
                    "the segment uses the tensor %s, which the tape tracks and which is not among "
                    "its inputs",
                    format_dims(*tensor).text);
    }
  }
}

void TapeKeeper::record(const OpCall& call, mill_tensor* const* out) {
  if (notes) {
    for (uint32_t k = 0; k < call.n_out; ++k) {
      if (!out[k]) continue;
      out[k]->tape_serial = tape.serial();
      out[k]->value = 0;
      out[k]->storage->tracked_by.store(tape.serial(), std::memory_order_relaxed);
    }
    return;
  }
  if (!packed.hooks) {
    if (budget) budget->prepare(call, out, false);
    tape.append(call, out);
    if (budget) budget->recorded(call, out);
    return;
  }
  uint32_t numbers[MILL_MAX_OP_INPUTS + MILL_MAX_OP_OUTPUTS];
  const uint32_t n = call.n_in + call.n_out;
  uint32_t done = 0;
  try {
    const TapeClosed shut(*this);
    const RecorderScope quiet(call.exec, nullptr);
    for (; done < n; ++done) {
      mill_tensor* tensor = done < call.n_in ? call.in[done] : out[done - call.n_in];
      const bool take = tensor && !tensor->leaf && rule_asks(*call.row.rules, done, call.n_in);
      numbers[done] = take ? packed.pack(call.exec, *tensor) : 0;
    }
    tape.make_room(call);  // the callback may have used what there was
    if (budget) budget->prepare(call, out, true);
  } catch (...) {
    while (done > 0) {
      if (numbers[--done] != 0) packed.drop(numbers[done]);
    }
    throw;
  }
  tape.append(call, out);
  const Node& node = tape.nodes.back();
  for (uint32_t k = 0; k < n; ++k) {
    if (numbers[k] == 0) continue;
    node.values[k].packed = numbers[k];
    if (!packed.as_it_is(numbers[k])) node.values[k].tensor.reset();
  }
  if (budget) budget->recorded(call, out);
}

void TapeKeeper::pack(Exec& exec, SavedValue* values, uint32_t n) {
  if (!packed.hooks) return;
  uint32_t done = 0;
  try {
    const TapeClosed shut(*this);
    const RecorderScope quiet(exec, nullptr);
    for (; done < n; ++done) {
      mill_tensor* tensor = values[done].tensor.get();
      if (tensor && !tensor->leaf) values[done].packed = packed.pack(exec, *tensor);
    }
  } catch (...) {
    while (done > 0) {
      SavedValue& value = values[--done];
      if (value.packed != 0) packed.drop(value.packed);
      value.packed = 0;
    }
    throw;
  }
  for (uint32_t k = 0; k < n; ++k) {
    if (values[k].packed != 0 && !packed.as_it_is(values[k].packed)) values[k].tensor.reset();
  }
}

void TapeKeeper::free_node(Node& node, uint32_t index) noexcept {
  if (budget) budget->freed(node, index);
  const TapeClosed shut(*this);  // release is the program's
  for (uint32_t k = 0; k < node.n_in + node.n_out; ++k) {
    SavedValue& value = node.values[k];
    if (value.packed == 0) continue;
    packed.drop(value.packed);
    value.packed = 0;
  }
  if (!node.segment) return;
  delete node.segment;  // and its values with it
  node.segment = nullptr;
  node.values = nullptr;
}

void TapeKeeper::restore(Exec& exec, const Node& node, uint32_t index) {
  if (budget) budget->restore(exec, node, index);
  for (uint32_t k = 0; k < node.n_in + node.n_out; ++k) {
    SavedValue& value = node.values[k];
    if (value.packed == 0 || value.tensor) continue;
    const TapeClosed shut(*this);
    const RecorderScope quiet(exec, nullptr);
    try {
      // The same value twice, as of x times x: once.
      for (uint32_t j = 0; j < k && !value.tensor; ++j) {
        if (node.values[j].packed == value.packed) value.tensor = node.values[j].tensor;
      }
      if (!value.tensor) value.tensor = packed.unpack(exec, value.packed, value);
    } catch (Error& error) {
      unrestore(node, index);
      error.with_operation(node.row->name);
      throw;
    } catch (...) {
      unrestore(node, index);
      throw;
    }
    value.version = value.tensor->storage->version.load(std::memory_order_relaxed);
    if (value.value == 0) continue;
    value.tensor->tape_serial = tape.serial();
    value.tensor->value = value.value;
  }
}

void TapeKeeper::unrestore(const Node& node, uint32_t index) noexcept {
  for (uint32_t k = 0; k < node.n_in + node.n_out; ++k) {
    SavedValue& value = node.values[k];
    if (value.packed != 0 && !packed.as_it_is(value.packed)) value.tensor.reset();
  }
  if (budget) budget->unrestore(node, index);
}

}  // namespace mill
