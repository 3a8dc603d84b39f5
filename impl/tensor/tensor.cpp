#include "tensor/tensor.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "base/error.h"
#include "base/fork.h"

void destroy_tensor(mill_tensor* tensor) noexcept {
  // In a forked child the tensor's memory belongs to the parent: the record is left alone.
  if (tensor->storage && tensor->storage->device->fork_generation() != mill::fork_generation())
    return;
  mill::slab_delete(tensor);
}

namespace mill {

DimsText format_dims(const int64_t* dims, int32_t rank) {
  DimsText out;
  size_t used = 0;
  auto append = [&](const char* format, auto... values) {
    const int n = std::snprintf(out.text + used, sizeof out.text - used, format, values...);
    used = std::min(used + static_cast<size_t>(std::max(n, 0)), sizeof out.text - 1);
  };
  append("[");
  for (int32_t i = 0; i < rank; ++i)
    append(i == 0 ? "%lld" : ", %lld", static_cast<long long>(dims[i]));
  append("]");
  return out;
}

int64_t checked_count(const int64_t* dims, int64_t rank, int32_t dtype) {
  if (rank < 0 || rank > MILL_MAX_RANK) {
    fail(MILL_E_SHAPE, "rank is %lld, the limit is %d", static_cast<long long>(rank),
         MILL_MAX_RANK);
  }
  if (rank > 0 && !dims)
    fail(MILL_E_ARG, "dims is NULL, rank is %lld", static_cast<long long>(rank));
  int64_t bytes = dtype_size(dtype);
  bool empty = false;
  for (int64_t i = 0; i < rank; ++i) {
    if (dims[i] < 0) {
      fail(MILL_E_SHAPE, "dims[%lld] is %lld, it must not be negative", static_cast<long long>(i),
           static_cast<long long>(dims[i]));
    }
    empty = empty || dims[i] == 0;
  }
  // Beside a 0 the others count too: strides and offsets are products of them.
  for (int64_t i = 0; i < rank; ++i) {
    if (__builtin_mul_overflow(bytes, std::max<int64_t>(dims[i], 1), &bytes)) {
      fail(MILL_E_SHAPE, "dims %s of %s take more than %lld bytes",
           format_dims(dims, static_cast<int32_t>(rank)).text, dtype_name(dtype),
           static_cast<long long>(INT64_MAX));
    }
  }
  return empty ? 0 : bytes / element_bytes(dtype);
}

void dense_strides(const int64_t* dims, int32_t rank, int64_t* strides) {
  int64_t stride = 1;
  for (int32_t i = rank - 1; i >= 0; --i) {
    strides[i] = stride;
    stride *= std::max<int64_t>(dims[i], 1);
  }
}

bool is_dense(const mill_kernel_tensor& view) {
  if (view.numel == 0) return true;
  int64_t stride = 1;
  for (int32_t i = view.rank - 1; i >= 0; --i) {
    if (view.dims[i] != 1 && view.strides[i] != stride) return false;
    stride *= view.dims[i];
  }
  return true;
}

namespace {

mill_tensor* new_tensor(Ref<Storage> storage, int32_t dtype, const int64_t* dims, int32_t rank,
                        int64_t numel) {
  auto* tensor = slab_new<mill_tensor>();
  tensor->storage = std::move(storage);
  mill_kernel_tensor& view = tensor->view;
  view.dtype = dtype;
  view.rank = rank;
  view.numel = numel;
  for (int32_t i = 0; i < rank; ++i) view.dims[i] = dims[i];
  return tensor;
}

int64_t product(const int64_t* dims, int32_t rank) {
  int64_t n = 1;
  for (int32_t i = 0; i < rank; ++i) n *= dims[i];
  return n;
}

}  // namespace

TensorRef make_tensor(Device& device, int32_t dtype, const int64_t* dims, int32_t rank,
                      uint64_t stream, uint32_t tag) {
  const int64_t numel = product(dims, rank);
  auto storage = Storage::allocate(
      device, static_cast<uint64_t>(numel) * static_cast<uint64_t>(dtype_size(dtype)), stream, tag);
  void* data = storage->data;
  mill_tensor* tensor = new_tensor(std::move(storage), dtype, dims, rank, numel);
  dense_strides(dims, rank, tensor->view.strides);
  tensor->view.data = numel == 0 ? nullptr : data;
  return TensorRef::adopt(tensor);
}

TensorRef make_tensor_strided(Device& device, int32_t dtype, const int64_t* dims,
                              const int64_t* strides, int32_t rank, uint64_t stream, uint32_t tag) {
  TensorRef tensor = make_tensor(device, dtype, dims, rank, stream, tag);
  std::memcpy(tensor->view.strides, strides, static_cast<size_t>(rank) * sizeof(int64_t));
  tensor->dense = is_dense(tensor->view);
  return tensor;
}

TensorRef make_view(Storage* storage, int32_t dtype, const int64_t* dims, const int64_t* strides,
                    int32_t rank, int64_t offset) {
  const int64_t numel = product(dims, rank);
  mill_tensor* tensor = new_tensor(Ref<Storage>::share(storage), dtype, dims, rank, numel);
  for (int32_t i = 0; i < rank; ++i) tensor->view.strides[i] = strides[i];
  tensor->offset = offset;
  tensor->view.data =
      numel == 0 ? nullptr : static_cast<char*>(storage->data) + offset * dtype_size(dtype);
  tensor->dense = is_dense(tensor->view);
  return TensorRef::adopt(tensor);
}

}  // namespace mill
