#include "dispatch/host_services.h"

#include <cstdio>
#include <new>

#include "base/error.h"
#include "dispatch/context.h"
#include "trace/exec_trace.h"

namespace mill {

namespace {

HostServices& of(void* self) {
  return *static_cast<HostServices*>(self);
}

}  // namespace

HostServices::HostServices(mill_context& context) : context_(context) {
  const mill_host_services& cpu = context.devices[0].host_services();
  table_.size = sizeof table_;
  table_.threads = cpu.threads;
  table_.self = this;
  table_.parallel_for = parallel_for;
  table_.log = log;
  table_.trace = trace;
  table_.allocate = allocate;
  table_.free = free;
  table_.cpu_kernel = cpu_kernel;
  table_.op_instance = op_instance;
}

void HostServices::parallel_for(void* self, int64_t n, int64_t grain,
                                void (*body)(void* data, int64_t begin, int64_t end), void* data) {
  const mill_host_services& cpu = of(self).context_.devices[0].host_services();
  cpu.parallel_for(cpu.self, n, grain, body, data);
}

void HostServices::log(void* self, int32_t, const char* text) {
  Tracer& tracer = of(self).context_.tracer;
  if ((tracer.mask() & MILL_TRACE_SCOPES) == 0 || !text) return;
  try {
    mill_trace_record record{};
    record.kind = MILL_RECORD_MARK;
    const Device* const device = of(self).device_;
    const TraceTime time = device ? device->trace_time(tracer) : TraceTime(tracer);
    record.clock = time.clock();
    record.start_ns = time.now();
    record.detail = tracer.intern(text);
    tracer.record_shared(record);
  } catch (...) {  // NOLINT(bugprone-empty-catch): a sentence less in the trace
  }
}

uint64_t HostServices::op_instance(void* self) {
  const ExecTrace* const exec = ExecTrace::current();
  return exec && &exec->tracer() == &of(self).context_.tracer ? exec->instance() : 0;
}

void HostServices::trace(void* self, const mill_trace_record* record) {
  Tracer& tracer = of(self).context_.tracer;
  if (record && tracer.mask() != 0) tracer.record_shared(*record);
}

mill_status HostServices::allocate(void* self, uint64_t bytes, void* stream, void** out,
                                   mill_kernel_error* error) {
  HostServices& host = of(self);
  *out = nullptr;
  try {
    if (!host.device_) fail(MILL_E_STATE, "the device is not open yet");
    const uint64_t number = host.device_->stream_table().number(stream);
    Block* block = host.device_->allocator().allocate(bytes, number, 0);
    try {
      const std::lock_guard lock(host.mutex_);
      host.blocks_.emplace(block->data, block);
    } catch (...) {
      host.device_->allocator().free(block);
      throw;
    }
    *out = block->data;
    return MILL_OK;
  } catch (const Error& failure) {
    std::snprintf(error->text, sizeof error->text, "%.500s", failure.text());
    return failure.status();
  } catch (const std::bad_alloc&) {
    std::snprintf(error->text, sizeof error->text, "out of host memory");
    return MILL_E_MEMORY;
  }
}

void HostServices::close() noexcept {
  for (const auto& [data, block] : blocks_) device_->allocator().free(block);
  blocks_.clear();
  device_ = nullptr;
}

void HostServices::free(void* self, void* data) {
  HostServices& host = of(self);
  Block* block = nullptr;
  {
    const std::lock_guard lock(host.mutex_);
    const auto found = host.blocks_.find(data);
    if (found == host.blocks_.end()) return;
    block = found->second;
    host.blocks_.erase(found);
  }
  host.device_->allocator().free(block);
}

mill_status HostServices::cpu_kernel(void* self, int32_t op, const int32_t* dtypes, uint32_t n_in,
                                     uint32_t n_out, mill_kernel* out,
                                     const mill_host_services** out_services,
                                     mill_kernel_error* error) {
  const Device& cpu = of(self).context_.devices[0];
  *out_services = &cpu.host_services();
  return cpu.table().ops->resolve(cpu.self(), op, dtypes, n_in, n_out, MILL_KERNEL_DETERMINISTIC,
                                  out, error);
}

}  // namespace mill
