// A9: ops that memory bounds, as a share of what a plain scaling loop over memory of the same size
// reaches.
#include <sys/mman.h>

#include <cmath>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <thread>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "bench/common.h"
#include "bench/mill_api.h"

using bench::Case;
using bench::Mill;
using bench::Session;

namespace {

constexpr int64_t kRow = 1024;
constexpr int64_t kRows = 16384;
constexpr int64_t kCount = kRow * kRows;  // 64 MB of f32
constexpr double kBytes = 4.0 * static_cast<double>(kCount);

// b = 3 a over a range. Plain stores first read what they overwrite; stores past the cache do not.
// Which is faster depends on the machine, so both are tried.
using Loop = void (*)(const float* __restrict a, float* __restrict b, int64_t n);

#if defined(__x86_64__)
__attribute__((target_clones("avx512f", "avx2", "default"), optimize("O3")))
#endif
void scale_plain(const float* __restrict a, float* __restrict b, int64_t n) {
  for (int64_t i = 0; i < n; ++i) b[i] = 3.0f * a[i];
}

#if defined(__x86_64__)
__attribute__((target("avx"))) void scale_past_cache(const float* __restrict a, float* __restrict b,
                                                     int64_t n) {
  const __m256 three = _mm256_set1_ps(3.0f);
  for (int64_t i = 0; i < n; i += 8)
    _mm256_stream_ps(b + i, _mm256_mul_ps(_mm256_load_ps(a + i), three));
  _mm_sfence();
}
bool stores_past_cache() {
  return __builtin_cpu_supports("avx") != 0;
}
#else
constexpr Loop scale_past_cache = scale_plain;
bool stores_past_cache() {
  return false;
}
#endif

// Memory as a good program would have it: on huge pages, first touched by the thread that uses it.
class Buffer {
 public:
  Buffer()
      : data_(static_cast<float*>(std::aligned_alloc(size_t{2} << 20, sizeof(float) * kCount))) {
    if (!data_) throw std::bad_alloc();
    madvise(data_, sizeof(float) * kCount, MADV_HUGEPAGE);
  }
  ~Buffer() { std::free(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  float* data() const { return data_; }

 private:
  float* data_;
};

// What memory gives to a loop that does next to nothing, on one or all CPUs (McCalpin's STREAM,
// "scale").
class Scale {
 public:
  explicit Scale(int threads) : threads_(threads) {
    for (int k = 1; k < threads; ++k) workers_.emplace_back([this, k] { work(k); });
    all([this](int64_t begin, int64_t n) {
      bench::fill_random(a_.data() + begin, n, 3);
      bench::fill_random(b_.data() + begin, n, 4);
    });
  }
  ~Scale() {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
    }
    changed_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }
  void run(int64_t times, Loop loop) {
    for (int64_t i = 0; i < times; ++i) {
      all([this, loop](int64_t begin, int64_t n) {
        loop(a_.data() + begin, b_.data() + begin, n);
      });
    }
  }
  bool right() const { return b_.data()[kCount - 1] == 3.0f * a_.data()[kCount - 1]; }

 private:
  using Part = std::function<void(int64_t, int64_t)>;

  void all(const Part& part) {
    {
      const std::lock_guard lock(mutex_);
      part_ = &part;
      ++round_;
      left_ = threads_ - 1;
    }
    changed_.notify_all();
    run_part(0);
    std::unique_lock lock(mutex_);
    done_.wait(lock, [&] { return left_ == 0; });
  }
  void run_part(int k) {
    constexpr int64_t kPage = (int64_t{2} << 20) / 4;
    const int64_t pages = kCount / kPage;
    const int64_t begin = pages * k / threads_ * kPage;
    (*part_)(begin, pages * (k + 1) / threads_ * kPage - begin);
  }
  void work(int k) {
    uint64_t seen = 0;
    for (;;) {
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return ending_ || round_ != seen; });
        if (ending_) return;
        seen = round_;
      }
      run_part(k);
      const std::lock_guard lock(mutex_);
      if (--left_ == 0) done_.notify_one();
    }
  }

  int threads_;
  Buffer a_, b_;
  const Part* part_ = nullptr;
  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable changed_, done_;
  uint64_t round_ = 0;
  int left_ = 0;
  bool ending_ = false;
};

// One op, repeated; the "peer" moves as many bytes by the scaling loop as the op must move at
// least.
void share(Session& session, Scale& one, Scale& all, const char* name, double bytes,
           const std::function<void()>& op) {
  Case c;
  c.id = "A9";
  c.name = name;
  c.ours = {"millrace",
            [&](int64_t n) {
              for (int64_t i = 0; i < n; ++i) op();
            },
            {}};
  struct Way {
    Scale* scale;
    Loop loop;
  };
  auto way = std::make_shared<Way>();
  c.peer = {"stream scale", [way](int64_t n) { way->scale->run(n, way->loop); }, {}};
  for (Scale* scale : {&one, &all}) {
    for (const bool past : {false, true}) {
      if (past && !stores_past_cache()) continue;
      bench::Config config;
      config.name = std::string(scale == &one ? "1 thread" : "all CPUs") +
                    (past ? ", stores past the cache" : "");
      config.enter = [way, scale, past] { *way = {scale, past ? scale_past_cache : scale_plain}; };
      c.peer.configs.push_back(config);
    }
  }
  c.peer_scale = bytes / (2 * kBytes);  // a pass of the loop moves 2 * kBytes
  c.work = bytes;
  c.rate = "GB/s";
  c.goal = 0.70;
  c.check = [&]() -> std::string {
    return one.right() || all.right() ? "" : "the scaling loop computed nothing";
  };
  session.run(c);
}

std::string check_row(Mill& mill, mill_tensor* tensor, double want_sum, const char* what) {
  const std::vector<float> values = mill.read(tensor);
  double sum = 0;
  for (int64_t i = 0; i < kRow; ++i)
    sum += static_cast<double>(values[static_cast<size_t>(kCount - kRow + i)]);
  if (std::fabs(sum - want_sum) < 1e-2) return "";
  return std::string(what) + ": last row sums to " + std::to_string(sum);
}

void memory_bound(Session& session) {
  Mill mill(session.options().library, 0);
  const bench::Api& api = mill.api;
  const int cpus = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  Scale one(1);
  Scale all(cpus);
  session.heading(
      "A9 on 64 MB; " + mill.device() + "; the ratio is the share of the scaling loop's rate",
      "GB/s");
  std::vector<float> host(static_cast<size_t>(kCount));
  bench::fill_random(host.data(), kCount, 1, -3, 3);
  mill_tensor* x = mill.tensor({kRows, kRow}, host.data());
  mill_tensor* weight = nullptr;
  mill_tensor* bias = nullptr;
  const int64_t row[1] = {kRow};
  mill.check(api.mill_fill(mill.exec, row, 1, MILL_F32, 1.0, &weight, mill.err));
  mill.check(api.mill_fill(mill.exec, row, 1, MILL_F32, 0.0, &bias, mill.err));
  mill_tensor *y = nullptr, *mean = nullptr, *rstd = nullptr;
  share(session, one, all, "gelu (erf)", 2 * kBytes,
        [&] { mill.check(api.mill_gelu(mill.exec, x, 0, &y, mill.err)); });
  share(session, one, all, "gelu (tanh)", 2 * kBytes,
        [&] { mill.check(api.mill_gelu(mill.exec, x, 1, &y, mill.err)); });
  share(session, one, all, "softmax of 1,024", 2 * kBytes,
        [&] { mill.check(api.mill_softmax(mill.exec, x, -1, &y, mill.err)); });
  if (session.wanted("A9", "softmax of 1,024")) {
    const std::string wrong = check_row(mill, y, 1, "softmax");
    if (!wrong.empty()) throw std::runtime_error(wrong);
  }
  share(session, one, all, "layer_norm of 1,024", 2 * kBytes, [&] {
    mill.check(
        api.mill_layer_norm(mill.exec, x, weight, bias, 1, 1e-5, &y, &mean, &rstd, mill.err));
  });
  if (mean) {
    const std::string wrong = check_row(mill, y, 0, "layer_norm");
    if (!wrong.empty()) throw std::runtime_error(wrong);
  }
  for (mill_tensor* tensor : {y, mean, rstd}) api.mill_tensor_release(tensor);

  // Parameters, gradients and two moments of 64 MB each.
  const int64_t flat[1] = {kCount};
  mill_tensor *param = nullptr, *m = nullptr, *v = nullptr, *rate = nullptr, *clip = nullptr;
  mill.check(api.mill_fill(mill.exec, flat, 1, MILL_F32, 0.5, &param, mill.err));
  mill.check(api.mill_fill(mill.exec, flat, 1, MILL_F32, 0.0, &m, mill.err));
  mill.check(api.mill_fill(mill.exec, flat, 1, MILL_F32, 0.0, &v, mill.err));
  const int64_t single[1] = {1};
  mill.check(api.mill_fill(mill.exec, single, 1, MILL_F32, 1e-3, &rate, mill.err));
  mill.check(api.mill_fill(mill.exec, single, 1, MILL_F32, 1.0, &clip, mill.err));
  const int64_t first = 1;
  mill_tensor* step = mill.tensor_i64({1}, &first);
  mill_tensor* gradient = mill.tensor({kCount}, host.data());
  share(session, one, all, "adamw_step (4 read, 3 written)", 7 * kBytes, [&] {
    mill_tensor *out_param = param, *out_m = m, *out_v = v;
    mill.check(api.mill_adamw_step(mill.exec, param, gradient, m, v, rate, step, clip, 0.9, 0.999,
                                   1e-8, 0.01, &out_param, &out_m, &out_v, mill.err));
  });
  for (mill_tensor* tensor : {x, weight, bias, param, m, v, rate, clip, step, gradient})
    api.mill_tensor_release(tensor);
}

}  // namespace

int main(int argc, char** argv) {
  return bench::run_program(argc, argv, {{"memory bound", memory_bound, false}});
}
