// Replaces the heap functions of the whole process by ones that can count, and tells whose calls
// they were. Definitions: included by the one source of a program that counts.
#pragma once

#include <dlfcn.h>
#include <unwind.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <new>
#include <string>

// glibc's own names for what is replaced.
extern "C" {
void* __libc_malloc(size_t bytes);
void* __libc_calloc(size_t n, size_t bytes);
void* __libc_realloc(void* block, size_t bytes);
void* __libc_memalign(size_t align, size_t bytes);
void __libc_free(void* block);
}

namespace bench::heap {

struct Count {
  uint64_t calls = 0;
  uint64_t bytes = 0;
  uint64_t unattributed = 0;                  // calls after the records were full
  std::map<std::string, uint64_t> by_object;  // calls by the object that asked
};

namespace {

constexpr int kDepth = 8;
constexpr uint32_t kRecords = 1u << 16;

struct Record {
  void* frames[kDepth];  // return addresses, innermost first; null after the last
};
Record records[kRecords];
std::atomic<uint32_t> used{0};
std::atomic<uint64_t> bytes_asked{0};
std::atomic<bool> counting{false};
thread_local bool inside = false;  // the unwinder's own calls are not counted

struct Walk {
  void* caller;
  void** frames;
  int depth = 0;
};

// The frames of the heap function itself and of this file end at its caller.
_Unwind_Reason_Code visit(_Unwind_Context* context, void* data) {
  auto* walk = static_cast<Walk*>(data);
  void* const at = reinterpret_cast<void*>(_Unwind_GetIP(context));
  if (walk->depth == 0 && at != walk->caller) return _URC_NO_REASON;
  walk->frames[walk->depth++] = at;
  return walk->depth == kDepth ? _URC_END_OF_STACK : _URC_NO_REASON;
}

__attribute__((noinline)) void note(size_t bytes, void* caller) {
  if (inside) return;
  inside = true;
  bytes_asked.fetch_add(bytes, std::memory_order_relaxed);
  const uint32_t at = used.fetch_add(1, std::memory_order_relaxed);
  if (at < kRecords) {
    Record& record = records[at];
    for (void*& frame : record.frames) frame = nullptr;
    Walk walk{caller, record.frames};
    _Unwind_Backtrace(visit, &walk);
    if (walk.depth == 0) record.frames[0] = caller;
  }
  inside = false;
}

inline void count(size_t bytes, void* caller) {
  if (counting.load(std::memory_order_relaxed)) [[unlikely]]
    note(bytes, caller);
}

// File name of an object up to its version.
std::string short_name(const std::string& path) {
  const std::string name = path.substr(path.find_last_of('/') + 1);
  const size_t end = name.find(".so");
  return end == std::string::npos ? name : name.substr(0, end + 3);
}

// Name of the object that an address lies in; "this program" for ourselves.
std::string object_of(void* address) {
  Dl_info info{};
  // A call that does not return may be the last instruction of its object.
  if (!address || dladdr(static_cast<char*>(address) - 1, &info) == 0 || !info.dli_fname)
    return "unknown";
  Dl_info own{};
  if (dladdr(static_cast<void*>(&counting), &own) != 0 && own.dli_fbase == info.dli_fbase)
    return "this program";
  return short_name(info.dli_fname);
}

// Libraries that allocate on behalf of whoever called them.
bool is_runtime(const std::string& object) {
  for (const char* name : {"libc.so", "libstdc++.so", "libgcc_s.so", "libpthread.so", "libm.so",
                           "ld-linux-x86-64.so", "ld-linux-aarch64.so"}) {
    if (object == name) return true;
  }
  return false;
}

std::string owner_of(const Record& record) {
  for (void* frame : record.frames) {
    if (!frame) break;
    std::string object = object_of(frame);
    if (!is_runtime(object)) return object;
  }
  return object_of(record.frames[0]);
}

}  // namespace

// Counts the calls of all threads from now on.
void start() {
  used.store(0);
  bytes_asked.store(0);
  counting.store(true);
}

Count stop() {
  counting.store(false);
  Count out;
  out.calls = used.load();
  out.bytes = bytes_asked.load();
  const uint32_t kept = used.load() < kRecords ? used.load() : kRecords;
  out.unattributed = out.calls - kept;
  for (uint32_t k = 0; k < kept; ++k) ++out.by_object[owner_of(records[k])];
  return out;
}

namespace {

void* new_block(size_t align, size_t bytes) noexcept {
  if (bytes == 0) bytes = 1;
  for (;;) {
    if (void* block = align == 0 ? __libc_malloc(bytes) : __libc_memalign(align, bytes))
      return block;
    const std::new_handler handler = std::get_new_handler();
    if (!handler) return nullptr;
    handler();
  }
}

void* new_or_throw(size_t align, size_t bytes) {
  if (void* block = new_block(align, bytes)) return block;
  throw std::bad_alloc();
}

}  // namespace

}  // namespace bench::heap

#define MILL_BENCH_COUNT(bytes) bench::heap::count(bytes, __builtin_return_address(0))
#define MILL_BENCH_HEAP __attribute__((noinline, visibility("default")))

extern "C" {
MILL_BENCH_HEAP void* malloc(size_t bytes) noexcept {
  MILL_BENCH_COUNT(bytes);
  return __libc_malloc(bytes);
}
MILL_BENCH_HEAP void* calloc(size_t n, size_t bytes) noexcept {
  MILL_BENCH_COUNT(n * bytes);
  return __libc_calloc(n, bytes);
}
MILL_BENCH_HEAP void* realloc(void* block, size_t bytes) noexcept {
  MILL_BENCH_COUNT(bytes);
  return __libc_realloc(block, bytes);
}
MILL_BENCH_HEAP void* memalign(size_t align, size_t bytes) noexcept {
  MILL_BENCH_COUNT(bytes);
  return __libc_memalign(align, bytes);
}
MILL_BENCH_HEAP void* aligned_alloc(size_t align, size_t bytes) noexcept {
  MILL_BENCH_COUNT(bytes);
  return __libc_memalign(align, bytes);
}
MILL_BENCH_HEAP int posix_memalign(void** out, size_t align, size_t bytes) noexcept {
  MILL_BENCH_COUNT(bytes);
  if (align % sizeof(void*) != 0 || align == 0 || (align & (align - 1)) != 0) return EINVAL;
  void* const block = __libc_memalign(align, bytes);
  if (!block) return ENOMEM;
  *out = block;
  return 0;
}
MILL_BENCH_HEAP void free(void* block) noexcept {
  __libc_free(block);
}
}

// libstdc++ would turn these into malloc, one frame further from the caller.
MILL_BENCH_HEAP void* operator new(size_t bytes) {
  MILL_BENCH_COUNT(bytes);
  return bench::heap::new_or_throw(0, bytes);
}
MILL_BENCH_HEAP void* operator new[](size_t bytes) {
  MILL_BENCH_COUNT(bytes);
  return bench::heap::new_or_throw(0, bytes);
}
MILL_BENCH_HEAP void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
  MILL_BENCH_COUNT(bytes);
  return bench::heap::new_block(0, bytes);
}
MILL_BENCH_HEAP void* operator new[](size_t bytes, const std::nothrow_t&) noexcept {
  MILL_BENCH_COUNT(bytes);
  return bench::heap::new_block(0, bytes);
}
MILL_BENCH_HEAP void* operator new(size_t bytes, std::align_val_t align) {
  MILL_BENCH_COUNT(bytes);
  return bench::heap::new_or_throw(static_cast<size_t>(align), bytes);
}
MILL_BENCH_HEAP void* operator new[](size_t bytes, std::align_val_t align) {
  MILL_BENCH_COUNT(bytes);
  return bench::heap::new_or_throw(static_cast<size_t>(align), bytes);
}
MILL_BENCH_HEAP void* operator new(size_t bytes, std::align_val_t align,
                                   const std::nothrow_t&) noexcept {
  MILL_BENCH_COUNT(bytes);
  return bench::heap::new_block(static_cast<size_t>(align), bytes);
}
MILL_BENCH_HEAP void* operator new[](size_t bytes, std::align_val_t align,
                                     const std::nothrow_t&) noexcept {
  MILL_BENCH_COUNT(bytes);
  return bench::heap::new_block(static_cast<size_t>(align), bytes);
}
// Every other delete of libstdc++ ends in one of these.
MILL_BENCH_HEAP void operator delete(void* block) noexcept {
  __libc_free(block);
}
MILL_BENCH_HEAP void operator delete(void* block, size_t) noexcept {
  __libc_free(block);
}
MILL_BENCH_HEAP void operator delete(void* block, std::align_val_t) noexcept {
  __libc_free(block);
}
MILL_BENCH_HEAP void operator delete(void* block, size_t, std::align_val_t) noexcept {
  __libc_free(block);
}

#undef MILL_BENCH_COUNT
#undef MILL_BENCH_HEAP
