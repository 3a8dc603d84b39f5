# What the library needs: zlib, threads, the headers of Highway; the profiler those of RapidJSON. What it uses if the
# headers are there: oneDNN, NVTX.
find_package(Threads REQUIRED)
find_package(ZLIB REQUIRED)

find_path(MILL_HWY_INCLUDE hwy/highway.h)
if(NOT MILL_HWY_INCLUDE)
  message(FATAL_ERROR "hwy/highway.h not found: install libhwy-dev")
endif()

find_path(MILL_RAPIDJSON_INCLUDE rapidjson/reader.h)
if(NOT MILL_RAPIDJSON_INCLUDE)
  message(FATAL_ERROR "rapidjson/reader.h not found: install rapidjson-dev")
endif()

# oneDNN is opened at run time; only its types and constants come from here.
find_path(MILL_DNNL_INCLUDE oneapi/dnnl/dnnl.h)
if(NOT MILL_DNNL_INCLUDE)
  message(STATUS "oneDNN headers not found: the built-in matrix kernels serve every size")
endif()

find_path(MILL_NVTX_INCLUDE nvtx3/nvToolsExt.h PATHS /usr/local/cuda/include /opt/cuda/include)
find_program(MILL_NVCC nvcc PATHS /usr/local/cuda/bin /opt/cuda/bin)
mark_as_advanced(MILL_HWY_INCLUDE MILL_RAPIDJSON_INCLUDE MILL_DNNL_INCLUDE MILL_NVTX_INCLUDE MILL_NVCC)
if(NOT MILL_NVCC)
  message(STATUS "CUDA toolkit not found: the CUDA device is not built")
elseif(MILL_NVTX_INCLUDE)
  message(STATUS "CUDA toolkit found: NVTX ranges on")
else()
  message(STATUS "CUDA toolkit found, its NVTX headers not: NVTX ranges off")
endif()
