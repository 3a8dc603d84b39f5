// Memory of attention, forward and backward, by length of the sequence: on the CPU and on the
// simulated device. Times are ours alone; a peer that holds the scores needs length^2 of them.
#include <cmath>

#include "bench/common.h"
#include "bench/mill_api.h"

using bench::Mill;
using bench::Session;

namespace {

constexpr int64_t kHeads = 2, kWidth = 16;
constexpr int64_t kLengths[] = {512, 1024, 2048, 4096, 8192};

struct Handles {
  explicit Handles(Mill& m) : mill(m) {}
  ~Handles() {
    for (mill_tensor* t : list) mill.api.mill_tensor_release(t);
  }
  Mill& mill;
  std::vector<mill_tensor*> list;
};

// Peak bytes beyond the operands of one causal pass and its gradients, and the seconds it took.
void pass(Mill& mill, uint32_t device, mill_exec* exec, int64_t length, double* bytes,
          double* seconds) {
  const bench::Api& api = mill.api;
  mill_error* err = mill.err;
  Handles handles(mill);
  mill_tape* tape = nullptr;
  mill.check(api.mill_tape_create(mill.context, &tape, err));
  const int64_t dims[4] = {1, kHeads, length, kWidth};
  const auto n = static_cast<size_t>(kHeads * length * kWidth);
  std::vector<float> values(n);
  mill_tensor* qkv[3];
  for (uint64_t k = 0; k < 3; ++k) {
    bench::fill_random(values.data(), static_cast<int64_t>(n), k + 1);
    mill.check(api.mill_tensor_from_host(exec, MILL_F32, dims, 4, values.data(), n * sizeof(float),
                                         &qkv[k], err));
    handles.list.push_back(qkv[k]);
    mill.check(api.mill_tape_watch(tape, qkv[k], err));
  }
  mill_memory_stats before{}, after{};
  before.size = after.size = sizeof before;
  before.type = after.type = MILL_STRUCT_MEMORY_STATS;
  mill.check(api.mill_memory_reset_peak(mill.context, device, err));
  mill.check(api.mill_memory_stats_query(mill.context, device, &before, err));
  const double start = bench::now();
  mill.check(api.mill_exec_set_tape(exec, tape, err));
  mill.check(api.mill_scope_begin(exec, err));
  mill_tensor *out = nullptr, *lse = nullptr, *loss = nullptr;
  mill.check(api.mill_attention(exec, qkv[0], qkv[1], qkv[2], nullptr, nullptr, nullptr, 1, 0, 0,
                                &out, &lse, err));
  mill.check(api.mill_sum(exec, out, nullptr, 0, 0, &loss, err));
  mill.check(api.mill_tape_backward(tape, exec, loss, nullptr, 0, err));
  double value = 0;
  mill.check(api.mill_tensor_item(exec, loss, &value, err));
  mill.check(api.mill_scope_end(exec, err));
  mill.check(api.mill_exec_set_tape(exec, nullptr, err));
  *seconds = bench::now() - start;
  mill.check(api.mill_memory_stats_query(mill.context, device, &after, err));
  *bytes = static_cast<double>(after.in_use_peak - before.in_use_bytes);
  api.mill_tape_release(tape);
}

void sweep(Session& session, const char* spec) {
  const std::string what = std::string("memory of attention on ") + spec;
  if (!session.wanted("AM", what)) return;
  Mill mill(session.options().library, 0);
  uint32_t device = 0;
  mill_exec* exec = mill.exec;
  if (std::string(spec) != "cpu") {
    mill.check(mill.api.mill_device_open(mill.context, spec, MILL_NTS, &device, mill.err));
    mill.check(mill.api.mill_exec_create(mill.context, device, nullptr, &exec, mill.err));
  }
  session.heading("AM " + what + ": causal, 2 heads of 16, forward and backward");
  double first = 0;
  for (const int64_t length : kLengths) {
    double bytes = 0, seconds = 0;
    pass(mill, device, exec, length, &bytes, &seconds);
    const double each = bytes / static_cast<double>(length);
    if (length == kLengths[0]) first = each;
    char remark[120];
    std::snprintf(remark, sizeof remark, "%.0f bytes a position, %.3f s; scores alone: %.0f MB",
                  each, seconds,
                  static_cast<double>(kHeads * length * length) * sizeof(float) / 1e6);
    session.report("AM", what + ", length " + std::to_string(length), bytes / 1e6, "MB", "linear",
                   each < 1.25 * first, remark);
  }
  if (exec != mill.exec) mill.api.mill_exec_release(exec);
}

}  // namespace

int main(int argc, char** argv) {
  return bench::run_program(argc, argv,
                            {{"cpu", [](Session& s) { sweep(s, "cpu"); }, false},
                             {"sim", [](Session& s) { sweep(s, "sim:h200-sxm"); }, false}});
}
