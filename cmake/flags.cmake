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
if(CMAKE_UNITY_BUILD AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # The unnamed namespace of a source that is joined with others looks like a header's.
  target_compile_options(mill_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-subobject-linkage>)
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

# Where a build asks for it (CMAKE_UNITY_BUILD), so many sources are compiled as one. More leave a processor idle at the
# end.
set(CMAKE_UNITY_BUILD_BATCH_SIZE 6)

# What most sources include: without it two thirds of the compiler's time go to reading these.
set(mill_common_headers <algorithm> <array> <atomic> <condition_variable> <cstdint> <cstdio> <cstring> <functional> <map>
                        <memory> <mutex> <string> <string_view> <thread> <unordered_map> <utility> <vector>)

# From a precompiled header the compiler no longer knows that the library's inlined code is the system's, and takes it to
# task: https://gcc.gnu.org/bugzilla/show_bug.cgi?id=105329 is one of several.
set(mill_precompiled_options)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  set(mill_precompiled_options -Wno-array-bounds -Wno-restrict -Wno-stringop-overflow -Wno-stringop-overread)
endif()

# mill_precompile(TARGET KIND [HEADERS header...] [OPTIONS option...] [LIBRARIES library...]): reads the common headers and
# these once for all targets that give the same KIND, "library" or "program", and the same options, where nothing caches
# what the compiler did.
function(mill_precompile target kind)
  if(CMAKE_CXX_COMPILER_LAUNCHER)
    return()
  endif()
  cmake_parse_arguments(PARSE_ARGV 2 arg "" "" "HEADERS;OPTIONS;LIBRARIES")
  string(MAKE_C_IDENTIFIER "mill_precompiled_${kind}_${arg_HEADERS}_${arg_OPTIONS}" owner)
  if(NOT TARGET ${owner})
    set(source "${CMAKE_BINARY_DIR}/precompiled.cpp")
    file(CONFIGURE OUTPUT "${source}" CONTENT "int main() { return 0; }\n")
    if(kind STREQUAL "program")  # its code may be placed anywhere in another way than a library's
      add_executable(${owner} EXCLUDE_FROM_ALL "${source}")
    else()
      add_library(${owner} OBJECT EXCLUDE_FROM_ALL "${source}")
    endif()
    target_link_libraries(${owner} PRIVATE mill_flags ${arg_LIBRARIES})
    target_compile_options(${owner} PRIVATE ${arg_OPTIONS})
    target_precompile_headers(${owner} PRIVATE ${mill_common_headers} ${arg_HEADERS})
  endif()
  target_precompile_headers(${target} REUSE_FROM ${owner})
  target_compile_options(${target} PRIVATE ${mill_precompiled_options})
endfunction()
