#include "cpu/runtime/onednn.h"

#include <sched.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <string>

#include "base/dynlib.h"
#include "millrace/types.h"

#if __has_include(<oneapi/dnnl/dnnl.h>)
#include <oneapi/dnnl/dnnl.h>
#define MILL_CPU_ONEDNN 1
#else
#define MILL_CPU_ONEDNN 0
#endif

namespace mill::cpu {

#if MILL_CPU_ONEDNN

namespace {

constexpr char kLibrary[] = "libdnnl.so.2";

// Every function of oneDNN that is called here.
#define MILL_DNNL_FUNCTIONS(X)               \
  X(dnnl_version)                            \
  X(dnnl_get_effective_cpu_isa)              \
  X(dnnl_engine_create)                      \
  X(dnnl_engine_destroy)                     \
  X(dnnl_stream_create)                      \
  X(dnnl_stream_destroy)                     \
  X(dnnl_sgemm)                              \
  X(dnnl_memory_desc_init_by_strides)        \
  X(dnnl_memory_desc_get_size)               \
  X(dnnl_memory_create)                      \
  X(dnnl_memory_destroy)                     \
  X(dnnl_memory_set_data_handle)             \
  X(dnnl_post_ops_create)                    \
  X(dnnl_post_ops_destroy)                   \
  X(dnnl_post_ops_append_sum)                \
  X(dnnl_primitive_attr_create)              \
  X(dnnl_primitive_attr_destroy)             \
  X(dnnl_primitive_attr_set_post_ops)        \
  X(dnnl_primitive_attr_set_scratchpad_mode) \
  X(dnnl_matmul_desc_init)                   \
  X(dnnl_primitive_desc_create)              \
  X(dnnl_primitive_desc_destroy)             \
  X(dnnl_primitive_desc_query_md)            \
  X(dnnl_primitive_create)                   \
  X(dnnl_primitive_destroy)                  \
  X(dnnl_primitive_execute)

struct Functions {
#define MILL_DNNL_POINTER(name) decltype(&::name) name = nullptr;
  MILL_DNNL_FUNCTIONS(MILL_DNNL_POINTER)
#undef MILL_DNNL_POINTER
  int (*omp_get_max_threads)() = nullptr;
  void (*omp_set_num_threads)(int) = nullptr;
};

// Keeps oneDNN from opening a parallel region on the calling thread. The thread may be the user's,
// who may use the same OpenMP runtime: its setting comes back afterwards.
class OneThread {
 public:
  explicit OneThread(const Functions& f) noexcept : f_(f) {
    if (f_.omp_get_max_threads != nullptr) before_ = f_.omp_get_max_threads();
    if (before_ != 1) f_.omp_set_num_threads(1);
  }
  ~OneThread() {
    if (before_ != 1) f_.omp_set_num_threads(before_);
  }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  const Functions& f_;
  int before_ = 1;
};

// Everything a prepared product depends on.
struct Key {
  int64_t m, n, k, a_row, a_col, b_row, b_col, c_row;
  int32_t dtype;
  bool add, bias;

  bool operator==(const Key&) const = default;
  uint64_t hash() const noexcept {
    uint64_t h = static_cast<uint64_t>(dtype) * 4 + (add ? 2u : 0u) + (bias ? 1u : 0u);
    for (const int64_t part : {m, n, k, a_row, a_col, b_row, b_col, c_row}) {
      h = (h ^ static_cast<uint64_t>(part)) * 0x9e3779b97f4a7c15u;
      h ^= h >> 29;
    }
    return h;
  }
};

struct Operand {
  dnnl_memory_t memory = nullptr;
  const void* data = nullptr;  // what the memory object points at now
};

// A product of fixed sizes and layout, ready to run on any addresses.
struct Prepared {
  Key key{};
  uint64_t used = 0;  // when, by the lane's count; 0: an empty slot
  dnnl_primitive_t primitive = nullptr;
  Operand a, b, c, bias, scratch;
};

struct FreeAligned {
  void operator()(void* memory) const noexcept { std::free(memory); }
};

// What one thread needs while it computes: used by one at a time, kept for the next.
struct Lane {
  static constexpr uint64_t kSets = 64;
  static constexpr uint64_t kWays = 4;

  std::atomic<bool> busy{true};
  dnnl_stream_t stream = nullptr;
  uint64_t uses = 0;
  std::unique_ptr<void, FreeAligned> scratch;
  size_t scratch_bytes = 0;
  Prepared prepared[kSets][kWays];
};

constexpr size_t kMaxLanes = 256;

dnnl_data_type_t data_type(int32_t dtype) {
  return dtype == MILL_F32 ? dnnl_f32 : dtype == MILL_BF16 ? dnnl_bf16 : dnnl_f16;
}

}  // namespace

struct OneDnn::Library {
  DynamicLibrary library;
  Functions f;
  dnnl_engine_t engine = nullptr;
  bool bf16 = false;
  std::atomic<Lane*> lanes[kMaxLanes]{};

  ~Library() {
    for (std::atomic<Lane*>& slot : lanes) {
      if (Lane* lane = slot.load(std::memory_order_acquire)) close(lane);
    }
    if (engine != nullptr) f.dnnl_engine_destroy(engine);
  }

  // "" on success, else why not.
  std::string open() {
    // Never unloaded: threads of the caller's may still hold state of the OpenMP runtime when it
    // goes.
    library = DynamicLibrary(kLibrary, DynamicLibrary::Unload::never);
    if (!library.is_open()) {
      const std::string why = library.reason();
      if (DynamicLibrary("libdnnl.so.3").is_open()) {
        return "oneDNN 3 is installed, but only oneDNN 2 (" + std::string(kLibrary) +
               ") is supported";
      }
      return "oneDNN is not available: " + why;
    }
#define MILL_DNNL_FIND(name) \
  if (!library.find(#name, f.name)) return "oneDNN is not usable: " + library.reason();
    MILL_DNNL_FUNCTIONS(MILL_DNNL_FIND)
#undef MILL_DNNL_FIND
    const dnnl_version_t& version = *f.dnnl_version();
    if (version.major != DNNL_VERSION_MAJOR) {
      return "oneDNN " + version_text() + " is installed, but only version " +
             std::to_string(DNNL_VERSION_MAJOR) + " is supported";
    }
    if (version.cpu_runtime == DNNL_RUNTIME_OMP) {
      if (!library.find("omp_get_max_threads", f.omp_get_max_threads) ||
          !library.find("omp_set_num_threads", f.omp_set_num_threads)) {
        return "oneDNN cannot be kept to one thread: " + library.reason();
      }
    } else if (version.cpu_runtime != DNNL_RUNTIME_SEQ) {
      return "oneDNN " + version_text() +
             " is built for a threading runtime other than OpenMP, which cannot be kept to one "
             "thread";
    }
    const OneThread one(f);
    if (f.dnnl_engine_create(&engine, dnnl_cpu, 0) != dnnl_success) {
      return "oneDNN " + version_text() + " has no CPU engine";
    }
    // Older processors only emulate bf16 there, slower than the built-in kernels.
    const unsigned isa = static_cast<unsigned>(f.dnnl_get_effective_cpu_isa());
    constexpr unsigned kNative = dnnl_cpu_isa_avx512_core_bf16;
    bf16 = isa != dnnl_cpu_isa_all && (isa & kNative) == kNative;
    return "";
  }

  std::string version_text() const {
    const dnnl_version_t& version = *f.dnnl_version();
    return std::to_string(version.major) + "." + std::to_string(version.minor) + "." +
           std::to_string(version.patch);
  }

  void close(Lane* lane) noexcept {
    for (auto& set : lane->prepared) {
      for (Prepared& prepared : set) discard(&prepared);
    }
    if (lane->stream != nullptr) f.dnnl_stream_destroy(lane->stream);
    delete lane;
  }

  void discard(Prepared* p) noexcept {
    for (const Operand& operand : {p->a, p->b, p->c, p->bias, p->scratch}) {
      if (operand.memory != nullptr) f.dnnl_memory_destroy(operand.memory);
    }
    if (p->primitive != nullptr) f.dnnl_primitive_destroy(p->primitive);
    *p = Prepared();
  }

  // The lane of a part of the work, or the next free one if another thread is in it. NULL when
  // memory is short.
  Lane* enter(int64_t part) noexcept {
    for (;;) {
      for (size_t i = 0; i < kMaxLanes; ++i) {
        std::atomic<Lane*>& slot = lanes[(static_cast<size_t>(part) + i) % kMaxLanes];
        Lane* lane = slot.load(std::memory_order_acquire);
        if (lane != nullptr) {
          if (!lane->busy.exchange(true, std::memory_order_acquire)) return lane;
          continue;
        }
        std::unique_ptr<Lane> fresh(new (std::nothrow) Lane);
        if (fresh == nullptr) return nullptr;
        if (f.dnnl_stream_create(&fresh->stream, engine, dnnl_stream_default_flags) !=
            dnnl_success) {
          return nullptr;
        }
        if (slot.compare_exchange_strong(lane, fresh.get(), std::memory_order_acq_rel)) {
          return fresh.release();
        }
        f.dnnl_stream_destroy(fresh->stream);  // another thread was first: on to the next slot
      }
      sched_yield();
    }
  }

  Prepared* find(Lane* lane, const Key& key) noexcept {
    Prepared* set = lane->prepared[key.hash() % Lane::kSets];
    Prepared* oldest = set;
    for (uint64_t way = 0; way < Lane::kWays; ++way) {
      Prepared& candidate = set[way];
      if (candidate.used != 0 && candidate.key == key) {
        candidate.used = ++lane->uses;
        return &candidate;
      }
      if (candidate.used < oldest->used) oldest = &candidate;
    }
    discard(oldest);
    if (!prepare(lane, key, oldest)) {
      discard(oldest);
      return nullptr;
    }
    oldest->key = key;
    oldest->used = ++lane->uses;
    return oldest;
  }

  bool matrix(dnnl_memory_desc_t* out, dnnl_data_type_t type, int64_t rows, int64_t cols,
              int64_t row_stride, int64_t col_stride) const noexcept {
    const dnnl_dims_t dims = {rows, cols};
    const dnnl_dims_t strides = {row_stride, col_stride};
    return f.dnnl_memory_desc_init_by_strides(out, 2, dims, type, strides) == dnnl_success;
  }

  bool memory(Operand* out, const dnnl_memory_desc_t& desc) const noexcept {
    return f.dnnl_memory_create(&out->memory, &desc, engine, DNNL_MEMORY_NONE) == dnnl_success;
  }

  bool prepare(Lane* lane, const Key& key, Prepared* out) noexcept {
    const dnnl_data_type_t type = data_type(key.dtype);
    dnnl_memory_desc_t a;
    dnnl_memory_desc_t b;
    dnnl_memory_desc_t c;
    dnnl_memory_desc_t bias;
    dnnl_matmul_desc_t matmul;
    if (!matrix(&a, type, key.m, key.k, key.a_row, key.a_col) ||
        !matrix(&b, type, key.k, key.n, key.b_row, key.b_col) ||
        !matrix(&c, type, key.m, key.n, key.c_row, 1) || !matrix(&bias, type, 1, key.n, key.n, 1) ||
        f.dnnl_matmul_desc_init(&matmul, &a, &b, key.bias ? &bias : nullptr, &c) != dnnl_success) {
      return false;
    }
    dnnl_primitive_desc_t desc = nullptr;
    if (!describe(matmul, key.add, &desc)) return false;
    const dnnl_memory_desc_t& scratch =
        *f.dnnl_primitive_desc_query_md(desc, dnnl_query_scratchpad_md, 0);
    const bool done = f.dnnl_primitive_create(&out->primitive, desc) == dnnl_success &&
                      memory(&out->a, a) && memory(&out->b, b) && memory(&out->c, c) &&
                      (!key.bias || memory(&out->bias, bias)) && memory(&out->scratch, scratch) &&
                      reserve(lane, f.dnnl_memory_desc_get_size(&scratch));
    f.dnnl_primitive_desc_destroy(desc);
    return done;
  }

  bool describe(const dnnl_matmul_desc_t& matmul, bool add, dnnl_primitive_desc_t* out) noexcept {
    dnnl_primitive_attr_t attr = nullptr;
    dnnl_post_ops_t post = nullptr;
    bool done =
        f.dnnl_primitive_attr_create(&attr) == dnnl_success &&
        f.dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user) == dnnl_success;
    if (done && add) {
      done = f.dnnl_post_ops_create(&post) == dnnl_success &&
             f.dnnl_post_ops_append_sum(post, 1.0f) == dnnl_success &&
             f.dnnl_primitive_attr_set_post_ops(attr, post) == dnnl_success;
    }
    done =
        done && f.dnnl_primitive_desc_create(out, &matmul, attr, engine, nullptr) == dnnl_success;
    if (post != nullptr) f.dnnl_post_ops_destroy(post);
    if (attr != nullptr) f.dnnl_primitive_attr_destroy(attr);
    return done;
  }

  bool reserve(Lane* lane, size_t bytes) noexcept {
    if (bytes <= lane->scratch_bytes) return true;
    constexpr size_t kPage = 4096;
    const size_t rounded = (bytes + kPage - 1) / kPage * kPage;
    void* memory = std::aligned_alloc(kPage, rounded);
    if (memory == nullptr) return false;
    lane->scratch.reset(memory);
    lane->scratch_bytes = rounded;
    return true;
  }

  bool run(Lane* lane, const OneDnnProduct& p) noexcept {
    const Key key{p.m,     p.n,     p.k,     p.a_row, p.a_col,          p.b_row,
                  p.b_col, p.c_row, p.dtype, p.add,   p.bias != nullptr};
    Prepared* prepared = find(lane, key);
    if (prepared == nullptr) return false;
    dnnl_exec_arg_t args[5] = {{DNNL_ARG_SRC, prepared->a.memory},
                               {DNNL_ARG_WEIGHTS, prepared->b.memory},
                               {DNNL_ARG_DST, prepared->c.memory},
                               {DNNL_ARG_SCRATCHPAD, prepared->scratch.memory},
                               {DNNL_ARG_BIAS, prepared->bias.memory}};
    return set(&prepared->a, p.a) && set(&prepared->b, p.b) && set(&prepared->c, p.c) &&
           set(&prepared->scratch, lane->scratch.get()) &&
           (p.bias == nullptr || set(&prepared->bias, p.bias)) &&
           f.dnnl_primitive_execute(prepared->primitive, lane->stream, p.bias != nullptr ? 5 : 4,
                                    args) == dnnl_success;
  }

  bool set(Operand* operand, const void* data) noexcept {
    if (operand->data == data) return true;
    // oneDNN only reads a, b and the bias, but has one kind of memory object.
    if (f.dnnl_memory_set_data_handle(operand->memory, const_cast<void*>(data)) != dnnl_success) {
      return false;
    }
    operand->data = data;
    return true;
  }

  // dnnl_sgemm takes no bias: the output starts from it instead.
  bool sgemm(const OneDnnProduct& p) noexcept {
    if (p.bias != nullptr) {
      const auto* bias = static_cast<const float*>(p.bias);
      for (int64_t i = 0; i < p.m; ++i) {
        float* row = static_cast<float*>(p.c) + i * p.c_row;
        for (int64_t j = 0; j < p.n; ++j) row[j] = p.add ? row[j] + bias[j] : bias[j];
      }
    }
    const bool a_plain = p.a_col == 1 && p.a_row >= p.k;
    const bool b_plain = p.b_col == 1 && p.b_row >= p.n;
    return f.dnnl_sgemm(a_plain ? 'N' : 'T', b_plain ? 'N' : 'T', p.m, p.n, p.k, 1.0f,
                        static_cast<const float*>(p.a), a_plain ? p.a_row : p.a_col,
                        static_cast<const float*>(p.b), b_plain ? p.b_row : p.b_col,
                        p.add || p.bias != nullptr ? 1.0f : 0.0f, static_cast<float*>(p.c),
                        p.c_row) == dnnl_success;
  }
};

struct OneDnn::State {
  std::mutex opening;
  std::atomic<bool> tried{false};
  std::unique_ptr<Library> library;  // NULL if it cannot be used
  std::string description;
};

OneDnn::OneDnn() : state_(new State) {}
OneDnn::~OneDnn() {
  delete state_;
}

OneDnn::Library* OneDnn::opened() noexcept {
  State& state = *state_;
  if (state.tried.load(std::memory_order_acquire)) return state.library.get();
  const std::lock_guard<std::mutex> lock(state.opening);
  if (state.tried.load(std::memory_order_relaxed)) return state.library.get();
  try {
    auto library = std::make_unique<Library>();
    state.description = library->open();
    if (state.description.empty()) {
      state.description = "oneDNN " + library->version_text();
      state.library = std::move(library);
    }
  } catch (const std::bad_alloc&) {
    state.description.clear();
    state.library.reset();
  }
  state.tried.store(true, std::memory_order_release);
  return state.library.get();
}

bool OneDnn::supports(int32_t dtype) noexcept {
  Library* library = opened();
  return library != nullptr && (dtype == MILL_F32 || (dtype == MILL_BF16 && library->bf16));
}

const char* OneDnn::description() noexcept {
  opened();
  return state_->description.empty() ? "oneDNN is not usable: memory is short"
                                     : state_->description.c_str();
}

bool OneDnn::multiply(const OneDnnProduct& product) noexcept {
  Library* library = opened();
  if (library == nullptr) return false;
  const OneThread one(library->f);
  const double work = static_cast<double>(product.m) * static_cast<double>(product.n) *
                      static_cast<double>(product.k);
  // Measured with oneDNN 2.6 on Sapphire Rapids: sgemm is the faster of the two on a row-major b of
  // some width, with few rows and on very large products, the matmul primitive elsewhere.
  const bool plain_b = product.b_col == 1 && product.b_row >= product.n;
  const bool sgemm = (plain_b && product.n >= 16) || product.m < 16 || work >= 1 << 29;
  if (product.dtype == MILL_F32 && sgemm) return library->sgemm(product);
  Lane* lane = library->enter(product.part);
  if (lane == nullptr) return false;
  const bool done = library->run(lane, product);
  lane->busy.store(false, std::memory_order_release);
  return done;
}

#else

struct OneDnn::Library {};
struct OneDnn::State {};

OneDnn::OneDnn() : state_(nullptr) {}
OneDnn::~OneDnn() = default;
OneDnn::Library* OneDnn::opened() noexcept {
  return nullptr;
}
bool OneDnn::supports(int32_t) noexcept {
  return false;
}
const char* OneDnn::description() noexcept {
  return "built without oneDNN headers";
}
bool OneDnn::multiply(const OneDnnProduct&) noexcept {
  return false;
}

#endif

}  // namespace mill::cpu
