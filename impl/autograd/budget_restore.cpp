// Making evicted values again.
#include <algorithm>

#include "autograd/budget.h"
#include "dispatch/launch.h"
#include "dispatch/trace_op.h"

namespace mill {

void fail_stale(const Node& node, uint32_t k, const mill_tensor& tensor, uint64_t now,
                uint64_t recorded) {
  const bool input = k < node.n_in;
  const bool list = node.row->n_inputs > 0 && node.row->inputs[0].list;
  const char* name =
      input ? node.row->inputs[list ? 0 : k].name : node.row->outputs[k - node.n_in].name;
  Error error(MILL_E_STALE_SAVED,
              "%s %s %s of %s is at version %llu, it was recorded at version %llu",
              input ? "input" : "output", name, format_dims(tensor).text, node.row->name,
              static_cast<unsigned long long>(now), static_cast<unsigned long long>(recorded));
  throw error.with_operation("backward");
}

namespace {

uint64_t version_of(const mill_tensor& tensor) {
  return tensor.storage->version.load(std::memory_order_relaxed);
}

}  // namespace

// Values that the ops of a restoration still need stay.
class TapeBudget::Pins {
 public:
  Pins(TapeBudget& budget, const std::vector<uint32_t>& nodes) : budget_(budget), nodes_(nodes) {
    for (const uint32_t node : nodes_) change(node, 1);
  }
  ~Pins() {
    while (done_ < nodes_.size()) next();
  }
  Pins(const Pins&) = delete;
  Pins& operator=(const Pins&) = delete;
  void next() noexcept { change(nodes_[done_++], ~0u); }

 private:
  void change(uint32_t index, uint32_t by) noexcept {
    const Node& node = budget_.tape_.nodes[index];
    for (uint32_t k = 0; k < node.n_in; ++k) {
      if (budget_.here(node.values[k].value)) budget_.values_[node.values[k].value].pins += by;
    }
  }
  TapeBudget& budget_;
  const std::vector<uint32_t>& nodes_;
  size_t done_ = 0;
};

void TapeBudget::begin_pass() {
  stats_.runs = 0;
  ++pass_;
  checked_.resize(infos_.size());
}

void TapeBudget::check_sources(uint32_t index) const {
  const Node& node = tape_.nodes[index];
  const Info& info = infos_[index];
  for (uint32_t k = 0; k < node.n_in; ++k) {
    if (const mill_tensor* source = info.sources[k].tensor.get()) {
      const uint64_t now = version_of(*source);
      if (now != info.sources[k].version)
        fail_stale(node, k, *source, now, info.sources[k].version);
      continue;
    }
    const uint32_t number = node.values[k].value;
    if (!here(number) || !values_[number].tensor) continue;
    const Value& value = values_[number];
    const uint64_t now = version_of(*value.tensor);
    if (now != value.version) fail_stale(node, k, *value.tensor, now, value.version);
  }
}

void TapeBudget::check(const Node& node, uint32_t index) {
  if (index >= infos_.size() || !infos_[index].counted) return;
  std::vector<uint32_t> stack;
  for (uint32_t k = 0; k < node.n_in + node.n_out; ++k) {
    const uint32_t number = node.values[k].value;
    if (!here(number) || !rule_asks(*node.row->rules, k, node.n_in)) continue;
    const Value& value = values_[number];
    if (!value.tensor) {
      stack.push_back(value.producer);
      continue;
    }
    const uint64_t now = version_of(*value.tensor);
    if (now != value.version) fail_stale(node, k, *value.tensor, now, value.version);
  }
  while (!stack.empty()) {
    const uint32_t at = stack.back();
    stack.pop_back();
    if (at < checked_.size() && checked_[at] == pass_) continue;
    check_sources(at);
    if (at < checked_.size()) checked_[at] = pass_;
    const Node& before = tape_.nodes[at];
    for (uint32_t k = 0; k < before.n_in; ++k) {
      const uint32_t number = before.values[k].value;
      if (here(number) && !values_[number].tensor) stack.push_back(values_[number].producer);
    }
  }
}

// The ops that make what the node's rule asks for and what is not there, in their order.
void TapeBudget::find_missing(const Node& wanting, std::vector<uint32_t>& nodes) {
  missing_.assign(values_.size(), 0);
  if (++stamp_ == 0) {
    std::fill(stamps_.begin(), stamps_.end(), 0u);
    stamp_ = 1;
  }
  stamps_.resize(infos_.size());
  std::vector<uint32_t> stack;
  for (uint32_t k = 0; k < wanting.n_in + wanting.n_out; ++k) {
    const uint32_t number = wanting.values[k].value;
    if (here(number) && rule_asks(*wanting.row->rules, k, wanting.n_in)) stack.push_back(number);
  }
  while (!stack.empty()) {
    const uint32_t number = stack.back();
    stack.pop_back();
    if (values_[number].tensor || missing_[number] != 0) continue;
    missing_[number] = 1;
    const uint32_t producer = values_[number].producer;
    if (stamps_[producer] == stamp_) continue;
    stamps_[producer] = stamp_;
    nodes.push_back(producer);
    const Node& node = tape_.nodes[producer];
    for (uint32_t k = 0; k < node.n_in; ++k) {
      if (here(node.values[k].value)) stack.push_back(node.values[k].value);
    }
  }
  std::sort(nodes.begin(), nodes.end());
}

void TapeBudget::run_again(Exec& exec, uint32_t index) {
  check_sources(index);
  const Node node = tape_.nodes[index];
  const Info& info = infos_[index];
  OpSpan span(exec.trace, node.row->number);
  OpCall call(exec, *node.row);
  call.instance = span.instance();
  call.n_in = node.n_in;
  call.n_out = node.n_out;
  for (uint32_t k = 0; k < node.n_in; ++k) {
    const uint32_t number = node.values[k].value;
    call.in[k] = here(number) ? values_[number].tensor.get() : info.sources[k].tensor.get();
  }
  for (uint32_t k = 0; k < node.row->n_attrs; ++k) call.attr[k] = node.attrs[k];
  for (uint32_t k = 0; k < node.n_out; ++k) call.out[k] = info.specs[k];
  mill_tensor* out[MILL_MAX_OP_OUTPUTS] = {};
  try {
    run_inferred(call, out);
  } catch (Error& error) {
    error.with_operation(node.row->name);
    span.fail(error.status());
    throw;
  }
  TensorRef owned[MILL_MAX_OP_OUTPUTS];
  for (uint32_t k = 0; k < node.n_out; ++k) owned[k] = TensorRef::adopt(out[k]);
  if (span.on()) [[unlikely]]
    span.finish(op_facts(call, out));
  ++stats_.runs;
  for (uint32_t k = 0; k < node.n_out; ++k) {
    const uint32_t number = node.values[node.n_in + k].value;
    if (!owned[k] || number == 0 || missing_[number] == 0) continue;
    mill_tensor* tensor = owned[k].get();
    tensor->tape_serial = tape_.serial();
    tensor->value = number;
    hold(number, tensor);
    values_[number].restored = true;
  }
}

void TapeBudget::restore(Exec& exec, const Node& node, uint32_t index) {
  if (index >= infos_.size() || !infos_[index].counted) return;
  bool gone = false;
  for (uint32_t k = 0; k < node.n_in + node.n_out; ++k) {
    const uint32_t number = node.values[k].value;
    if (!here(number) || !rule_asks(*node.row->rules, k, node.n_in)) continue;
    ++values_[number].pins;
    gone = gone || !values_[number].tensor;
  }
  try {
    if (gone) {
      std::vector<uint32_t> nodes;
      find_missing(node, nodes);
      const RecorderScope quiet(exec, nullptr);
      const bool deterministic = exec.deterministic;
      struct Setting {
        Exec& exec;
        bool before;
        ~Setting() { exec.set_deterministic(before); }
      } setting{exec, deterministic};
      Pins pins(*this, nodes);
      for (const uint32_t one : nodes) {
        exec.set_deterministic(infos_[one].deterministic);
        run_again(exec, one);
        pins.next();
        enforce(false);
      }
    }
  } catch (...) {
    unrestore(node, index);
    throw;
  }
  for (uint32_t k = 0; k < node.n_in + node.n_out; ++k) {
    SavedValue& saved = node.values[k];
    if (!here(saved.value) || !rule_asks(*node.row->rules, k, node.n_in)) continue;
    saved.tensor = values_[saved.value].tensor;
    saved.version = values_[saved.value].version;
  }
}

void TapeBudget::unrestore(const Node& node, uint32_t index) noexcept {
  if (index >= infos_.size() || !infos_[index].counted) return;
  for (uint32_t k = 0; k < node.n_in + node.n_out; ++k) {
    SavedValue& saved = node.values[k];
    if (!here(saved.value) || !rule_asks(*node.row->rules, k, node.n_in)) continue;
    saved.tensor.reset();
    --values_[saved.value].pins;
  }
}

// ---- the plan -----------------------------------------------------------------------------------

TapeBudget::Totals TapeBudget::totals() const {
  Totals out = stats_;
  out.kept = kept_;
  uint64_t must = 0;
  for (size_t g = 1; g < groups_.size(); ++g) {
    bool asked = false;
    for (uint32_t v = groups_[g].first; v != 0; v = values_[v].next)
      asked = asked || values_[v].asks > 0;
    if (asked && !groups_[g].evictable) must += groups_[g].bytes;
  }
  out.least = std::max(out.least, must);
  return out;
}

std::vector<TapeBudget::Row> TapeBudget::rows() const {
  std::vector<Row> out;
  for (size_t g = 1; g < groups_.size(); ++g) {
    const Group& group = groups_[g];
    uint32_t producer = kNone;
    bool asked = false;
    bool gone = false;
    for (uint32_t v = group.first; v != 0; v = values_[v].next) {
      producer = std::min(producer, values_[v].producer);
      asked = asked || values_[v].asks > 0;
      gone = gone || evicted(values_[v]);
    }
    const uint64_t again = gone && asked && group.bytes == 0 ? group.size : 0;
    if (producer == kNone || (group.bytes == 0 && again == 0)) continue;
    out.push_back({producer, group.bytes, again, infos_[producer].cost});
  }
  std::sort(out.begin(), out.end(), [](const Row& a, const Row& b) { return a.node < b.node; });
  // Several results of one op: one row.
  size_t n = 0;
  for (const Row& row : out) {
    if (n > 0 && out[n - 1].node == row.node) {
      out[n - 1].kept += row.kept;
      out[n - 1].again += row.again;
    } else {
      out[n++] = row;
    }
  }
  out.resize(n);
  return out;
}

std::vector<TapeBudget::Row> kept_rows(const mill_tape& tape) {
  std::vector<uint32_t> producer(tape.value_count(), UINT32_MAX);
  for (uint32_t index = 0; index < tape.nodes.size(); ++index) {
    const Node& node = tape.nodes[index];
    for (uint32_t k = 0; node.values && k < node.n_out; ++k)
      producer[node.values[node.n_in + k].value] = index;
  }
  // Each storage counts where the first of its kept values was made.
  struct Kept {
    const Storage* storage;
    uint32_t node;
  };
  std::vector<Kept> kept;
  for (const Node& node : tape.nodes) {
    for (uint32_t k = 0; node.values && k < node.n_in + node.n_out; ++k) {
      const SavedValue& saved = node.values[k];
      if (saved.tensor && saved.value != 0 && tape.leaf_of(saved.value) < 0)
        kept.push_back({saved.tensor->storage.get(), producer[saved.value]});
    }
  }
  std::sort(kept.begin(), kept.end(), [](const Kept& a, const Kept& b) {
    return a.storage != b.storage ? a.storage < b.storage : a.node < b.node;
  });
  std::vector<uint64_t> bytes(tape.nodes.size());
  for (size_t k = 0; k < kept.size(); ++k) {
    if (k > 0 && kept[k - 1].storage == kept[k].storage) continue;
    if (kept[k].node != UINT32_MAX) bytes[kept[k].node] += kept[k].storage->bytes;
  }
  std::vector<TapeBudget::Row> out;
  for (uint32_t index = 0; index < bytes.size(); ++index) {
    if (bytes[index] > 0) out.push_back({index, bytes[index], 0, 0});
  }
  return out;
}

}  // namespace mill
