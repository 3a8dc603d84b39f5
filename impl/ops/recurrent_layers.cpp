#include "ops/recurrent_layers.h"

#include <vector>

#include "ops/rules.h"

namespace mill::ops {

namespace {

struct Direction {
  TensorRef y, h, c;
};

// State k of [layers * directions, batch, H]; null stays null.
TensorRef state_of(Exec& exec, mill_tensor* states, int64_t k) {
  if (!states) return nullptr;
  const TensorRef one = op::slice(exec, states, 0, k, k + 1, 1);
  return reshape(exec, one.get(), states->view.dims + 1, 2);
}

Direction run_direction(Exec& exec, const RecurrentLayers& l, mill_tensor* x, int64_t k,
                        bool reverse) {
  mill_tensor* const* w = l.weights + 4 * k;
  const TensorRef gates = op::linear(exec, x, w[0], w[2]);
  const TensorRef h0 = state_of(exec, l.h0, k);
  const TensorRef c0 = state_of(exec, l.c0, k);
  Direction d;
  switch (l.cells) {
    case Cells::lstm: {
      TensorRef out[5];
      op::lstm_sequence(exec, gates.get(), w[1], w[3], h0.get(), c0.get(), l.lengths, reverse, out);
      d = {out[0], out[1], out[2]};
      break;
    }
    case Cells::gru: {
      TensorRef out[3];
      op::gru_sequence(exec, gates.get(), w[1], w[3], h0.get(), l.lengths, reverse, true, out);
      d = {out[0], out[1], nullptr};
      break;
    }
    case Cells::rnn: {
      TensorRef out[2];
      op::rnn_sequence(exec, gates.get(), w[1], w[3], h0.get(), l.lengths, reverse, l.relu, out);
      d = {out[0], out[1], nullptr};
      break;
    }
  }
  return d;
}

void expect_states(const mill_tensor* states, int32_t argument, const char* name, int64_t layers) {
  if (!states || (states->rank() == 3 && states->view.dims[0] == layers)) return;
  fail_argument(MILL_E_SHAPE, argument,
                "%s is %s, it must be [%lld, batch, units]: one for each layer and direction", name,
                format_dims(*states).text, static_cast<long long>(layers));
}

// Any number of tensors [batch, H] as one [n, batch, H].
TensorRef stacked(Exec& exec, std::vector<TensorRef> parts) {
  for (TensorRef& part : parts) {
    const int64_t dims[3] = {1, part->view.dims[0], part->view.dims[1]};
    part = reshape(exec, part.get(), dims, 3);
  }
  while (parts.size() > 1) {
    std::vector<TensorRef> joined;
    for (size_t k = 0; k < parts.size(); k += MILL_MAX_OP_INPUTS) {
      mill_tensor* some[MILL_MAX_OP_INPUTS];
      uint32_t n = 0;
      for (; n < MILL_MAX_OP_INPUTS && k + n < parts.size(); ++n) some[n] = parts[k + n].get();
      joined.push_back(op::concat(exec, some, n, 0));
    }
    parts = std::move(joined);
  }
  return parts[0];
}

TensorRef batch_and_time_swapped(Exec& exec, mill_tensor* x) {
  const int64_t axes[3] = {1, 0, 2};
  return op::permute(exec, x, axes, 3);
}

}  // namespace

void recurrent_layers(mill_exec& exec, const RecurrentLayers& l, TensorRef (&out)[3]) {
  if (l.x->rank() != 3) {
    fail_argument(MILL_E_SHAPE, 1, "x is %s, it must be [%s, inputs]", format_dims(*l.x).text,
                  l.batch_first ? "batch, steps" : "steps, batch");
  }
  const int64_t ways = l.bidirectional ? 2 : 1;
  const int64_t all = l.n_weights / 4;
  expect_states(l.h0, 4, "h0", all);
  expect_states(l.c0, 5, "c0", all);
  TensorRef x = l.batch_first ? batch_and_time_swapped(exec, l.x) : share(l.x);
  std::vector<TensorRef> h, c;
  for (int64_t layer = 0; layer < all; layer += ways) {
    if (layer > 0 && l.dropout > 0) x = op::dropout(exec, x.get(), nullptr, l.dropout);
    TensorRef y[2];
    for (int64_t way = 0; way < ways; ++way) {
      Direction d = run_direction(exec, l, x.get(), layer + way, way == 1);
      y[way] = std::move(d.y);
      h.push_back(std::move(d.h));
      if (d.c) c.push_back(std::move(d.c));
    }
    mill_tensor* const both[2] = {y[0].get(), y[1].get()};
    x = ways == 1 ? y[0] : op::concat(exec, both, 2, 2);
  }
  out[0] = l.batch_first ? batch_and_time_swapped(exec, x.get()) : x;
  out[1] = stacked(exec, std::move(h));
  if (!c.empty()) out[2] = stacked(exec, std::move(c));
}

}  // namespace mill::ops
