# The engine's objects and libmillrace.so. The engine is compiled once and packed twice: into the shared library, and
# into a static one (mill_engine) that only unit tests link, because they look behind the ABI.
set(mill_rooms base trace memory device tensor dispatch ops autograd optim data graph io)
set(mill_patterns)
foreach(room IN LISTS mill_rooms)
  list(APPEND mill_patterns "${PROJECT_SOURCE_DIR}/impl/${room}/*.cpp")
endforeach()
file(GLOB mill_impl_sources CONFIGURE_DEPENDS ${mill_patterns})
file(GLOB mill_runtime_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/impl/cpu/runtime/*.cpp")
file(GLOB mill_family_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/impl/cpu/*.cpp")
file(GLOB mill_api_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/api/src/*.cpp")

add_library(mill_private INTERFACE)
target_link_libraries(mill_private INTERFACE mill_flags Threads::Threads)
target_include_directories(mill_private INTERFACE "${PROJECT_SOURCE_DIR}/api/include" "${PROJECT_SOURCE_DIR}/impl")
if(MILL_DNNL_INCLUDE)
  target_compile_definitions(mill_private INTERFACE MILL_HAVE_ONEDNN=1)
endif()
if(MILL_NVTX_INCLUDE)
  target_compile_definitions(mill_private INTERFACE MILL_HAVE_NVTX=1)
endif()

set(mill_objects)
function(mill_object_library name)
  if(ARGN)
    add_library(${name} OBJECT ${ARGN})
    target_link_libraries(${name} PRIVATE mill_private)
    target_include_directories(${name} SYSTEM PRIVATE ${ZLIB_INCLUDE_DIRS})
    set(mill_objects ${mill_objects} $<TARGET_OBJECTS:${name}> PARENT_SCOPE)
  endif()
endfunction()

mill_object_library(mill_impl ${mill_impl_sources})
mill_precompile(mill_impl library)
if(TARGET mill_impl AND MILL_NVTX_INCLUDE)
  target_include_directories(mill_impl SYSTEM PRIVATE "${MILL_NVTX_INCLUDE}")
endif()

# The SIMD targets. -maes: Highway takes AVX2 and AVX-512 as given only together with AES.
set(mill_flags_baseline "")
set(mill_flags_avx2 -march=haswell -maes)
set(mill_flags_avx512 -march=skylake-avx512 -maes)
list(LENGTH MILL_CPU_TARGETS mill_target_count)
if(NOT mill_target_count EQUAL 1 AND NOT MILL_CPU_TARGETS STREQUAL mill_default_targets)
  message(FATAL_ERROR "MILL_CPU_TARGETS is '${MILL_CPU_TARGETS}': give one target, or all of '${mill_default_targets}'")
endif()

# -O3 makes the kernels twice as large and, where vectors are written out, no faster: tests/bench measures both ways.
set(mill_kernel_optimize -O2)
if(MILL_QUICK_BUILD)
  set(mill_kernel_optimize -O1)
endif()
# Written as plain loops, which only -O3 turns into vectors.
if(NOT MILL_QUICK_BUILD)
  set_source_files_properties("${PROJECT_SOURCE_DIR}/impl/cpu/pool.cpp" PROPERTIES COMPILE_OPTIONS -O3)
endif()
set(mill_hwy_definitions HWY_IS_DEBUG_BUILD=0)  # its debug checks live in libhwy, which is never linked
string(REPLACE ";" " " mill_target_text "${MILL_CPU_TARGETS}")
target_compile_definitions(mill_private INTERFACE "MILL_CPU_TARGETS_TEXT=\"${mill_target_text}\"")

if(mill_target_count EQUAL 1)
  target_compile_definitions(mill_private INTERFACE MILL_CPU_ONE_TARGET=${MILL_CPU_TARGETS})
endif()

mill_object_library(mill_cpu_runtime ${mill_runtime_sources})

foreach(target IN LISTS MILL_CPU_TARGETS)
  if(NOT DEFINED mill_flags_${target})
    message(FATAL_ERROR "MILL_CPU_TARGETS names '${target}'; known are baseline, avx2, avx512")
  endif()
  mill_object_library(mill_cpu_${target} ${mill_family_sources})
  if(TARGET mill_cpu_${target})
    target_compile_definitions(mill_cpu_${target} PRIVATE MILL_TARGET=${target} ${mill_hwy_definitions})
    target_compile_options(mill_cpu_${target} PRIVATE ${mill_flags_${target}} ${mill_kernel_optimize} -fno-math-errno
                           -fno-trapping-math -ffp-contract=off)
    set_target_properties(mill_cpu_${target} PROPERTIES UNITY_BUILD OFF)  # one family is long enough for the compiler
    if(NOT CMAKE_CXX_COMPILER_LAUNCHER)
      # Highway reads differently for each target.
      target_precompile_headers(mill_cpu_${target} PRIVATE ${mill_common_headers} <hwy/highway.h>)
      target_compile_options(mill_cpu_${target} PRIVATE ${mill_precompiled_options})
    endif()
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND target STREQUAL "avx512")
      # gcc 12 takes the undefined pass-through operand of its own intrinsics for a mistake (gcc bug 105593).
      target_compile_options(mill_cpu_${target} PRIVATE -Wno-maybe-uninitialized -Wno-uninitialized)
    endif()
  endif()
endforeach()
foreach(library IN ITEMS mill_cpu_runtime mill_cpu_baseline mill_cpu_avx2 mill_cpu_avx512)
  if(TARGET ${library})
    target_include_directories(${library} SYSTEM PRIVATE "${MILL_HWY_INCLUDE}")
    if(MILL_DNNL_INCLUDE)
      target_include_directories(${library} SYSTEM PRIVATE "${MILL_DNNL_INCLUDE}")
    endif()
  endif()
endforeach()

set(mill_engine_objects ${mill_objects})
if(mill_engine_objects)
  add_library(mill_engine STATIC EXCLUDE_FROM_ALL ${mill_engine_objects})
  target_link_libraries(mill_engine INTERFACE mill_private ZLIB::ZLIB ${CMAKE_DL_LIBS} Threads::Threads)
endif()

mill_object_library(mill_api ${mill_api_sources})
if(NOT mill_objects)
  return()
endif()
mill_precompile(mill_api library)

add_library(millrace SHARED ${mill_objects})
add_library(millrace::millrace ALIAS millrace)
set_target_properties(millrace PROPERTIES VERSION ${PROJECT_VERSION}
                      SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR} LINKER_LANGUAGE CXX)
target_include_directories(millrace INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/api/include>
                           $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_libraries(millrace PRIVATE ZLIB::ZLIB ${CMAKE_DL_LIBS} Threads::Threads)

# The list of exported functions is generated with the headers. A sanitizer build also exports the switch by which the
# tests make any function fail.
file(GLOB mill_version_script CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/api/gen/millrace.map")
if(MILL_SANITIZE)
  set(mill_version_script)
  target_compile_definitions(mill_api PRIVATE MILL_FAULTS=1)
endif()
if(NOT mill_version_script)
  set(mill_version_script "${CMAKE_BINARY_DIR}/millrace.map")
  file(CONFIGURE OUTPUT "${mill_version_script}" CONTENT "{ global: mill_*; local: *; };\n")
endif()
set_target_properties(millrace PROPERTIES LINK_DEPENDS "${mill_version_script}")
# nodelete: unmapping a library that has threads or key destructors crashes the process that does it.
target_link_options(millrace PRIVATE "-Wl,--version-script=${mill_version_script}" -Wl,-z,nodelete -Wl,-z,now
                    -Wl,-z,relro -Wl,-z,noexecstack -Wl,-Bsymbolic -Wl,--exclude-libs,ALL)
if(NOT MILL_SANITIZE)
  target_link_options(millrace PRIVATE -Wl,--gc-sections)
endif()
if(NOT MILL_SANITIZE OR CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_link_options(millrace PRIVATE -Wl,-z,defs)
endif()
if(MILL_STATIC_CXX)
  target_link_options(millrace PRIVATE -static-libstdc++ -static-libgcc)
endif()
