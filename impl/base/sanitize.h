// Whether this build looks for use after free, and how it tells AddressSanitizer.
#pragma once

#include <cstddef>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MILL_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define MILL_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define MILL_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define MILL_TSAN 1
#endif

#if defined(MILL_ASAN)
#include <sanitizer/asan_interface.h>
#endif

namespace mill {

// Sanitizer builds and builds with MILL_CHECK_HANDLES keep released memory out of use for longer
// and overwrite it.
#if defined(MILL_CHECK_HANDLES) || defined(MILL_ASAN) || defined(MILL_TSAN)
inline constexpr bool kCheckedBuild = true;
#else
inline constexpr bool kCheckedBuild = false;
#endif

inline void poison_memory([[maybe_unused]] void* at, [[maybe_unused]] size_t bytes) noexcept {
#if defined(MILL_ASAN)
  ASAN_POISON_MEMORY_REGION(at, bytes);
#endif
}

inline void unpoison_memory([[maybe_unused]] void* at, [[maybe_unused]] size_t bytes) noexcept {
#if defined(MILL_ASAN)
  ASAN_UNPOISON_MEMORY_REGION(at, bytes);
#endif
}

}  // namespace mill
