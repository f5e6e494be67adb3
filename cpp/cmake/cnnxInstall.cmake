# Installation of the C++ library, and of the same files inside the Python wheel (SKBUILD), for find_package(cnnx).
#
# In the wheel everything lies in the package folder: cnnx/lib, cnnx/include, cnnx/lib/cmake/cnnx. The BLAS library is
# found beside it in site-packages; a plain installation remembers the folder it was linked from.
if(SKBUILD)
  set(CMAKE_INSTALL_LIBDIR lib)
  set(cnnx_install_prefix "cnnx/")
  set(blas_relative "../../scipy_openblas32/lib")
else()
  set(cnnx_install_prefix "")
  set(blas_relative "")
endif()

if(APPLE)
  set(origin "@loader_path")
else()
  set(origin "$ORIGIN")
endif()
if(blas_relative)
  set_target_properties(cnnx PROPERTIES INSTALL_RPATH "${origin}/${blas_relative}")
else()
  set_target_properties(cnnx PROPERTIES INSTALL_RPATH "${CNNX_BLAS_DIR}")
endif()

install(TARGETS cnnx EXPORT cnnxTargets
  LIBRARY DESTINATION "${cnnx_install_prefix}${CMAKE_INSTALL_LIBDIR}"
  ARCHIVE DESTINATION "${cnnx_install_prefix}${CMAKE_INSTALL_LIBDIR}"
  RUNTIME DESTINATION "${cnnx_install_prefix}bin"
  INCLUDES DESTINATION "${cnnx_install_prefix}include")
install(DIRECTORY cpp/include/ DESTINATION "${cnnx_install_prefix}include" FILES_MATCHING PATTERN "*.h")
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/include/cnnx/version.h" DESTINATION "${cnnx_install_prefix}include/cnnx")

set(cmake_dir "${cnnx_install_prefix}${CMAKE_INSTALL_LIBDIR}/cmake/cnnx")
configure_package_config_file(cpp/cmake/cnnxConfig.cmake.in cnnxConfig.cmake INSTALL_DESTINATION "${cmake_dir}")
write_basic_package_version_file(cnnxConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/cnnxConfig.cmake" "${CMAKE_CURRENT_BINARY_DIR}/cnnxConfigVersion.cmake"
        DESTINATION "${cmake_dir}")
install(EXPORT cnnxTargets NAMESPACE cnnx:: DESTINATION "${cmake_dir}")

# libcnnx looks for it beside itself.
if(TARGET cnnx_cuda)
  install(TARGETS cnnx_cuda LIBRARY DESTINATION "${cnnx_install_prefix}${CMAKE_INSTALL_LIBDIR}")
endif()
