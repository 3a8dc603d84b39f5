#include "millrace/version.h"

#include "base/dtype.h"
#include "trace/nvtx.h"

#define MILL_TEXT2(x) #x
#define MILL_TEXT(x) MILL_TEXT2(x)
#if defined(__clang__)
#define MILL_COMPILER "clang " __clang_version__
#else
#define MILL_COMPILER "gcc " __VERSION__
#endif
#if defined(MILL_CPU_ONE_TARGET)
#define MILL_TARGETS MILL_TEXT(MILL_CPU_ONE_TARGET)
#elif defined(__x86_64__)
#define MILL_TARGETS "baseline avx2 avx512"
#else
#define MILL_TARGETS "baseline"
#endif

void mill_version(uint32_t* out_major, uint32_t* out_minor, uint32_t* out_patch) {
  if (out_major) *out_major = MILL_VERSION_MAJOR;
  if (out_minor) *out_minor = MILL_VERSION_MINOR;
  if (out_patch) *out_patch = MILL_VERSION_PATCH;
}

uint32_t mill_api_level(void) {
  return MILL_API_LEVEL;
}

const char* mill_build_info(void) {
  return mill::Nvtx::built_in() ? "Millrace 0.1.0, " MILL_COMPILER ", SIMD " MILL_TARGETS ", NVTX"
                                : "Millrace 0.1.0, " MILL_COMPILER ", SIMD " MILL_TARGETS
                                  ", without NVTX";
}

const char* mill_status_name(mill_status status) {
  switch (status) {
#define MILL_NAME(name) \
  case name: return #name;
    MILL_NAME(MILL_OK)
    MILL_NAME(MILL_NOT_READY)
    MILL_NAME(MILL_INCOMPLETE)
    MILL_NAME(MILL_TIMEOUT)
    MILL_NAME(MILL_END)
    MILL_NAME(MILL_LOST)
    MILL_NAME(MILL_E_ARG)
    MILL_NAME(MILL_E_SHAPE)
    MILL_NAME(MILL_E_DTYPE)
    MILL_NAME(MILL_E_DEVICE)
    MILL_NAME(MILL_E_ALIAS)
    MILL_NAME(MILL_E_INDEX)
    MILL_NAME(MILL_E_BAD_HANDLE)
    MILL_NAME(MILL_E_STATE)
    MILL_NAME(MILL_E_BUSY)
    MILL_NAME(MILL_E_STALE_SAVED)
    MILL_NAME(MILL_E_FORKED)
    MILL_NAME(MILL_E_MEMORY)
    MILL_NAME(MILL_E_DEVICE_LOST)
    MILL_NAME(MILL_E_IO)
    MILL_NAME(MILL_E_FORMAT)
    MILL_NAME(MILL_E_UNSUPPORTED)
    MILL_NAME(MILL_E_UNSUPPORTED_STRUCT)
    MILL_NAME(MILL_E_TOO_NEW)
    MILL_NAME(MILL_E_NO_GRADIENT)
    MILL_NAME(MILL_E_INTERNAL)
#undef MILL_NAME
    default:
      return status <= MILL_E_USER && status > MILL_E_USER - 1000 ? "MILL_E_USER"
                                                                  : "MILL_STATUS_UNKNOWN";
  }
}

const char* mill_dtype_name(mill_dtype dtype) {
  return mill::dtype_name(dtype);
}

uint32_t mill_dtype_size(mill_dtype dtype) {
  return static_cast<uint32_t>(mill::dtype_size(dtype));
}

mill_dtype mill_dtype_promote(mill_dtype a, mill_dtype b) {
  return mill::promote(a, b);
}
