// Recurrent networks over whole sequences. A block of a step is a vector of units with all their
// gates: the register kernel leaves their sums in the first-level cache, and the functions take
// them from there.
#include "cpu/recurrent_backward.h"
#include "cpu/recurrent_rows.h"

namespace mill::cpu::MILL_TARGET {
namespace {

// ---- packed weights -----------------------------------------------------------------------------

// For each block of units the rows of w_hh that are its gates, as columns: panels of two vectors.
// Beside them the bias.
template <class T, Recurrent K>
struct ForwardWeights {
  static constexpr int kProducts = functors::recurrent_products(K);
  static constexpr int kPanels = (kProducts + 1) / 2;

  int64_t units, blocks;
  T* columns;
  T* bias;

  ForwardWeights(int64_t n, Carver<T>* carve) : units(n), blocks(ceil_div(n, kVector<T>)) {
    columns = carve->take(blocks * kPanels * units * kPanel<T>);
    bias = carve->take(blocks * kProducts * kVector<T>);
  }

  MILL_INLINE T* panel(int64_t block, int64_t k) const {
    return columns + (block * kPanels + k) * units * kPanel<T>;
  }

  template <class S>
  void pack(const mill_kernel_args* args, const S* w, const S* b) const {
    constexpr int kFirst = functors::recurrent_first(K);
    parallel(args, blocks, grain_of(kProducts * kVector<T> * units),
             [=, this](int64_t begin, int64_t end) {
               for (int64_t block = begin; block < end; ++block) {
                 const int64_t unit = block * kVector<T>;
                 const int64_t n = smaller(kVector<T>, units - unit);
                 for (int64_t q = 0; q < kProducts; ++q) {
                   const int64_t row = (kFirst + q) * units + unit;
                   gemm::pack_b(w + row * units, 1, units, units, n,
                                panel(block, q / 2) + q % 2 * kVector<T>);
                   read_row(b == nullptr ? nullptr : b + row, n, kVector<T>,
                            bias + (block * kProducts + q) * kVector<T>);
                 }
               }
             });
  }

  // sums[row][gate][vector] of a block for rows of states.
  void multiply_block(int64_t block, int64_t rows, const T* states, int64_t pitch, T* sums) const {
    constexpr int64_t kWide = kProducts * kVector<T>;
    for (int64_t k = 0; k < kPanels; ++k) {
      multiply(rows, smaller<int64_t>(2, kProducts - 2 * k), units, states, pitch, panel(block, k),
               sums + 2 * k * kVector<T>, kWide, false,
               bias + (block * kProducts + 2 * k) * kVector<T>);
    }
  }
};

// ---- forward ------------------------------------------------------------------------------------

// A task's states.
template <class T>
struct ForwardMemory {
  T* h[2];   // before and after a step
  T* cell;   // of an LSTM; of a GRU whose reset comes first: z
  T* reset;  // r h of such a GRU
  T* sums;
  int64_t pitch, total;

  ForwardMemory(const Extent& e, T* at) {
    Carver<T> carve{at, 0};
    // Rows do not all fall on one cache set.
    pitch = padded(e.units, kVector<T>) + 16;
    h[0] = carve.take(e.rows * pitch);
    h[1] = carve.take(e.rows * pitch);
    cell = carve.take(e.rows * pitch);
    reset = carve.take(e.rows * pitch);
    sums = carve.take(e.rows * 4 * kVector<T>);
    total = carve.used;
  }
};

// Operands of a forward pass.
template <class S>
struct Forward {
  const S* gates;
  const S* h0;
  const S* c0;
  S* y;
  S* h_last;
  S* c_last;
  S* kept;
  S* cells;
  Clock clock;
  bool relu;
};

// One block of units at one step for all rows of a task. `to`: where the states after it go.
template <Recurrent K, class S, class T>
MILL_INLINE void forward_block(const Extent& e, const Forward<S>& f, const ForwardMemory<T>& m,
                               int64_t first, int64_t rows, int64_t time, int64_t block,
                               const T* from, T* to) {
  using M = Math<Tag<T>>;
  using V = Vec<Tag<T>>;
  constexpr int64_t kWide = functors::recurrent_products(K) * kVector<T>;
  constexpr int64_t kGates = functors::recurrent_gates(K);
  const Tag<T> d;
  const int64_t unit = block * kVector<T>;
  const int64_t n = smaller(kVector<T>, e.units - unit);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t row = time * e.batch + first + r;
    const int64_t at = r * m.pitch + unit;
    S* kept = f.kept == nullptr ? nullptr : f.kept + row * 4 * e.units + unit;
    S* y = f.y == nullptr ? nullptr : f.y + row * e.units + unit;
    S* cells = f.cells == nullptr ? nullptr : f.cells + row * e.units + unit;
    if (!f.clock.counts(first + r, time)) {
      if (K != Recurrent::gru_rz) {
        for (int64_t i = 0; i < n; ++i) to[at + i] = from[at + i];
        clear_row(y, n);
        clear_row(cells, n);
      }
      for (int64_t q = 0; q < 4 && kept != nullptr && K != Recurrent::gru_n; ++q)
        clear_row(kept + q * e.units, n);
      continue;
    }
    const S* gates = f.gates + row * kGates * e.units + unit;
    const T* sums = m.sums + r * kWide;
    each_vector(d, n, [&](int64_t i, auto part) MILL_LAMBDA_INLINE {
      const auto gate = [&](int64_t q)
                            MILL_LAMBDA_INLINE { return get(d, gates + q * e.units + i, part); };
      const auto sum = [&](int64_t q)
                           MILL_LAMBDA_INLINE { return load(d, sums + q * kVector<T> + i); };
      const auto keep_gate = [&](int64_t q, V v) MILL_LAMBDA_INLINE {
        if (kept != nullptr) put(d, v, kept + q * e.units + i, part);
      };
      V h;
      if constexpr (K == Recurrent::lstm) {
        V a[4] = {hn::Add(gate(0), sum(0)), hn::Add(gate(1), sum(1)), hn::Add(gate(2), sum(2)),
                  hn::Add(gate(3), sum(3))};
        V c = load(d, m.cell + at + i);
        h = functors::lstm_forward<M>(a, &c);
        store(d, c, m.cell + at + i);
        for (int q = 0; q < 4; ++q) keep_gate(q, a[q]);
        if (cells != nullptr) put(d, c, cells + i, part);
      } else if constexpr (K == Recurrent::gru) {
        const V reset = M::sigmoid(hn::Add(gate(0), sum(0)));
        const V z = M::sigmoid(hn::Add(gate(1), sum(1)));
        const V p = sum(2);
        const V next = M::tanh(hn::MulAdd(reset, p, gate(2)));
        h = functors::gru_mix<M>(z, next, load(d, from + at + i));
        keep_gate(0, reset);
        keep_gate(1, z);
        keep_gate(2, next);
        keep_gate(3, p);
      } else if constexpr (K == Recurrent::gru_rz) {
        const V reset = M::sigmoid(hn::Add(gate(0), sum(0)));
        const V z = M::sigmoid(hn::Add(gate(1), sum(1)));
        const V some = hn::Mul(reset, load(d, from + at + i));
        store(d, some, m.reset + at + i);
        store(d, z, m.cell + at + i);
        keep_gate(0, reset);
        keep_gate(1, z);
        keep_gate(3, some);
        return;
      } else if constexpr (K == Recurrent::gru_n) {
        const V next = M::tanh(hn::Add(gate(2), sum(0)));
        h = functors::gru_mix<M>(load(d, m.cell + at + i), next, load(d, from + at + i));
        keep_gate(2, next);
      } else {
        h = functors::rnn_forward<M>(f.relu, hn::Add(gate(0), sum(0)));
      }
      store(d, h, to + at + i);
      if (y != nullptr) put(d, h, y + i, part);
    });
  }
}

template <class S, class T>
MILL_INLINE void load_states(const Extent& e, const Forward<S>& f, const ForwardMemory<T>& m,
                             int64_t first, int64_t rows) {
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t at = (first + r) * e.units;
    // Both: what is padded is read with the rest of its vector.
    read_row(f.h0 == nullptr ? nullptr : f.h0 + at, e.units, m.pitch, m.h[0] + r * m.pitch);
    read_row<S>(nullptr, 0, m.pitch, m.h[1] + r * m.pitch);
    read_row(f.c0 == nullptr ? nullptr : f.c0 + at, e.units, m.pitch, m.cell + r * m.pitch);
    read_row<S>(nullptr, 0, m.pitch, m.reset + r * m.pitch);
  }
}

template <Recurrent K, class S>
uint64_t forward_bytes(const mill_kernel_args* args) {
  using T = Compute<S>;
  const Extent e = extent_of(args, *args->in[0], args->in[1]->dims[1]);
  Carver<T> carve{nullptr, 0};
  const ForwardWeights<T, K> weights(e.units, &carve);
  if constexpr (K == Recurrent::gru_rz)
    const ForwardWeights<T, Recurrent::gru_n> more(e.units, &carve);
  return static_cast<uint64_t>(carve.used + e.slots * ForwardMemory<T>(e, nullptr).total) *
         sizeof(T);
}

template <Recurrent K, class S>
mill_status run_forward(const mill_kernel_args* args, Forward<S> f, uint32_t lengths) {
  using T = Compute<S>;
  const Extent e = extent_of(args, *args->in[0], args->in[1]->dims[1]);
  const mill_status status = check_lengths(args, input(args, lengths), e.steps);
  if (status != MILL_OK || e.batch * e.units == 0) return status;
  const uint64_t needed = forward_bytes<K, S>(args);
  if (args->workspace_bytes < needed) return refuse_workspace(args, needed);
  f.gates = values_of<S>(args, 0);
  f.h0 = values_of<S>(args, 3);
  f.y = results_of<S>(args, 0);
  f.h_last = results_of<S>(args, 1);
  f.clock = {input(args, lengths), e.steps, args->attr[0].i != 0};
  Carver<T> carve{static_cast<T*>(args->workspace), 0};
  const ForwardWeights<T, K> weights(e.units, &carve);
  const S* w = values_of<S>(args, 1);
  const S* b = values_of<S>(args, 2);
  weights.pack(args, w, b);
  // The second part of a step, where it has two.
  constexpr Recurrent kThen = K == Recurrent::gru_rz ? Recurrent::gru_n : K;
  Carver<T> own = carve;
  const ForwardWeights<T, kThen> then(e.units, K == kThen ? &own : &carve);
  if constexpr (K != kThen) then.pack(args, w, b);
  const int64_t piece = ForwardMemory<T>(e, nullptr).total;
  const double work = static_cast<double>(e.steps * e.batch) * static_cast<double>(e.units) *
                      static_cast<double>(functors::recurrent_gates(K) * e.units);
  each_task(
      args, e, work, carve.at + carve.used, piece, [=, &f](int64_t first, int64_t rows, T* memory) {
        const ForwardMemory<T> m(e, memory);
        load_states(e, f, m, first, rows);
        for (int64_t step = 0; step < e.steps; ++step) {
          const int64_t time = f.clock.time(step);
          const T* from = m.h[step % 2];
          T* to = m.h[1 - step % 2];
          for (int64_t block = 0; block < weights.blocks; ++block) {
            weights.multiply_block(block, rows, from, m.pitch, m.sums);
            forward_block<K>(e, f, m, first, rows, time, block, from, to);
          }
          for (int64_t block = 0; block < weights.blocks && K != kThen; ++block) {
            then.multiply_block(block, rows, m.reset, m.pitch, m.sums);
            forward_block<kThen>(e, f, m, first, rows, time, block, from, to);
          }
        }
        for (int64_t r = 0; r < rows; ++r) {
          const int64_t at = (first + r) * e.units;
          write_row(m.h[e.steps % 2] + r * m.pitch, e.units,
                    f.h_last == nullptr ? nullptr : f.h_last + at);
          write_row(m.cell + r * m.pitch, e.units, f.c_last == nullptr ? nullptr : f.c_last + at);
        }
      });
  return MILL_OK;
}

template <class S>
mill_status lstm_sequence(const mill_kernel_args* args) {
  Forward<S> f{};
  f.c0 = values_of<S>(args, 4);
  f.c_last = results_of<S>(args, 2);
  f.kept = results_of<S>(args, 3);
  f.cells = results_of<S>(args, 4);
  return run_forward<Recurrent::lstm>(args, f, 5);
}

template <class S>
mill_status gru_sequence(const mill_kernel_args* args) {
  Forward<S> f{};
  f.kept = results_of<S>(args, 2);
  if (args->attr[1].i != 0) return run_forward<Recurrent::gru>(args, f, 4);
  return run_forward<Recurrent::gru_rz>(args, f, 4);
}
template <class S>
uint64_t gru_bytes(const mill_kernel_args* args) {
  return args->attr[1].i != 0 ? forward_bytes<Recurrent::gru, S>(args)
                              : forward_bytes<Recurrent::gru_rz, S>(args);
}

template <class S>
mill_status rnn_sequence(const mill_kernel_args* args) {
  Forward<S> f{};
  f.relu = args->attr[1].i != 0;
  return run_forward<Recurrent::rnn>(args, f, 4);
}

#define MILL_RECURRENT_ENTRIES(dtype, S)                                                       \
  {MILL_OP_LSTM_SEQUENCE, bit(dtype), {lstm_sequence<S>, forward_bytes<Recurrent::lstm, S>}},  \
      {MILL_OP_GRU_SEQUENCE, bit(dtype), {gru_sequence<S>, gru_bytes<S>}},                     \
      {MILL_OP_RNN_SEQUENCE, bit(dtype), {rnn_sequence<S>, forward_bytes<Recurrent::rnn, S>}}, \
      {MILL_OP_LSTM_SEQUENCE_BACKWARD,                                                         \
       bit(dtype),                                                                             \
       {lstm_sequence_backward<S>, backward_bytes<Recurrent::lstm, S>}},                       \
      {MILL_OP_GRU_SEQUENCE_BACKWARD,                                                          \
       bit(dtype),                                                                             \
       {gru_sequence_backward<S>, backward_bytes<Recurrent::gru, S>}},                         \
  {                                                                                            \
    MILL_OP_RNN_SEQUENCE_BACKWARD, bit(dtype), {                                               \
      rnn_sequence_backward<S>, backward_bytes<Recurrent::rnn, S>                              \
    }                                                                                          \
  }

constexpr KernelEntry kEntries[] = {
    MILL_RECURRENT_ENTRIES(MILL_F32, float), MILL_RECURRENT_ENTRIES(MILL_F64, double),
    MILL_RECURRENT_ENTRIES(MILL_BF16, bf16), MILL_RECURRENT_ENTRIES(MILL_F16, f16)};
#undef MILL_RECURRENT_ENTRIES

}  // namespace

KernelList recurrent_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace mill::cpu::MILL_TARGET
