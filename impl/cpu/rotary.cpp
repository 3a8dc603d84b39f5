// Rotary position embedding. The workspace has the frequencies and each position's cosines and
// sines, computed in f64; a task turns whole rows.
#include "cpu/rows.h"

namespace mill::cpu::MILL_TARGET {
namespace {

struct Turns {
  int64_t features;
  int64_t pairs;
  int64_t length;  // positions of a sequence
  int64_t rows;    // of x
  int64_t each;   // rows of x that a row of the table serves in a run, 0: sequences share the table
  int64_t table;  // rows of the table
};

Turns turns_of(const mill_kernel_args* args) {
  const mill_kernel_tensor* x = args->in[0];
  const mill_kernel_tensor* positions = input(args, 1);
  Turns t;
  t.features = x->dims[x->rank - 1];
  t.pairs = args->attr[1].i / 2;
  t.length = x->dims[x->rank - 2];
  t.rows = product(x, 0, x->rank - 1);
  t.table = positions == nullptr ? t.length : positions->numel;
  t.each = positions != nullptr && positions->rank == 2 ? product(x, 1, x->rank - 1) : 0;
  return t;
}

// The table's row for a row of x.
MILL_INLINE int64_t table_row(const Turns& t, int64_t row) {
  const int64_t position = row % t.length;
  return t.each == 0 ? position : row / t.each * t.length + position;
}

template <class C>
uint64_t table_bytes(const Turns& t) {
  return static_cast<uint64_t>(t.pairs) *
         (sizeof(double) + 2 * sizeof(C) * static_cast<uint64_t>(t.table));
}

template <class C>
void fill_table(const mill_kernel_args* args, const Turns& t, C* cosines, C* sines) {
  auto* frequency = static_cast<double*>(args->workspace);
  const auto width = static_cast<double>(2 * t.pairs);
  for (int64_t j = 0; j < t.pairs; ++j)
    frequency[j] = __builtin_pow(args->attr[0].f, -2 * static_cast<double>(j) / width);
  const mill_kernel_tensor* positions = input(args, 1);
  const double sign = args->attr[3].i != 0 ? -1 : 1;
  parallel(args, t.table, grain_of(16 * t.pairs), [=](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const auto at = static_cast<double>(positions == nullptr ? r : read_index(positions, r));
      for (int64_t j = 0; j < t.pairs; ++j) {
        const double angle = at * frequency[j];
        cosines[r * t.pairs + j] = static_cast<C>(__builtin_cos(angle));
        sines[r * t.pairs + j] = static_cast<C>(sign * __builtin_sin(angle));
      }
    }
  });
}

template <class S>
mill_status rotary(const mill_kernel_args* args) {
  using C = Compute<S>;
  const Turns t = turns_of(args);
  if (args->out[0]->numel == 0) return MILL_OK;
  const uint64_t needed = table_bytes<C>(t);
  if (args->workspace_bytes < needed) return refuse_workspace(args, needed);
  C* cosines = reinterpret_cast<C*>(static_cast<double*>(args->workspace) + t.pairs);
  C* sines = cosines + t.table * t.pairs;
  fill_table(args, t, cosines, sines);
  const bool neighbours = args->attr[2].i != 0;
  const S* from = static_cast<const S*>(args->in[0]->data);
  S* to = static_cast<S*>(args->out[0]->data);
  parallel(args, t.rows, grain_of(2 * t.features), [=](int64_t begin, int64_t end) {
    const Tag<C> d;
    for (int64_t r = begin; r < end; ++r) {
      const S* x = from + r * t.features;
      S* out = to + r * t.features;
      const C* c = cosines + table_row(t, r) * t.pairs;
      const C* s = sines + table_row(t, r) * t.pairs;
      // Both of a pair are read before either is written: out may be x.
      if (neighbours) {
        for (int64_t j = 0; j < t.pairs; ++j) {
          const C a = element(x[2 * j]);
          const C b = element(x[2 * j + 1]);
          out[2 * j] = stored<S>(a * c[j] - b * s[j]);
          out[2 * j + 1] = stored<S>(a * s[j] + b * c[j]);
        }
      } else {
        const int64_t half = t.pairs;
        each_vector(d, half, [=](int64_t j, auto part) MILL_LAMBDA_INLINE {
          const auto a = get(d, x + j, part);
          const auto b = get(d, x + half + j, part);
          const auto cosine = get(d, c + j, part);
          const auto sine = get(d, s + j, part);
          put(d, hn::Sub(hn::Mul(a, cosine), hn::Mul(b, sine)), out + j, part);
          put(d, hn::Add(hn::Mul(a, sine), hn::Mul(b, cosine)), out + half + j, part);
        });
      }
      if (out == x) continue;
      const int64_t turned = 2 * t.pairs;
      std::memcpy(out + turned, x + turned, static_cast<size_t>(t.features - turned) * sizeof(S));
    }
  });
  return MILL_OK;
}

template <class S>
uint64_t rotary_workspace(const mill_kernel_args* args) {
  return args->out[0]->numel == 0 ? 0 : table_bytes<Compute<S>>(turns_of(args));
}

constexpr KernelEntry kEntries[] = {
    {MILL_OP_ROTARY, bit(MILL_F32), {rotary<float>, rotary_workspace<float>}},
    {MILL_OP_ROTARY, bit(MILL_F64), {rotary<double>, rotary_workspace<double>}},
    {MILL_OP_ROTARY, bit(MILL_BF16), {rotary<bf16>, rotary_workspace<bf16>}},
    {MILL_OP_ROTARY, bit(MILL_F16), {rotary<f16>, rotary_workspace<f16>}},
};

}  // namespace

KernelList rotary_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace mill::cpu::MILL_TARGET
