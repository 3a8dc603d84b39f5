#include "cpu/runtime/device.h"

#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "base/dtype.h"
#include "base/error.h"
#include "cpu/runtime/op_names.h"

namespace mill::cpu {

namespace {

constexpr uint64_t kAlign = 64;
constexpr uint64_t kHugePage = uint64_t{2} << 20;
// From here on a block begins at a huge page and asks for more of them; rounding up wastes at most
// a quarter.
constexpr uint64_t kHugeFrom = 4 * kHugePage;

constexpr const char* kSimdNames[kSimdLevels] = {"baseline", "avx2", "avx512"};
constexpr const char* kSimdTitles[kSimdLevels] = {"no vector extensions", "AVX2", "AVX-512"};

using ListFn = KernelList (*)();

#define MILL_CPU_LIST(family) &MILL_CPU_LIST_TARGET::family##_kernels,
#if !defined(MILL_CPU_ONE_TARGET)
#define MILL_CPU_LIST_TARGET baseline
constexpr ListFn kBaseline[] = {MILL_CPU_FAMILIES(MILL_CPU_LIST)};
#undef MILL_CPU_LIST_TARGET
#if defined(__x86_64__)
#define MILL_CPU_LIST_TARGET avx2
constexpr ListFn kAvx2[] = {MILL_CPU_FAMILIES(MILL_CPU_LIST)};
#undef MILL_CPU_LIST_TARGET
#define MILL_CPU_LIST_TARGET avx512
constexpr ListFn kAvx512[] = {MILL_CPU_FAMILIES(MILL_CPU_LIST)};
#undef MILL_CPU_LIST_TARGET
constexpr const ListFn* kLists[kSimdLevels] = {kBaseline, kAvx2, kAvx512};
#else
constexpr const ListFn* kLists[kSimdLevels] = {kBaseline, nullptr, nullptr};
#endif
constexpr size_t kFamilies = sizeof(kBaseline) / sizeof(kBaseline[0]);
#else
#define MILL_CPU_LIST_TARGET MILL_CPU_ONE_TARGET
constexpr ListFn kOnly[] = {MILL_CPU_FAMILIES(MILL_CPU_LIST)};
#undef MILL_CPU_LIST_TARGET
constexpr size_t kFamilies = sizeof(kOnly) / sizeof(kOnly[0]);
#define MILL_STRING2(x) #x
#define MILL_STRING(x) MILL_STRING2(x)
constexpr bool only_is(const char* name) {
  const char* own = MILL_STRING(MILL_CPU_ONE_TARGET);
  while (*name != 0 && *name == *own) {
    ++name;
    ++own;
  }
  return *name == *own;
}
constexpr const ListFn* kLists[kSimdLevels] = {only_is("baseline") ? kOnly : nullptr,
                                               only_is("avx2") ? kOnly : nullptr,
                                               only_is("avx512") ? kOnly : nullptr};
#undef MILL_STRING
#undef MILL_STRING2
#endif
#undef MILL_CPU_LIST

#if defined(__x86_64__)
// What the compiler may use under -march=haswell -maes. The compilers' own names do not cover all
// of it.
bool runs_avx2() {
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") ||
      !__builtin_cpu_supports("bmi") || !__builtin_cpu_supports("bmi2") ||
      !__builtin_cpu_supports("popcnt")) {
    return false;
  }
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  constexpr unsigned kAes = 1u << 25;
  constexpr unsigned kMovbe = 1u << 22;
  constexpr unsigned kF16c = 1u << 29;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 ||
      (c & (kAes | kMovbe | kF16c)) != (kAes | kMovbe | kF16c))
    return false;
  constexpr unsigned kLzcnt = 1u << 5;
  return __get_cpuid(0x80000001u, &a, &b, &c, &d) != 0 && (c & kLzcnt) != 0;
}

bool runs_avx512() {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  constexpr unsigned kRdseedAdx = (1u << 18) | (1u << 19);
  return runs_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl") && __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 &&
         (b & kRdseedAdx) == kRdseedAdx;
}
#endif

// Asked once: in a virtual machine each of the instructions behind it costs tens of microseconds,
// and a context asks for every family.
bool processor_runs(int32_t level) {
  if (level == kSimdBaseline) return true;
#if defined(__x86_64__)
  static const bool avx2 = runs_avx2();
  static const bool avx512 = runs_avx512();
  if (level == kSimdAvx2) return avx2;
  if (level == kSimdAvx512) return avx512;
#endif
  return false;
}

int32_t best_level() {
  for (int32_t level = kSimdLevels; level-- > 0;) {
    if (simd_available(level)) return level;
  }
  fail(MILL_E_UNSUPPORTED,
       "this build has CPU kernels for one target only, which this processor cannot run");
}

__attribute__((format(printf, 3, 4))) mill_status refuse(mill_kernel_error* error,
                                                         mill_status status, const char* format,
                                                         ...) {
  va_list values;
  va_start(values, format);
  std::vsnprintf(error->text, sizeof(error->text), format, values);
  va_end(values);
  return status;
}

// ---- the table's functions ---------------------------------------------------------------------

Device& of(void* self) {
  return *static_cast<Device*>(self);
}

void destroy(void* self) {
  delete static_cast<Device*>(self);
}

mill_status allocate(void*, uint64_t bytes, uint64_t align, void** out, mill_kernel_error* error) {
  *out = nullptr;
  if (align == 0) align = kAlign;
  if ((align & (align - 1)) != 0) {
    return refuse(error, MILL_E_ARG, "allocate: alignment is %llu, must be a power of two",
                  static_cast<unsigned long long>(align));
  }
  align = std::max(align, bytes >= kHugeFrom ? kHugePage : kAlign);
  // Sizes near 2^64 would wrap to small ones in rounding up.
  const uint64_t rounded = bytes <= uint64_t{INT64_MAX} - align
                               ? (std::max<uint64_t>(bytes, 1) + align - 1) & ~(align - 1)
                               : 0;
  void* memory = rounded != 0 ? std::aligned_alloc(align, rounded) : nullptr;
  if (memory == nullptr) {
    return refuse(error, MILL_E_MEMORY,
                  "out of memory: the system refused %llu bytes for the cpu device",
                  static_cast<unsigned long long>(bytes));
  }
  // Advice: a system without transparent huge pages refuses, and nothing is lost.
  if (bytes >= kHugeFrom) static_cast<void>(madvise(memory, rounded, MADV_HUGEPAGE));
  *out = memory;
  return MILL_OK;
}

void release(void*, void* data, uint64_t) {
  std::free(data);
}

// One object stands for every stream and event: none has a state.
mill_status stream_create(void* self, int32_t, void** out, mill_kernel_error*) {
  *out = self;
  return MILL_OK;
}
mill_status event_create(void* self, void** out, mill_kernel_error*) {
  *out = self;
  return MILL_OK;
}
void handle_destroy(void*, void*) {}
mill_status stream_wait(void*, void*, mill_kernel_error*) {
  return MILL_OK;
}
mill_status event_record(void*, void*, void*, mill_kernel_error*) {
  return MILL_OK;
}
mill_status event_query(void*, void*, mill_kernel_error*) {
  return MILL_OK;
}
mill_status event_wait(void*, void*, uint64_t, mill_kernel_error*) {
  return MILL_OK;
}
mill_status stream_wait_event(void*, void*, void*, mill_kernel_error*) {
  return MILL_OK;
}

mill_status copy(void*, void*, void* to, const void* from, uint64_t bytes, int32_t,
                 mill_kernel_error*) {
  if (bytes != 0) std::memcpy(to, from, bytes);
  return MILL_OK;
}

mill_status fill(void*, void*, void* to, int32_t value, uint64_t bytes, mill_kernel_error*) {
  if (bytes != 0) std::memset(to, value, bytes);
  return MILL_OK;
}

mill_status resolve(void* self, int32_t op, const int32_t* dtypes, uint32_t n_in, uint32_t n_out,
                    uint32_t, mill_kernel* out, mill_kernel_error* error) {
  return of(self).resolve(op, dtypes, n_in, n_out, out, error);
}

mill_status configure(void* self, const char* name, int64_t value, mill_kernel_error* error) {
  return of(self).configure(name, value, error);
}
const char* libraries(void* self) {
  return static_cast<Device*>(self)->libraries();
}

constexpr mill_memory_functions kMemory = {sizeof(mill_memory_functions),
                                           0,
                                           &allocate,
                                           &release,
                                           nullptr,
                                           nullptr,
                                           nullptr,
                                           nullptr,
                                           nullptr,
                                           nullptr,
                                           nullptr,
                                           nullptr,
                                           nullptr};
constexpr mill_stream_functions kStreams = {sizeof(mill_stream_functions),
                                            0,
                                            &stream_create,
                                            nullptr,
                                            nullptr,
                                            &handle_destroy,
                                            &stream_wait,
                                            &stream_wait,
                                            &event_create,
                                            &handle_destroy,
                                            &event_record,
                                            &event_query,
                                            &event_wait,
                                            &stream_wait_event,
                                            nullptr,
                                            nullptr};
constexpr mill_copy_functions kCopies = {sizeof(mill_copy_functions), 0, &copy, &fill, nullptr};
constexpr mill_op_functions kOps = {sizeof(mill_op_functions), 0, &resolve};

void parallel_for(void* self, int64_t n, int64_t grain,
                  void (*body)(void* data, int64_t begin, int64_t end), void* data) {
  static_cast<ThreadPool*>(self)->parallel_for(n, grain, body, data);
}

}  // namespace

const char* simd_name(int32_t level) {
  return level >= 0 && level < kSimdLevels ? kSimdNames[level] : "?";
}

bool simd_available(int32_t level) {
  return level >= 0 && level < kSimdLevels && kLists[level] != nullptr && processor_runs(level);
}

size_t family_count() {
  return kFamilies;
}

KernelList kernels_of(int32_t level, size_t family) {
  return simd_available(level) && family < kFamilies ? kLists[level][family]()
                                                     : KernelList{nullptr, 0};
}

int usable_cpus() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  // More CPUs than the set has room for.
  return static_cast<int>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)));
}

Device::Device(int threads) : pool_(threads > 0 ? threads : usable_cpus()) {
  runtime_.onednn = &onednn_;
  host_.size = sizeof(host_);
  host_.threads = static_cast<uint32_t>(pool_.threads());
  host_.self = &pool_;
  host_.parallel_for = &parallel_for;
  host_.builtin = &runtime_;
  fill_kernels(best_level());

  limits_.size = sizeof(limits_);
  limits_.runs_inline = 1;
  limits_.host_memory = 1;
  limits_.allocation_align = kAlign;
  const long pages = sysconf(_SC_PHYS_PAGES);
  const long page = sysconf(_SC_PAGESIZE);
  limits_.memory_bytes =
      pages > 0 && page > 0 ? static_cast<uint64_t>(pages) * static_cast<uint64_t>(page) : 0;

  table_.size = sizeof(table_);
  table_.abi = MILL_PLUGIN_ABI;
  table_.name = "cpu";
  table_.description = description_;
  table_.self = this;
  table_.limits = &limits_;
  table_.memory = &kMemory;
  table_.streams = &kStreams;
  table_.copies = &kCopies;
  table_.ops = &kOps;
  table_.destroy = &destroy;
  table_.configure = &mill::cpu::configure;
  table_.libraries = &mill::cpu::libraries;
}

const char* Device::libraries() noexcept {
  if (__atomic_load_n(&runtime_.gemm_policy, __ATOMIC_RELAXED) == kGemmOwn) return "";
  return onednn_.description();
}

void Device::describe() {
  std::snprintf(description_, sizeof(description_), "%s, %d thread%s", kSimdTitles[level_],
                pool_.threads(), pool_.threads() == 1 ? "" : "s");
}

void Device::fill_kernels(int32_t level) {
  int32_t count = 0;
  for (int32_t at = level; at >= 0; --at) {
    for (size_t family = 0; family < kFamilies; ++family) {
      const KernelList list = kernels_of(at, family);
      for (size_t i = 0; i < list.count; ++i) count = std::max(count, list.entries[i].op + 1);
    }
  }
  std::vector<mill_kernel> kernels(static_cast<size_t>(count) * MILL_DTYPE_COUNT,
                                   mill_kernel{nullptr, nullptr});
  // From the best target down: a place that is taken stays.
  for (int32_t at = level; at >= 0; --at) {
    for (size_t family = 0; family < kFamilies; ++family) {
      const KernelList list = kernels_of(at, family);
      for (size_t i = 0; i < list.count; ++i) {
        const KernelEntry& entry = list.entries[i];
        for (int32_t dtype = 0; dtype < MILL_DTYPE_COUNT; ++dtype) {
          mill_kernel& place = kernels[static_cast<size_t>(entry.op * MILL_DTYPE_COUNT + dtype)];
          if ((entry.dtypes & dtype_bit(dtype)) != 0 && place.launch == nullptr)
            place = entry.kernel;
        }
      }
    }
  }
  kernels_.swap(kernels);
  op_count_ = count;
  level_ = level;
  describe();
}

mill_status Device::resolve(int32_t op, const int32_t* dtypes, uint32_t n_in, uint32_t n_out,
                            mill_kernel* out, mill_kernel_error* error) {
  // configure("simd") may not swap the table under a thread that reads it.
  if (!resolved_.load(std::memory_order_relaxed)) resolved_.store(true);
  int32_t lead = MILL_DTYPE_NONE;
  for (uint32_t i = 0; i < n_in + n_out && lead == MILL_DTYPE_NONE; ++i) lead = dtypes[i];
  if (op >= 0 && op < op_count_ && is_dtype(lead)) {
    const mill_kernel& kernel = kernels_[static_cast<size_t>(op * MILL_DTYPE_COUNT + lead)];
    if (kernel.launch != nullptr) {
      *out = kernel;
      return MILL_OK;
    }
  }
  char name[kOpNameSize];
  return refuse(error, MILL_E_UNSUPPORTED, "no kernel for %s on %s on the cpu device",
                op_name(op, name), dtype_name(lead));
}

mill_status Device::configure(const char* name, int64_t value, mill_kernel_error* error) {
  const auto shown = static_cast<long long>(value);
  if (std::strcmp(name, "gemm") == 0) {
    if (value < kGemmAutomatic || value > kGemmOneDnn) {
      return refuse(error, MILL_E_ARG, "gemm is %lld, must be 0 to %d", shown,
                    static_cast<int>(kGemmOneDnn));
    }
    __atomic_store_n(&runtime_.gemm_policy, static_cast<int32_t>(value), __ATOMIC_RELAXED);
    return MILL_OK;
  }
  if (std::strcmp(name, "simd") == 0) {
    if (value < 0 || value >= kSimdLevels) {
      return refuse(error, MILL_E_ARG, "simd is %lld, must be 0 to %d", shown, kSimdLevels - 1);
    }
    const auto level = static_cast<int32_t>(value);
    if (!simd_available(level)) {
      return refuse(error, MILL_E_UNSUPPORTED, "simd is %s, which this %s", simd_name(level),
                    kLists[level] == nullptr ? "build does not have" : "processor cannot run");
    }
    if (resolved_.load())
      return refuse(error, MILL_E_STATE, "simd can be set only before the first op runs");
    fill_kernels(level);
    return MILL_OK;
  }
  return refuse(error, MILL_E_ARG, "the cpu device has no setting named '%.64s'", name);
}

const mill_device_table* create_cpu_device(int threads, const mill_host_services** host) {
  auto device = std::make_unique<Device>(threads);
  if (host != nullptr) *host = device->host();
  return device.release()->table();
}

}  // namespace mill::cpu
