# What `cmake --install` puts where: the command, the shared library with its headers, a CMake package (veer::veer) and a
# pkg-config file. The library is shared, so that its own libraries stay its own business.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# veer_install(<library target> <command target>)
function(veer_install library command)
  set_target_properties(${library} PROPERTIES OUTPUT_NAME veer EXPORT_NAME veer VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})
  install(TARGETS ${library} EXPORT veer-targets INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  # The command finds the library of its own installation, wherever that is moved.
  file(RELATIVE_PATH to_library ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR})
  set_target_properties(${command} PROPERTIES INSTALL_RPATH $ORIGIN/${to_library})
  install(TARGETS ${command})
  file(GLOB includes ${CMAKE_SOURCE_DIR}/*/include/veer)
  install(DIRECTORY ${includes} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN *.h)

  set(package ${CMAKE_INSTALL_LIBDIR}/cmake/veer)
  install(EXPORT veer-targets NAMESPACE veer:: DESTINATION ${package})
  file(WRITE ${CMAKE_BINARY_DIR}/veer-config.cmake "include(\${CMAKE_CURRENT_LIST_DIR}/veer-targets.cmake)\n")
  write_basic_package_version_file(${CMAKE_BINARY_DIR}/veer-config-version.cmake COMPATIBILITY SameMinorVersion)
  install(FILES ${CMAKE_BINARY_DIR}/veer-config.cmake ${CMAKE_BINARY_DIR}/veer-config-version.cmake DESTINATION ${package})

  # Relative to the file itself, so that an installation can be moved.
  file(RELATIVE_PATH up /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
  string(REGEX REPLACE "/$" "" up "${up}")
  configure_file(${CMAKE_SOURCE_DIR}/cmake/veer.pc.in ${CMAKE_BINARY_DIR}/veer.pc @ONLY)
  install(FILES ${CMAKE_BINARY_DIR}/veer.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endfunction()
