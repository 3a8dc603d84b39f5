#include "gpu/runtime/cuda/gemm.h"

#include <cstdio>
#include <cstring>

#include "gpu/runtime/cuda/device.h"
#include "millrace/op_numbers.h"

namespace mill::cuda {

namespace {

#define MILL_TEXT_(x) #x
#define MILL_TEXT(x) MILL_TEXT_(x)
// A library of another major version has other structs. The second is where the toolkit puts it,
// which the loader need not know.
constexpr const char* kNames[] = {
    "libcublasLt.so." MILL_TEXT(CUBLAS_VER_MAJOR),
    "/usr/local/cuda/lib64/libcublasLt.so." MILL_TEXT(CUBLAS_VER_MAJOR),
};
#undef MILL_TEXT
#undef MILL_TEXT_

// What cuBLAS recommends (cuBLAS 13.0, "cublasSetWorkspace").
constexpr uint64_t kWorkspaceHopper = uint64_t{32} << 20;
constexpr uint64_t kWorkspaceOther = uint64_t{4} << 20;
constexpr size_t kMostProbes = 32;

cudaDataType_t type_of(int32_t dtype) {
  switch (dtype) {
    case MILL_F16: return CUDA_R_16F;
    case MILL_BF16: return CUDA_R_16BF;
    case MILL_F64: return CUDA_R_64F;
    default: return CUDA_R_32F;
  }
}

// Up to 16 bytes, the widest access there is.
uint8_t align_of(const void* p) {
  const auto bits = reinterpret_cast<uintptr_t>(p) | 16;
  return static_cast<uint8_t>(bits & (~bits + 1));
}

uint64_t hash_of(const void* data, size_t bytes) {
  // FNV-1a over words, with its 64-bit constants.
  uint64_t hash = 14695981039346656037ull;
  for (size_t i = 0; i + 8 <= bytes; i += 8) {
    uint64_t word;
    std::memcpy(&word, static_cast<const char*>(data) + i, sizeof word);
    hash = (hash ^ word) * 1099511628211ull;
    hash ^= hash >> 29;
  }
  return hash;
}

}  // namespace

struct Gemm::Functions {
  decltype(&cublasLtGetVersion) version;
  decltype(&cublasLtGetStatusString) status_text;
  decltype(&cublasLtCreate) create;
  decltype(&cublasLtDestroy) destroy;
  decltype(&cublasLtMatmul) matmul;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic;
  decltype(&cublasLtMatmulDescInit_internal) op_init;
  decltype(&cublasLtMatmulDescSetAttribute) op_set;
  decltype(&cublasLtMatrixLayoutInit_internal) layout_init;
  decltype(&cublasLtMatrixLayoutSetAttribute) layout_set;
  decltype(&cublasLtMatmulPreferenceInit_internal) preference_init;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set;
};

Gemm::Gemm() = default;

Gemm::~Gemm() {
  for (auto& place : plans_) delete place.load(std::memory_order_relaxed);
}

void Gemm::set_device(int index, int architecture) {
  device_ = index;
  architecture_ = architecture;
}

void Gemm::close() {
  if (handle_) functions_->destroy(handle_);
  handle_ = nullptr;
  ready_ = false;
}

void Gemm::open() {
  for (const char* name : kNames) {
    library_ = DynamicLibrary(name, DynamicLibrary::Unload::never);
    if (library_.is_open()) break;
    // The first reason is the one of the name that a user can do something about.
    if (description_[0] == 0) {
      std::snprintf(description_, sizeof description_, "no cuBLASLt: %.200s",
                    library_.reason().c_str());
    }
  }
  if (!library_.is_open()) return;
  auto f = std::make_unique<Functions>();
  const bool whole = library_.find("cublasLtGetVersion", f->version) &&
                     library_.find("cublasLtGetStatusString", f->status_text) &&
                     library_.find("cublasLtCreate", f->create) &&
                     library_.find("cublasLtDestroy", f->destroy) &&
                     library_.find("cublasLtMatmul", f->matmul) &&
                     library_.find("cublasLtMatmulAlgoGetHeuristic", f->heuristic) &&
                     library_.find("cublasLtMatmulDescInit_internal", f->op_init) &&
                     library_.find("cublasLtMatmulDescSetAttribute", f->op_set) &&
                     library_.find("cublasLtMatrixLayoutInit_internal", f->layout_init) &&
                     library_.find("cublasLtMatrixLayoutSetAttribute", f->layout_set) &&
                     library_.find("cublasLtMatmulPreferenceInit_internal", f->preference_init) &&
                     library_.find("cublasLtMatmulPreferenceSetAttribute", f->preference_set);
  if (!whole) {
    std::snprintf(description_, sizeof description_, "no cuBLASLt: %.200s",
                  library_.reason().c_str());
    return;
  }
  const Current current(device_, Current::Need::bound);
  const cublasStatus_t status = f->create(&handle_);
  const size_t version = f->version();
  if (status != CUBLAS_STATUS_SUCCESS) {
    std::snprintf(description_, sizeof description_, "no cuBLASLt: %s", f->status_text(status));
    handle_ = nullptr;
    return;
  }
  std::snprintf(description_, sizeof description_, "cuBLASLt %zu.%zu.%zu", version / 10000,
                version / 100 % 100, version % 100);
  functions_ = std::move(f);
  ready_.store(true, std::memory_order_release);
}

bool Gemm::ready() {
  if (ready_.load(std::memory_order_acquire)) [[likely]]
    return true;
  try {
    std::call_once(once_, [this] { open(); });
  } catch (...) {
    return false;
  }
  return ready_.load(std::memory_order_acquire);
}

const char* Gemm::description() {
  if (own_only_.load(std::memory_order_relaxed)) return "";
  ready();
  return description_;
}

void Gemm::take_workspace(Stream& stream) const {
  std::call_once(stream.workspace_once, [&] {
    const mill_host_services* host = stream.device->host();
    if (!host || !host->allocate || !host->free) return;
    const uint64_t bytes = architecture_ >= 90 ? kWorkspaceHopper : kWorkspaceOther;
    mill_kernel_error error{};
    // Without it the library has fewer algorithms; that is no failure.
    if (host->allocate(host->self, bytes, static_cast<StreamView*>(&stream), &stream.workspace,
                       &error) != MILL_OK) {
      stream.workspace = nullptr;
      return;
    }
    stream.workspace_bytes = bytes;
  });
}

void Gemm::make_plan(const GemmShape& shape, const void* bias, Plan* plan) const {
  const Functions& f = *functions_;
  const Key& key = plan->key;
  const cudaDataType_t type = type_of(key.dtype);
  const bool f64 = key.dtype == MILL_F64;
  const cublasComputeType_t compute = f64             ? CUBLAS_COMPUTE_64F
                                      : key.tf32 != 0 ? CUBLAS_COMPUTE_32F_FAST_TF32
                                                      : CUBLAS_COMPUTE_32F;
  bool good = f.op_init(&plan->op, sizeof plan->op, compute, f64 ? CUDA_R_64F : CUDA_R_32F) ==
              CUBLAS_STATUS_SUCCESS;
  const auto set_op = [&](cublasLtMatmulDescAttributes_t which, const auto& value) {
    good = good && f.op_set(&plan->op, which, &value, sizeof value) == CUBLAS_STATUS_SUCCESS;
  };
  set_op(CUBLASLT_MATMUL_DESC_TRANSA, int32_t{shape.a.transposed ? CUBLAS_OP_T : CUBLAS_OP_N});
  set_op(CUBLASLT_MATMUL_DESC_TRANSB, int32_t{shape.b.transposed ? CUBLAS_OP_T : CUBLAS_OP_N});
  if (key.bias != 0) {
    set_op(CUBLASLT_MATMUL_DESC_EPILOGUE, uint32_t{CUBLASLT_EPILOGUE_BIAS});
    set_op(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
  }

  const auto set_layout = [&](cublasLtMatrixLayoutOpaque_t* layout, const GemmMatrix& matrix) {
    good = good &&
           f.layout_init(layout, sizeof *layout, type, static_cast<uint64_t>(matrix.rows),
                         static_cast<uint64_t>(matrix.cols), matrix.ld) == CUBLAS_STATUS_SUCCESS;
    if (shape.batch == 1) return;
    const auto count = static_cast<int32_t>(shape.batch);
    good = good &&
           f.layout_set(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count) ==
               CUBLAS_STATUS_SUCCESS &&
           f.layout_set(layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &matrix.batch_stride,
                        sizeof matrix.batch_stride) == CUBLAS_STATUS_SUCCESS;
  };
  set_layout(&plan->a, shape.a);
  set_layout(&plan->b, shape.b);
  set_layout(&plan->d, shape.d);

  cublasLtMatmulPreferenceOpaque_t preference;
  good = good && f.preference_init(&preference, sizeof preference) == CUBLAS_STATUS_SUCCESS;
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t which, const auto& value) {
    good =
        good && f.preference_set(&preference, which, &value, sizeof value) == CUBLAS_STATUS_SUCCESS;
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, key.workspace);
  // Partial sums in the result's type would round 16-bit results twice. All schemes add in a fixed
  // order.
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
         uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, uint32_t{key.align[0]});
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, uint32_t{key.align[1]});
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, uint32_t{key.align[2]});
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, uint32_t{key.align[2]});

  cublasLtMatmulHeuristicResult_t found{};
  int count = 0;
  good = good &&
         f.heuristic(handle_, &plan->op, &plan->a, &plan->b, &plan->d, &plan->d, &preference, 1,
                     &found, &count) == CUBLAS_STATUS_SUCCESS &&
         count == 1 && found.state == CUBLAS_STATUS_SUCCESS && found.workspaceSize <= key.workspace;
  plan->usable = good;
  plan->algo = found.algo;
  plan->workspace = found.workspaceSize;
}

const Gemm::Plan& Gemm::find_plan(const Key& key, const GemmShape& shape, const void* bias,
                                  Plan* spare) {
  static_assert(sizeof(Key) % 8 == 0);
  const size_t first = hash_of(&key, sizeof key);
  std::unique_ptr<Plan> made;
  for (size_t probe = 0; probe < kMostProbes; ++probe) {
    std::atomic<Plan*>& place = plans_[(first + probe) % kPlans];
    Plan* plan = place.load(std::memory_order_acquire);
    if (!plan) {
      if (!made) {
        made = std::make_unique<Plan>();
        made->key = key;
        make_plan(shape, bias, made.get());
      }
      if (place.compare_exchange_strong(plan, made.get(), std::memory_order_acq_rel))
        return *made.release();
      // Another thread was first: `plan` is now its plan.
    }
    if (std::memcmp(&plan->key, &key, sizeof key) == 0) return *plan;
  }
  spare->key = key;
  make_plan(shape, bias, spare);
  return *spare;
}

mill_status Gemm::run(int32_t op, const mill_kernel_args* args, Stream& stream, bool* taken) {
  *taken = false;
  GemmShape shape;
  if (own_only_.load(std::memory_order_relaxed) || shape_gemm(op, args, &shape) != nullptr ||
      !ready())
    return MILL_OK;
  Device& device = *stream.device;
  if (device.alive(args->error) != MILL_OK) {
    *taken = true;
    return MILL_E_DEVICE_LOST;
  }
  const void* a = args->in[shape.swapped ? 1 : 0]->data;
  const void* b = args->in[shape.swapped ? 0 : 1]->data;
  const bool has_bias = op == MILL_OP_LINEAR && args->n_in > 2 && args->in[2] != nullptr;
  const void* bias = has_bias ? args->in[2]->data : nullptr;
  void* d = args->out[0]->data;

  const Current current(device_, Current::Need::bound);
  Plan spare;
  const Plan* plan = nullptr;
  try {
    take_workspace(stream);
    Key key;
    std::memset(&key, 0, sizeof key);
    key.m = shape.m;
    key.n = shape.n;
    key.k = shape.k;
    key.batch = shape.batch;
    const GemmMatrix* matrices[] = {&shape.a, &shape.b, &shape.d};
    for (int i = 0; i < 3; ++i) {
      key.ld[i] = matrices[i]->ld;
      key.batch_stride[i] = shape.batch > 1 ? matrices[i]->batch_stride : 0;
    }
    key.workspace = stream.workspace_bytes;
    key.dtype = args->out[0]->dtype;
    key.transposed[0] = shape.a.transposed;
    key.transposed[1] = shape.b.transposed;
    key.align[0] = align_of(a);
    key.align[1] = align_of(b);
    key.align[2] = align_of(d);
    key.align[3] = has_bias ? align_of(bias) : uint8_t{0};
    key.bias = has_bias;
    key.add = (args->flags & MILL_KERNEL_ACCUMULATE) != 0;
    key.tf32 = key.dtype == MILL_F32 && tf32_.load(std::memory_order_relaxed);
    plan = &find_plan(key, shape, bias, &spare);
  } catch (...) {
    return MILL_OK;
  }
  if (!plan->usable) return MILL_OK;

  const Functions& f = *functions_;
  cublasLtMatmulDescOpaque_t described = plan->op;
  if (has_bias && f.op_set(&described, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias) !=
                      CUBLAS_STATUS_SUCCESS)
    return MILL_OK;
  const double one_f64 = 1;
  const double beta_f64 = plan->key.add;
  const float one_f32 = 1;
  const float beta_f32 = plan->key.add;
  const bool f64 = plan->key.dtype == MILL_F64;
  const void* one = f64 ? static_cast<const void*>(&one_f64) : &one_f32;
  const void* beta = f64 ? static_cast<const void*>(&beta_f64) : &beta_f32;
  // The library takes layouts without const and does not change them.
  const auto layout = [](const cublasLtMatrixLayoutOpaque_t& of) {
    return const_cast<cublasLtMatrixLayoutOpaque_t*>(&of);
  };
  const cublasStatus_t status = f.matmul(
      handle_, &described, one, a, layout(plan->a), b, layout(plan->b), beta, d, layout(plan->d), d,
      layout(plan->d), &plan->algo, stream.workspace, plan->workspace, stream.native);
  // Refused at the last moment: ours has other limits.
  if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE ||
      status == CUBLAS_STATUS_ARCH_MISMATCH || status == CUBLAS_STATUS_ALLOC_FAILED)
    return MILL_OK;
  *taken = true;
  if (status == CUBLAS_STATUS_SUCCESS) [[likely]]
    return MILL_OK;
  // The library's code says little; the stream knows whether the device still works.
  const mill_status after =
      device.check(args->error, cudaStreamQuery(stream.native), "cuBLASLt on %s", device.name());
  if (after < 0) return after;
  return refuse(args->error, MILL_E_INTERNAL, "cuBLASLt, [%lld, %lld] by [%lld, %lld]: %s",
                static_cast<long long>(shape.m), static_cast<long long>(shape.k),
                static_cast<long long>(shape.k), static_cast<long long>(shape.n),
                f.status_text(status));
}

}  // namespace mill::cuda
