#include "autograd/budget.h"

#include <algorithm>

#include "dispatch/trace_op.h"
#include "millrace/op_numbers.h"

namespace mill {

namespace {

// What an op costs, in bytes moved. A core that keeps its memory busy does about ten operations for
// each byte; a call without work is not free either.
constexpr uint64_t kFlopsPerByte = 10;
constexpr uint64_t kCallBytes = 4096;

template <class T>
void make_room_in(std::vector<T>& list, size_t more) {
  if (list.capacity() < list.size() + more) list.reserve(2 * list.size() + 64 + more);
}

bool shares_input(const OpCall& call, const mill_tensor& out) {
  for (uint32_t k = 0; k < call.n_in; ++k) {
    if (call.in[k] && call.in[k]->storage.get() == out.storage.get()) return true;
  }
  return false;
}

// A built-in op that made its own results: not in place, into given memory, or added to it.
bool can_run_again(const OpCall& call, mill_tensor* const* out) {
  if (call.row.number >= MILL_OP_CUSTOM || call.accumulate) return false;
  if (call.row.random && !call.in[call.n_in - 1]) return false;
  for (uint32_t k = 0; k < call.n_out; ++k) {
    if (!out[k]) continue;
    if (shares_input(call, *out[k])) {
      if (!call.row.rules->view) return false;
    } else if (out[k]->storage->version.load(std::memory_order_relaxed) != 0) {
      return false;  // fresh memory was never written to by a second op
    }
  }
  return true;
}

}  // namespace

void TapeBudget::make_room(uint32_t n_in, uint32_t n_out) {
  make_room_in(values_, tape_.value_count() + n_out - values_.size());
  make_room_in(groups_, n_out);
  make_room_in(infos_, 1);
  make_room_in(edges_, n_in);
  stamps_.reserve(infos_.capacity());
  stack_.reserve(infos_.capacity());
}

void TapeBudget::start() noexcept {
  if (!fresh_) return;
  fresh_ = false;
  const uint64_t runs = stats_.runs;
  stats_ = Totals();
  stats_.runs = runs;
}

void TapeBudget::prepare(const OpCall& call, mill_tensor* const* out, bool hooked) {
  start();
  make_room(call.n_in, call.n_out);
  next_ = Info();
  next_.counted = !hooked;
  next_.deterministic = call.exec.deterministic;
  if (hooked) return;
  const OpFacts facts = op_facts(call, out);
  next_.cost = facts.flops / kFlopsPerByte + facts.bytes + kCallBytes;
  next_.again = can_run_again(call, out);
  next_.sources.resize(call.n_in);
  next_.specs.assign(call.out, call.out + call.n_out);
}

void TapeBudget::recorded(const OpCall& call, mill_tensor* const* out) noexcept {
  const auto index = static_cast<uint32_t>(tape_.nodes.size() - 1);
  const Node& node = tape_.nodes[index];
  values_.resize(tape_.value_count());
  infos_.push_back(std::move(next_));
  Info& info = infos_.back();
  for (uint32_t k = 0; info.counted && k < node.n_in; ++k) {
    SavedValue& saved = node.values[k];
    if (!saved.present) continue;
    if (here(saved.value)) {
      add_input(saved, call.in[k], index, rule_asks(*node.row->rules, k, node.n_in));
      saved.tensor.reset();
    } else {
      info.sources[k].tensor = TensorRef::share(call.in[k]);
      info.sources[k].version = call.in[k]->storage->version.load(std::memory_order_relaxed);
    }
  }
  for (uint32_t k = 0; k < node.n_out; ++k) {
    SavedValue& saved = node.values[node.n_in + k];
    if (saved.value == 0) continue;
    add_output(saved.value, index, group_of(call, node, *out[k]), info.again);
    if (!info.counted || !rule_asks(*node.row->rules, node.n_in + k, node.n_in)) continue;
    Value& value = values_[saved.value];
    ++value.uses;
    ++value.asks;
    hold(saved.value, out[k]);
    saved.tensor.reset();
  }
  enforce(true);
}

void TapeBudget::prepare_segment(uint32_t n_in, uint32_t n_out, bool hooked) {
  start();
  make_room(n_in, n_out);
  next_ = Info();
  next_.counted = !hooked;
}

void TapeBudget::recorded_segment(const Node& node) noexcept {
  const auto index = static_cast<uint32_t>(tape_.nodes.size() - 1);
  values_.resize(tape_.value_count());
  infos_.push_back(std::move(next_));
  for (uint32_t k = 0; infos_.back().counted && k < node.n_in; ++k) {
    SavedValue& saved = node.values[k];
    if (!here(saved.value)) continue;
    add_input(saved, saved.tensor.get(), index, true);
    saved.tensor.reset();
  }
  for (uint32_t k = 0; k < node.n_out; ++k) {
    const uint32_t value = node.values[node.n_in + k].value;
    if (value == 0) continue;
    groups_.emplace_back();
    add_output(value, index, static_cast<uint32_t>(groups_.size() - 1), false);
  }
  enforce(true);
}

void TapeBudget::add_input(const SavedValue& saved, mill_tensor* tensor, uint32_t node,
                           bool asked) noexcept {
  Value& value = values_[saved.value];
  ++value.uses;
  if (asked) ++value.asks;
  edges_.push_back({node, value.edge});
  value.edge = static_cast<uint32_t>(edges_.size() - 1);
  hold(saved.value, tensor);
}

void TapeBudget::add_output(uint32_t number, uint32_t node, uint32_t group, bool again) noexcept {
  Value& value = values_[number];
  value.producer = node;
  value.group = group;
  if (group == 0) return;
  value.next = groups_[group].first;
  groups_[group].first = number;
  if (!again) groups_[group].evictable = false;
}

// A view is with what it views; results in memory of the program's own are not the tape's to free.
uint32_t TapeBudget::group_of(const OpCall& call, const Node& node,
                              const mill_tensor& out) noexcept {
  for (uint32_t k = 0; k < call.n_in; ++k) {
    if (!call.in[k] || call.in[k]->storage.get() != out.storage.get()) continue;
    const uint32_t value = node.values[k].value;
    return here(value) ? values_[value].group : 0;
  }
  const bool given = node.row->number < MILL_OP_CUSTOM && out.storage->version.load() != 0;
  if (given) return 0;
  groups_.emplace_back();
  return static_cast<uint32_t>(groups_.size() - 1);
}

void TapeBudget::hold(uint32_t number, mill_tensor* tensor) noexcept {
  Value& value = values_[number];
  if (value.tensor) return;
  value.tensor = TensorRef::share(tensor);
  value.version = tensor->storage->version.load(std::memory_order_relaxed);
  value.restored = false;
  recount(value.group);
}

// The bytes of a group's storages, each once.
void TapeBudget::recount(uint32_t number) noexcept {
  if (number == 0) return;
  Group& group = groups_[number];
  uint64_t bytes = 0;
  for (uint32_t v = group.first; v != 0; v = values_[v].next) {
    const mill_tensor* tensor = values_[v].tensor.get();
    if (!tensor) continue;
    bool counted = false;
    for (uint32_t u = group.first; u != v && !counted; u = values_[u].next) {
      const mill_tensor* other = values_[u].tensor.get();
      counted = other && other->storage.get() == tensor->storage.get();
    }
    if (!counted) bytes += tensor->storage->bytes;
  }
  kept_ = kept_ - group.bytes + bytes;
  group.bytes = bytes;
  group.size = std::max(group.size, bytes);
}

void TapeBudget::drop(uint32_t number) noexcept {
  Value& value = values_[number];
  if (!value.tensor) return;
  value.tensor.reset();
  recount(value.group);
}

void TapeBudget::unuse(uint32_t number, bool asked) noexcept {
  Value& value = values_[number];
  --value.uses;
  if (asked) --value.asks;
  if (value.uses == 0) drop(number);
}

void TapeBudget::passed(const Node& node, uint32_t) noexcept {
  for (uint32_t k = 0; k < node.n_out; ++k) {
    const uint32_t value = node.values[node.n_in + k].value;
    if (value != 0 && values_[value].restored) drop(value);
  }
}

void TapeBudget::freed(const Node& node, uint32_t index) noexcept {
  if (index >= infos_.size() || !infos_[index].counted) return;
  for (uint32_t k = 0; k < node.n_in + node.n_out; ++k) {
    const uint32_t value = node.values[k].value;
    const bool asked = rule_asks(*node.row->rules, k, node.n_in);
    if (here(value) && (k < node.n_in || asked)) unuse(value, asked);
  }
  infos_[index] = Info();
}

void TapeBudget::forget() noexcept {
  values_.clear();
  groups_.resize(1);
  infos_.clear();
  edges_.clear();
  kept_ = 0;
  fresh_ = true;
}

void TapeBudget::set_limit(uint64_t bytes) {
  limit_ = bytes;
  if (bytes != 0) enforce(!fresh_);
}

// ---- what goes ----------------------------------------------------------------------------------

void TapeBudget::enforce(bool recording) noexcept {
  if (limit_ == 0) return;
  while (kept_ > limit_) {
    if (const uint32_t group = cheapest(); group != 0) {
      evict(group, recording);
    } else if (const uint32_t other = last_resort(); other != 0) {
      // It cannot come back, so what was made of it cannot be made again.
      for (uint32_t v = groups_[other].first; v != 0; v = values_[v].next) {
        for (uint32_t e = values_[v].edge; e != kNone; e = edges_[e].next) {
          const uint32_t index = edges_[e].node;
          const Node& node = tape_.nodes[index];
          infos_[index].again = false;
          if (!node.values) continue;
          for (uint32_t k = 0; k < node.n_out; ++k) {
            const uint32_t made = node.values[node.n_in + k].value;
            if (made != 0) groups_[values_[made].group].evictable = false;
          }
        }
      }
      evict(other, recording);
    } else {
      break;
    }
  }
  if (!recording) return;
  stats_.peak = std::max(stats_.peak, kept_);
  if (kept_ <= limit_) return;
  stats_.met = false;
  stats_.least = std::max(stats_.least, kept_);
}

uint32_t TapeBudget::cheapest() noexcept {
  uint32_t best = 0;
  double lowest = 0;
  for (uint32_t g = 1; g < groups_.size(); ++g) {
    const Group& group = groups_[g];
    if (group.bytes == 0 || !group.evictable) continue;
    bool pinned = false;
    bool asked = false;
    uint64_t own = 0;
    for (uint32_t v = group.first; v != 0; v = values_[v].next) {
      const Value& value = values_[v];
      pinned = pinned || value.pins > 0;
      asked = asked || value.asks > 0;
      if (value.uses > 0) own = std::max(own, infos_[value.producer].cost);
    }
    if (pinned) continue;
    // Its score is no less than this.
    const double bound = static_cast<double>(own) / static_cast<double>(group.bytes);
    if (best != 0 && asked && bound >= lowest) continue;
    const double have = score(g);
    if (best != 0 && have >= lowest) continue;  // of equals the oldest
    best = g;
    lowest = have;
    if (lowest < 0) break;
  }
  return best;
}

// What cannot be made again and is kept for nothing but making others: the results of a custom op,
// for example.
uint32_t TapeBudget::last_resort() const noexcept {
  for (uint32_t g = 1; g < groups_.size(); ++g) {
    const Group& group = groups_[g];
    bool spare = group.bytes > 0 && !group.evictable;
    for (uint32_t v = group.first; spare && v != 0; v = values_[v].next) {
      const Value& value = values_[v];
      spare = value.asks == 0 && value.pins == 0 && !needed_by_evicted(v);
    }
    if (spare) return g;
  }
  return 0;
}

bool TapeBudget::needed_by_evicted(uint32_t number) const noexcept {
  for (uint32_t e = values_[number].edge; e != kNone; e = edges_[e].next) {
    const Node& node = tape_.nodes[edges_[e].node];
    if (!node.values) continue;
    for (uint32_t k = 0; k < node.n_out; ++k) {
      const uint32_t made = node.values[node.n_in + k].value;
      if (made != 0 && evicted(values_[made])) return true;
    }
  }
  return false;
}

// The costs of a group's ops, of the evicted ones they need, and of the evicted ones that need it,
// for each byte that it frees. What no rule asks for and nothing evicted needs goes for nothing.
double TapeBudget::score(uint32_t number) noexcept {
  const Group& group = groups_[number];
  if (++stamp_ == 0) {
    std::fill(stamps_.begin(), stamps_.end(), 0u);
    stamp_ = 1;
  }
  stamps_.resize(infos_.size());
  uint64_t cost = 0;
  bool asked = false;
  for (uint32_t v = group.first; v != 0; v = values_[v].next) {
    const Value& value = values_[v];
    if (value.uses == 0) continue;
    asked = asked || value.asks > 0;
    cost += add_ancestors(value.producer);
    for (uint32_t e = value.edge; e != kNone; e = edges_[e].next) {
      const uint32_t index = edges_[e].node;
      const Node& node = tape_.nodes[index];
      if (!node.values || stamps_[index] == stamp_) continue;
      bool gone = false;
      for (uint32_t k = 0; k < node.n_out; ++k) {
        const uint32_t made = node.values[node.n_in + k].value;
        gone = gone || (made != 0 && evicted(values_[made]));
      }
      if (!gone) continue;
      asked = true;
      stamps_[index] = stamp_;
      cost += infos_[index].cost;
    }
  }
  return asked ? static_cast<double>(cost) / static_cast<double>(group.bytes) : -1.0;
}

// A node's cost and that of what must run before it; each node once a score.
uint64_t TapeBudget::add_ancestors(uint32_t first) noexcept {
  uint64_t cost = 0;
  stack_.clear();
  const auto visit = [&](uint32_t node) {
    if (stamps_[node] == stamp_) return;
    stamps_[node] = stamp_;
    cost += infos_[node].cost;
    stack_.push_back(node);  // at most once each: there is room
  };
  visit(first);
  while (!stack_.empty()) {
    const Node& node = tape_.nodes[stack_.back()];
    stack_.pop_back();
    for (uint32_t k = 0; node.values && k < node.n_in; ++k) {
      const uint32_t value = node.values[k].value;
      if (here(value) && evicted(values_[value])) visit(values_[value].producer);
    }
  }
  return cost;
}

void TapeBudget::evict(uint32_t number, bool recording) noexcept {
  if (recording) stats_.evicted += groups_[number].bytes;
  for (uint32_t v = groups_[number].first; v != 0; v = values_[v].next) values_[v].tensor.reset();
  recount(number);
}

}  // namespace mill
