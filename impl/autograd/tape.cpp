#include "autograd/tape.h"

#include <algorithm>
#include <cstring>

#include "autograd/keeper.h"
#include "base/fork.h"

namespace {

std::atomic<uint64_t> next_serial{1};

}  // namespace

mill_tape::mill_tape(mill_context* owner) : context(mill::Ref<mill_context>::share(owner)) {
  face.renew();
  leaf_of_value_.push_back(-1);  // value 0 means: not tracked
}

mill_tape::~mill_tape() {
  set_hook(nullptr, nullptr, nullptr);
  forget();
  drop_sinks();
}

void mill_tape::Face::release_recorder() noexcept {
  ::release(&tape_);
}

void mill_tape::Face::renew() noexcept {
  serial_ = next_serial.fetch_add(1, std::memory_order_relaxed);
}

void release(mill_tape* tape) noexcept {
  if (tape->context->fork_generation != mill::fork_generation()) return;
  if (!tape->release()) return;
  const mill::Ref<mill_context> context = tape->context;
  mill::slab_delete(tape);
}

void mill_tape::enter() {
  if (context->fork_generation != mill::fork_generation()) {
    mill::fail(MILL_E_FORKED, "the tape was made before fork(); make a new context in the child");
  }
  if (!lock_.try_enter()) mill::fail(MILL_E_BUSY, "the tape is being used by another thread");
}

uint32_t mill_tape::leaf_value(const mill::GradientSink* sink, uint32_t index) const {
  for (const SinkValues& entry : sinks_) {
    if (entry.sink == sink) return entry.values[index];
  }
  return 0;
}

uint32_t mill_tape::value_of(const mill_tensor* tensor) const {
  if (tensor->leaf) return leaf_value(tensor->sink, tensor->sink_index);
  return tensor->tape_serial == serial() ? tensor->value : 0;
}

uint32_t mill_tape::add_leaf(mill::Leaf leaf) {
  leaf_of_value_.reserve(leaf_of_value_.size() + 1);
  leaf.value = static_cast<uint32_t>(leaf_of_value_.size());
  leaves.push_back(std::move(leaf));
  leaf_of_value_.push_back(static_cast<int32_t>(leaves.size() - 1));
  return leaves.back().value;
}

void mill_tape::reserve_leaf(mill::GradientSink* sink, uint32_t index) {
  for (SinkValues& entry : sinks_) {
    if (entry.sink != sink) continue;
    uint32_t& value = entry.values[index];
    if (value == 0) {
      mill::Leaf leaf;
      leaf.sink = sink;
      leaf.sink_index = index;
      value = add_leaf(std::move(leaf));
    }
    return;
  }
  sinks_.push_back({sink, std::vector<uint32_t>(sink->count(), 0)});
  sink->retain_sink();
  reserve_leaf(sink, index);
}

uint32_t mill_tape::attr_slots(const mill::OpCall& call) const {
  uint64_t bytes = 0;
  for (uint32_t k = 0; k < call.row.n_attrs; ++k) {
    const int32_t kind = call.attr[k].kind;
    if (kind == MILL_ATTR_INTS || kind == MILL_ATTR_FLOATS)
      bytes += call.attr[k].n * sizeof(int64_t);
    if (kind == MILL_ATTR_STRING) bytes += call.attr[k].n;
  }
  return call.row.n_attrs +
         static_cast<uint32_t>((bytes + sizeof(mill_attr) - 1) / sizeof(mill_attr));
}

void mill_tape::reserve(const mill::OpCall& call) {
  mill::TapeGuard guard(*this);
  if (keeper) [[unlikely]]
    keeper->before(call);
  make_room(call);
  guard.stay();  // until done()
}

void mill_tape::make_room(const mill::OpCall& call) {
  if (nodes.size() == nodes.capacity()) nodes.reserve(2 * nodes.size() + 64);
  values_.reserve(call.n_in + call.n_out);
  const uint32_t slots = attr_slots(call);
  if (slots > 512)
    mill::fail(MILL_E_ARG, "the attributes take %u slots, a tape keeps at most 512", slots);
  if (slots > 0) attrs_.reserve(slots);
  for (uint32_t k = 0; k < call.n_in; ++k) {
    if (call.in[k] && call.in[k]->leaf) reserve_leaf(call.in[k]->sink, call.in[k]->sink_index);
  }
  make_value_room(call.n_out);
}

void mill_tape::make_value_room(uint32_t n) {
  if (leaf_of_value_.capacity() < leaf_of_value_.size() + n)
    leaf_of_value_.reserve(2 * leaf_of_value_.size() + 64 + n);
}

uint32_t mill_tape::add_value() noexcept {
  leaf_of_value_.push_back(-1);
  return static_cast<uint32_t>(leaf_of_value_.size() - 1);
}

void mill_tape::note_use(uint32_t value, uint32_t node) noexcept {
  if (value == 0 || leaf_of_value_[value] < 0) return;
  mill::Leaf& leaf = leaves[static_cast<size_t>(leaf_of_value_[value])];
  if (leaf.first_node == UINT32_MAX) leaf.first_node = node;
}

void mill_tape::record(const mill::OpCall& call, mill_tensor* const* out) {
  if (keeper) [[unlikely]]
    keeper->record(call, out);
  else
    append(call, out);
}

mill::TapeKeeper& mill_tape::need_keeper() {
  if (!keeper) keeper = std::make_unique<mill::TapeKeeper>(*this);
  return *keeper;
}

namespace mill {

void describe(SavedValue& saved, const mill_tensor* tensor) noexcept {
  saved.present = tensor != nullptr;
  saved.value = 0;
  saved.packed = 0;
  saved.rank = 0;
  saved.dtype = MILL_DTYPE_NONE;
  if (!tensor) return;
  saved.dtype = tensor->dtype();
  saved.rank = static_cast<int16_t>(tensor->rank());
  std::memcpy(saved.dims, tensor->view.dims, static_cast<size_t>(tensor->rank()) * sizeof(int64_t));
}

void keep(SavedValue& saved, mill_tensor* tensor) noexcept {
  saved.tensor = TensorRef::share(tensor);
  saved.version = tensor->storage->version.load(std::memory_order_relaxed);
}

}  // namespace mill

void mill_tape::append(const mill::OpCall& call, mill_tensor* const* out) noexcept {
  using mill::describe;
  using mill::keep;
  mill::Node node{};
  node.row = &call.row;
  node.instance = call.instance;
  node.n_in = call.n_in;
  node.n_out = call.n_out;
  node.values = values_.take(call.n_in + call.n_out);
  const auto index = static_cast<uint32_t>(nodes.size());
  const mill::OpRules& rules = *call.row.rules;
  for (uint32_t k = 0; k < call.n_in; ++k) {
    mill::SavedValue& saved = node.values[k];
    mill_tensor* tensor = call.in[k];
    describe(saved, tensor);
    if (!tensor) continue;
    saved.value = value_of(tensor);
    note_use(saved.value, index);
    if (((rules.saved_inputs >> (k < 31 ? k : 31)) & 1u) != 0) keep(saved, tensor);
  }
  for (uint32_t k = 0; k < call.n_out; ++k) {
    mill::SavedValue& saved = node.values[call.n_in + k];
    describe(saved, out[k]);
    if (!out[k]) continue;
    saved.value = add_value();
    out[k]->tape_serial = serial();
    out[k]->value = saved.value;
    out[k]->storage->tracked_by.store(serial(), std::memory_order_relaxed);
    if (((rules.saved_outputs >> k) & 1u) != 0) keep(saved, out[k]);
  }
  if (call.row.n_attrs > 0) {
    const uint32_t slots = attr_slots(call);
    mill_attr* attrs = attrs_.take(slots);
    auto* payload = reinterpret_cast<unsigned char*>(attrs + call.row.n_attrs);
    for (uint32_t k = 0; k < call.row.n_attrs; ++k) {
      attrs[k] = call.attr[k];
      const int32_t kind = attrs[k].kind;
      const bool words = kind == MILL_ATTR_INTS || kind == MILL_ATTR_FLOATS;
      const size_t bytes = words                      ? attrs[k].n * sizeof(int64_t)
                           : kind == MILL_ATTR_STRING ? attrs[k].n
                                                      : 0;
      if (bytes == 0) continue;
      std::memcpy(payload, attrs[k].p, bytes);
      attrs[k].p = payload;
      payload += bytes;
    }
    node.attrs = attrs;
  }
  nodes.push_back(node);
}

void mill_tape::watch(mill_tensor* tensor) {
  const mill::TapeGuard guard(*this);
  if (keeper && keeper->notes)
    mill::fail(MILL_E_STATE, "a checkpointed segment is running, it cannot watch tensors");
  if (tensor->leaf || value_of(tensor) != 0) return;  // tracked already
  if (!mill::is_compute_float(tensor->dtype())) {
    mill::fail_argument(MILL_E_DTYPE, 1, "tensor is %s, gradients need f16, bf16, f32 or f64",
                        mill::dtype_name(tensor->dtype()));
  }
  if (tensor->device().owner() != context.get()) {
    mill::fail_argument(MILL_E_DEVICE, 1, "the tensor belongs to another context than the tape");
  }
  mill::Leaf leaf;
  leaf.tensor = mill::TensorRef::share(tensor);
  const uint32_t value = add_leaf(std::move(leaf));
  tensor->tape_serial = serial();
  tensor->value = value;
  tensor->storage->tracked_by.store(serial(), std::memory_order_relaxed);
}

void mill_tape::free_node(mill::Node& node, uint32_t index) noexcept {
  if (!node.values) return;
  if (keeper) [[unlikely]] {
    keeper->free_node(node, index);
    if (!node.values) return;  // a segment's
  }
  for (uint32_t k = 0; k < node.n_in + node.n_out; ++k) node.values[k].tensor.reset();
  node.values = nullptr;
}

void mill_tape::forget() noexcept {
  for (size_t k = 0; k < nodes.size(); ++k) free_node(nodes[k], static_cast<uint32_t>(k));
  nodes.clear();
  if (keeper) [[unlikely]]
    keeper->forget();
  values_.rewind();
  attrs_.rewind();
  leaf_of_value_.resize(1);
  for (mill::TensorRef& gradient : gradients) gradient.reset();
  last_leaves_.clear();
  last_leaves_.swap(leaves);
  std::erase_if(last_leaves_, [](const mill::Leaf& leaf) { return !leaf.gradient; });
  for (SinkValues& entry : sinks_) std::fill(entry.values.begin(), entry.values.end(), 0u);
  // Marks that tensors carry from before can no longer match.
  face.renew();
}

void mill_tape::reset() {
  forget();
  // Groups that nobody else holds can go now.
  for (size_t k = sinks_.size(); k-- > 0;) {
    if (sinks_[k].sink->held_elsewhere()) continue;
    sinks_[k].sink->release_sink();
    sinks_.erase(sinks_.begin() + static_cast<std::ptrdiff_t>(k));
  }
}

void mill_tape::drop_sinks() noexcept {
  for (SinkValues& entry : sinks_) entry.sink->release_sink();
  sinks_.clear();
}

mill_tensor* mill_tape::gradient_of(const mill_tensor* tensor) const {
  for (const std::vector<mill::Leaf>* list : {&leaves, &last_leaves_}) {
    for (const mill::Leaf& leaf : *list) {
      if (leaf.tensor == tensor && leaf.gradient) return leaf.gradient.get();
    }
  }
  return nullptr;
}

void mill_tape::require_no_pass() const {
  if (passing)
    mill::fail(MILL_E_STATE, "the tape is in the middle of a backward pass or of a callback");
}

void mill_tape::set_hook(mill_gradient_hook next, void* user, void (*destroy)(void*)) {
  void (*old_destroy)(void*) = hook_destroy;
  void* old_user = hook_user;
  hook = next;
  hook_user = user;
  hook_destroy = destroy;
  if (old_destroy) old_destroy(old_user);
}
