// Recurrent networks over whole sequences, a launch (of a GRU whose reset comes first two) for each
// step. What passes between steps lies in the workspace in the type of sums.
#include "gpu/families/common.h"
#include "kernels/functors/recurrent.h"

namespace MILL_FLAVOUR {
namespace {

// clang-format off
#include "kernels/block/elementwise.inl"
#include "kernels/block/ids.inl"
#include "kernels/block/recurrent.inl"

#include "gpu/families/elementwise.h"
// clang-format on

const void* lengths_of(const mill_kernel_args* args, uint32_t at) {
  const mill_kernel_tensor* t = input(args, at);
  return t == nullptr ? nullptr : t->data;
}

// `steps` is [T, batch, ...].
recurrent_place place_of(const mill_kernel_args* args, const mill_kernel_tensor& steps,
                         int64_t units, uint32_t lengths) {
  recurrent_place p{};
  p.steps = steps.dims[0];
  p.batch = steps.dims[1];
  p.units = units;
  p.unit_tiles = ceil_div(units, kRecurrentLine);
  p.reverse = args->attr[0].i != 0;
  if (input(args, lengths) != nullptr) p.index_dtype = input(args, lengths)->dtype;
  return p;
}
// The n-th step of a sequence.
void set_time(recurrent_place* p, int64_t n) {
  p->time = p->reverse ? p->steps - 1 - n : n;
  p->before = p->reverse ? p->time + 1 : p->time - 1;
}
shape grid_of(const recurrent_place& p) {
  return {ceil_div(p.batch, kRecurrentRows) * p.unit_tiles, kRecurrentThreads};
}

template <class T>
cost cost_of_step(const recurrent_place& p, int64_t parts) {
  const auto units = static_cast<uint64_t>(p.units);
  const auto rows = static_cast<uint64_t>(p.batch);
  const auto width = static_cast<uint64_t>(parts) * units;
  return {(width * units + rows * (width + 2 * units)) * sizeof(T), 2 * rows * width * units,
          sizeof(acc_t<T>) == 8 ? unit::f64 : unit::f32};
}

mill_status check_lengths_dtype(const mill_kernel_args* args, uint32_t at) {
  const mill_kernel_tensor* t = input(args, at);
  return t == nullptr ? MILL_OK : check_index_dtype(args, t, "lengths");
}

// Bytes of `count` numbers in the type that sums are kept in.
uint64_t sums_bytes(int32_t dtype, int64_t count) {
  return static_cast<uint64_t>(count) * (dtype == MILL_F64 ? 8 : 4);
}

// ---- forward ------------------------------------------------------------------------------------

uint64_t forward_workspace(const mill_kernel_args* args) {
  return sums_bytes(args->in[0]->dtype, 4 * args->in[0]->dims[1] * args->in[1]->dims[1]);
}

struct forward_call {
  int32_t op;
  uint32_t lengths;
  const mill_kernel_tensor* c0;
  const mill_kernel_tensor* c_last;
  const mill_kernel_tensor* kept;
  const mill_kernel_tensor* cells;
  bool relu;
};

template <class T, Recurrent K>
mill_status run_forward(const mill_kernel_args* args, const forward_call& call) {
  using C = acc_t<T>;
  recurrent_place p = place_of(args, *args->in[0], args->in[1]->dims[1], call.lengths);
  p.relu = call.relu;
  const int64_t n = p.batch * p.units;
  if (n == 0) return MILL_OK;
  const void* lengths = lengths_of(args, call.lengths);
  C* h[2] = {static_cast<C*>(args->workspace), static_cast<C*>(args->workspace) + n};
  C* cell = h[1] + n;
  C* reset = cell + n;
  mill_status status = launch<recurrent_begin<T, kThreads>>(
      args, shape_for(n), cost{static_cast<uint64_t>(n) * 4 * sizeof(C)}, p, call.op,
      static_cast<int32_t>(call.lengths), lengths, data_of<const T>(input(args, 3)),
      data_of<const T>(call.c0), h[0], cell, faults_of(args));
  constexpr Recurrent kThen = K == Recurrent::gru_rz ? Recurrent::gru_n : K;
  const auto step = [&]<Recurrent Part>(C* from, C* to) {
    return launch<recurrent_step<T, Part>>(
        args, grid_of(p), cost_of_step<T>(p, mill::functors::recurrent_products(Part)), p,
        data_of<const T>(args->in[0]), data_of<const T>(args->in[1]),
        data_of<const T>(input(args, 2)), lengths, static_cast<const C*>(from), to, cell, reset,
        data_of<T>(output(args, 0)), data_of<T>(call.kept), data_of<T>(call.cells));
  };
  for (int64_t k = 0; k < p.steps && status == MILL_OK; ++k) {
    set_time(&p, k);
    status = step.template operator()<K>(h[k % 2], h[1 - k % 2]);
    if (K != kThen && status == MILL_OK)
      status = step.template operator()<kThen>(h[k % 2], h[1 - k % 2]);
  }
  if (status != MILL_OK) return status;
  return launch<recurrent_end<T, kThreads>>(
      args, shape_for(n), cost{static_cast<uint64_t>(n) * 4 * sizeof(C)}, n,
      static_cast<const C*>(h[p.steps % 2]), static_cast<const C*>(cell),
      data_of<T>(output(args, 1)), data_of<T>(call.c_last));
}

mill_status lstm_sequence(const mill_kernel_args* args) {
  const mill_status status = check_lengths_dtype(args, 5);
  if (status != MILL_OK) return status;
  const forward_call call{
      MILL_OP_LSTM_SEQUENCE, 5,    input(args, 4), output(args, 2), output(args, 3),
      output(args, 4),       false};
  return with_float(args->in[0]->dtype,
                    [&]<class T>() { return run_forward<T, Recurrent::lstm>(args, call); });
}

mill_status gru_sequence(const mill_kernel_args* args) {
  const mill_status status = check_lengths_dtype(args, 4);
  if (status != MILL_OK) return status;
  const forward_call call{MILL_OP_GRU_SEQUENCE, 4,       nullptr, nullptr,
                          output(args, 2),      nullptr, false};
  return with_float(args->in[0]->dtype, [&]<class T>() {
    return args->attr[1].i != 0 ? run_forward<T, Recurrent::gru>(args, call)
                                : run_forward<T, Recurrent::gru_rz>(args, call);
  });
}

mill_status rnn_sequence(const mill_kernel_args* args) {
  const mill_status status = check_lengths_dtype(args, 4);
  if (status != MILL_OK) return status;
  const forward_call call{MILL_OP_RNN_SEQUENCE, 4, nullptr, nullptr, nullptr, nullptr,
                          args->attr[1].i != 0};
  return with_float(args->in[0]->dtype,
                    [&]<class T>() { return run_forward<T, Recurrent::rnn>(args, call); });
}

// ---- gradients ----------------------------------------------------------------------------------

// Carry, cell and two steps' sums of gates, as many as w_hh has rows.
uint64_t backward_workspace(const mill_kernel_args* args) {
  const int64_t* w = args->in[0]->dims;
  return sums_bytes(args->in[0]->dtype, 2 * args->in[1]->dims[1] * (w[1] + w[0]));
}

struct backward_call {
  int32_t op;
  uint32_t lengths;
  const mill_kernel_tensor* kept;
  const mill_kernel_tensor* cells;
  const mill_kernel_tensor* initial;
  const mill_kernel_tensor* g_y;
  const mill_kernel_tensor* g_h;
  const mill_kernel_tensor* g_c;
  const mill_kernel_tensor* g_kept;
  const mill_kernel_tensor* g_cells;
  const mill_kernel_tensor* dhidden;
  const mill_kernel_tensor* dh0;
  const mill_kernel_tensor* dc0;
  bool relu;
};

template <class T, Recurrent K>
mill_status run_backward(const mill_kernel_args* args, const backward_call& call) {
  using C = acc_t<T>;
  constexpr int kGates = mill::functors::recurrent_gates(K);
  recurrent_place p = place_of(args, *args->in[1], args->in[0]->dims[1], call.lengths);
  p.relu = call.relu;
  const int64_t n = p.batch * p.units;
  if (n == 0) return MILL_OK;
  const void* lengths = lengths_of(args, call.lengths);
  const auto* weights = data_of<const T>(args->in[0]);
  C* carry = static_cast<C*>(args->workspace);
  C* cell = carry + n;
  C* sums[2] = {cell + n, cell + n + kGates * n};
  mill_status status = launch<recurrent_begin<T, kThreads>>(
      args, shape_for(n), cost{static_cast<uint64_t>(n) * 4 * sizeof(C)}, p, call.op,
      static_cast<int32_t>(call.lengths), lengths, data_of<const T>(call.g_h),
      data_of<const T>(call.g_c), carry, cell, faults_of(args));
  constexpr Recurrent kThen = K == Recurrent::gru_rz ? Recurrent::gru_n : K;
  const C* after = nullptr;
  const auto step = [&]<Recurrent Part>(C* own) {
    const int parts = Part == Recurrent::gru_n ? 1 : Part == Recurrent::gru_rz ? 2 : kGates;
    return launch<recurrent_back<T, Part>>(
        args, grid_of(p), cost_of_step<T>(p, parts), p, weights, lengths,
        data_of<const T>(call.kept), data_of<const T>(call.cells), data_of<const T>(call.initial),
        data_of<const T>(call.g_y), data_of<const T>(call.g_kept), data_of<const T>(call.g_cells),
        after, own, carry, cell, data_of<T>(output(args, 0)), data_of<T>(call.dhidden));
  };
  for (int64_t k = p.steps; k-- > 0 && status == MILL_OK;) {
    set_time(&p, k);
    C* own = sums[k % 2];
    status = step.template operator()<K>(own);
    if (K != kThen && status == MILL_OK) status = step.template operator()<kThen>(own);
    after = own;
  }
  if (status != MILL_OK || (call.dh0 == nullptr && call.dc0 == nullptr)) return status;
  const int parts = K == Recurrent::gru_rz ? 2 : kGates;
  return launch<recurrent_back_end<T>>(args, grid_of(p), cost_of_step<T>(p, parts), p, kGates,
                                       parts, weights, after, static_cast<const C*>(carry),
                                       static_cast<const C*>(cell), data_of<T>(call.dh0),
                                       data_of<T>(call.dc0));
}

mill_status lstm_sequence_backward(const mill_kernel_args* args) {
  const mill_status status = check_lengths_dtype(args, 4);
  if (status != MILL_OK) return status;
  backward_call call{};
  call.op = MILL_OP_LSTM_SEQUENCE_BACKWARD;
  call.lengths = 4;
  call.kept = input(args, 1);
  call.cells = input(args, 2);
  call.initial = input(args, 3);
  call.g_y = input(args, 5);
  call.g_h = input(args, 6);
  call.g_c = input(args, 7);
  call.g_kept = input(args, 8);
  call.g_cells = input(args, 9);
  call.dh0 = output(args, 1);
  call.dc0 = output(args, 2);
  return with_float(args->in[0]->dtype,
                    [&]<class T>() { return run_backward<T, Recurrent::lstm>(args, call); });
}

mill_status gru_sequence_backward(const mill_kernel_args* args) {
  const mill_status status = check_lengths_dtype(args, 4);
  if (status != MILL_OK) return status;
  backward_call call{};
  call.op = MILL_OP_GRU_SEQUENCE_BACKWARD;
  call.lengths = 4;
  call.kept = input(args, 1);
  call.cells = input(args, 2);
  call.initial = input(args, 3);
  call.g_y = input(args, 5);
  call.g_h = input(args, 6);
  call.g_kept = input(args, 7);
  call.dhidden = output(args, 1);
  call.dh0 = output(args, 2);
  return with_float(args->in[0]->dtype, [&]<class T>() {
    return args->attr[1].i != 0 ? run_backward<T, Recurrent::gru>(args, call)
                                : run_backward<T, Recurrent::gru_rz>(args, call);
  });
}

mill_status rnn_sequence_backward(const mill_kernel_args* args) {
  const mill_status status = check_lengths_dtype(args, 2);
  if (status != MILL_OK) return status;
  backward_call call{};
  call.op = MILL_OP_RNN_SEQUENCE_BACKWARD;
  call.lengths = 2;
  call.cells = input(args, 1);
  call.g_y = input(args, 3);
  call.g_h = input(args, 4);
  call.dh0 = output(args, 1);
  call.relu = args->attr[1].i != 0;
  return with_float(args->in[0]->dtype,
                    [&]<class T>() { return run_backward<T, Recurrent::rnn>(args, call); });
}

constexpr KernelEntry kEntries[] = {
    {MILL_OP_LSTM_SEQUENCE, kFloatBits, {lstm_sequence, forward_workspace}},
    {MILL_OP_LSTM_SEQUENCE_BACKWARD, kFloatBits, {lstm_sequence_backward, backward_workspace}},
    {MILL_OP_GRU_SEQUENCE, kFloatBits, {gru_sequence, forward_workspace}},
    {MILL_OP_GRU_SEQUENCE_BACKWARD, kFloatBits, {gru_sequence_backward, backward_workspace}},
    {MILL_OP_RNN_SEQUENCE, kFloatBits, {rnn_sequence, forward_workspace}},
    {MILL_OP_RNN_SEQUENCE_BACKWARD, kFloatBits, {rnn_sequence_backward, backward_workspace}},
};

}  // namespace

KernelList recurrent_kernels() {
  return {kEntries, sizeof(kEntries) / sizeof(kEntries[0])};
}

}  // namespace MILL_FLAVOUR
