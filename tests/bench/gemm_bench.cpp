// A4, A6, A7: matrix products next to oneDNN on the same plain row-major matrices.
#include <dlfcn.h>
#include <oneapi/dnnl/dnnl.hpp>

#include <cmath>
#include <cstring>
#include <unordered_map>

#include "bench/common.h"
#include "bench/mill_api.h"

using bench::Case;
using bench::Mill;
using bench::Session;

namespace {

struct Product {
  const char* name;
  int64_t m, n, k;
};

const Product kProducts[] = {
    {"64x128x784", 64, 128, 784}, {"128x512x784", 128, 512, 784}, {"256^3", 256, 256, 256},
    {"512^3", 512, 512, 512},     {"1024^3", 1024, 1024, 1024},   {"2048^3", 2048, 2048, 2048},
};

void set_openmp_threads(int n) {
  using SetThreads = void (*)(int);
  static const auto set = reinterpret_cast<SetThreads>(dlsym(RTLD_DEFAULT, "omp_set_num_threads"));
  if (set) set(n);
}

// oneDNN's matmul primitive, made once; and for f32 its sgemm, whichever is faster.
class Peer {
 public:
  Peer(const Product& p, bool bf16, bool transposed, const float* a, const float* b)
      : p_(p), transposed_(transposed), engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {
    using dnnl::memory;
    const auto type = bf16 ? memory::data_type::bf16 : memory::data_type::f32;
    const auto plain = memory::format_tag::ab;
    const auto b_tag = transposed ? memory::format_tag::ba : plain;
    const memory::desc a_desc({p.m, p.k}, type, plain);
    const memory::desc b_desc({p.k, p.n}, type, b_tag);
    const memory::desc c_desc({p.m, p.n}, type, plain);
    a_ = memory(a_desc, engine_);
    b_ = memory(b_desc, engine_);
    c_ = memory(c_desc, engine_);
    load(a_, a, {p.m, p.k}, plain);
    load(b_, b, {p.k, p.n}, b_tag);
    set_openmp_threads(1);
    const dnnl::matmul::primitive_desc desc({a_desc, b_desc, c_desc}, engine_);
    matmul_ = dnnl::matmul(desc);
  }

  bench::Side side(int threads, bool bf16) {
    const auto config = [&](const char* name, bool sgemm) {
      bench::Config out;
      out.name = name;
      out.enter = [this, sgemm, threads] {
        set_openmp_threads(threads);
        sgemm_ = sgemm;
      };
      return out;
    };
    bench::Side out;
    out.name = "oneDNN " + std::to_string(dnnl_version()->major) + "." +
               std::to_string(dnnl_version()->minor) + "." + std::to_string(dnnl_version()->patch);
    out.run = [this](int64_t times) {
      for (int64_t i = 0; i < times; ++i) multiply();
    };
    out.configs.push_back(config("matmul", false));
    if (!bf16) out.configs.push_back(config("sgemm", true));
    return out;
  }

  std::vector<float> result() {
    using dnnl::memory;
    std::vector<float> out(static_cast<size_t>(p_.m * p_.n));
    memory plain({{p_.m, p_.n}, memory::data_type::f32, memory::format_tag::ab}, engine_,
                 out.data());
    dnnl::reorder(c_, plain).execute(stream_, c_, plain);
    stream_.wait();
    return out;
  }

 private:
  void load(dnnl::memory& to, const float* from, const dnnl::memory::dims& dims,
            dnnl::memory::format_tag tag) {
    dnnl::memory plain({dims, dnnl::memory::data_type::f32, tag}, engine_,
                       const_cast<float*>(from));
    dnnl::reorder(plain, to).execute(stream_, plain, to);
    stream_.wait();
  }
  void multiply() {
    if (sgemm_) {
      const auto* a = static_cast<const float*>(a_.get_data_handle());
      const auto* b = static_cast<const float*>(b_.get_data_handle());
      dnnl_sgemm('N', transposed_ ? 'T' : 'N', p_.m, p_.n, p_.k, 1.0f, a, p_.k, b,
                 transposed_ ? p_.k : p_.n, 0.0f, static_cast<float*>(c_.get_data_handle()), p_.n);
      return;
    }
    matmul_.execute(stream_, {{DNNL_ARG_SRC, a_}, {DNNL_ARG_WEIGHTS, b_}, {DNNL_ARG_DST, c_}});
    stream_.wait();
  }

  Product p_;
  bool transposed_;
  bool sgemm_ = false;
  dnnl::engine engine_;
  dnnl::stream stream_;
  dnnl::memory a_, b_, c_;
  dnnl::matmul matmul_;
};

// The same product through the ABI, into a given output.
class Ours {
 public:
  Ours(Mill& mill, const Product& p, bool bf16, bool transposed, const float* a, const float* b)
      : mill_(mill), transposed_(transposed) {
    a_ = make(p.m, p.k, a, bf16);
    b_ = transposed ? make(p.n, p.k, b, bf16) : make(p.k, p.n, b, bf16);
    multiply();
  }
  ~Ours() {
    for (mill_tensor* tensor : {a_, b_, c_}) mill_.api.mill_tensor_release(tensor);
  }
  void multiply() {
    mill_.check(transposed_ ? mill_.api.mill_linear(mill_.exec, a_, b_, nullptr, &c_, mill_.err)
                            : mill_.api.mill_matmul(mill_.exec, a_, b_, &c_, mill_.err));
  }
  bench::Side side(const char* name) {
    return {name,
            [this](int64_t times) {
              for (int64_t i = 0; i < times; ++i) multiply();
            },
            {}};
  }
  std::vector<float> result() { return mill_.read(c_); }

 private:
  mill_tensor* make(int64_t rows, int64_t cols, const float* values, bool bf16) {
    mill_tensor* out = mill_.tensor({rows, cols}, values);
    if (!bf16) return out;
    mill_tensor* narrow = mill_.cast(out, MILL_BF16);
    mill_.api.mill_tensor_release(out);
    return narrow;
  }
  Mill& mill_;
  bool transposed_;
  mill_tensor *a_ = nullptr, *b_ = nullptr, *c_ = nullptr;
};

struct Inputs {
  std::vector<float> a, b;
  explicit Inputs(const Product& p)
      : a(static_cast<size_t>(p.m * p.k)), b(static_cast<size_t>(p.k * p.n)) {
    bench::fill_random(a.data(), p.m * p.k, 1);
    bench::fill_random(b.data(), p.k * p.n, 2);
  }
};

double flops(const Product& p) {
  return 2.0 * static_cast<double>(p.m) * static_cast<double>(p.n) * static_cast<double>(p.k);
}

// The whole set, and the geometric mean of the ratios.
void sweep(Session& session, const char* id, const std::string& what, int32_t gemm, bool bf16,
           bool transposed, double goal) {
  if (!session.wanted(id, what)) return;
  Mill mill(session.options().library, MILL_THREADS_CALLER_ONLY, gemm);
  session.heading(std::string(id) + " " + what + ", one thread; " + mill.device(), "GFLOP/s");
  double sum = 0;
  double sum_best = 0;
  int n = 0;
  for (const Product& p : kProducts) {
    const Inputs inputs(p);
    std::unique_ptr<Ours> ours;
    std::unique_ptr<Peer> peer;
    session.ours().run([&] {
      ours = std::make_unique<Ours>(mill, p, bf16, transposed, inputs.a.data(), inputs.b.data());
    });
    session.peer().run([&] {
      peer = std::make_unique<Peer>(p, bf16, transposed, inputs.a.data(), inputs.b.data());
    });
    Case c;
    c.id = id;
    c.name = what + " " + p.name;
    c.ours = ours->side("millrace");
    c.peer = peer->side(1, bf16);
    c.work = flops(p);
    c.rate = "GFLOP/s";
    c.check = [&] {
      const auto mine = ours->result();
      const auto theirs = peer->result();
      const double scale = std::sqrt(static_cast<double>(p.k));
      return bench::compare_values(mine.data(), theirs.data(), p.m * p.n, bf16 ? 1.0 / 100 : 1e-5,
                                   scale);
    };
    const bench::Result result = session.run(c);
    if (result.ours.median > 0) {
      sum += std::log(result.peer.median / result.ours.median);
      sum_best += std::log(result.peer.best / result.ours.best);
      ++n;
    }
  }
  if (n == 0) return;
  const double mean = std::exp(sum / n);
  char text[64];
  std::snprintf(text, sizeof text, ">= %.2f", goal);
  char best[64];
  std::snprintf(best, sizeof best, "of the best blocks: %.3f", std::exp(sum_best / n));
  session.report(id, what + ": geometric mean of the ratios", mean, "x", goal > 0 ? text : "",
                 mean >= goal, best);
}

void scaling(Session& session) {
  if (!session.wanted("A7", "two threads")) return;
  Mill one(session.options().library, MILL_THREADS_CALLER_ONLY);
  Mill two(session.options().library, 2);
  session.heading("A7 two threads beside one (the peer is ours with one); " + two.device(),
                  "GFLOP/s");
  std::vector<Product> products(std::begin(kProducts), std::end(kProducts));
  products.insert(products.begin(), {"32^3", 32, 32, 32});
  for (const Product& p : products) {
    const Inputs inputs(p);
    Ours fast(two, p, false, false, inputs.a.data(), inputs.b.data());
    Ours slow(one, p, false, false, inputs.a.data(), inputs.b.data());
    Case c;
    c.id = "A7";
    c.name = std::string("f32 ") + p.name;
    c.ours = fast.side("two threads");
    c.peer = slow.side("one thread");
    c.work = flops(p);
    c.rate = "GFLOP/s";
    c.goal = p.m == 32 ? 0.95 : 1.7;
    c.check = [&] {
      const auto a = fast.result();
      const auto b = slow.result();
      return bench::compare_values(a.data(), b.data(), p.m * p.n, 1e-5,
                                   std::sqrt(static_cast<double>(p.k)));
    };
    session.run(c);
  }
}

}  // namespace

int main(int argc, char** argv) {
  return bench::run_program(
      argc, argv,
      {{"f32", [](Session& s) { sweep(s, "A4", "f32", MILL_GEMM_AUTO, false, false, 0.97); },
        false},
       {"f32 own kernels",
        [](Session& s) { sweep(s, "A4", "f32 gemm=own", MILL_GEMM_OWN, false, false, 0.80); },
        false},
       {"f32 transposed",
        [](Session& s) { sweep(s, "A4t", "f32 x w^T", MILL_GEMM_AUTO, false, true, 0.97); }, false},
       {"f32 transposed own",
        [](Session& s) { sweep(s, "A4t", "f32 x w^T gemm=own", MILL_GEMM_OWN, false, true, 0.80); },
        false},
       {"bf16", [](Session& s) { sweep(s, "A6", "bf16", MILL_GEMM_AUTO, true, false, 0.97); },
        false},
       {"scaling", scaling, false}});
}
