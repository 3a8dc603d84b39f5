// Rates of the host's own memory: one thread copying, all threads in STREAM's triad (McCalpin,
// "Memory bandwidth and machine balance in current high performance computers", 1995), which counts
// three accesses of an element and not the read that a write may cost.
#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstring>
#include <exception>
#include <latch>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "profiler/cli/calibrate.h"

namespace mill::cli {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

double copy_rate(uint64_t bytes, int repeats) {
  const auto from = std::make_unique_for_overwrite<unsigned char[]>(bytes);
  const auto to = std::make_unique_for_overwrite<unsigned char[]>(bytes);
  std::memset(from.get(), 1, bytes);
  std::memset(to.get(), 2, bytes);
  double best = 0;
  for (int k = 0; k < repeats; ++k) {
    from[static_cast<size_t>(k)] = static_cast<unsigned char>(k);
    const Clock::time_point begin = Clock::now();
    std::memcpy(to.get(), from.get(), bytes);
    // The copy must have happened: its result is looked at through a volatile.
    const volatile unsigned char* seen = to.get();
    const double seconds = seconds_since(begin) + 0.0 * seen[static_cast<size_t>(k)];
    if (seconds > 0) best = std::max(best, static_cast<double>(bytes) / seconds);
  }
  return best;
}

// By as many of *threads as can be started, which it then says.
double triad_rate(uint64_t bytes, uint32_t* threads, int repeats) {
  const size_t count = bytes / sizeof(double);
  const auto a = std::make_unique_for_overwrite<double[]>(count);
  const auto b = std::make_unique_for_overwrite<double[]>(count);
  const auto c = std::make_unique_for_overwrite<double[]>(count);
  std::latch counted(1);
  std::optional<std::barrier<>> together;
  double best = 0;
  Clock::time_point begin;
  const auto work = [&](uint32_t thread) {
    counted.wait();
    const size_t first = count * thread / *threads;
    const size_t end = count * (thread + 1) / *threads;
    // Who touches memory first has it near.
    for (size_t k = first; k < end; ++k) {
      a[k] = 0;
      b[k] = 1;
      c[k] = 2;
    }
    for (int repeat = 0; repeat < repeats; ++repeat) {
      together->arrive_and_wait();
      if (thread == 0) begin = Clock::now();
      together->arrive_and_wait();
      double* __restrict to = a.get();
      const double* __restrict one = b.get();
      const double* __restrict two = c.get();
      const double scale = 3.0 + repeat;
      for (size_t k = first; k < end; ++k) to[k] = one[k] + scale * two[k];
      together->arrive_and_wait();
      if (thread == 0) {
        const double seconds = seconds_since(begin);
        const volatile double* seen = to;
        const double moved = 3.0 * static_cast<double>(count * sizeof(double)) + 0.0 * seen[0];
        if (seconds > 0) best = std::max(best, moved / seconds);
      }
    }
  };
  {
    std::vector<std::jthread> others;
    others.reserve(*threads);
    try {
      for (uint32_t thread = 1; thread < *threads; ++thread) others.emplace_back(work, thread);
    } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): those that run are enough
    }
    *threads = static_cast<uint32_t>(others.size()) + 1;
    together.emplace(static_cast<std::ptrdiff_t>(*threads));
    counted.count_down();
    work(0);
  }
  return best;
}

}  // namespace

HostFigures measure_host(bool quick, uint64_t memory_bytes, uint32_t threads,
                         uint64_t cache_bytes) {
  HostFigures out;
  out.threads = std::max(threads, 1u);
  constexpr uint64_t kLeast = uint64_t{64} << 20;
  // Four times the last cache, so that nothing of one pass is left for the next; virtual machines
  // may name one that they have a small share of.
  const uint64_t most = (quick ? uint64_t{256} : uint64_t{1024}) << 20;
  uint64_t bytes = std::min(std::max(kLeast, 4 * cache_bytes), most);
  if (memory_bytes > 0) bytes = std::min(bytes, std::max(memory_bytes / 12, uint64_t{8} << 20));
  out.triad_bytes = bytes;
  out.copy_bytes_per_s = copy_rate(bytes, quick ? 4 : 12);
  out.triad_bytes_per_s = triad_rate(bytes, &out.threads, quick ? 4 : 12);
  return out;
}

}  // namespace mill::cli
