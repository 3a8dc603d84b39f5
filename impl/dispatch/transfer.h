// Host memory to and from tensors, and the future behind an asynchronous read.
#pragma once

#include <cstdint>

#include "dispatch/exec.h"
#include "tensor/tensor.h"

struct mill_future : mill::Handle {
  static constexpr mill::HandleKind kKind = mill::HandleKind::future;

  // Keeps the device, and with it the context.
  mill_future(mill::Device& on, uint64_t size) : device(on), bytes(size) { device.retain_owner(); }
  ~mill_future();

  mill::Device& device;
  const uint64_t bytes;
  // The values: in pinned memory of the device's pool, or, where the host reads the device's
  // memory itself, a row-major copy there.
  mill::Block* host = nullptr;
  mill::TensorRef copy;
  mill::Ref<mill_event> done;  // null on an inline device

  const void* data() const { return host ? host->data : copy ? copy->view.data : nullptr; }

  mill_status query();
  mill_status wait(uint64_t timeout_ns);
};

inline void retain(mill_future* future) noexcept {
  future->retain();
}
inline void release(mill_future* future) noexcept {
  if (future->release()) mill::slab_delete(future);
}

namespace mill {

// All elements in row-major order. `bytes` has been checked to be the tensor's exact size.
void write_host(Exec& exec, mill_tensor& tensor, const void* data, uint64_t bytes);
void read_host(Exec& exec, mill_tensor& tensor, void* data, uint64_t bytes);
// Bytes [offset, offset + bytes) of a row-major tensor, for who takes it in pieces.
void read_part(Exec& exec, mill_tensor& tensor, uint64_t offset, void* data, uint64_t bytes);
// For row-major tensors, without an exec.
void read_host_blocking(const mill_tensor& tensor, void* data, uint64_t bytes);
Ref<mill_future> read_async(Exec& exec, mill_tensor& tensor);
// A row-major copy on the exec's device of a tensor of any device of the context.
TensorRef copy_to(Exec& exec, mill_tensor& tensor);
// One element as a double. late: of an earlier step where the exec says so (late_reads.h).
double item(Exec& exec, mill_tensor& tensor, bool late = false);

}  // namespace mill
