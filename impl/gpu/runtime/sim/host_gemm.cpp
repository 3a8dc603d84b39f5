#include "gpu/runtime/sim/host_gemm.h"

#include <cstdio>
#include <memory>
#include <new>

#include "gpu/runtime/sim/device.h"
#include "millrace/op_numbers.h"

namespace mill::sim {

namespace {

// The operands where their bytes lie.
struct Views {
  mill_kernel_tensor in[3];
  mill_kernel_tensor out[1];
  const mill_kernel_tensor* in_at[3] = {};
  const mill_kernel_tensor* out_at[1] = {};
};

const mill_kernel_tensor* moved(const StreamView& stream, const mill_kernel_tensor* from,
                                mill_kernel_tensor& to) {
  if (!from) return nullptr;
  to = *from;
  auto* data = static_cast<char*>(from->data);
  if (static_cast<uint64_t>(data - stream.h_begin) < stream.h_bytes) to.data = data + stream.delta;
  return &to;
}

mill_status run(const mill_kernel_args* args, int32_t op) {
  const auto& stream = *static_cast<const StreamView*>(args->stream);
  const mill_host_services* host = args->host;
  if (!host->cpu_kernel) {
    std::snprintf(args->error->text, sizeof args->error->text,
                  "the engine offers no CPU kernels; set gemm to 0");
    return MILL_E_UNSUPPORTED;
  }
  Views views;
  int32_t dtypes[4];
  for (uint32_t k = 0; k < args->n_in; ++k) {
    views.in_at[k] = moved(stream, args->in[k], views.in[k]);
    dtypes[k] = args->in[k] ? args->in[k]->dtype : MILL_DTYPE_NONE;
  }
  views.out_at[0] = moved(stream, args->out[0], views.out[0]);
  dtypes[args->n_in] = args->out[0]->dtype;
  mill_kernel kernel{};
  const mill_host_services* services = nullptr;
  const mill_status found =
      host->cpu_kernel(host->self, op, dtypes, args->n_in, 1, &kernel, &services, args->error);
  if (found != MILL_OK) return found;
  mill_kernel_args inner = *args;
  inner.in = views.in_at;
  inner.out = views.out_at;
  inner.host = services;
  inner.workspace = nullptr;
  inner.workspace_bytes = kernel.workspace ? kernel.workspace(&inner) : 0;
  constexpr std::align_val_t kAlign{64};
  struct Free {
    void operator()(void* p) const { ::operator delete(p, kAlign); }
  };
  std::unique_ptr<void, Free> workspace;
  if (inner.workspace_bytes > 0) {
    try {
      workspace.reset(::operator new(inner.workspace_bytes, kAlign));
    } catch (const std::bad_alloc&) {
      std::snprintf(args->error->text, sizeof args->error->text, "out of host memory");
      return MILL_E_MEMORY;
    }
    inner.workspace = workspace.get();
  }
  return kernel.launch(&inner);
}

// 2 m n k of every product of the batch.
uint64_t flops_of(const mill_kernel_args* args) {
  const mill_kernel_tensor& a = *args->in[0];
  const int64_t k = a.rank > 0 ? a.dims[a.rank - 1] : 1;
  return 2 * static_cast<uint64_t>(args->out[0]->numel) * static_cast<uint64_t>(k);
}

uint64_t bytes_of(const mill_kernel_args* args) {
  uint64_t bytes = 0;
  for (uint32_t k = 0; k < args->n_in; ++k) {
    if (args->in[k])
      bytes += static_cast<uint64_t>(args->in[k]->numel) *
               static_cast<uint64_t>(dtype_size(args->in[k]->dtype));
  }
  return bytes + static_cast<uint64_t>(args->out[0]->numel) *
                     static_cast<uint64_t>(dtype_size(args->out[0]->dtype));
}

mill_status product(const mill_kernel_args* args, int32_t op, const char* name) {
  auto* stream = static_cast<Stream*>(static_cast<StreamView*>(args->stream));
  if (const mill_status status = stream->device->alive(args->error); status != MILL_OK)
    return status;
  const mill_status status = run(args, op);
  if (status != MILL_OK) return status;
  stream->device->note_written(*args->out[0]);
  const bool narrow = args->out[0]->dtype == MILL_BF16 || args->out[0]->dtype == MILL_F16;
  const gpu::cost cost{bytes_of(args), flops_of(args),
                       narrow                            ? gpu::unit::matrix
                       : args->out[0]->dtype == MILL_F64 ? gpu::unit::f64
                                                         : gpu::unit::f32};
  return stream->device->charge(args, name, cost);
}

}  // namespace

mill_status host_matmul(const mill_kernel_args* args) {
  return product(args, MILL_OP_MATMUL, "gemm");
}

mill_status host_linear(const mill_kernel_args* args) {
  return product(args, MILL_OP_LINEAR, "gemm_bias");
}

}  // namespace mill::sim
