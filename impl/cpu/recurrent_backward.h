// The gradient of recurrent networks: from the last step to the first, what arrives at a state is
// what the step after it sends back through the weights, and what came by y. Included by
// recurrent.cpp only, once per SIMD target.
#pragma once

#include "cpu/recurrent_rows.h"

namespace mill::cpu::MILL_TARGET {
namespace {

// Rows of w_hh as they lie, in panels of columns, gate by gate.
template <class T>
struct BackwardWeights {
  int64_t units, gates, blocks;
  T* panels;

  BackwardWeights(int64_t n, int64_t parts, Carver<T>* carve)
      : units(n), gates(parts), blocks(ceil_div(n, kPanel<T>)) {
    panels = carve->take(blocks * gates * units * kPanel<T>);
  }

  MILL_INLINE T* panel(int64_t block, int64_t gate) const {
    return panels + (block * gates + gate) * units * kPanel<T>;
  }
  MILL_INLINE int64_t width(int64_t block) const {
    return smaller(kPanel<T>, units - block * kPanel<T>);
  }

  template <class S>
  void pack(const mill_kernel_args* args, const S* w) const {
    parallel(args, blocks, grain_of(gates * kPanel<T> * units),
             [=, this](int64_t begin, int64_t end) {
               for (int64_t block = begin; block < end; ++block) {
                 for (int64_t q = 0; q < gates; ++q) {
                   gemm::pack_b(w + q * units * units + block * kPanel<T>, units, 1, units,
                                width(block), panel(block, q));
                 }
               }
             });
  }

  // to[row][unit] of a block: gradients of gates [first, end) of rows times the weights. Zero where
  // there are none yet.
  void multiply_block(int64_t block, int64_t rows, const T* sums, int64_t row, int64_t gate_step,
                      int64_t first, int64_t end, T* to) const {
    for (int64_t i = 0; i < rows * kPanel<T> && sums == nullptr; ++i) to[i] = 0;
    for (int64_t q = first; q < end && sums != nullptr; ++q) {
      multiply(rows, ceil_div(width(block), kVector<T>), units, sums + q * gate_step, row,
               panel(block, q), to, kPanel<T>, q > first, static_cast<const T*>(nullptr));
    }
  }
};

template <class T>
struct BackwardMemory {
  T* sums[2];  // gradients by the hidden sums of the step after and of this one
  T* carry;    // what goes back to the state beside the products
  T* cell;     // what goes back to the cell
  T* product;
  int64_t pitch, row, total;

  BackwardMemory(const Extent& e, int64_t gates, T* at) {
    Carver<T> carve{at, 0};
    pitch = padded(e.units, kPanel<T>);
    row = gates * pitch + 16;
    sums[0] = carve.take(e.rows * row);
    sums[1] = carve.take(e.rows * row);
    carry = carve.take(e.rows * pitch);
    cell = carve.take(e.rows * pitch);
    product = carve.take(e.rows * kPanel<T>);
    total = carve.used;
  }
};

// Operands of a backward pass; what is absent is NULL.
template <class S>
struct Backward {
  const S* kept;
  const S* cells;
  const S* y;
  const S* h0;
  const S* c0;
  const S* g_y;
  const S* g_h;
  const S* g_c;
  const S* g_kept;
  const S* g_cells;
  S* dgates;
  S* dhidden;
  S* dh0;
  S* dc0;
  Clock clock;
  bool relu;
};

// One block of units at one step for all rows of a task, from the product with the weights.
template <Recurrent K, class S, class T>
MILL_INLINE void backward_block(const Extent& e, const Backward<S>& b, const BackwardMemory<T>& m,
                                int64_t first, int64_t rows, int64_t time, int64_t block, T* sums) {
  using M = Math<Tag<T>>;
  using V = Vec<Tag<T>>;
  constexpr int64_t kGates = functors::recurrent_gates(K);
  const Tag<T> d;
  const int64_t unit = block * kPanel<T>;
  const int64_t n = smaller(kPanel<T>, e.units - unit);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t row = time * e.batch + first + r;
    const int64_t at = r * m.pitch + unit;
    const T* product = m.product + r * kPanel<T>;
    T* own = sums + r * m.row + unit;
    T* carry = m.carry + at;
    const bool counts = b.clock.counts(first + r, time);
    S* dgates = b.dgates == nullptr ? nullptr : b.dgates + row * kGates * e.units + unit;
    S* dhidden = b.dhidden == nullptr ? nullptr : b.dhidden + row * kGates * e.units + unit;
    if (!counts) {
      if (K == Recurrent::gru_n) continue;
      for (int64_t i = 0; i < n; ++i) carry[i] += product[i];
      for (int64_t q = 0; q < kGates; ++q) {
        for (int64_t i = 0; i < n; ++i) own[q * m.pitch + i] = 0;
        if (dgates != nullptr) clear_row(dgates + q * e.units, n);
        if (dhidden != nullptr) clear_row(dhidden + q * e.units, n);
      }
      continue;
    }
    const int64_t prior = b.clock.before(first + r, time);
    const int64_t here = row * e.units + unit;
    // Of a state before the step: from what was kept, or from where the sequence began.
    const auto state = [&](const S* steps, const S* initial) MILL_LAMBDA_INLINE -> const S* {
      if (prior >= 0) return steps + (prior * e.batch + first + r) * e.units + unit;
      return initial == nullptr ? nullptr : initial + (first + r) * e.units + unit;
    };
    const S* kept = b.kept == nullptr ? nullptr : b.kept + row * 4 * e.units + unit;
    const S* g_kept = b.g_kept == nullptr ? nullptr : b.g_kept + row * 4 * e.units + unit;
    const S* g_y = b.g_y == nullptr ? nullptr : b.g_y + here;
    const S* h = K == Recurrent::gru || K == Recurrent::gru_rz || K == Recurrent::gru_n
                     ? state(b.y, b.h0)
                     : nullptr;
    const S* c = K == Recurrent::lstm ? state(b.cells, b.c0) : nullptr;
    each_vector(d, n, [&](int64_t i, auto part) MILL_LAMBDA_INLINE {
      const auto value = [&](const S* from) MILL_LAMBDA_INLINE {
        return from == nullptr ? hn::Zero(d) : get(d, from + i, part);
      };
      const auto gate = [&](int64_t q)
                            MILL_LAMBDA_INLINE { return get(d, kept + q * e.units + i, part); };
      const auto arriving = [&](int64_t q) MILL_LAMBDA_INLINE {
        return g_kept == nullptr ? hn::Zero(d) : get(d, g_kept + q * e.units + i, part);
      };
      const auto give = [&](int64_t q, V v, V hidden) MILL_LAMBDA_INLINE {
        store(d, hidden, own + q * m.pitch + i);
        if (dgates != nullptr) put(d, v, dgates + q * e.units + i, part);
        if (dhidden != nullptr) put(d, hidden, dhidden + q * e.units + i, part);
      };
      const V back = load(d, product + i);
      if constexpr (K == Recurrent::gru_n) {
        // `back` is what comes by r h.
        const V reset = gate(0);
        const V some = hn::Add(back, arriving(3));
        const V s =
            hn::Mul(hn::MulAdd(some, value(h), arriving(0)), functors::sigmoid_slope<M>(reset));
        store(d, hn::MulAdd(some, reset, load(d, carry + i)), carry + i);
        give(0, s, s);
        return;
      } else {
        const V dh = hn::Add(hn::Add(back, load(d, carry + i)), value(g_y));
        if constexpr (K == Recurrent::lstm) {
          const V a[4] = {gate(0), gate(1), gate(2), gate(3)};
          V s[4] = {arriving(0), arriving(1), arriving(2), arriving(3)};
          V dc = load(d, m.cell + at + i);
          if (b.g_cells != nullptr) dc = hn::Add(dc, get(d, b.g_cells + here + i, part));
          functors::lstm_backward<M>(a, s, get(d, b.cells + here + i, part), value(c), dh, &dc);
          store(d, dc, m.cell + at + i);
          store(d, hn::Zero(d), carry + i);
          for (int q = 0; q < 4; ++q) give(q, s[q], s[q]);
        } else if constexpr (K == Recurrent::rnn) {
          const V s = functors::rnn_backward<M>(b.relu, get(d, b.y + here + i, part), dh);
          store(d, hn::Zero(d), carry + i);
          give(0, s, s);
        } else {
          V s_z = arriving(1);
          V s_n = arriving(2);
          store(d, functors::gru_mix_backward<M>(gate(1), gate(2), value(h), dh, &s_z, &s_n),
                carry + i);
          give(1, s_z, s_z);
          if constexpr (K == Recurrent::gru) {
            const V reset = gate(0);
            const V s_r =
                hn::Mul(hn::MulAdd(s_n, gate(3), arriving(0)), functors::sigmoid_slope<M>(reset));
            give(0, s_r, s_r);
            give(2, s_n, hn::MulAdd(s_n, reset, arriving(3)));
          } else {
            give(2, s_n, s_n);
          }
        }
      }
    });
  }
}

template <Recurrent K, class S>
uint64_t backward_bytes(const mill_kernel_args* args) {
  using T = Compute<S>;
  constexpr int64_t kGates = functors::recurrent_gates(K);
  const Extent e = extent_of(args, *args->in[1], args->in[0]->dims[1]);
  Carver<T> carve{nullptr, 0};
  const BackwardWeights<T> weights(e.units, kGates, &carve);
  const BackwardMemory<T> memory(e, kGates, nullptr);
  return static_cast<uint64_t>(carve.used + e.slots * memory.total) * sizeof(T);
}

template <Recurrent K, class S>
mill_status run_backward(const mill_kernel_args* args, Backward<S> b, uint32_t lengths) {
  using T = Compute<S>;
  constexpr int64_t kGates = functors::recurrent_gates(K);
  const Extent e = extent_of(args, *args->in[1], args->in[0]->dims[1]);
  const mill_status status = check_lengths(args, input(args, lengths), e.steps);
  if (status != MILL_OK || e.batch * e.units == 0) return status;
  const uint64_t needed = backward_bytes<K, S>(args);
  if (args->workspace_bytes < needed) return refuse_workspace(args, needed);
  b.dgates = results_of<S>(args, 0);
  b.clock = {input(args, lengths), e.steps, args->attr[0].i != 0};
  Carver<T> carve{static_cast<T*>(args->workspace), 0};
  const BackwardWeights<T> weights(e.units, kGates, &carve);
  weights.pack(args, values_of<S>(args, 0));
  const int64_t piece = BackwardMemory<T>(e, kGates, nullptr).total;
  const double work = static_cast<double>(e.steps * e.batch) * static_cast<double>(e.units) *
                      static_cast<double>(kGates * e.units);
  // Where the reset comes first, its gate has to wait for the product with what n sends back.
  constexpr bool kParts = K == Recurrent::gru_rz;
  constexpr int64_t kEnd = kParts ? 2 : kGates;
  each_task(
      args, e, work, carve.at + carve.used, piece, [=, &b](int64_t first, int64_t rows, T* memory) {
        const BackwardMemory<T> m(e, kGates, memory);
        for (int64_t r = 0; r < rows; ++r) {
          const int64_t at = (first + r) * e.units;
          read_row(b.g_h == nullptr ? nullptr : b.g_h + at, e.units, m.pitch,
                   m.carry + r * m.pitch);
          read_row(b.g_c == nullptr ? nullptr : b.g_c + at, e.units, m.pitch, m.cell + r * m.pitch);
        }
        const T* after = nullptr;
        for (int64_t step = e.steps; step-- > 0;) {
          const int64_t time = b.clock.time(step);
          T* own = m.sums[step % 2];
          for (int64_t block = 0; block < weights.blocks; ++block) {
            weights.multiply_block(block, rows, after, m.row, m.pitch, 0, kEnd, m.product);
            backward_block<K>(e, b, m, first, rows, time, block, own);
          }
          for (int64_t block = 0; block < weights.blocks && kParts; ++block) {
            weights.multiply_block(block, rows, own, m.row, m.pitch, 2, 3, m.product);
            backward_block<kParts ? Recurrent::gru_n : K>(e, b, m, first, rows, time, block, own);
          }
          after = own;
        }
        for (int64_t block = 0; block < weights.blocks && b.dh0 != nullptr; ++block) {
          weights.multiply_block(block, rows, after, m.row, m.pitch, 0, kEnd, m.product);
          const int64_t unit = block * kPanel<T>;
          for (int64_t r = 0; r < rows; ++r) {
            T* product = m.product + r * kPanel<T>;
            for (int64_t i = 0; i < weights.width(block); ++i)
              product[i] += m.carry[r * m.pitch + unit + i];
            write_row(product, weights.width(block), b.dh0 + (first + r) * e.units + unit);
          }
        }
        for (int64_t r = 0; r < rows; ++r) {
          write_row(m.cell + r * m.pitch, e.units,
                    b.dc0 == nullptr ? nullptr : b.dc0 + (first + r) * e.units);
        }
      });
  return MILL_OK;
}

template <class S>
mill_status lstm_sequence_backward(const mill_kernel_args* args) {
  Backward<S> b{};
  b.kept = values_of<S>(args, 1);
  b.cells = values_of<S>(args, 2);
  b.c0 = values_of<S>(args, 3);
  b.g_y = values_of<S>(args, 5);
  b.g_h = values_of<S>(args, 6);
  b.g_c = values_of<S>(args, 7);
  b.g_kept = values_of<S>(args, 8);
  b.g_cells = values_of<S>(args, 9);
  b.dh0 = results_of<S>(args, 1);
  b.dc0 = results_of<S>(args, 2);
  return run_backward<Recurrent::lstm>(args, b, 4);
}

template <class S>
mill_status gru_sequence_backward(const mill_kernel_args* args) {
  Backward<S> b{};
  b.kept = values_of<S>(args, 1);
  b.y = values_of<S>(args, 2);
  b.h0 = values_of<S>(args, 3);
  b.g_y = values_of<S>(args, 5);
  b.g_h = values_of<S>(args, 6);
  b.g_kept = values_of<S>(args, 7);
  b.dhidden = results_of<S>(args, 1);
  b.dh0 = results_of<S>(args, 2);
  if (args->attr[1].i != 0) return run_backward<Recurrent::gru>(args, b, 4);
  return run_backward<Recurrent::gru_rz>(args, b, 4);
}

template <class S>
mill_status rnn_sequence_backward(const mill_kernel_args* args) {
  Backward<S> b{};
  b.y = values_of<S>(args, 1);
  b.relu = args->attr[1].i != 0;
  b.g_y = values_of<S>(args, 3);
  b.g_h = values_of<S>(args, 4);
  b.dh0 = results_of<S>(args, 1);
  return run_backward<Recurrent::rnn>(args, b, 2);
}

}  // namespace
}  // namespace mill::cpu::MILL_TARGET
