# `cmake --install`: headers, static libraries, the program, the operator library, and a package for find_package(linformer).
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# Every static library of this folder is a layer.
get_property(_targets DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}" PROPERTY BUILDSYSTEM_TARGETS)
set(_layers "")
set(LinformerLayers "")
foreach(target IN LISTS _targets)
  get_target_property(type ${target} TYPE)
  if(type STREQUAL "STATIC_LIBRARY")
    get_target_property(name ${target} EXPORT_NAME)
    list(APPEND _layers ${target})
    list(APPEND LinformerLayers linformer::${name})
  endif()
endforeach()

# The program and the operator library find LibTorch where the build found it.
set_target_properties(linformer_program linformer_ops_library PROPERTIES INSTALL_RPATH "${LibTorch_LIBRARY_DIR}")
install(TARGETS ${_layers} EXPORT linformer ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(TARGETS linformer_program RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
install(TARGETS linformer_ops_library LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}/include/linformer" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
  FILES_MATCHING PATTERN "*.hpp")

set(_package "${CMAKE_INSTALL_LIBDIR}/cmake/linformer")
cmake_path(GET LibTorch_LIBRARY_DIR PARENT_PATH LinformerTorchRoot)
install(EXPORT linformer NAMESPACE linformer:: FILE linformerTargets.cmake DESTINATION "${_package}")
configure_package_config_file("${CMAKE_CURRENT_LIST_DIR}/linformerConfig.cmake.in" "${CMAKE_CURRENT_BINARY_DIR}/linformerConfig.cmake"
  INSTALL_DESTINATION "${_package}" NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/linformerConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/linformerConfig.cmake" "${CMAKE_CURRENT_BINARY_DIR}/linformerConfigVersion.cmake"
  "${CMAKE_CURRENT_LIST_DIR}/FindLibTorch.cmake" "${CMAKE_CURRENT_LIST_DIR}/Pcre2.cmake" DESTINATION "${_package}")
