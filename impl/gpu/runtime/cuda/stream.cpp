#include <algorithm>
#include <chrono>
#include <memory>
#include <thread>

#include "gpu/fault.h"
#include "gpu/runtime/cuda/device.h"

namespace mill::cuda {

namespace {

// ---- streams ------------------------------------------------------------------------------------

mill_status finish(Device& device, std::unique_ptr<Stream> stream, void** out,
                   mill_kernel_error* error) {
  const mill_status status = device.take_slot(&stream->faults, error);
  if (status != MILL_OK) {
    if (stream->owned) device.on([&] { return cudaStreamDestroy(stream->native); });
    return status;
  }
  *out = static_cast<StreamView*>(stream.release());
  return MILL_OK;
}

mill_status create(void* self, int32_t priority, void** out, mill_kernel_error* error) {
  return guarded(error, [&] {
    Device& device = device_of(self);
    *out = nullptr;
    if (const mill_status status = device.alive(error); status != MILL_OK) return status;
    auto stream = std::make_unique<Stream>();
    stream->device = &device;
    stream->owned = true;
    const cudaError_t code = device.on([&] {
      int least = 0;
      int most = 0;
      const cudaError_t ranged = cudaDeviceGetStreamPriorityRange(&least, &most);
      if (ranged != cudaSuccess) return ranged;
      // Non-blocking: the legacy default stream of other code orders nothing of ours.
      return cudaStreamCreateWithPriority(&stream->native, cudaStreamNonBlocking,
                                          std::clamp(priority, most, least));
    });
    if (code != cudaSuccess) return device.check(error, code, "a stream of %s", device.name());
    return finish(device, std::move(stream), out, error);
  });
}

mill_status wrap(void* self, void* native, void** out, mill_kernel_error* error) {
  return guarded(error, [&] {
    Device& device = device_of(self);
    *out = nullptr;
    if (const mill_status status = device.alive(error); status != MILL_OK) return status;
    auto stream = std::make_unique<Stream>();
    stream->device = &device;
    stream->owned = false;
    stream->native = static_cast<cudaStream_t>(native);
    // The default streams are of whatever device is current.
    const bool is_default = native == nullptr || stream->native == cudaStreamLegacy ||
                            stream->native == cudaStreamPerThread;
    int owner = device.index();
    const cudaError_t code = device.on(
        [&] { return is_default ? cudaSuccess : cudaStreamGetDevice(stream->native, &owner); });
    if (code != cudaSuccess) return device.check(error, code, "stream 0x%llx", shown(native));
    if (owner != device.index()) {
      return refuse(error, MILL_E_DEVICE, "stream 0x%llx is of CUDA device %d, %s was asked for",
                    shown(native), owner, device.name());
    }
    return finish(device, std::move(stream), out, error);
  });
}

void* native_of(void*, void* stream) {
  return stream_of(stream).native;
}

void destroy(void* self, void* stream) {
  Device& device = device_of(self);
  const Current current(device.index());
  const std::unique_ptr<Stream> owner(&stream_of(stream));
  device.retire(*owner);
  // The runtime lets unfinished work finish first.
  if (owner->owned) cudaStreamDestroy(owner->native);
}

mill_status wait(void* self, void* stream, mill_kernel_error* error) {
  Device& device = device_of(self);
  if (const mill_status status = device.alive(error); status != MILL_OK) return status;
  const cudaError_t code =
      device.on([&] { return cudaStreamSynchronize(stream_of(stream).native); });
  const mill_status status = device.check(error, code, "work on a stream of %s", device.name());
  return status == MILL_OK ? gpu::take_fault(stream_of(stream).faults, error) : status;
}

mill_status query(void* self, void* stream, mill_kernel_error* error) {
  Device& device = device_of(self);
  if (const mill_status status = device.alive(error); status != MILL_OK) return status;
  const cudaError_t code = device.on([&] { return cudaStreamQuery(stream_of(stream).native); });
  const mill_status status = device.check(error, code, "work on a stream of %s", device.name());
  return status == MILL_OK ? gpu::take_fault(stream_of(stream).faults, error) : status;
}

// ---- events -------------------------------------------------------------------------------------

// What the table hands out is CUDA's own handle.
cudaEvent_t event_of(void* event) {
  return static_cast<cudaEvent_t>(event);
}

mill_status event_create(void* self, void** out, mill_kernel_error* error) {
  Device& device = device_of(self);
  *out = nullptr;
  if (const mill_status status = device.alive(error); status != MILL_OK) return status;
  cudaEvent_t event = nullptr;
  const cudaError_t code =
      device.on([&] { return cudaEventCreateWithFlags(&event, cudaEventDefault); });
  if (code == cudaSuccess) *out = event;
  return device.check(error, code, "an event of %s", device.name());
}

void event_destroy(void* self, void* event) {
  const Current current(device_of(self).index());
  cudaEventDestroy(event_of(event));
}

mill_status event_record(void* self, void* event, void* stream, mill_kernel_error* error) {
  Device& device = device_of(self);
  if (const mill_status status = device.alive(error); status != MILL_OK) return status;
  const cudaError_t code =
      device.on([&] { return cudaEventRecord(event_of(event), stream_of(stream).native); });
  return device.check(error, code, "record of an event of %s", device.name());
}

mill_status event_query(void* self, void* event, mill_kernel_error* error) {
  Device& device = device_of(self);
  if (const mill_status status = device.alive(error); status != MILL_OK) return status;
  return device.check(error, cudaEventQuery(event_of(event)), "work before an event of %s",
                      device.name());
}

mill_status event_wait(void* self, void* event, uint64_t timeout_ns, mill_kernel_error* error) {
  Device& device = device_of(self);
  if (const mill_status status = device.alive(error); status != MILL_OK) return status;
  using Clock = std::chrono::steady_clock;
  // A century is for ever, and cannot overflow the clock.
  constexpr uint64_t kForEver = uint64_t{100} * 365 * 86400 * 1000000000;
  cudaError_t code;
  if (timeout_ns >= kForEver) {
    code = cudaEventSynchronize(event_of(event));
  } else {
    // CUDA has no wait that ends, so this asks again and again: often at first, for kernels take
    // microseconds, then rarely enough to leave the processor to others.
    constexpr int kBusyTurns = 256;
    constexpr std::chrono::microseconds kMostSleep(200);
    const auto deadline = Clock::now() + std::chrono::nanoseconds(timeout_ns);
    auto sleep = std::chrono::microseconds(10);
    for (int turn = 0;; ++turn) {
      code = cudaEventQuery(event_of(event));
      if (code != cudaErrorNotReady) break;
      const auto left = deadline - Clock::now();
      if (left <= Clock::duration::zero()) return MILL_TIMEOUT;
      if (turn < kBusyTurns) {
        std::this_thread::yield();
      } else {
        std::this_thread::sleep_for(std::min<Clock::duration>(sleep, left));
        sleep = std::min(sleep * 2, kMostSleep);
      }
    }
  }
  return device.check(error, code, "work before an event of %s", device.name());
}

mill_status wait_event(void* self, void* stream, void* event, mill_kernel_error* error) {
  Device& device = device_of(self);
  if (const mill_status status = device.alive(error); status != MILL_OK) return status;
  const cudaError_t code = device.on([&] {
    return cudaStreamWaitEvent(stream_of(stream).native, event_of(event), cudaEventWaitDefault);
  });
  return device.check(error, code, "wait of a stream of %s for an event", device.name());
}

mill_status event_elapsed(void* self, void* from, void* to, double* out_ns,
                          mill_kernel_error* error) {
  Device& device = device_of(self);
  *out_ns = 0;
  if (const mill_status status = device.alive(error); status != MILL_OK) return status;
  float milliseconds = 0;
  const cudaError_t code = cudaEventElapsedTime(&milliseconds, event_of(from), event_of(to));
  if (code == cudaErrorInvalidResourceHandle || code == cudaErrorNotReady) {
    return refuse(error, MILL_E_STATE,
                  "time between two events: both must be recorded and have happened");
  }
  *out_ns = static_cast<double>(milliseconds) * 1e6;
  return device.check(error, code, "time between two events of %s", device.name());
}

// ---- host calls ---------------------------------------------------------------------------------

struct HostCall {
  void (*fn)(void* data);
  void* data;
};

void CUDART_CB run_host_call(cudaStream_t, cudaError_t, void* data) {
  const std::unique_ptr<HostCall> call(static_cast<HostCall*>(data));
  call->fn(call->data);
}

// A stream callback and not a host function: it is called after a device failure as well, so that
// whoever sleeps on a file descriptor wakes up.
mill_status host_call(void* self, void* stream, void (*fn)(void* data), void* data,
                      mill_kernel_error* error) {
  return guarded(error, [&] {
    Device& device = device_of(self);
    if (const mill_status status = device.alive(error); status != MILL_OK) return status;
    auto call = std::make_unique<HostCall>(HostCall{fn, data});
    const cudaError_t code = device.on([&] {
      return cudaStreamAddCallback(stream_of(stream).native, run_host_call, call.get(), 0);
    });
    // The callback's from here on.
    if (code == cudaSuccess) static_cast<void>(call.release());
    return device.check(error, code, "a host call on a stream of %s", device.name());
  });
}

constexpr mill_stream_functions kStreams = {sizeof(mill_stream_functions),
                                            0,
                                            create,
                                            wrap,
                                            native_of,
                                            destroy,
                                            wait,
                                            query,
                                            event_create,
                                            event_destroy,
                                            event_record,
                                            event_query,
                                            event_wait,
                                            wait_event,
                                            event_elapsed,
                                            host_call};

}  // namespace

const mill_stream_functions* stream_functions() {
  return &kStreams;
}

}  // namespace mill::cuda
