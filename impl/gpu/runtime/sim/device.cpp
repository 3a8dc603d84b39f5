#include "gpu/runtime/sim/device.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "gpu/fault.h"
#include "gpu/guard.h"
#include "gpu/runtime/sim/host_gemm.h"
#include "gpu/runtime/sim/tables.h"
#include "gpu/runtime/sim/touches.h"
#include "millrace/op_numbers.h"

namespace mill::sim_ {
#define MILL_DECLARE(family) mill::gpu::KernelList family##_kernels();
MILL_GPU_FAMILIES(MILL_DECLARE)
#undef MILL_DECLARE
}  // namespace mill::sim_

namespace mill::sim {

using gpu::refuse;
using gpu::shown;

namespace {

using ListFn = gpu::KernelList (*)();
#define MILL_LIST(family) &mill::sim_::family##_kernels,
constexpr ListFn kLists[] = {MILL_GPU_FAMILIES(MILL_LIST)};
#undef MILL_LIST

// True when this is the call that was to fail.
bool due(std::atomic<int64_t>& countdown) {
  if (countdown.load(std::memory_order_relaxed) == 0) return false;
  return countdown.fetch_sub(1, std::memory_order_relaxed) == 1;
}

KernelWork work_of(const gpu::cost& cost) {
  KernelWork work;
  work.bytes = cost.bytes;
  work.flops = cost.flops;
  work.arithmetic = cost.unit == gpu::unit::f64      ? Arithmetic::f64
                    : cost.unit == gpu::unit::matrix ? Arithmetic::f16
                                                     : Arithmetic::f32;
  return work;
}

}  // namespace

Device::Device(const Profile& profile, const DeviceOptions& options, const mill_host_services* host)
    : host_(host),
      timing_(profile, host),
      async_(options.async),
      space_(options.memory_bytes != 0 ? options.memory_bytes
                                       : static_cast<uint64_t>(profile.memory_bytes)) {
  limits_.size = sizeof limits_;
  limits_.modelled = options.async ? 0 : 1;
  limits_.copy_engines = 2;
  limits_.processors = static_cast<uint32_t>(profile.sm_count);
  limits_.threads_per_processor = static_cast<uint32_t>(profile.threads_per_sm);
  limits_.threads_per_block = static_cast<uint32_t>(profile.threads_per_block);
  limits_.memory_bytes = space_.capacity();
  limits_.shared_bytes_per_block = static_cast<uint64_t>(profile.shared_bytes_per_block_optin);
  limits_.allocation_align = Space::kGranule;
  limits_.memory_bytes_per_second = static_cast<double>(profile.memory_bandwidth);
  limits_.host_to_device_bytes_per_second = static_cast<double>(profile.h2d_pinned_bandwidth);
  limits_.device_to_host_bytes_per_second = static_cast<double>(profile.d2h_pinned_bandwidth);
  limits_.f64_flops = static_cast<double>(profile.f64_flops);
  limits_.f32_flops = static_cast<double>(profile.f32_flops);
  limits_.tf32_flops = static_cast<double>(profile.tf32_flops);
  limits_.f16_flops = static_cast<double>(profile.f16_flops);
  std::snprintf(limits_.architecture, sizeof limits_.architecture, "%s",
                profile.architecture.c_str());
  seed_ = options.seed;
  host_gemm_ = options.host_gemm;
  description_ = profile.name + (options.async ? ", simulated, on threads in real time"
                                               : ", simulated: a model, not a measurement");

  table_.size = sizeof table_;
  table_.abi = MILL_PLUGIN_ABI;
  table_.name = "sim";
  table_.description = description_.c_str();
  table_.self = this;
  table_.limits = &limits_;
  fill_tables(&table_);

  for (const ListFn list : kLists) kernels_.add(list());
}

Device::~Device() = default;

GridDevice Device::grid_device() const {
  GridDevice device;
  device.h_begin = space_.begin();
  device.h_bytes = space_.span();
  device.delta = space_.delta();
  device.shared_limit = static_cast<uint32_t>(limits_.shared_bytes_per_block);
  device.seed = seed_.load(std::memory_order_relaxed);
  return device;
}

mill_status Device::alive(mill_kernel_error* error) const {
  if (!lost_.load(std::memory_order_relaxed)) [[likely]]
    return MILL_OK;
  return refuse(error, MILL_E_DEVICE_LOST, "the simulated device %s was lost",
                timing_.profile().name.c_str());
}

mill_status Device::configure(const char* name, int64_t value, mill_kernel_error* error) {
  const auto number = static_cast<long long>(value);
  if (value < 0)
    return refuse(error, MILL_E_ARG, "%s is %lld, it must not be negative", name, number);
  const bool needs_clock = std::strcmp(name, "gemm") == 0 || std::strcmp(name, "checked") == 0;
  if (async_ && needs_clock && value != 0) {
    return refuse(error, MILL_E_UNSUPPORTED, "%s is %lld, on the real clock (async=1) it must be 0",
                  name, number);
  }
  if (std::strcmp(name, "seed") == 0) {
    seed_ = static_cast<uint64_t>(value);
  } else if (std::strcmp(name, "gemm") == 0) {
    if (value > 1) return refuse(error, MILL_E_ARG, "gemm is %lld, it must be 0 or 1", number);
    host_gemm_ = value != 0;
  } else if (std::strcmp(name, "fail.allocate") == 0) {
    planned_.allocate = value;
  } else if (std::strcmp(name, "fail.launch") == 0) {
    planned_.launch = value;
  } else if (std::strcmp(name, "fail.copy") == 0) {
    planned_.copy = value;
  } else if (std::strcmp(name, "fail.event") == 0) {
    planned_.event = value;
  } else if (std::strcmp(name, "lost") == 0) {
    if (value != 1)
      return refuse(error, MILL_E_ARG, "lost is %lld, it must be 1: no device comes back", number);
    lost_ = true;
  } else if (std::strcmp(name, "checked") == 0) {
    return set_checked(value, error);
  } else if (std::strcmp(name, "capacity") == 0) {
    space_.set_capacity(static_cast<uint64_t>(value));
  } else {
    return refuse(error, MILL_E_ARG,
                  "\"%.64s\" is no setting of sim; there are seed, gemm, checked, fail.allocate, "
                  "fail.launch, fail.copy, fail.event, lost, capacity",
                  name);
  }
  return MILL_OK;
}

mill_status Device::resolve(int32_t op, const int32_t* dtypes, uint32_t n_in, uint32_t n_out,
                            mill_kernel* out, mill_kernel_error* error) const {
  if (host_gemm_ && (op == MILL_OP_MATMUL || op == MILL_OP_LINEAR)) {
    *out = {op == MILL_OP_MATMUL ? host_matmul : host_linear, nullptr};
    return MILL_OK;
  }
  return kernels_.resolve(op, dtypes, n_in + n_out, "sim", out, error);
}

// ---- kernels ------------------------------------------------------------------------------------

mill_status Device::launch(const mill_kernel_args* args, const KernelInfo& kernel,
                           const gpu::shape& shape, const gpu::cost& cost, void* const* argv) {
  if (const mill_status status = alive(args->error); status != MILL_OK) return status;
  if (shape.grid < 1 || shape.grid > INT32_MAX) {
    return refuse(args->error, MILL_E_INTERNAL, "kernel %s: grid of %lld blocks, 1 to %d can be",
                  kernel.name, static_cast<long long>(shape.grid), INT32_MAX);
  }
  if (shape.block < kWarp || shape.block % kWarp != 0 ||
      shape.block > static_cast<int>(limits_.threads_per_block)) {
    return refuse(args->error, MILL_E_INTERNAL,
                  "kernel %s: block of %d threads, it must be a multiple of 32 and at most %u",
                  kernel.name, shape.block, limits_.threads_per_block);
  }
  if (shape.dynamic < 0 || static_cast<uint64_t>(shape.dynamic) > limits_.shared_bytes_per_block) {
    return refuse(args->error, MILL_E_INTERNAL,
                  "kernel %s: %d bytes of dynamic shared memory, the limit is %llu", kernel.name,
                  shape.dynamic, shown(limits_.shared_bytes_per_block));
  }
  if (due(planned_.launch))
    return refuse(args->error, MILL_E_INTERNAL, "kernel %s: planned launch failure", kernel.name);
  const GridShape grid{shape.grid, shape.block, static_cast<uint32_t>(shape.dynamic)};
  const mill_status status =
      async_ ? submit_async(args, kernel, grid, argv) : run_grid(args, kernel, grid, argv);
  if (status != MILL_OK) return status;
  KernelWork work = work_of(cost);
  work.blocks = shape.grid;
  work.threads = shape.block;
  work.shared_bytes = shape.dynamic;
  return submit(args, kernel.name, work);
}

mill_status Device::submit(const mill_kernel_args* args, const char* name, const KernelWork& work) {
  const auto* stream = static_cast<Stream*>(static_cast<StreamView*>(args->stream));
  Touches touches;
  add_operands(touches, args);
  return timing_.kernel(**stream->queue, name, work, touches.all(), args->error);
}

mill_status Device::charge(const mill_kernel_args* args, const char* name, const gpu::cost& cost) {
  KernelWork work = work_of(cost);
  // As many blocks as fill the device: what a vendor's library would take.
  work.blocks = resident_blocks(timing_.profile(), work.threads, 0);
  return submit(args, name, work);
}

std::vector<KernelReport> Device::reports() const {
  const std::lock_guard lock(mutex_);
  return reports_;
}

mill_status launch_grid(const mill_kernel_args* args, const KernelInfo& kernel,
                        const gpu::shape& shape, const gpu::cost& cost, void* const* argv) {
  auto* stream = static_cast<Stream*>(static_cast<StreamView*>(args->stream));
  return stream->device->launch(args, kernel, shape, cost, argv);
}

// ---- memory -------------------------------------------------------------------------------------

mill_status Device::allocate(uint64_t bytes, uint64_t align, void** out, mill_kernel_error* error) {
  *out = nullptr;
  if (const mill_status status = alive(error); status != MILL_OK) return status;
  if (align > Space::kGranule || (align & (align - 1)) != 0) {
    return refuse(error, MILL_E_ARG,
                  "allocate: alignment is %llu, it must be a power of two up to %llu", shown(align),
                  shown(Space::kGranule));
  }
  *out = due(planned_.allocate) ? nullptr : space_.allocate(bytes);
  if (*out) {
    timing_.allocated(reinterpret_cast<uintptr_t>(*out), bytes);
    return MILL_OK;
  }
  return refuse(error, MILL_E_MEMORY, "out of memory: %llu bytes asked of sim, %llu of %llu in use",
                shown(bytes), shown(space_.used()), shown(space_.capacity()));
}

void Device::free(void* data) noexcept {
  // As cudaFree does.
  if (async_) wait_all_async();
  try {
    mill_kernel_error error{};
    const mill_status status =
        timing_.freed(reinterpret_cast<uintptr_t>(data), space_.bytes_at(data), &error);
    if (status != MILL_OK) {
      const std::lock_guard lock(mutex_);
      if (early_free_.text[0] == 0) early_free_ = error;
    }
  } catch (...) {  // NOLINT(bugprone-empty-catch): a free less on the clock
  }
  space_.free(data);
}

mill_status Device::pinned_allocate(uint64_t bytes, void** out, mill_kernel_error* error) {
  constexpr uint64_t kPage = 4096;
  *out = nullptr;
  const uint64_t rounded = (std::max<uint64_t>(bytes, 1) + kPage - 1) & ~(kPage - 1);
  struct Free {
    void operator()(void* data) const { std::free(data); }
  };
  std::unique_ptr<void, Free> memory(rounded >= bytes && rounded <= uint64_t{INT64_MAX}
                                         ? std::aligned_alloc(kPage, rounded)
                                         : nullptr);
  if (!memory) {
    return refuse(error, MILL_E_MEMORY, "out of memory: the system refused %llu pinned bytes",
                  shown(bytes));
  }
  timing_.call(Call::pinned_allocate);
  const std::lock_guard lock(mutex_);
  pinned_.push_back({static_cast<char*>(memory.get()), rounded});
  *out = memory.release();
  return MILL_OK;
}

void Device::pinned_free(void* data) {
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(pinned_, [&](const Pinned& p) { return p.begin == data; });
  }
  std::free(data);
}

int32_t Device::classify(const void* p) const {
  if (space_.holds(p)) return MILL_POINTER_DEVICE;
  const std::lock_guard lock(mutex_);
  for (const Pinned& one : pinned_) {
    if (static_cast<uint64_t>(static_cast<const char*>(p) - one.begin) < one.bytes)
      return MILL_POINTER_PINNED;
  }
  return MILL_POINTER_UNKNOWN;
}

// ---- copies -------------------------------------------------------------------------------------

mill_status Device::inside(const char* what, const void* p, uint64_t bytes,
                           mill_kernel_error* error) {
  uint64_t left = 0;
  if (space_.contains(p, bytes, &left)) return MILL_OK;
  if (left == 0)
    return refuse(error, MILL_E_ARG, "copy: %s 0x%llx is no memory of the sim device", what,
                  shown(p));
  return refuse(error, MILL_E_ARG,
                "copy: %llu bytes at %s 0x%llx, the allocation has %llu left there", shown(bytes),
                what, shown(p), shown(left));
}

mill_status Device::copy(Stream* stream, void* to, const void* from, uint64_t bytes, int32_t kind,
                         mill_kernel_error* error) {
  if (const mill_status status = alive(error); status != MILL_OK) return status;
  if (kind < MILL_COPY_HOST_TO_DEVICE || kind > MILL_COPY_DEVICE_TO_DEVICE)
    return refuse(error, MILL_E_ARG, "copy: kind is %d, it must be 1 to 3", kind);
  if (bytes == 0) return MILL_OK;
  const bool to_device = kind != MILL_COPY_DEVICE_TO_HOST;
  const bool from_device = kind != MILL_COPY_HOST_TO_DEVICE;
  if (to_device) {
    if (const mill_status status = inside("destination", to, bytes, error); status != MILL_OK)
      return status;
  } else if (space_.holds(to)) {
    return refuse(error, MILL_E_ARG,
                  "copy: destination 0x%llx is device memory, the copy is to the host", shown(to));
  }
  if (from_device) {
    if (const mill_status status = inside("source", from, bytes, error); status != MILL_OK)
      return status;
  } else if (space_.holds(from)) {
    return refuse(error, MILL_E_ARG,
                  "copy: source 0x%llx is device memory, the copy is from the host", shown(from));
  }
  if (due(planned_.copy)) return refuse(error, MILL_E_INTERNAL, "copy: planned failure");
  const void* host = to_device ? from : to;
  const bool pinned = kind != MILL_COPY_DEVICE_TO_DEVICE && classify(host) == MILL_POINTER_PINNED;
  Touches touches;
  if (from_device || pinned) touches.add(OrderAccess::read, from, bytes);
  if (to_device || pinned) touches.add(OrderAccess::write, to, bytes);
  if (async_) {
    move_async(stream, to, from, bytes, kind, !pinned && kind != MILL_COPY_DEVICE_TO_DEVICE,
               touches.all());
  } else {
    std::memmove(to_device ? space_.bytes_of(to) : to, from_device ? space_.bytes_of(from) : from,
                 bytes);
    if (to_device) note_written(to, bytes);
  }
  return timing_.copy(**stream->queue, kind, pinned, bytes, touches.all(), error);
}

mill_status Device::fill(Stream* stream, void* to, int32_t value, uint64_t bytes,
                         mill_kernel_error* error) {
  if (const mill_status status = alive(error); status != MILL_OK) return status;
  if (bytes == 0) return MILL_OK;
  if (const mill_status status = inside("destination", to, bytes, error); status != MILL_OK)
    return status;
  Touches touches;
  touches.add(OrderAccess::write, to, bytes);
  if (async_) {
    stream->queue->async()->submit([this, to, value, bytes, touches] {
      const std::lock_guard engine(engines_.compute);
      note_accesses(touches.all());
      std::memset(space_.bytes_of(to), value, bytes);
    });
  } else {
    std::memset(space_.bytes_of(to), value, bytes);
    note_written(to, bytes);
  }
  return timing_.fill(**stream->queue, bytes, touches.all(), error);
}

// ---- streams and events -------------------------------------------------------------------------

mill_status Device::stream_create(std::shared_ptr<OwnedQueue> queue, void* native, void** out,
                                  mill_kernel_error* error) {
  *out = nullptr;
  if (const mill_status status = alive(error); status != MILL_OK) return status;
  auto stream = std::make_unique<Stream>();
  stream->h_begin = space_.begin();
  stream->h_bytes = space_.span();
  stream->delta = space_.delta();
  stream->fault = {};
  stream->faults = &stream->fault;
  stream->device = this;
  stream->queue = queue
                      ? std::move(queue)
                      : std::make_shared<OwnedQueue>(
                            timing_, next_stream_.fetch_add(1, std::memory_order_relaxed), async_);
  stream->native = native ? native : static_cast<StreamView*>(stream.get());
  const std::lock_guard lock(mutex_);
  streams_.push_back(stream.get());
  *out = static_cast<StreamView*>(stream.release());
  return MILL_OK;
}

mill_status Device::stream_wrap(void* native, void** out, mill_kernel_error* error) {
  *out = nullptr;
  std::shared_ptr<OwnedQueue> queue;
  {
    const std::lock_guard lock(mutex_);
    for (const Stream* stream : streams_) {
      if (static_cast<const StreamView*>(stream) == native) queue = stream->queue;
    }
  }
  if (!queue) {
    return refuse(error, MILL_E_DEVICE, "native 0x%llx is no stream of this sim device",
                  shown(native));
  }
  return stream_create(std::move(queue), native, out, error);
}

void Device::stream_destroy(Stream* stream) {
  {
    const std::lock_guard lock(mutex_);
    std::erase(streams_, stream);
  }
  // Its kernels raise their faults in it.
  if (AsyncQueue* async = stream->queue->async()) async->wait();
  delete stream;
}

mill_status Device::stream_wait(Stream* stream, mill_kernel_error* error) {
  if (const mill_status status = alive(error); status != MILL_OK) return status;
  if (AsyncQueue* async = stream->queue->async()) async->wait();
  timing_.queue_wait(**stream->queue);
  const mill_status failed = stream->queue->take_failure(error);
  if (failed != MILL_OK) return failed;
  const mill_status fault = gpu::take_fault(&stream->fault, error);
  return fault != MILL_OK ? fault : take_early_free(error);
}

mill_status Device::take_early_free(mill_kernel_error* error) {
  const std::lock_guard lock(mutex_);
  if (early_free_.text[0] == 0) [[likely]]
    return MILL_OK;
  *error = std::exchange(early_free_, {});
  return MILL_E_STATE;
}

mill_status Device::stream_query(Stream* stream, mill_kernel_error* error) {
  if (const mill_status status = alive(error); status != MILL_OK) return status;
  if (const AsyncQueue* async = stream->queue->async()) {
    if (!async->idle()) return MILL_NOT_READY;
    timing_.queue_wait(**stream->queue);
  } else if (!timing_.queue_done(**stream->queue)) {
    return MILL_NOT_READY;
  }
  const mill_status failed = stream->queue->take_failure(error);
  if (failed != MILL_OK) return failed;
  return gpu::take_fault(&stream->fault, error);
}

mill_status Device::event_create(void** out, mill_kernel_error* error) {
  *out = nullptr;
  if (const mill_status status = alive(error); status != MILL_OK) return status;
  *out = new Event{this, timing_.add_event(), async_ ? std::make_shared<AsyncEvent>() : nullptr};
  return MILL_OK;
}

void Device::event_destroy(Event* event) {
  timing_.remove_event(event->time);
  delete event;
}

mill_status Device::event_record(Event* event, Stream* stream, mill_kernel_error* error) {
  if (const mill_status status = alive(error); status != MILL_OK) return status;
  if (due(planned_.event)) return refuse(error, MILL_E_INTERNAL, "event: planned failure");
  timing_.record(event->time, **stream->queue);
  event->told->store(false, std::memory_order_relaxed);
  if (async_) {
    stream->queue->async()->submit(
        [state = event->async, recording = event->async->begin()] { state->happened(recording); });
  }
  return MILL_OK;
}

mill_status Device::event_query(Event* event, mill_kernel_error* error) {
  if (const mill_status status = alive(error); status != MILL_OK) return status;
  if (async_) {
    if (!event->async->done()) return MILL_NOT_READY;
    timing_.event_wait(event->time, UINT64_MAX);
    return MILL_OK;
  }
  if (event->told->load(std::memory_order_relaxed)) timing_.event_wait(event->time, UINT64_MAX);
  return timing_.event_done(event->time) ? MILL_OK : MILL_NOT_READY;
}

mill_status Device::event_wait(Event* event, uint64_t timeout_ns, mill_kernel_error* error) {
  if (const mill_status status = alive(error); status != MILL_OK) return status;
  if (async_) {
    constexpr uint64_t kLong = uint64_t{1} << 60;
    if (!event->async->wait_until(
            std::chrono::steady_clock::now() +
            std::chrono::nanoseconds(static_cast<int64_t>(std::min(timeout_ns, kLong)))))
      return MILL_TIMEOUT;
    timing_.event_wait(event->time, UINT64_MAX);
    return MILL_OK;
  }
  return timing_.event_wait(event->time, timeout_ns) ? MILL_OK : MILL_TIMEOUT;
}

mill_status Device::wait_event(Stream* stream, Event* event, mill_kernel_error* error) {
  if (const mill_status status = alive(error); status != MILL_OK) return status;
  timing_.wait_event(**stream->queue, event->time);
  stream->awaited = event->told;
  if (async_) {
    stream->queue->async()->submit(
        [state = event->async, recording = event->async->recorded()] { state->wait(recording); });
  }
  return MILL_OK;
}

mill_status Device::event_elapsed(Event* from, Event* to, double* out_ns,
                                  mill_kernel_error* error) {
  if (const mill_status status = alive(error); status != MILL_OK) return status;
  if (async_) {
    if (from->async->recorded() > 0 && to->async->recorded() > 0 && from->async->done() &&
        to->async->done()) {
      *out_ns =
          std::chrono::duration<double, std::nano>(to->async->time() - from->async->time()).count();
      return MILL_OK;
    }
  } else {
    if (to->told->load(std::memory_order_relaxed)) timing_.event_wait(to->time, UINT64_MAX);
    if (timing_.elapsed(from->time, to->time, out_ns)) return MILL_OK;
  }
  return refuse(error, MILL_E_STATE, "both events must have been recorded and have happened");
}

// Everything is done in the order of the calls, so the stream is there already.
mill_status Device::host_call(Stream* stream, void (*fn)(void* data), void* data,
                              mill_kernel_error* error) {
  if (const mill_status status = alive(error); status != MILL_OK) return status;
  timing_.host_function(**stream->queue);
  if (async_) {
    stream->queue->async()->submit([fn, data] { fn(data); });
    return MILL_OK;
  }
  fn(data);
  if (stream->awaited) stream->awaited->store(true, std::memory_order_relaxed);
  return MILL_OK;
}

}  // namespace mill::sim
