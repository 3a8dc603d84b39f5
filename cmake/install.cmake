# Headers, the library, and what pkg-config and find_package(millrace) read.
if(NOT TARGET millrace)
  return()
endif()
include(CMakePackageConfigHelpers)
set(mill_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/millrace")

install(TARGETS millrace EXPORT millraceTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
# Devices and the profiler lie beside the library, which looks for them there.
foreach(plugin IN ITEMS millrace_sim millrace_cuda millrace_profiler)
  if(TARGET ${plugin})
    install(TARGETS ${plugin} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
  endif()
endforeach()
if(TARGET millrace_cli)
  cmake_path(RELATIVE_PATH CMAKE_INSTALL_FULL_LIBDIR BASE_DIRECTORY "${CMAKE_INSTALL_FULL_BINDIR}" OUTPUT_VARIABLE mill_lib_from_bin)
  set_target_properties(millrace_cli PROPERTIES INSTALL_RPATH "$ORIGIN/${mill_lib_from_bin}")
  install(TARGETS millrace_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
install(DIRECTORY "${PROJECT_SOURCE_DIR}/api/include/millrace" DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")
install(EXPORT millraceTargets NAMESPACE millrace:: DESTINATION ${mill_package_dir} FILE millraceConfig.cmake)
write_basic_package_version_file("${CMAKE_BINARY_DIR}/millraceConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_BINARY_DIR}/millraceConfigVersion.cmake" DESTINATION ${mill_package_dir})

cmake_path(RELATIVE_PATH CMAKE_INSTALL_PREFIX BASE_DIRECTORY "${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig" OUTPUT_VARIABLE mill_pc_prefix)
configure_file("${PROJECT_SOURCE_DIR}/cmake/millrace.pc.in" "${CMAKE_BINARY_DIR}/millrace.pc" @ONLY)
install(FILES "${CMAKE_BINARY_DIR}/millrace.pc" DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" "${PROJECT_SOURCE_DIR}/NOTICE" DESTINATION ${CMAKE_INSTALL_DOCDIR})
