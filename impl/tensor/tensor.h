// The tensor handle itself: what mill_tensor* points to.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/dtype.h"
#include "base/handle.h"
#include "base/ref.h"
#include "millrace/plugin.h"
#include "tensor/storage.h"

namespace mill {

// Where gradients of leaf tensors go. A parameter group implements it.
class GradientSink {
 public:
  // The gradient slot of a leaf, of its dims, contiguous.
  virtual mill_tensor* gradient(uint32_t index) = 0;
  virtual bool fresh(uint32_t index) const = 0;
  virtual void set_fresh(uint32_t index, bool fresh) = 0;
  // One backward at a time writes gradients. False when another one does.
  virtual bool try_begin_backward() = 0;
  virtual void end_backward() = 0;
  virtual uint32_t count() const = 0;
  virtual mill_group* group() noexcept = 0;  // the public object behind it
  virtual void retain_sink() noexcept = 0;
  virtual void release_sink() noexcept = 0;
  virtual bool held_elsewhere() const noexcept = 0;  // by more than one reference

 protected:
  ~GradientSink() = default;
};

}  // namespace mill

struct mill_tensor : mill::Handle {
  static constexpr mill::HandleKind kKind = mill::HandleKind::tensor;

  mill_kernel_tensor view{};  // what kernels see; data already includes the offset
  mill::Ref<mill::Storage> storage;
  int64_t offset = 0;  // elements from the storage's start
  bool dense = true;   // row-major without gaps
  bool leaf = false;   // tracked by every tape that is asked to record it
  // The value's number on the tape whose serial this is. Only the thread that records on that tape
  // writes these.
  uint32_t value = 0;
  uint64_t tape_serial = 0;
  std::atomic<uint64_t> trace_id{0};  // given when the trace first asks
  mill::GradientSink* sink =
      nullptr;  // outlives the tensor: the group owns its parameter tensors' storage
  uint32_t sink_index = 0;

  int32_t dtype() const { return view.dtype; }
  int32_t rank() const { return view.rank; }
  int64_t numel() const { return view.numel; }
  uint64_t bytes() const {
    return static_cast<uint64_t>(view.numel) * static_cast<uint64_t>(mill::dtype_size(view.dtype));
  }
  mill::Device& device() const { return *storage->device; }
};

namespace mill {

using TensorRef = Ref<mill_tensor>;

}  // namespace mill

inline void retain(mill_tensor* tensor) noexcept {
  tensor->retain();
}
void destroy_tensor(mill_tensor* tensor) noexcept;
inline void release(mill_tensor* tensor) noexcept {
  if (tensor->release()) destroy_tensor(tensor);
}

namespace mill {

struct Dims {
  int32_t rank = 0;
  int64_t d[MILL_MAX_RANK] = {};
};

// "[2, 3]"; a short text in a fixed buffer, for error messages.
struct DimsText {
  char text[8 * 21 + 4];
};
DimsText format_dims(const int64_t* dims, int32_t rank);
inline DimsText format_dims(const mill_tensor& t) {
  return format_dims(t.view.dims, t.view.rank);
}

// Checks rank, signs and that the bytes fit int64; returns the number of elements. Throws
// MILL_E_SHAPE.
int64_t checked_count(const int64_t* dims, int64_t rank, int32_t dtype);
void dense_strides(const int64_t* dims, int32_t rank, int64_t* strides);
bool is_dense(const mill_kernel_tensor& view);

// A row-major tensor in new memory. The dims have been checked.
TensorRef make_tensor(Device& device, int32_t dtype, const int64_t* dims, int32_t rank,
                      uint64_t stream, uint32_t tag);
// With the given strides, which must cover the memory without gaps in some axis order.
TensorRef make_tensor_strided(Device& device, int32_t dtype, const int64_t* dims,
                              const int64_t* strides, int32_t rank, uint64_t stream, uint32_t tag);
// Another view of a storage. Bounds have been checked.
TensorRef make_view(Storage* storage, int32_t dtype, const int64_t* dims, const int64_t* strides,
                    int32_t rank, int64_t offset);

inline bool same_dims(const mill_kernel_tensor& a, const mill_kernel_tensor& b) {
  if (a.rank != b.rank) return false;
  for (int32_t i = 0; i < a.rank; ++i) {
    if (a.dims[i] != b.dims[i]) return false;
  }
  return true;
}
inline bool same_strides(const mill_kernel_tensor& a, const mill_kernel_tensor& b) {
  for (int32_t i = 0; i < a.rank; ++i) {
    if (a.strides[i] != b.strides[i] && a.dims[i] > 1) return false;
  }
  return true;
}

}  // namespace mill
