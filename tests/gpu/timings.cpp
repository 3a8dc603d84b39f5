// gpu_timings --device SPEC [--info | --quick] [--csv FILE]
//
// First figures of a device, measured through the public ABI: how fast bytes go there and back,
// what a launch and a wait cost, how long large ops take (beside peer_torch.py: same names, same
// sizes), and how much of its copies a loader hides. Times of ops are the device's own, between two
// events: the best of a few blocks. Of a simulated device they are those of its model.
//
//   --info    says what the device is and ends: 0, or 77 where it cannot be opened
//   --quick   small sizes, a second in all
//   --csv     the rows also as group,name,dtype,size,us,rate,unit
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>
#include <functional>
#include <string>
#include <vector>

#include "conformance/api.h"

namespace mill_test {
namespace {

using Clock = std::chrono::steady_clock;
using Stream = Owner<mill_stream, mill_stream_release>;
using Event = Owner<mill_event, mill_event_release>;
using Future = Owner<mill_future, mill_future_release>;
using Call = std::function<void()>;

constexpr int kBlocks = 5;

const char* name_of(mill_dtype dtype) {
  return dtype == MILL_BF16 ? "bf16" : dtype == MILL_F16 ? "f16" : "f32";
}
double bytes_of(mill_dtype dtype) {
  return dtype == MILL_F32 ? 4 : 2;
}

class Bench {
 public:
  Bench(bool quick, std::FILE* csv) : quick_(quick), csv_(csv) {
    w_.ok(mill_stream_create(w_.context(), w_.device(), stream_.out(), w_.error()));
    w_.ok(mill_exec_create(w_.context(), w_.device(), stream_.get(), exec_.out(), w_.error()));
    w_.ok(mill_exec_create(w_.context(), 0, nullptr, host_.out(), w_.error()));
    w_.ok(mill_event_create(stream_.get(), from_.out(), w_.error()));
    w_.ok(mill_event_create(stream_.get(), to_.out(), w_.error()));
    w_.ok(mill_generator_create(exec_.get(), 1, generator_.out(), w_.error()));
    w_.ok(mill_exec_set_generator(exec_.get(), generator_.get(), w_.error()));
  }

  void bandwidths();
  void latencies();
  void ops();
  void overlap();

 private:
  mill_exec* exec() const { return exec_.get(); }
  mill_error* err() const { return w_.error(); }
  void ok(mill_status status) const { w_.ok(status); }

  // Seconds of the device for one call, and of the host.
  double device_seconds(const Call& call) {
    call();
    ok(mill_exec_wait(exec(), err()));
    int calls = 1;
    double best = 1e9;
    for (int block = 0; block < kBlocks + 1; ++block) {
      ok(mill_event_record(from_.get(), stream_.get(), err()));
      for (int k = 0; k < calls; ++k) call();
      ok(mill_event_record(to_.get(), stream_.get(), err()));
      ok(mill_event_wait(to_.get(), UINT64_MAX, err()));
      double ns = 0;
      ok(mill_event_elapsed(from_.get(), to_.get(), &ns, err()));
      const double one = ns * 1e-9 / calls;
      // The first block says how many calls take some milliseconds.
      if (block > 0) best = std::min(best, one);
      if (block == 0 && !quick_) calls = static_cast<int>(std::clamp(5e-3 / one, 3.0, 1000.0));
    }
    return best;
  }
  double host_seconds(
      int calls, const Call& call, const Call& after = [] {}) {
    call();
    after();
    double best = 1e9;
    for (int block = 0; block < kBlocks; ++block) {
      const auto start = Clock::now();
      for (int k = 0; k < calls; ++k) call();
      best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count() / calls);
      after();
    }
    return best;
  }

  void row(const char* group, const std::string& name, const char* dtype, const std::string& size,
           double seconds, double rate, const char* unit) {
    char shown[32] = "";
    if (rate > 0) std::snprintf(shown, sizeof shown, "%.4g", rate);
    std::printf("%-10s %-26s %-5s %-18s %12.2f us %10s %s\n", group, name.c_str(), dtype,
                size.c_str(), seconds * 1e6, shown, unit);
    std::fflush(stdout);
    if (csv_) {
      std::fprintf(csv_, "%s,%s,%s,%s,%.3f,%s,%s\n", group, name.c_str(), dtype, size.c_str(),
                   seconds * 1e6, shown, unit);
    }
  }
  void op_row(const char* name, mill_dtype dtype, const std::string& size, double bytes,
              const Call& call) {
    const double seconds = device_seconds(call);
    row("op", name, name_of(dtype), size, seconds, bytes / seconds * 1e-9, "GB/s");
  }

  Tensor normal(mill_dtype dtype, const Dims& dims) {
    Tensor out;
    ok(mill_normal(exec(), nullptr, dims.data(), static_cast<uint32_t>(dims.size()), dtype, 0, 1,
                   out.out(), err()));
    return out;
  }
  Tensor filled(mill_dtype dtype, const Dims& dims, double value) {
    Tensor out;
    ok(mill_fill(exec(), dims.data(), static_cast<uint32_t>(dims.size()), dtype, value, out.out(),
                 err()));
    return out;
  }
  void products(mill_dtype dtype, const char* variant);
  void rows_of(mill_dtype dtype);
  void adamw();
  Loader loader(mill_tensor* column, int64_t batch);

  bool quick_;
  std::FILE* csv_;
  World w_;
  Stream stream_;
  mill_test::Exec exec_, host_;
  Event from_, to_;
  Generator generator_;
};

// ---- copies -------------------------------------------------------------------------------------

Loader Bench::loader(mill_tensor* column, int64_t batch) {
  mill_loader_opts opts{};
  opts.size = sizeof opts;
  opts.type = MILL_STRUCT_LOADER_OPTS;
  opts.batch = batch;
  opts.device = w_.device();
  opts.pinned_bytes = uint64_t{1} << 30;
  Loader made;
  ok(mill_loader_create(w_.context(), &column, 1, &opts, made.out(), err()));
  return made;
}

void Bench::bandwidths() {
  const int64_t largest = quick_ ? 1 << 16 : 1 << 28;
  for (int64_t bytes = 1 << 12; bytes <= largest; bytes *= 16) {
    const int64_t n = bytes / 4;
    const double size = static_cast<double>(bytes);
    const std::string text = bytes < 1 << 20 ? std::to_string(bytes >> 10) + " KiB"
                                             : std::to_string(bytes >> 20) + " MiB";
    const int calls = quick_ ? 2 : bytes <= 1 << 20 ? 50 : 4;
    std::vector<float> values(static_cast<size_t>(n), 1.5f);
    const Tensor x = filled(MILL_F32, {n}, 0);
    Tensor y = filled(MILL_F32, {n}, 0);
    const auto wait = [&] { ok(mill_exec_wait(exec(), err())); };
    const auto copied = [&](const char* name, double seconds) {
      row("copy", name, "", text, seconds, size / seconds * 1e-9, "GB/s");
    };
    copied("pageable to device", host_seconds(calls, [&] {
             ok(mill_tensor_write(exec(), x.get(), values.data(), static_cast<uint64_t>(bytes),
                                  err()));
             wait();
           }));
    copied(
        "device to pageable", host_seconds(calls, [&] {
          ok(mill_tensor_read(exec(), x.get(), values.data(), static_cast<uint64_t>(bytes), err()));
        }));
    copied("device to pinned", host_seconds(calls, [&] {
             Future future;
             ok(mill_tensor_read_async(exec(), x.get(), future.out(), err()));
             ok(mill_future_wait(future.get(), UINT64_MAX, err()));
           }));
    // Rows of a page, which the loader's thread gathers into pinned memory: what the loader can
    // deliver, the gathering on one thread included.
    constexpr int64_t kRow = 1024;
    const Dims dims = {4 * n / kRow, kRow};
    Tensor rows;
    ok(mill_fill(host_.get(), dims.data(), 2, MILL_F32, 1, rows.out(), err()));
    const Loader from = loader(rows.get(), n / kRow);
    copied("loader to device", host_seconds(calls, [&] {
             mill_tensor* batch = nullptr;
             if (mill_loader_next(from.get(), exec(), &batch, 1, err()) == MILL_END)
               ok(mill_loader_next(from.get(), exec(), &batch, 1, err()));
             mill_tensor* into = y.get();
             const Tensor held(batch);
             const Dims flat = {n};
             const Dims stride = {1};
             Tensor view;
             ok(mill_tensor_view(held.get(), flat.data(), stride.data(), 1, 0, view.out(), err()));
             ok(mill_copy(exec(), view.get(), &into, err()));
             wait();
           }));
    const double seconds = device_seconds([&] {
      mill_tensor* into = y.get();
      ok(mill_copy(exec(), x.get(), &into, err()));
    });
    row("copy", "device to device", "", text, seconds, 2 * size / seconds * 1e-9, "GB/s");
  }
}

// ---- what calls cost ----------------------------------------------------------------------------

void Bench::latencies() {
  const int calls = quick_ ? 50 : 1000;
  const Tensor x = filled(MILL_F32, {1}, 1);
  const Tensor other = filled(MILL_F32, {1}, 1);
  mill_tensor* const in[2] = {x.get(), other.get()};
  mill_tensor* out = x.get();
  PreparedCall prepared;
  const auto wait = [&] { ok(mill_exec_wait(exec(), err())); };
  const auto shown = [&](const char* name, double seconds) {
    row("latency", name, "f32", "1", seconds, 0, "");
  };
  ok(mill_op_prepare(exec(), MILL_OP_ADD, in, 2, nullptr, 0, prepared.out(), err()));
  const Call run = [&] { ok(mill_call_run(prepared.get(), exec(), in, 2, &out, 1, err())); };
  const Call invoke_one = [&] {
    ok(mill_op_invoke(exec(), MILL_OP_ADD, in, 2, nullptr, 0, &out, 1, err()));
  };
  shown("enqueue a prepared call", host_seconds(calls, run, wait));
  shown("enqueue by number", host_seconds(calls, invoke_one, wait));
  shown("enqueue a typed call", host_seconds(
                                    calls,
                                    [&] {
                                      Tensor y;
                                      ok(mill_add(exec(), in[0], in[1], y.out(), err()));
                                    },
                                    wait));
  shown("device time of a call", device_seconds(run));
  shown("call and wait", host_seconds(calls / 10, [&] {
          run();
          wait();
        }));
  shown("call and item", host_seconds(calls / 10, [&] {
          run();
          double value = 0;
          ok(mill_tensor_item(exec(), x.get(), &value, err()));
        }));
  shown("call and future", host_seconds(calls / 10, [&] {
          run();
          Future future;
          ok(mill_tensor_read_async(exec(), x.get(), future.out(), err()));
          ok(mill_future_wait(future.get(), UINT64_MAX, err()));
        }));
  shown("record an event",
        host_seconds(
            calls, [&] { ok(mill_event_record(to_.get(), stream_.get(), err())); }, wait));
  shown("ask an event that happened",
        host_seconds(calls, [&] { ok(mill_event_query(to_.get(), err())); }));
}

// ---- ops ----------------------------------------------------------------------------------------

void Bench::products(mill_dtype dtype, const char* variant) {
  for (const int64_t m : quick_ ? Dims{64} : Dims{1024, 4096, 8192}) {
    const Tensor a = normal(dtype, {m, m});
    const Tensor b = normal(dtype, {m, m});
    Tensor c;
    ok(mill_matmul(exec(), a.get(), b.get(), c.out(), err()));
    const double seconds = device_seconds([&] {
      mill_tensor* out = c.get();
      ok(mill_matmul(exec(), a.get(), b.get(), &out, err()));
    });
    const double side = static_cast<double>(m);
    row("op", std::string("matmul") + variant, name_of(dtype), std::to_string(m) + "^3", seconds,
        2 * side * side * side / seconds * 1e-12, "TFLOP/s");
  }
}

void Bench::rows_of(mill_dtype dtype) {
  const int64_t rows = quick_ ? 16 : 8192;
  const int64_t width = quick_ ? 64 : 4096;
  const Dims dims = {rows, width};
  const std::string size = std::to_string(rows) + "x" + std::to_string(width);
  const double all = static_cast<double>(rows * width) * bytes_of(dtype);
  const Tensor x = normal(dtype, dims);
  const Tensor g = normal(dtype, dims);
  const Tensor weight = filled(dtype, {width}, 1);
  const Tensor bias = filled(dtype, {width}, 0);
  Tensor y, mean, rstd, dx, dweight, dbias, loss, lse;
  const auto again = [](const Tensor& t) { return t.get(); };
  ok(mill_add(exec(), x.get(), g.get(), y.out(), err()));
  op_row("add", dtype, size, 3 * all, [&] {
    mill_tensor* out = again(y);
    ok(mill_add(exec(), x.get(), g.get(), &out, err()));
  });
  op_row("gelu", dtype, size, 2 * all, [&] {
    mill_tensor* out = again(y);
    ok(mill_gelu(exec(), x.get(), 0, &out, err()));
  });
  op_row("softmax", dtype, size, 2 * all, [&] {
    mill_tensor* out = again(y);
    ok(mill_softmax(exec(), x.get(), -1, &out, err()));
  });
  ok(mill_layer_norm(exec(), x.get(), weight.get(), bias.get(), 1, 1e-5, y.out(), mean.out(),
                     rstd.out(), err()));
  op_row("layer_norm", dtype, size, 2 * all, [&] {
    mill_tensor *out = again(y), *out_mean = again(mean), *out_rstd = again(rstd);
    ok(mill_layer_norm(exec(), x.get(), weight.get(), bias.get(), 1, 1e-5, &out, &out_mean,
                       &out_rstd, err()));
  });
  ok(mill_layer_norm_backward(exec(), g.get(), x.get(), weight.get(), mean.get(), rstd.get(), 1,
                              dx.out(), dweight.out(), dbias.out(), err()));
  op_row("layer_norm_backward", dtype, size, 3 * all, [&] {
    mill_tensor *a = again(dx), *b = again(dweight), *c = again(dbias);
    ok(mill_layer_norm_backward(exec(), g.get(), x.get(), weight.get(), mean.get(), rstd.get(), 1,
                                &a, &b, &c, err()));
  });
  std::vector<int64_t> classes(static_cast<size_t>(rows));
  for (size_t i = 0; i < classes.size(); ++i) classes[i] = static_cast<int64_t>(i) * 31 % width;
  Tensor labels;
  ok(mill_tensor_from_host(exec(), MILL_I64, &rows, 1, classes.data(), classes.size() * 8,
                           labels.out(), err()));
  ok(mill_cross_entropy(exec(), x.get(), labels.get(), MILL_REDUCE_MEAN, 0, -100, loss.out(),
                        lse.out(), err()));
  op_row("cross_entropy", dtype, size, all, [&] {
    mill_tensor *a = again(loss), *b = again(lse);
    ok(mill_cross_entropy(exec(), x.get(), labels.get(), MILL_REDUCE_MEAN, 0, -100, &a, &b, err()));
  });
  Tensor sum;
  ok(mill_sum(exec(), x.get(), nullptr, 0, 0, sum.out(), err()));
  op_row("sum", dtype, size, all, [&] {
    mill_tensor* out = again(sum);
    ok(mill_sum(exec(), x.get(), nullptr, 0, 0, &out, err()));
  });
}

void Bench::adamw() {
  const int64_t n = quick_ ? 1 << 12 : 1 << 26;
  const Tensor p = normal(MILL_F32, {n});
  const Tensor g = normal(MILL_F32, {n});
  const Tensor m = filled(MILL_F32, {n}, 0);
  const Tensor v = filled(MILL_F32, {n}, 0);
  const Tensor rate = filled(MILL_F32, {1}, 1e-3);
  const Tensor step = filled(MILL_I64, {1}, 1);
  // Read p, g, m, v; written p, m, v.
  op_row("adamw_step", MILL_F32, std::to_string(n), 7 * 4 * static_cast<double>(n), [&] {
    mill_tensor *a = p.get(), *b = m.get(), *c = v.get();
    ok(mill_adamw_step(exec(), p.get(), g.get(), m.get(), v.get(), rate.get(), step.get(), nullptr,
                       0.9, 0.999, 1e-8, 0.01, &a, &b, &c, err()));
  });
}

void Bench::ops() {
  products(MILL_F32, "");
  products(MILL_BF16, "");
  products(MILL_F16, "");
  // Settings of a device that has them (docs/devices.md); own kernels instead of a library's.
  const bool settings = test_device().rfind("cuda", 0) == 0;
  const auto set = [&](const char* name, int64_t value) {
    ok(mill_device_configure(w_.context(), w_.device(), name, MILL_NTS, value, err()));
  };
  if (settings) {
    set("tf32", 1);
    products(MILL_F32, " tf32");
    set("tf32", 0);
    set("gemm", 1);
    products(MILL_F32, " own");
    products(MILL_BF16, " own");
    set("gemm", 0);
  }
  rows_of(MILL_F32);
  rows_of(MILL_BF16);
  adamw();
}

// ---- copies beside work -------------------------------------------------------------------------

// Steps of products on a new batch each: alone, with a copy from ordinary memory in front of each,
// and with a loader that copies ahead.
void Bench::overlap() {
  const int64_t rows = quick_ ? 64 : 8192;
  const int64_t width = quick_ ? 64 : 4096;
  const int steps = quick_ ? 8 : 50;
  const int products = quick_ ? 2 : 12;
  const Dims dims = {rows, width};
  const Dims all = {4 * rows, width};
  const std::string size = std::to_string(rows) + "x" + std::to_string(width);
  Tensor data, batch_view;
  ok(mill_fill(host_.get(), all.data(), 2, MILL_F32, 0.5, data.out(), err()));
  const Dims strides = {width, 1};
  ok(mill_tensor_view(data.get(), dims.data(), strides.data(), 2, 0, batch_view.out(), err()));
  const Tensor weight = filled(MILL_F32, {width, width}, 1.0 / static_cast<double>(width));
  const auto work = [&](mill_tensor* x) {
    Tensor y;
    ok(mill_matmul(exec(), x, weight.get(), y.out(), err()));
    for (int k = 1; k < products; ++k) {
      Tensor next;
      ok(mill_matmul(exec(), y.get(), weight.get(), next.out(), err()));
      y = std::move(next);
    }
  };
  const auto one_step = [&](const Call& step) {
    step();
    ok(mill_exec_wait(exec(), err()));
    ok(mill_event_record(from_.get(), stream_.get(), err()));
    for (int k = 0; k < steps; ++k) step();
    ok(mill_event_record(to_.get(), stream_.get(), err()));
    ok(mill_event_wait(to_.get(), UINT64_MAX, err()));
    double ns = 0;
    ok(mill_event_elapsed(from_.get(), to_.get(), &ns, err()));
    return ns * 1e-9 / steps;
  };
  const Tensor resident = filled(MILL_F32, dims, 0.5);
  const double compute = one_step([&] { work(resident.get()); });
  const double naive = one_step([&] {
    Tensor x;
    ok(mill_tensor_to(exec(), batch_view.get(), x.out(), err()));
    work(x.get());
  });
  const Loader from = loader(data.get(), rows);
  const double piped = one_step([&] {
    mill_tensor* raw = nullptr;
    if (mill_loader_next(from.get(), exec(), &raw, 1, err()) == MILL_END)
      ok(mill_loader_next(from.get(), exec(), &raw, 1, err()));
    const Tensor x(raw);
    work(x.get());
  });
  row("overlap", "step without copies", "f32", size, compute, 0, "");
  row("overlap", "step with a blocking copy", "f32", size, naive, naive / compute, "times");
  row("overlap", "step with the loader", "f32", size, piped, piped / compute, "times");
}

// ---- main ---------------------------------------------------------------------------------------

int print_device() {
  Error error;
  Context context;
  uint32_t index = 0;
  if (mill_error_create(error.out()) < 0) return 1;
  if (mill_context_create(nullptr, context.out(), error.get()) < 0 ||
      mill_device_open(context.get(), test_device().c_str(), MILL_NTS, &index, error.get()) < 0) {
    std::printf("%s\n", mill_error_message(error.get()));
    return 77;
  }
  mill_device_info info{};
  info.size = sizeof info;
  info.type = MILL_STRUCT_DEVICE_INFO;
  if (mill_device_query(context.get(), index, &info, error.get()) < 0) {
    std::printf("%s\n", mill_error_message(error.get()));
    return 1;
  }
  std::printf("%s: %s, %llu MiB\n", info.name, info.description,
              static_cast<unsigned long long>(info.memory_bytes >> 20));
  return 0;
}

int measure(bool quick, const char* csv_path) {
  std::FILE* csv = csv_path ? std::fopen(csv_path, "w") : nullptr;
  if (csv_path && !csv) {
    std::fprintf(stderr, "gpu_timings: cannot write %s\n", csv_path);
    return 1;
  }
  int failed = 0;
  int passed = 0;
  Bench bench(quick, csv);
  // One that fails does not take the others with it.
  for (const auto part : {&Bench::bandwidths, &Bench::latencies, &Bench::ops, &Bench::overlap}) {
    try {
      (bench.*part)();
      ++passed;
    } catch (const std::exception& error) {
      std::printf("FAILED: %s\n", error.what());
      ++failed;
    }
  }
  if (csv) std::fclose(csv);
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace mill_test

int main(int argc, char** argv) {
  bool info = false;
  bool quick = false;
  const char* csv = nullptr;
  mill_test::test_device() = "sim";
  for (int k = 1; k < argc; ++k) {
    if (std::strcmp(argv[k], "--info") == 0) {
      info = true;
    } else if (std::strcmp(argv[k], "--quick") == 0) {
      quick = true;
    } else if (k + 1 < argc && std::strcmp(argv[k], "--device") == 0) {
      mill_test::test_device() = argv[++k];
    } else if (k + 1 < argc && std::strcmp(argv[k], "--csv") == 0) {
      csv = argv[++k];
    } else {
      std::fprintf(stderr, "usage: gpu_timings [--device SPEC] [--info | --quick] [--csv FILE]\n");
      return 2;
    }
  }
  try {
    return info ? mill_test::print_device() : mill_test::measure(quick, csv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "gpu_timings: %s\n", error.what());
    return 1;
  }
}
