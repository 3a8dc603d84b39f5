// The device on the real clock: the same calls, done by the streams' threads.
#include <cstring>
#include <vector>

#include "gpu/runtime/sim/device.h"
#include "gpu/runtime/sim/touches.h"

namespace mill::sim {

void OwnedQueue::keep_failure(const mill_kernel_error& failure) {
  const std::lock_guard lock(mutex_);
  if (failure_.text[0] == 0) failure_ = failure;
}

mill_status OwnedQueue::take_failure(mill_kernel_error* error) {
  const std::lock_guard lock(mutex_);
  if (failure_.text[0] == 0) return MILL_OK;
  *error = failure_;
  failure_.text[0] = 0;
  return MILL_E_INTERNAL;
}

int64_t Device::now_ns() {
  if (!async_) return timing_.now_ns();
  return std::chrono::nanoseconds(std::chrono::steady_clock::now() - born_).count();
}

namespace {

// A kernel's arguments, kept until it runs.
struct Launch {
  explicit Launch(const KernelInfo& info, const GridShape& grid, void* const* argv)
      : kernel(info), shape(grid) {
    size_t bytes = 0;
    for (const uint32_t* n = info.argument_bytes; *n != 0; ++n) bytes += padded(*n);
    storage.resize(bytes / sizeof(Unit));
    auto* to = reinterpret_cast<char*>(storage.data());
    for (size_t k = 0; info.argument_bytes[k] != 0; ++k) {
      std::memcpy(to, argv[k], info.argument_bytes[k]);
      arguments.push_back(to);
      to += padded(info.argument_bytes[k]);
    }
    arguments.push_back(nullptr);
  }

  struct alignas(16) Unit {
    char bytes[16];
  };
  static size_t padded(uint32_t bytes) { return (bytes + size_t{15}) & ~size_t{15}; }

  const KernelInfo& kernel;
  GridShape shape;
  std::vector<Unit> storage;
  std::vector<void*> arguments;
  Touches touches;
};

}  // namespace

mill_status Device::submit_async(const mill_kernel_args* args, const KernelInfo& kernel,
                                 const GridShape& shape, void* const* argv) {
  auto* stream = static_cast<Stream*>(static_cast<StreamView*>(args->stream));
  auto launch = std::make_shared<Launch>(kernel, shape, argv);
  add_operands(launch->touches, args);
  // The queue outlives its tasks.
  stream->queue->async()->submit([this, launch, queue = stream->queue.get()] {
    const std::lock_guard engine(engines_.compute);
    note_accesses(launch->touches.all());
    GridReport report;
    if (GridEngine::here().run(launch->kernel, launch->shape, grid_device(),
                               launch->arguments.data(), &report))
      return;
    mill_kernel_error error;
    describe(report, launch->kernel.name, error.text, sizeof error.text);
    keep_report(launch->kernel.name, report, error.text);
    queue->keep_failure(error);
  });
  return MILL_OK;
}

void Device::move_async(Stream* stream, void* to, const void* from, uint64_t bytes, int32_t kind,
                        bool wait, std::span<const Touch> touches) {
  const std::vector<Touch> kept(touches.begin(), touches.end());
  AsyncQueue& queue = *stream->queue->async();
  queue.submit([this, to, from, bytes, kind, kept] {
    std::mutex& engine = kind == MILL_COPY_HOST_TO_DEVICE   ? engines_.to_device
                         : kind == MILL_COPY_DEVICE_TO_HOST ? engines_.to_host
                                                            : engines_.compute;
    const std::lock_guard lock(engine);
    note_accesses(kept);
    std::memmove(kind != MILL_COPY_DEVICE_TO_HOST ? space_.bytes_of(to) : to,
                 kind != MILL_COPY_HOST_TO_DEVICE ? space_.bytes_of(from) : from, bytes);
  });
  // Ordinary memory is the caller's again when the call returns.
  if (wait) queue.wait();
}

void Device::wait_all_async() {
  std::vector<std::shared_ptr<OwnedQueue>> queues;
  {
    const std::lock_guard lock(mutex_);
    for (const Stream* stream : streams_) queues.push_back(stream->queue);
  }
  for (const auto& queue : queues) queue->async()->wait();
}

}  // namespace mill::sim
