# The GPU device, one source, as plugins: simulated here, for CUDA where a toolkit is.
if(NOT TARGET millrace)
  return()
endif()

# Sources that follow families.gen.h: one launch file per family, some split further (NAME_PART.cu).
file(GLOB mill_gpu_families CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/impl/gpu/families/*.cu")

add_subdirectory("${PROJECT_SOURCE_DIR}/impl/gpu/runtime/sim" "${CMAKE_BINARY_DIR}/gpu/sim")

# The CUDA device takes minutes of the compiler: presets that look for mistakes in host code leave it out.
option(MILL_CUDA "Build the CUDA device where a toolkit is" ON)
if(MILL_CUDA AND MILL_NVCC)
  add_subdirectory("${PROJECT_SOURCE_DIR}/impl/gpu/runtime/cuda" "${CMAKE_BINARY_DIR}/gpu/cuda")
endif()
