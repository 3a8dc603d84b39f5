// A rough table, not a benchmark: one large shape per op, the best of a few blocks of calls.
#include <chrono>
#include <cstdio>
#include <functional>

#include "conformance/modes.h"
#include "conformance/problem.h"

namespace mill_test {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kRows = 1024;
constexpr int64_t kWidth = 1024;

struct Input {
  mill_dtype dtype;
  Dims dims;
  int64_t bound;  // of index values
};

struct Shape {
  int32_t op;
  std::vector<Input> in;
  std::vector<mill_attr> attrs;
  uint32_t n_out;
  double flops;
};

mill_attr ints(int32_t id, const Dims& values) {
  return {id, MILL_ATTR_INTS, 0, 0, values.data(), values.size()};
}
mill_attr integer(int32_t id, int64_t value) {
  return {id, MILL_ATTR_INT, value, 0, nullptr, 0};
}
mill_attr real(int32_t id, double value) {
  return {id, MILL_ATTR_FLOAT, 0, value, nullptr, 0};
}

Tensor make_input(World& w, const Input& in) {
  Random random(7);
  Host host;
  host.dtype = in.dtype;
  host.dims = in.dims;
  for (size_t i = 0; i < host.size(); ++i) {
    if (is_float(in.dtype)) {
      host.f.push_back(random.between(0.2, 1.8));
    } else {
      host.i.push_back(in.dtype == MILL_BOOL
                           ? random.below(2)
                           : random.below(in.bound > 0 ? in.bound : 100) + (in.bound > 0 ? 0 : 1));
    }
  }
  Placed placed = place_host(w, host, Layout::contiguous, 0);
  return std::move(placed.view);
}

double bytes_of(mill_tensor* tensor) {
  return tensor ? static_cast<double>(mill_tensor_count(tensor)) *
                      static_cast<double>(dtype_bytes(mill_tensor_dtype(tensor)))
                : 0;
}

double best_seconds(World& w, const std::function<void()>& call) {
  const auto wait = [&] { w.ok(mill_exec_wait(w.exec(), w.error())); };
  call();
  wait();
  double best = 1e9;
  for (int block = 0; block < 5; ++block) {
    int calls = 0;
    const auto start = Clock::now();
    double seconds = 0;
    do {
      call();
      ++calls;
      seconds = std::chrono::duration<double>(Clock::now() - start).count();
    } while (seconds < 0.01);
    // Elsewhere than on the CPU the calls only enqueue.
    wait();
    seconds = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::min(best, seconds / calls);
  }
  return best;
}

void print_row(World& w, const char* name, const Shape& shape) {
  if (!op_wanted(name)) return;
  std::vector<Tensor> owned;
  std::vector<mill_tensor*> in;
  for (const Input& one : shape.in) {
    owned.push_back(one.dtype == MILL_DTYPE_NONE ? Tensor() : make_input(w, one));
    in.push_back(owned.back().get());
  }
  double bytes = 0;
  for (mill_tensor* tensor : in) bytes += bytes_of(tensor);
  const auto call = [&] {
    for (Tensor& out : invoke(w, shape.op, in, shape.attrs, shape.n_out)) out.reset();
  };
  for (const Tensor& out : invoke(w, shape.op, in, shape.attrs, shape.n_out))
    bytes += bytes_of(out.get());
  const double seconds = best_seconds(w, call);
  std::printf("%-24s %10.1f us %8.2f GB/s %9.2f GFLOP/s\n", name, seconds * 1e6,
              bytes / seconds * 1e-9, shape.flops / seconds * 1e-9);
}

}  // namespace

int print_performance() {
  World& w = world();
  const Dims square = {kRows, kWidth};
  const Dims row = {kWidth};
  const Dims column = {kRows};
  const Dims one = {1};
  const Dims last = {1};
  const Input x{MILL_F32, square, 0};
  const Input mask{MILL_BOOL, square, 0};
  const Input weight{MILL_F32, row, 0};
  const Input labels{MILL_I64, column, kWidth};
  const Input stat{MILL_F32, column, 0};
  const Input scalar{MILL_F32, one, 0};
  const Input count{MILL_I64, one, 0};
  const Input key{MILL_I64, {2}, 0};
  const Input absent{MILL_DTYPE_NONE, {}, 0};
  const double n = static_cast<double>(kRows * kWidth);
  const double product = 2 * n * static_cast<double>(kWidth);

  std::printf("f32, %lld x %lld, one thread\n", static_cast<long long>(kRows),
              static_cast<long long>(kWidth));
  print_row(w, "fill", {MILL_OP_FILL, {}, {ints(0, square), real(2, 1)}, 1, 0});
  print_row(w, "arange", {MILL_OP_ARANGE, {}, {integer(0, kRows * kWidth)}, 1, 2 * n});
  print_row(w, "cast to bf16",
            {MILL_OP_CAST, {x}, {{0, MILL_ATTR_DTYPE, MILL_BF16, 0, nullptr, 0}}, 1, 0});
  print_row(w, "copy", {MILL_OP_COPY, {x}, {}, 1, 0});
  print_row(w, "uniform", {MILL_OP_UNIFORM, {key}, {ints(0, square)}, 1, n});
  print_row(w, "normal", {MILL_OP_NORMAL, {key}, {ints(0, square)}, 1, n});
  print_row(w, "dropout", {MILL_OP_DROPOUT, {x, key}, {}, 1, n});
  for (const int32_t op : {MILL_OP_NEG, MILL_OP_EXP, MILL_OP_LOG, MILL_OP_SQRT, MILL_OP_RSQRT,
                           MILL_OP_TANH, MILL_OP_SIGMOID, MILL_OP_RELU, MILL_OP_GELU, MILL_OP_ABS,
                           MILL_OP_SIGN, MILL_OP_AFFINE, MILL_OP_SOFTPLUS}) {
    mill_op_schema schema{};
    schema.size = sizeof schema;
    schema.type = MILL_STRUCT_OP_SCHEMA;
    w.ok(mill_op_query(w.context(), op, &schema, w.error()));
    print_row(w, schema.name, {op, {x}, {}, 1, n});
  }
  for (const int32_t op :
       {MILL_OP_TANH_BACKWARD, MILL_OP_SIGMOID_BACKWARD, MILL_OP_RELU_BACKWARD,
        MILL_OP_GELU_BACKWARD, MILL_OP_ADD, MILL_OP_SUB, MILL_OP_MUL, MILL_OP_DIV, MILL_OP_POW,
        MILL_OP_MAXIMUM, MILL_OP_MINIMUM, MILL_OP_SOFTMAX_BACKWARD, MILL_OP_LOG_SOFTMAX_BACKWARD}) {
    mill_op_schema schema{};
    schema.size = sizeof schema;
    schema.type = MILL_STRUCT_OP_SCHEMA;
    w.ok(mill_op_query(w.context(), op, &schema, w.error()));
    print_row(w, schema.name, {op, {x, x}, {}, 1, n});
  }
  print_row(w, "add a row", {MILL_OP_ADD, {x, weight}, {}, 1, n});
  print_row(w, "compare", {MILL_OP_COMPARE, {x, x}, {integer(0, MILL_COMPARE_LT)}, 1, n});
  print_row(w, "where", {MILL_OP_WHERE, {mask, x, x}, {}, 1, 0});
  print_row(w, "concat", {MILL_OP_CONCAT, {x, x}, {}, 1, 0});
  print_row(w, "sum", {MILL_OP_SUM, {x}, {}, 1, n});
  print_row(w, "sum over rows", {MILL_OP_SUM, {x}, {ints(0, {0})}, 1, n});
  print_row(w, "mean over columns", {MILL_OP_MEAN, {x}, {ints(0, last)}, 1, n});
  print_row(w, "max", {MILL_OP_MAX, {x}, {ints(0, last)}, 1, n});
  print_row(w, "argmax", {MILL_OP_ARGMAX, {x}, {}, 1, n});
  print_row(w, "sum_to a row", {MILL_OP_SUM_TO, {x}, {ints(0, row)}, 1, n});
  print_row(w, "matmul", {MILL_OP_MATMUL, {x, x}, {}, 1, product});
  print_row(w, "linear", {MILL_OP_LINEAR, {x, x, weight}, {}, 1, product});
  print_row(w, "softmax", {MILL_OP_SOFTMAX, {x}, {}, 1, 5 * n});
  print_row(w, "log_softmax", {MILL_OP_LOG_SOFTMAX, {x}, {}, 1, 5 * n});
  print_row(w, "cross_entropy", {MILL_OP_CROSS_ENTROPY, {x, labels}, {}, 2, 5 * n});
  print_row(w, "cross_entropy_backward",
            {MILL_OP_CROSS_ENTROPY_BACKWARD, {{MILL_F32, {}, 0}, x, labels, stat}, {}, 1, 5 * n});
  print_row(w, "layer_norm", {MILL_OP_LAYER_NORM, {x, weight, weight}, {}, 3, 8 * n});
  print_row(w, "layer_norm_backward",
            {MILL_OP_LAYER_NORM_BACKWARD, {x, x, weight, stat, stat}, {}, 3, 14 * n});
  print_row(w, "embedding", {MILL_OP_EMBEDDING, {x, labels}, {}, 1, 0});
  print_row(w, "embedding_backward",
            {MILL_OP_EMBEDDING_BACKWARD, {x, labels}, {integer(0, kWidth)}, 1, n});
  print_row(w, "sgd_step", {MILL_OP_SGD_STEP, {x, x, x, scalar, absent}, {real(0, 0.9)}, 2, 6 * n});
  print_row(w, "adamw_step",
            {MILL_OP_ADAMW_STEP, {x, x, x, x, scalar, count, absent}, {}, 3, 14 * n});
  print_row(
      w, "adam_step",
      {MILL_OP_ADAM_STEP, {x, x, x, x, absent, scalar, count, absent, absent}, {}, 5, 16 * n});
  print_row(w, "rmsprop_step",
            {MILL_OP_RMSPROP_STEP, {x, x, x, x, x, scalar, absent, absent}, {}, 5, 16 * n});
  print_row(w, "adagrad_step",
            {MILL_OP_ADAGRAD_STEP, {x, x, x, scalar, count, absent, absent}, {}, 3, 9 * n});
  print_row(w, "lion_step", {MILL_OP_LION_STEP, {x, x, x, scalar, absent, absent}, {}, 3, 11 * n});
  print_row(w, "momentum_step",
            {MILL_OP_MOMENTUM_STEP, {x, x, x, scalar, count, absent, absent}, {}, 3, 9 * n});
  print_row(w, "clamp_gradient", {MILL_OP_CLAMP_GRADIENT, {x, absent}, {real(0, 0.5)}, 1, 2 * n});
  print_row(w, "average_step", {MILL_OP_AVERAGE_STEP, {x, x, count, absent}, {}, 1, 3 * n});
  print_row(w, "squared_norm", {MILL_OP_SQUARED_NORM, {x}, {}, 1, 2 * n});
  return 0;
}

}  // namespace mill_test
