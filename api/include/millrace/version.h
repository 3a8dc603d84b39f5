/* Millrace: what this library is. None of these needs a context. */
#ifndef MILL_VERSION_H
#define MILL_VERSION_H

#include "millrace/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The version of these headers; mill_version gives the library's. */
enum mill_header_version {
  MILL_VERSION_MAJOR = 0,
  MILL_VERSION_MINOR = 1,
  MILL_VERSION_PATCH = 0,
  MILL_API_LEVEL = 1
};

/* Writes the library's version. Any pointer may be NULL.
 * Since: 1 */
MILL_API MILL_SINCE(1) void mill_version(uint32_t* out_major, uint32_t* out_minor,
                                         uint32_t* out_patch);

/* The number of the newest API level that the library has; functions marked with a higher one are
 * absent. Since: 1 */
MILL_API MILL_SINCE(1) uint32_t mill_api_level(void);

/* One line: version, compiler, SIMD targets built in, NVTX. Lives as long as the library.
 * Since: 1 */
MILL_API MILL_SINCE(1) const char* mill_build_info(void);

/* "MILL_E_SHAPE" for MILL_E_SHAPE; "MILL_E_USER" in the callbacks' band; "MILL_STATUS_UNKNOWN"
 * otherwise. Never NULL. Since: 1 */
MILL_API MILL_SINCE(1) const char* mill_status_name(mill_status status);

/* "f32" for MILL_F32; "?" for an unknown number. Never NULL.
 * Since: 1 */
MILL_API MILL_SINCE(1) const char* mill_dtype_name(mill_dtype dtype);

/* Bytes of one element; 0 for an unknown number.
 * Since: 1 */
MILL_API MILL_SINCE(1) uint32_t mill_dtype_size(mill_dtype dtype);

/* The dtype that an op computes in when given both (PyTorch's promotion table); MILL_DTYPE_NONE if
 * there is none. Since: 1 */
MILL_API MILL_SINCE(1) mill_dtype mill_dtype_promote(mill_dtype a, mill_dtype b);

#ifdef __cplusplus
}
#endif
#endif
