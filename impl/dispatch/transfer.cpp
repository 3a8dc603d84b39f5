#include "dispatch/transfer.h"

#include <algorithm>
#include <cstring>

#include "base/half.h"
#include "dispatch/invoke.h"
#include "dispatch/late_reads.h"
#include "dispatch/trace_op.h"
#include "millrace/op_numbers.h"

mill_status mill_future::query() {
  return done ? done->query() : MILL_OK;
}

mill_status mill_future::wait(uint64_t timeout_ns) {
  return done ? done->wait(timeout_ns) : MILL_OK;
}

mill_future::~mill_future() {
  if (host) device.pinned().free(host);
  copy.reset();
  done.reset();
  device.release_owner();
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

// Where a copy reads or writes, as the trace tells it.
struct Place {
  int32_t memory = MILL_RECORD_MEMORY_PAGEABLE;
  int32_t device = 0;
};

Place place_of(const Device& device) {
  return {device.host_memory() ? MILL_RECORD_MEMORY_PAGEABLE : MILL_RECORD_MEMORY_DEVICE,
          static_cast<int32_t>(device.index())};
}

// One record around a copy of `bytes` of the tensor, or of all of it.
class CopyRecord {
 public:
  CopyRecord(Exec& exec, mill_tensor& tensor, Place from, Place to,
             uint32_t detail = MILL_RECORD_COPY_BLOCKING, uint64_t bytes = UINT64_MAX)
      : trace_(exec.trace),
        context_(*exec.context),
        on_(trace_.on(MILL_TRACE_COPIES)),
        to_(to),
        tensor_(tensor) {
    if (!on_) return;
    record_ = trace_.begin(MILL_RECORD_COPY);
    record_.detail = detail;
    record_.tensor = trace_id(*exec.context, tensor);
    record_.bytes = std::min(bytes, tensor.bytes());
    record_.storage = trace_id(*exec.context, *tensor.storage);
    record_.dtypes = pack_bytes(tensor.dtype());
    read_from(from);
  }
  ~CopyRecord() {
    if (!on_) return;
    record_.tensor_version = static_cast<uint32_t>(
        (source_ ? *source_ : tensor_).storage->version.load(std::memory_order_relaxed));
    trace_.end(record_);
  }
  // The tensor that is copied, where it is another one: what tells a copy of the same thing from a
  // copy of something new.
  void copied_from(mill_tensor& source) {
    if (!on_) return;
    source_ = &source;
    record_.forward = trace_id(context_, *source.storage);
    record_.flops =
        static_cast<uint64_t>(source.offset) * static_cast<uint64_t>(dtype_size(source.dtype()));
  }
  // What it turned out to be.
  void read_from(Place from) {
    record_.memory = pack_bytes(from.memory, to_.memory, from.device, to_.device);
  }
  void staged() {
    read_from({MILL_RECORD_MEMORY_PINNED, 0});
    record_.detail = MILL_RECORD_COPY_ASYNC;
  }
  CopyRecord(const CopyRecord&) = delete;
  CopyRecord& operator=(const CopyRecord&) = delete;

 private:
  ExecTrace& trace_;
  mill_context& context_;
  bool on_;
  Place to_;
  mill_tensor& tensor_;
  mill_tensor* source_ = nullptr;
  mill_trace_record record_{};
};

int32_t record_kind(int32_t pointer) {
  return pointer == MILL_POINTER_PINNED    ? MILL_RECORD_MEMORY_PINNED
         : pointer == MILL_POINTER_MANAGED ? MILL_RECORD_MEMORY_MANAGED
                                           : MILL_RECORD_MEMORY_PAGEABLE;
}

// A copy between host memory and a row-major tensor on the exec's stream, in its order.
void copy_in(Exec& exec, CopyRecord& record, mill_tensor& to, const void* data, uint64_t bytes) {
  const bool ordered = !exec.device.runs_inline();
  if (ordered && exec.order == MILL_ORDER_AUTO) order_write(*to.storage, exec.stream_id());
  if (exec.staging && bytes > 0) {
    exec.staging->copy(*exec.stream, to.view.data, data, bytes);
    mark_write(*to.storage, exec.stream->ticket());
    record.staged();
    return;
  }
  exec.device.copy(exec.stream->native, to.view.data, data, bytes, MILL_COPY_HOST_TO_DEVICE);
  if (!ordered) return;
  mark_write(*to.storage, exec.stream->ticket());
  // A copy from memory that the device can reach is under way when the call returns; the caller was
  // promised that its memory has been read.
  const mill_memory_functions& memory = *exec.device.table().memory;
  if (!memory.classify) return;
  const int32_t pointer = memory.classify(exec.device.self(), data);
  if (pointer == MILL_POINTER_UNKNOWN) return;
  record.read_from({record_kind(pointer), 0});
  exec.stream->wait();
}

void copy_out(Exec& exec, mill_tensor& from, void* data, uint64_t bytes, uint64_t offset = 0) {
  const bool ordered = !exec.device.runs_inline();
  if (ordered && exec.order == MILL_ORDER_AUTO) order_read(*from.storage, exec.stream_id());
  exec.device.copy(exec.stream->native, data, static_cast<const char*>(from.view.data) + offset,
                   bytes, MILL_COPY_DEVICE_TO_HOST);
  if (ordered) mark_read(*from.storage, exec.stream->ticket());
}

}  // namespace

void write_host(Exec& exec, mill_tensor& tensor, const void* data, uint64_t bytes) {
  CopyRecord record(exec, tensor, {}, place_of(exec.device));
  if (tensor.dense) {
    copy_in(exec, record, tensor, data, bytes);
  } else {
    const TensorRef staged = make_tensor(exec.device, tensor.dtype(), tensor.view.dims,
                                         tensor.rank(), exec.stream_id(), exec.tag);
    copy_in(exec, record, *staged, data, bytes);
    const RecorderScope quiet(exec, nullptr);
    mill_tensor* in = staged.get();
    mill_tensor* out = &tensor;
    invoke(exec, MILL_OP_COPY, &in, 1, nullptr, 0, &out, 1);
  }
  tensor.storage->version.fetch_add(1, std::memory_order_relaxed);
}

void read_host(Exec& exec, mill_tensor& tensor, void* data, uint64_t bytes) {
  const CopyRecord record(exec, tensor, place_of(exec.device), {});
  const TensorRef dense = row_major(exec, tensor);
  copy_out(exec, *dense, data, bytes);
  const WaitRecord waiting(exec.device, MILL_RECORD_SYNC_READ, &exec, exec.stream->id);
  exec.stream->wait();
}

void read_part(Exec& exec, mill_tensor& tensor, uint64_t offset, void* data, uint64_t bytes) {
  const CopyRecord record(exec, tensor, place_of(exec.device), {}, MILL_RECORD_COPY_BLOCKING,
                          bytes);
  copy_out(exec, tensor, data, bytes, offset);
  exec.stream->wait();
}

void read_host_blocking(const mill_tensor& tensor, void* data, uint64_t bytes) {
  Device& device = tensor.device();
  if (device.runs_inline()) {
    device.copy(nullptr, data, tensor.view.data, bytes, MILL_COPY_DEVICE_TO_HOST);
    return;
  }
  host_wait_write(*tensor.storage);
  device.copy_blocking(data, tensor.view.data, bytes, MILL_COPY_DEVICE_TO_HOST);
}

Ref<mill_future> read_async(Exec& exec, mill_tensor& tensor) {
  // Into memory of the device's pinned pool, unless the host can read what is staged.
  const bool pinned = !exec.device.host_memory() && exec.device.has_pinned();
  const CopyRecord record(exec, tensor, place_of(exec.device),
                          {pinned ? MILL_RECORD_MEMORY_PINNED : MILL_RECORD_MEMORY_PAGEABLE, 0},
                          MILL_RECORD_COPY_ASYNC);
  const RecorderScope quiet(exec, nullptr);
  auto future = Ref<mill_future>::adopt(slab_new<mill_future>(exec.device, tensor.bytes()));
  if (!exec.device.runs_inline())
    future->done = Ref<mill_event>::adopt(slab_new<mill_event>(exec.device));
  // The values are those of this moment, whatever is written later: of a copy, where the host reads
  // the device's memory itself, and where who writes would have to wait for the link. A small
  // tensor goes as it is: what the stream writes comes later, what other streams write waits for
  // it, unless the program orders them by itself.
  constexpr uint64_t kSmall = uint64_t{64} << 10;
  const bool as_it_is =
      pinned && tensor.dense && tensor.bytes() <= kSmall && exec.order == MILL_ORDER_AUTO;
  if (!as_it_is) {
    future->copy = make_tensor(exec.device, tensor.dtype(), tensor.view.dims, tensor.rank(),
                               exec.stream_id(), exec.tag);
    mill_tensor* in = &tensor;
    mill_tensor* out = future->copy.get();
    invoke(exec, MILL_OP_COPY, &in, 1, nullptr, 0, &out, 1);
  }
  if (exec.device.runs_inline()) return future;
  if (!exec.device.host_memory() && tensor.bytes() > 0) {
    future->host = exec.device.pinned().allocate(tensor.bytes(), exec.stream_id(), exec.tag);
    copy_out(exec, as_it_is ? tensor : *future->copy, future->host->data, tensor.bytes());
    future->copy.reset();  // the allocator knows who still reads it
  }
  future->done->record(*exec.stream);
  return future;
}

namespace {

// Row-major on its own device, by an exec of that device.
TensorRef row_major_there(Exec& exec, mill_tensor& tensor) {
  if (tensor.dense) return TensorRef::share(&tensor);
  Device& device = tensor.device();
  mill_context* context = exec.context.get();
  const auto there = Ref<mill_exec>::adopt(
      slab_new<mill_exec>(context, device,
                          Ref<mill_stream>::adopt(slab_new<mill_stream>(
                              device, context->next_id.fetch_add(1, std::memory_order_relaxed)))));
  const ExecGuard entered(*there);
  return row_major(*there, tensor);
}

}  // namespace

TensorRef copy_to(Exec& exec, mill_tensor& tensor) {
  Device& from = tensor.device();
  Device& to = exec.device;
  TensorRef made =
      make_tensor(to, tensor.dtype(), tensor.view.dims, tensor.rank(), exec.stream_id(), exec.tag);
  const uint64_t bytes = tensor.bytes();
  if (&from == &to) {
    const RecorderScope quiet(exec, nullptr);
    mill_tensor* in = &tensor;
    mill_tensor* out = made.get();
    invoke(exec, MILL_OP_COPY, &in, 1, nullptr, 0, &out, 1);
    return made;
  }
  const TensorRef dense = row_major_there(exec, tensor);
  if (bytes == 0) return made;
  if (from.host_memory() && from.runs_inline()) {
    CopyRecord record(exec, *made, place_of(from), place_of(to));
    record.copied_from(tensor);
    copy_in(exec, record, *made, dense->view.data, bytes);
    return made;
  }
  if (to.host_memory() && to.runs_inline()) {
    CopyRecord record(exec, *made, place_of(from), place_of(to));
    record.copied_from(tensor);
    read_host_blocking(*dense, made->view.data, bytes);
    return made;
  }
  // Between two devices by way of the host, in pieces, so that no second copy of all is needed.
  CopyRecord record(exec, *made, place_of(from), place_of(to));
  record.copied_from(tensor);
  constexpr uint64_t kPiece = uint64_t{4} << 20;
  host_wait_write(*dense->storage);
  Block* staging = to.pinned().allocate(std::min(bytes, kPiece), exec.stream_id(), exec.tag);
  struct Give {
    Device& device;
    Block* block;
    ~Give() { device.pinned().free(block); }
  } const give{to, staging};
  // It may have been the target of a copy that is still on its way in this stream.
  if (!to.runs_inline()) exec.stream->wait();
  for (uint64_t at = 0; at < bytes; at += kPiece) {
    const uint64_t n = std::min(kPiece, bytes - at);
    from.copy_blocking(staging->data, static_cast<const char*>(dense->view.data) + at, n,
                       MILL_COPY_DEVICE_TO_HOST);
    to.copy(exec.stream->native, static_cast<char*>(made->view.data) + at, staging->data, n,
            MILL_COPY_HOST_TO_DEVICE);
    if (!to.runs_inline()) {
      mark_write(*made->storage, exec.stream->ticket());
      exec.stream->wait();  // before the staging memory is filled again
    }
  }
  return made;
}

double item(Exec& exec, mill_tensor& tensor, bool late) {
  if (tensor.numel() != 1) {
    fail_argument(MILL_E_SHAPE, 1, "tensor is %s, an item needs exactly one element",
                  format_dims(tensor).text);
  }
  unsigned char raw[16];
  (late ? read_late : read_host)(exec, tensor, raw, tensor.bytes());
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
