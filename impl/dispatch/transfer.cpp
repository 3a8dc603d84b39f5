#include "dispatch/transfer.h"

#include <cstring>

#include "base/half.h"
#include "dispatch/invoke.h"
#include "dispatch/trace_op.h"
#include "millrace/op_numbers.h"

mill_status mill_future::query() {
  return done ? done->query() : MILL_OK;
}

mill_status mill_future::wait(uint64_t timeout_ns) {
  return done ? done->wait(timeout_ns) : MILL_OK;
}

namespace mill {

namespace {

TensorRef row_major(Exec& exec, mill_tensor& tensor) {
  const RecorderScope quiet(exec, nullptr);
  mill_tensor* in = &tensor;
  mill_tensor* out = nullptr;
  invoke(exec, MILL_OP_CONTIGUOUS, &in, 1, nullptr, 0, &out, 1);
  return TensorRef::adopt(out);
}

// One record around a copy between host and device.
class CopyRecord {
 public:
  CopyRecord(Exec& exec, mill_tensor& tensor, int32_t kind,
             uint32_t detail = MILL_RECORD_COPY_BLOCKING)
      : trace_(exec.trace), on_(trace_.on(MILL_TRACE_COPIES)), tensor_(tensor) {
    if (!on_) return;
    record_ = trace_.begin(MILL_RECORD_COPY);
    record_.detail = detail;
    record_.tensor = trace_id(*exec.context, tensor);
    record_.bytes = tensor.bytes();
    record_.storage = trace_id(*exec.context, *tensor.storage);
    record_.dtypes = pack_bytes(tensor.dtype());
    const bool up = kind == MILL_COPY_HOST_TO_DEVICE;
    const int32_t own =
        exec.device.host_memory() ? MILL_RECORD_MEMORY_PAGEABLE : MILL_RECORD_MEMORY_DEVICE;
    const int32_t host = MILL_RECORD_MEMORY_PAGEABLE;
    const auto index = static_cast<int32_t>(exec.device.index());
    record_.memory = pack_bytes(up ? host : own, up ? own : host, up ? 0 : index, up ? index : 0);
  }
  ~CopyRecord() {
    if (!on_) return;
    record_.tensor_version =
        static_cast<uint32_t>(tensor_.storage->version.load(std::memory_order_relaxed));
    trace_.end(record_);
  }
  CopyRecord(const CopyRecord&) = delete;
  CopyRecord& operator=(const CopyRecord&) = delete;

 private:
  ExecTrace& trace_;
  bool on_;
  mill_tensor& tensor_;
  mill_trace_record record_{};
};

void copy(const Device& device, void* stream, void* to, const void* from, uint64_t bytes,
          int32_t kind) {
  if (bytes == 0) return;
  mill_kernel_error error{};
  check(device.table().copy(device.table().self, stream, to, from, bytes, kind, &error), error);
}

}  // namespace

void write_host(Exec& exec, mill_tensor& tensor, const void* data, uint64_t bytes) {
  const CopyRecord record(exec, tensor, MILL_COPY_HOST_TO_DEVICE);
  if (tensor.dense) {
    copy(exec.device, exec.stream->native, tensor.view.data, data, bytes, MILL_COPY_HOST_TO_DEVICE);
  } else {
    const TensorRef staged = make_tensor(exec.device, tensor.dtype(), tensor.view.dims,
                                         tensor.rank(), exec.stream_id(), exec.tag);
    copy(exec.device, exec.stream->native, staged->view.data, data, bytes,
         MILL_COPY_HOST_TO_DEVICE);
    const RecorderScope quiet(exec, nullptr);
    mill_tensor* in = staged.get();
    mill_tensor* out = &tensor;
    invoke(exec, MILL_OP_COPY, &in, 1, nullptr, 0, &out, 1);
  }
  tensor.storage->version.fetch_add(1, std::memory_order_relaxed);
}

void read_host(Exec& exec, mill_tensor& tensor, void* data, uint64_t bytes) {
  const CopyRecord record(exec, tensor, MILL_COPY_DEVICE_TO_HOST);
  const TensorRef dense = row_major(exec, tensor);
  copy(exec.device, exec.stream->native, data, dense->view.data, bytes, MILL_COPY_DEVICE_TO_HOST);
  const WaitRecord waiting(*exec.context, MILL_RECORD_SYNC_READ, &exec, exec.stream->id);
  exec.stream->wait();
}

void read_host_blocking(const mill_tensor& tensor, void* data, uint64_t bytes) {
  copy(tensor.device(), nullptr, data, tensor.view.data, bytes, MILL_COPY_DEVICE_TO_HOST);
}

Ref<mill_future> read_async(Exec& exec, mill_tensor& tensor) {
  const CopyRecord record(exec, tensor, MILL_COPY_DEVICE_TO_HOST, MILL_RECORD_COPY_ASYNC);
  const RecorderScope quiet(exec, nullptr);
  mill_tensor* in = &tensor;
  mill_tensor* out = nullptr;
  // A copy even of a row-major tensor: the values are those of this moment, whatever is written
  // later.
  TensorRef staged = make_tensor(exec.device, tensor.dtype(), tensor.view.dims, tensor.rank(),
                                 exec.stream_id(), exec.tag);
  out = staged.get();
  invoke(exec, MILL_OP_COPY, &in, 1, nullptr, 0, &out, 1);
  return Ref<mill_future>::adopt(slab_new<mill_future>(std::move(staged)));
}

double item(Exec& exec, mill_tensor& tensor) {
  if (tensor.numel() != 1) {
    fail_argument(MILL_E_SHAPE, 1, "tensor is %s, an item needs exactly one element",
                  format_dims(tensor).text);
  }
  unsigned char raw[16];
  read_host(exec, tensor, raw, tensor.bytes());
  const auto load = [&]<class T>(T value) {
    std::memcpy(&value, raw, sizeof value);
    return value;
  };
  switch (tensor.dtype()) {
    case MILL_BOOL: return load(uint8_t{}) != 0 ? 1.0 : 0.0;
    case MILL_U8: return load(uint8_t{});
    case MILL_I8: return load(int8_t{});
    case MILL_U16: return load(uint16_t{});
    case MILL_I16: return load(int16_t{});
    case MILL_U32: return load(uint32_t{});
    case MILL_I32: return load(int32_t{});
    case MILL_U64: return static_cast<double>(load(uint64_t{}));
    case MILL_I64: return static_cast<double>(load(int64_t{}));
    case MILL_F16: return to_float(load(f16{}));
    case MILL_BF16: return to_float(load(bf16{}));
    case MILL_F32: return load(float{});
    case MILL_F64: return load(double{});
    case MILL_F8E4M3: return to_float(load(f8e4m3{}));
    case MILL_F8E5M2: return to_float(load(f8e5m2{}));
    default: break;
  }
  fail_argument(MILL_E_DTYPE, 1, "tensor is %s, an item needs bool, an integer or a float",
                dtype_name(tensor.dtype()));
}

}  // namespace mill
