# Flags that everything shares: language, visibility, warnings, sanitizers, the compiler cache.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 99)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/lib")
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/lib")

find_program(MILL_CCACHE ccache)
mark_as_advanced(MILL_CCACHE)
if(MILL_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_C_COMPILER_LAUNCHER "${MILL_CCACHE}")
  set(CMAKE_CXX_COMPILER_LAUNCHER "${MILL_CCACHE}")
endif()

add_library(mill_flags INTERFACE)
target_compile_options(mill_flags INTERFACE -Wall -Wextra -Wconversion -Wshadow -ffunction-sections -fdata-sections)
if(MILL_WERROR)
  target_compile_options(mill_flags INTERFACE -Werror)
endif()

if(MILL_SANITIZE)
  set(mill_sanitize_options -fsanitize=${MILL_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_compile_options(${mill_sanitize_options})
  add_link_options(-fsanitize=${MILL_SANITIZE})
  # The thread sanitizer does not see fences; gcc warns at each, and the suite is what decides.
  if(MILL_SANITIZE MATCHES "thread" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options(-Wno-tsan)
  endif()
endif()

# mill_precompile(TARGET HEADER...): once for all its sources, where nothing caches what the compiler did.
function(mill_precompile target)
  if(CMAKE_CXX_COMPILER_LAUNCHER)
    return()
  endif()
  target_precompile_headers(${target} PRIVATE ${ARGN})
  # From a precompiled header the compiler no longer knows that the library's inlined code is the system's, and takes it
  # to task: https://gcc.gnu.org/bugzilla/show_bug.cgi?id=105329 is one of several.
  target_compile_options(${target} PRIVATE -Wno-array-bounds -Wno-restrict -Wno-stringop-overflow
                                           -Wno-stringop-overread)
endfunction()
