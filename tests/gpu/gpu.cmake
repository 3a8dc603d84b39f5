# Timings of a device, and the script that runs everything on a machine with a GPU: here on the simulated device.
if(NOT TARGET millrace OR NOT TARGET millrace_sim)
  return()
endif()

add_executable(gpu_timings "${CMAKE_CURRENT_SOURCE_DIR}/gpu/timings.cpp")
target_link_libraries(gpu_timings PRIVATE mill_flags millrace)
target_include_directories(gpu_timings PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}")
set_target_properties(gpu_timings PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
add_dependencies(gpu_timings millrace_sim)
mill_label(gpu_timings gpu)
add_test(NAME gpu_timings COMMAND gpu_timings --device sim --quick)
set_tests_properties(gpu_timings PROPERTIES LABELS gpu TIMEOUT ${test_timeout} ENVIRONMENT "${test_environment}")

add_test(NAME gpu_run_selftest COMMAND sh "${CMAKE_CURRENT_SOURCE_DIR}/gpu/run_selftest.sh")
set_tests_properties(gpu_run_selftest PROPERTIES LABELS gpu TIMEOUT ${test_timeout} SKIP_RETURN_CODE 77)
