# Defines cnnx_blas: a CBLAS library with its header.
#
# First choice is the scipy-openblas32 package of the Python that builds (pip installs it; symbols are prefixed scipy_);
# else any CBLAS that find_package(BLAS) knows.
set(CNNX_BLAS_RUNPATH "" CACHE INTERNAL "Folders, relative to the installed libcnnx, where the BLAS library is at run time")
add_library(cnnx_blas INTERFACE)

set(openblas_include "")
if(Python_Interpreter_FOUND)
  execute_process(
    COMMAND "${Python_EXECUTABLE}" -c
            "import scipy_openblas32 as b; print(b.get_include_dir(), b.get_lib_dir(), b.get_library(), sep=';')"
    OUTPUT_VARIABLE openblas OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE openblas_missing)
  if(NOT openblas_missing)
    list(GET openblas 0 openblas_include)
    list(GET openblas 1 openblas_lib_dir)
    list(GET openblas 2 openblas_name)
  endif()
endif()

if(openblas_include)
  message(STATUS "BLAS: scipy-openblas32 in ${openblas_lib_dir}")
  find_library(CNNX_OPENBLAS_LIBRARY NAMES ${openblas_name} PATHS "${openblas_lib_dir}" NO_DEFAULT_PATH REQUIRED)
  target_include_directories(cnnx_blas SYSTEM INTERFACE "${openblas_include}")
  target_compile_definitions(cnnx_blas INTERFACE CNNX_BLAS_SYMBOL_PREFIX=scipy_)
  target_link_libraries(cnnx_blas INTERFACE "${CNNX_OPENBLAS_LIBRARY}")
  set(CNNX_BLAS_DIR "${openblas_lib_dir}")
else()
  find_package(BLAS REQUIRED)
  find_path(CNNX_CBLAS_INCLUDE_DIR cblas.h PATH_SUFFIXES openblas cblas REQUIRED)
  message(STATUS "BLAS: ${BLAS_LIBRARIES}")
  target_include_directories(cnnx_blas SYSTEM INTERFACE "${CNNX_CBLAS_INCLUDE_DIR}")
  target_compile_definitions(cnnx_blas INTERFACE CNNX_BLAS_SYMBOL_PREFIX=)
  target_link_libraries(cnnx_blas INTERFACE BLAS::BLAS)
  set(CNNX_BLAS_DIR "")
endif()
