// One simulated device: its tables, address space, streams and what has been asked of it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "gpu/kernel_table.h"
#include "gpu/runtime/sim/async_queue.h"
#include "gpu/runtime/sim/check/shadow.h"
#include "gpu/runtime/sim/launch.h"
#include "gpu/runtime/sim/space.h"
#include "gpu/runtime/sim/timing.h"
#include "millrace/plugin.h"

namespace mill::sim {

class Device;

// A queue of the device, which streams that wrap one another share.
class OwnedQueue {
 public:
  // async: with a thread that runs its work.
  OwnedQueue(Timing& timing, uint64_t number, bool async)
      : timing_(timing),
        queue_(timing.add_queue(number)),
        async_(async ? std::make_unique<AsyncQueue>() : nullptr) {}
  ~OwnedQueue() {
    async_.reset();
    timing_.remove_queue(queue_);
  }
  OwnedQueue(const OwnedQueue&) = delete;
  OwnedQueue& operator=(const OwnedQueue&) = delete;
  const Queue& operator*() const { return queue_; }
  AsyncQueue* async() const { return async_.get(); }

  // What a kernel that ran later than its launch has to say, for the next wait.
  void keep_failure(const mill_kernel_error& failure);
  mill_status take_failure(mill_kernel_error* error);

 private:
  Timing& timing_;
  Queue queue_;
  std::mutex mutex_;
  mill_kernel_error failure_{};
  std::unique_ptr<AsyncQueue> async_;
};

struct Stream : StreamView {
  Device* device;
  std::shared_ptr<OwnedQueue> queue;
  void* native;  // of a stream that wraps another, that one
  gpu::fault_slot fault;
  std::shared_ptr<std::atomic<bool>> awaited;  // `told` of the event that it waited for last
};

struct Event {
  Device* device;
  EventTime time;
  std::shared_ptr<AsyncEvent> async;  // null in virtual time
  // In virtual time: the host was told that it happened, by a descriptor. Whoever asks then has
  // waited for it, which moves its clock.
  std::shared_ptr<std::atomic<bool>> told = std::make_shared<std::atomic<bool>>(false);
};

// Something that a kernel did wrong, kept for whoever asks.
struct KernelReport {
  std::string kernel;
  GridReport report;
  std::string text;
  uint64_t hits = 1;  // launches that met it at the same line
};

// Countdowns of planned failures: the k-th call from now fails; 0 is off.
struct Planned {
  std::atomic<int64_t> allocate{0};
  std::atomic<int64_t> launch{0};
  std::atomic<int64_t> copy{0};
  std::atomic<int64_t> event{0};
};

struct DeviceOptions {
  uint64_t memory_bytes = 0;  // 0: the profile's
  uint64_t seed = 0;
  bool host_gemm = false;  // matrix products by the CPU device
  int64_t checked = 0;     // for configure("checked")
  bool async = false;      // real clock: streams have threads
};

class Device {
 public:
  // Throws std::bad_alloc.
  Device(const Profile& profile, const DeviceOptions& options, const mill_host_services* host);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const mill_device_table* table() const { return &table_; }
  Space& space() { return space_; }
  Timing& timing() { return timing_; }
  const mill_device_limits& limits() const { return limits_; }
  bool async() const { return async_; }
  int64_t now_ns();
  GridDevice grid_device() const;

  mill_status configure(const char* name, int64_t value, mill_kernel_error* error);
  mill_status resolve(int32_t op, const int32_t* dtypes, uint32_t n_in, uint32_t n_out,
                      mill_kernel* out, mill_kernel_error* error) const;

  mill_status launch(const mill_kernel_args* args, const KernelInfo& kernel,
                     const gpu::shape& shape, const gpu::cost& cost, void* const* argv);
  // Time of work that no kernel of the device's own has done.
  mill_status charge(const mill_kernel_args* args, const char* name, const gpu::cost& cost);
  mill_status copy(Stream* stream, void* to, const void* from, uint64_t bytes, int32_t kind,
                   mill_kernel_error* error);
  mill_status fill(Stream* stream, void* to, int32_t value, uint64_t bytes,
                   mill_kernel_error* error);
  mill_status allocate(uint64_t bytes, uint64_t align, void** out, mill_kernel_error* error);
  void free(void* data) noexcept;

  // queue: of a stream that it is to share, or null.
  mill_status stream_create(std::shared_ptr<OwnedQueue> queue, void* native, void** out,
                            mill_kernel_error* error);
  // A second object on the queue of `native`, a stream of this device.
  mill_status stream_wrap(void* native, void** out, mill_kernel_error* error);
  void stream_destroy(Stream* stream);
  // What a wait on the stream has to say.
  mill_status stream_wait(Stream* stream, mill_kernel_error* error);
  mill_status stream_query(Stream* stream, mill_kernel_error* error);
  mill_status event_create(void** out, mill_kernel_error* error);
  void event_destroy(Event* event);
  mill_status event_record(Event* event, Stream* stream, mill_kernel_error* error);
  mill_status event_query(Event* event, mill_kernel_error* error);
  mill_status event_wait(Event* event, uint64_t timeout_ns, mill_kernel_error* error);
  mill_status wait_event(Stream* stream, Event* event, mill_kernel_error* error);
  mill_status event_elapsed(Event* from, Event* to, double* out_ns, mill_kernel_error* error);
  mill_status host_call(Stream* stream, void (*fn)(void* data), void* data,
                        mill_kernel_error* error);

  mill_status pinned_allocate(uint64_t bytes, void** out, mill_kernel_error* error);
  void pinned_free(void* data);
  int32_t classify(const void* p) const;

  // MILL_OK, or the sentence of a lost device.
  mill_status alive(mill_kernel_error* error) const;
  std::vector<KernelReport> reports() const;
  // Memory that something else than a copy, a fill or a kernel's launch has written.
  void note_written(const void* p, uint64_t bytes) noexcept {
    if (checked_.load(std::memory_order_acquire) != 0) [[unlikely]]
      shadow_->written(p, bytes);
  }
  void note_written(const mill_kernel_tensor& tensor) noexcept {
    if (checked_.load(std::memory_order_acquire) != 0) [[unlikely]]
      shadow_->written(tensor);
  }

 private:
  mill_status submit(const mill_kernel_args* args, const char* name, const KernelWork& work);
  mill_status submit_async(const mill_kernel_args* args, const KernelInfo& kernel,
                           const GridShape& shape, void* const* argv);
  void move_async(Stream* stream, void* to, const void* from, uint64_t bytes, int32_t kind,
                  bool wait, std::span<const Touch> touches);
  void wait_all_async();
  mill_status set_checked(int64_t every, mill_kernel_error* error);
  // By the flavour that `checked` asks for.
  mill_status run_grid(const mill_kernel_args* args, const KernelInfo& kernel,
                       const GridShape& shape, void* const* argv);
  void keep_report(const char* kernel, const GridReport& report, const char* text);
  mill_status take_early_free(mill_kernel_error* error);
  mill_status inside(const char* what, const void* p, uint64_t bytes, mill_kernel_error* error);

  const mill_host_services* host_;
  Timing timing_;
  const bool async_;
  const RealTime born_ = std::chrono::steady_clock::now();
  AsyncEngines engines_;
  std::string description_;
  Space space_;
  mill_device_limits limits_{};
  mill_device_table table_{};
  gpu::KernelTable kernels_;
  std::atomic<uint64_t> seed_{0};
  std::atomic<bool> lost_{false};
  std::atomic<bool> host_gemm_{false};
  std::atomic<uint64_t> next_stream_{1};
  std::atomic<int64_t> checked_{0};  // 0 off, 1 all blocks, n some; shadow_ is there if not 0
  std::unique_ptr<Shadow> shadow_;
  Planned planned_;
  mutable std::mutex mutex_;
  std::vector<const Stream*> streams_;
  mill_kernel_error early_free_{};  // a free says nothing itself: the next wait does
  std::vector<KernelReport> reports_;
  struct Pinned {
    const char* begin;
    uint64_t bytes;
  };
  std::vector<Pinned> pinned_;
};

}  // namespace mill::sim
