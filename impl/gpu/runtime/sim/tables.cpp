#include "gpu/runtime/sim/tables.h"

#include <utility>

#include "gpu/guard.h"
#include "gpu/runtime/sim/device.h"

namespace mill::sim {

namespace {

Device& of(void* self) {
  return *static_cast<Device*>(self);
}
Stream* stream_of(void* stream) {
  return static_cast<Stream*>(static_cast<StreamView*>(stream));
}

// No exception crosses a table.
template <class F>
mill_status guarded(mill_kernel_error* error, F&& f) noexcept {
  return gpu::guarded("sim", error, std::forward<F>(f));
}

void destroy(void* self) {
  delete static_cast<Device*>(self);
}

mill_status configure(void* self, const char* name, int64_t value, mill_kernel_error* error) {
  return of(self).configure(name, value, error);
}

// ---- memory

mill_status allocate(void* self, uint64_t bytes, uint64_t align, void** out,
                     mill_kernel_error* error) {
  return guarded(error, [&] { return of(self).allocate(bytes, align, out, error); });
}
void free_memory(void* self, void* data, uint64_t) {
  of(self).free(data);
}
mill_status info(void* self, uint64_t* out_free, uint64_t* out_total, mill_kernel_error* error) {
  if (const mill_status status = of(self).alive(error); status != MILL_OK) return status;
  const uint64_t total = of(self).space().capacity();
  const uint64_t used = of(self).space().used();
  *out_total = total;
  *out_free = total > used ? total - used : 0;
  return MILL_OK;
}
mill_status pinned_allocate(void* self, uint64_t bytes, void** out, mill_kernel_error* error) {
  return guarded(error, [&] { return of(self).pinned_allocate(bytes, out, error); });
}
void pinned_free(void* self, void* data, uint64_t) {
  of(self).pinned_free(data);
}
int32_t classify(void* self, const void* data) {
  return of(self).classify(data);
}
uint64_t granularity(void*) {
  return Space::kGranule;
}
mill_status reserve(void* self, uint64_t bytes, void** out, mill_kernel_error* error) {
  return guarded(error, [&] {
    *out = of(self).space().reserve(bytes);
    if (*out) return mill_status{MILL_OK};
    return gpu::refuse(error, MILL_E_MEMORY, "reserve: no %llu addresses are left",
                       gpu::shown(bytes));
  });
}
void release(void* self, void* range, uint64_t) {
  of(self).space().release(range);
}
mill_status map(void* self, void* at, uint64_t bytes, mill_kernel_error* error) {
  if (const mill_status status = of(self).alive(error); status != MILL_OK) return status;
  if (of(self).space().map(at, bytes)) return MILL_OK;
  return gpu::refuse(
      error, MILL_E_MEMORY,
      "map: %llu bytes do not fit the range, the granularity or the memory that is left",
      gpu::shown(bytes));
}
mill_status unmap(void* self, void* at, uint64_t bytes, mill_kernel_error*) {
  of(self).space().unmap(at, bytes);
  return MILL_OK;
}

constexpr mill_memory_functions kMemory = {sizeof(mill_memory_functions),
                                           0,
                                           allocate,
                                           free_memory,
                                           info,
                                           pinned_allocate,
                                           pinned_free,
                                           classify,
                                           granularity,
                                           reserve,
                                           release,
                                           map,
                                           unmap};

// ---- streams

mill_status stream_create(void* self, int32_t, void** out, mill_kernel_error* error) {
  return guarded(error, [&] { return of(self).stream_create(nullptr, nullptr, out, error); });
}
mill_status stream_wrap(void* self, void* native, void** out, mill_kernel_error* error) {
  return guarded(error, [&] { return of(self).stream_wrap(native, out, error); });
}
void* stream_native(void*, void* stream) {
  return stream_of(stream)->native;
}
void stream_destroy(void* self, void* stream) {
  of(self).stream_destroy(stream_of(stream));
}
mill_status stream_wait(void* self, void* stream, mill_kernel_error* error) {
  return guarded(error, [&] { return of(self).stream_wait(stream_of(stream), error); });
}
mill_status stream_query(void* self, void* stream, mill_kernel_error* error) {
  return guarded(error, [&] { return of(self).stream_query(stream_of(stream), error); });
}
Event* event_of(void* event) {
  return static_cast<Event*>(event);
}
mill_status event_create(void* self, void** out, mill_kernel_error* error) {
  return guarded(error, [&] { return of(self).event_create(out, error); });
}
void event_destroy(void* self, void* event) {
  of(self).event_destroy(event_of(event));
}
mill_status event_record(void* self, void* event, void* stream, mill_kernel_error* error) {
  return guarded(error,
                 [&] { return of(self).event_record(event_of(event), stream_of(stream), error); });
}
mill_status event_query(void* self, void* event, mill_kernel_error* error) {
  return guarded(error, [&] { return of(self).event_query(event_of(event), error); });
}
mill_status event_wait(void* self, void* event, uint64_t timeout_ns, mill_kernel_error* error) {
  return guarded(error, [&] { return of(self).event_wait(event_of(event), timeout_ns, error); });
}
mill_status wait_event(void* self, void* stream, void* event, mill_kernel_error* error) {
  return guarded(error,
                 [&] { return of(self).wait_event(stream_of(stream), event_of(event), error); });
}
mill_status event_elapsed(void* self, void* from, void* to, double* out_ns,
                          mill_kernel_error* error) {
  return guarded(
      error, [&] { return of(self).event_elapsed(event_of(from), event_of(to), out_ns, error); });
}
mill_status host_call(void* self, void* stream, void (*fn)(void* data), void* data,
                      mill_kernel_error* error) {
  return guarded(error, [&] { return of(self).host_call(stream_of(stream), fn, data, error); });
}

constexpr mill_stream_functions kStreams = {sizeof(mill_stream_functions),
                                            0,
                                            stream_create,
                                            stream_wrap,
                                            stream_native,
                                            stream_destroy,
                                            stream_wait,
                                            stream_query,
                                            event_create,
                                            event_destroy,
                                            event_record,
                                            event_query,
                                            event_wait,
                                            wait_event,
                                            event_elapsed,
                                            host_call};

// ---- copies, ops

mill_status copy(void* self, void* stream, void* to, const void* from, uint64_t bytes, int32_t kind,
                 mill_kernel_error* error) {
  return guarded(error,
                 [&] { return of(self).copy(stream_of(stream), to, from, bytes, kind, error); });
}
mill_status fill(void* self, void* stream, void* to, int32_t value, uint64_t bytes,
                 mill_kernel_error* error) {
  return guarded(error, [&] { return of(self).fill(stream_of(stream), to, value, bytes, error); });
}

constexpr mill_copy_functions kCopies = {sizeof(mill_copy_functions), 0, copy, fill, nullptr};

mill_status resolve(void* self, int32_t op, const int32_t* dtypes, uint32_t n_in, uint32_t n_out,
                    uint32_t, mill_kernel* out, mill_kernel_error* error) {
  return of(self).resolve(op, dtypes, n_in, n_out, out, error);
}

// ---- time

mill_status timeline_start(void* self, uint32_t what, mill_kernel_error* error) {
  if (of(self).async()) {
    return gpu::refuse(error, MILL_E_UNSUPPORTED,
                       "a device on the real clock (async=1) keeps no timeline");
  }
  return guarded(error, [&] {
    of(self).timing().start_timeline(what);
    return mill_status{MILL_OK};
  });
}
mill_status timeline_stop(void* self, mill_kernel_error* error) {
  return guarded(error, [&] {
    of(self).timing().stop_timeline();
    return mill_status{MILL_OK};
  });
}
mill_status timeline_drain(void* self, mill_timeline_record* out, uint64_t capacity,
                           uint64_t* out_count, uint64_t* out_lost, mill_kernel_error* error) {
  return guarded(error, [&] {
    *out_count = of(self).timing().drain(out, capacity, out_lost);
    return mill_status{MILL_OK};
  });
}
int64_t now(void* self) {
  return of(self).now_ns();
}
void work(void* self, int64_t ns, uint64_t bytes) {
  of(self).timing().work(ns, bytes);
}
mill_status host_access(void* self, const void* data, uint64_t bytes, mill_bool write,
                        mill_kernel_error* error) {
  return guarded(error, [&] {
    return of(self).timing().host_access(reinterpret_cast<uintptr_t>(data), bytes, write != 0,
                                         error);
  });
}
void thread_announce(void* self, uint32_t number) {
  of(self).timing().host().announce(number);
}
void thread_attach(void* self, uint32_t number) {
  of(self).timing().host().attach(number);
}
void thread_detach(void* self) {
  of(self).timing().host().detach();
}
void thread_join(void* self, uint32_t number) {
  of(self).timing().host().join(number);
}
Semaphore* semaphore_of(void* semaphore) {
  return static_cast<Semaphore*>(semaphore);
}
mill_status semaphore_create(void* self, uint64_t count, void** out, mill_kernel_error* error) {
  return guarded(error, [&] {
    *out = new Semaphore(of(self).timing().host(), count);
    return mill_status{MILL_OK};
  });
}
void semaphore_destroy(void*, void* semaphore) {
  delete semaphore_of(semaphore);
}
mill_bool semaphore_acquire(void*, void* semaphore) {
  return semaphore_of(semaphore)->acquire() ? 1 : 0;
}
void semaphore_release(void*, void* semaphore) {
  semaphore_of(semaphore)->release();
}
void semaphore_close(void*, void* semaphore) {
  semaphore_of(semaphore)->close();
}
void turn_begin(void* self) {
  of(self).timing().host().begin_step();
}
void turn_end(void* self) {
  of(self).timing().host().end_step();
}

constexpr mill_timeline_functions kTimeline = {sizeof(mill_timeline_functions),
                                               0,
                                               timeline_start,
                                               timeline_stop,
                                               timeline_drain,
                                               now,
                                               work,
                                               host_access,
                                               thread_announce,
                                               thread_attach,
                                               thread_detach,
                                               thread_join,
                                               semaphore_create,
                                               semaphore_destroy,
                                               semaphore_acquire,
                                               semaphore_release,
                                               semaphore_close,
                                               turn_begin,
                                               turn_end};

constexpr mill_op_functions kOps = {sizeof(mill_op_functions), 0, resolve};

}  // namespace

void fill_tables(mill_device_table* table) {
  table->memory = &kMemory;
  table->streams = &kStreams;
  table->copies = &kCopies;
  table->ops = &kOps;
  table->timeline = &kTimeline;
  table->destroy = destroy;
  table->configure = configure;
}

}  // namespace mill::sim
