// What one op pays for its record, alone: with the trace off, and in tier 1. Unlike the others this
// program has the engine's own code inside: what is off cannot be taken out of a library to see
// what it cost. Blocks with and without the span take turns.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <vector>

#include "trace/exec_trace.h"
#include "trace/tracer.h"

namespace {

constexpr int kBlocks = 201;
constexpr int kOps = 20000;  // fewer than half a ring: nothing is dropped, and nobody is woken
constexpr int32_t kOp = MILL_OP_ADD;

using Clock = std::chrono::steady_clock;

// Stands for the op: some 5 ns that depend on what came before.
uint64_t work(uint64_t x) {
  for (int k = 0; k < 4; ++k) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
  }
  asm volatile("" : "+r"(x));
  return x;
}

template <class Op>
double ns_per_op(Op&& op) {
  uint64_t x = 88172645463325252u;
  const auto begin = Clock::now();
  for (int k = 0; k < kOps; ++k) x = op(x);
  const double ns = std::chrono::duration<double, std::nano>(Clock::now() - begin).count();
  asm volatile("" : : "r"(x));
  return ns / kOps;
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

int main() {
  mill::Tracer tracer;
  mill::ExecTrace trace(tracer);
  std::vector<mill_trace_record> records(4096);
  const auto spanned = [&](uint64_t x) {
    mill::OpSpan span(trace, kOp);
    x = work(x);
    if (span.on()) [[unlikely]] {
      mill::OpFacts facts;
      facts.bytes = x;
      span.finish(facts);
    }
    return x;
  };
  const auto drain = [&] {
    uint32_t count = 1;
    while (count > 0)
      tracer.drain(records.data(), static_cast<uint32_t>(records.size()), &count, nullptr);
  };
  std::vector<double> off;
  std::vector<double> on;
  for (int block = 0; block < kBlocks; ++block) {
    const double bare = ns_per_op(work);
    tracer.set_mask(0);
    off.push_back(ns_per_op(spanned) - bare);
    tracer.set_mask(MILL_TRACE_RECORDS);
    on.push_back(ns_per_op(spanned) - bare);
    drain();
  }
  std::vector<double> stamps;
  for (int block = 0; block < kBlocks; ++block) {
    const double bare = ns_per_op(work);
    const auto stamped = [&](uint64_t x) {
      const uint64_t before = tracer.now();
      x = work(x);
      const uint64_t after = tracer.now();
      asm volatile("" : : "r"(before), "r"(after));
      return x;
    };
    stamps.push_back(ns_per_op(stamped) - bare);
  }
  std::printf("what an op's record costs, median of %d interleaved blocks of %d\n", kBlocks, kOps);
  std::printf("  trace off    %8.2f ns   goal 1 ns\n", median(off));
  std::printf("  tier 1       %8.2f ns   goal 50 ns; of that two time stamps %.2f ns\n", median(on),
              median(stamps));
  return 0;
}
