# The HTML report in a headless browser.
if(TARGET prof_export_tests AND Python3_FOUND AND NOT MILL_SANITIZE)
  add_test(NAME prof_report COMMAND ${Python3_EXECUTABLE} -B "${CMAKE_CURRENT_SOURCE_DIR}/profiler/report_test.py"
                                    "$<TARGET_FILE:prof_export_tests>")
  set_tests_properties(prof_report PROPERTIES LABELS "profiler;browser" TIMEOUT ${test_timeout} SKIP_RETURN_CODE 77
                       ENVIRONMENT "${test_environment}")
  mill_label(prof_export_tests browser)
endif()
