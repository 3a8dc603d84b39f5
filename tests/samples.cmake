# Samples that need no data run as they stand. Those in other languages find the library by MILL_LIBRARY, by their first
# argument, or by the loader's own search.
set(sample_environment ${test_environment})
if(TARGET millrace)
  list(APPEND sample_environment "LD_LIBRARY_PATH=$<TARGET_FILE_DIR:millrace>")
endif()

if(TARGET sample_xor)
  mill_label(sample_xor sample)
  add_test(NAME sample_xor COMMAND sample_xor)
  set_tests_properties(sample_xor PROPERTIES LABELS sample TIMEOUT ${test_timeout} ENVIRONMENT "${sample_environment}")
endif()

# A sanitizer's runtime must be loaded first, which an interpreter not built with it does not do.
file(GLOB mill_lua_samples CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/samples/luajit/*.lua")
if(TARGET millrace AND NOT MILL_SANITIZE)
  foreach(source IN LISTS mill_lua_samples)
    cmake_path(GET source STEM stem)
    add_test(NAME sample_luajit_${stem}
             COMMAND ${MILL_SH} ${CMAKE_CURRENT_SOURCE_DIR}/gates/script.sh luajit ${source} $<TARGET_FILE:millrace>
             WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}")
    set_tests_properties(sample_luajit_${stem} PROPERTIES LABELS sample TIMEOUT ${test_timeout} SKIP_RETURN_CODE 77
                         ENVIRONMENT "${sample_environment}")
  endforeach()
endif()
