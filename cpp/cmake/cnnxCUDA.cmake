# The CUDA part: libcnnx_cuda, a library of its own that libcnnx loads when "cuda" is first used.
#
# CNNX_CUDA=OFF leaves even the loader out. AUTO, the default, builds the library where a CUDA compiler and an NVIDIA
# driver are: a machine that only has the compiler, as many that build wheels do, is not kept waiting for it.
include(cnnxCUDASwitch)

set(cnnx_cuda_sources
    cpp/src/cuda/cublas.cu
    cpp/src/cuda/cudnn.cu
    cpp/src/cuda/graph.cu
    cpp/src/cuda/library.cu
    cpp/src/cuda/matrix_product.cu
    cpp/src/cuda/tensor_cores.cu
    cpp/src/cuda/transfer.cu
    cpp/src/ops/avg_pool2d_cuda.cu
    cpp/src/ops/batch_norm_cuda.cu
    cpp/src/ops/binary_cuda.cu
    cpp/src/ops/cast_cuda.cu
    cpp/src/ops/class_loss_cuda.cu
    cpp/src/ops/conv2d/cudnn_cuda.cu
    cpp/src/ops/conv2d/direct_cuda.cu
    cpp/src/ops/conv2d/implicit_gemm_cuda.cu
    cpp/src/ops/conv2d/tensor_core_cuda.cu
    cpp/src/ops/conv2d/winograd_cuda.cu
    cpp/src/ops/cross_entropy_cuda.cu
    cpp/src/ops/dropout_cuda.cu
    cpp/src/ops/group_norm_cuda.cu
    cpp/src/ops/im2col_cuda.cu
    cpp/src/ops/linear_cuda.cu
    cpp/src/ops/local_response_norm_cuda.cu
    cpp/src/ops/locally_connected2d_cuda.cu
    cpp/src/ops/lp_pool2d_cuda.cu
    cpp/src/ops/matmul_cuda.cu
    cpp/src/ops/max_pool2d_cuda.cu
    cpp/src/ops/multi_margin_loss_cuda.cu
    cpp/src/ops/optimizer_cuda.cu
    cpp/src/ops/random_cuda.cu
    cpp/src/ops/reduce_cuda.cu
    cpp/src/ops/resample_cuda.cu
    cpp/src/ops/shape_cuda.cu
    cpp/src/ops/softmax_cuda.cu
    cpp/src/ops/unary_cuda.cu)

# Kernels of instructions that compute capability 9.0 alone has.
set(cnnx_hopper_sources cpp/src/cuda/hopper.cu)

if(CNNX_CUDA STREQUAL "OFF" OR WIN32)
  set(cnnx_cuda_loader cpp/src/cuda/no_cuda.cpp)
else()
  set(cnnx_cuda_loader cpp/src/cuda/load.cpp)
endif()

set(cnnx_build_cuda OFF)
if(CNNX_CUDA STREQUAL "ON")
  set(cnnx_build_cuda ON)
elseif(CNNX_CUDA STREQUAL "AUTO" AND EXISTS /proc/driver/nvidia/version)
  include(CheckLanguage)
  check_language(CUDA)
  set(cnnx_build_cuda ${CMAKE_CUDA_COMPILER})
endif()

if(cnnx_build_cuda)
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES AND NOT DEFINED ENV{CUDAARCHS})
    set(CMAKE_CUDA_ARCHITECTURES 80-real 86-real 89-real 90)  # the last one's PTX serves newer GPUs
  endif()
  if(CMAKE_VERSION VERSION_LESS 3.26)
    message(FATAL_ERROR "CMake ${CMAKE_VERSION} knows no C++20 in CUDA. Use 3.26 or later (pip install cmake), or -DCNNX_CUDA=OFF.")
  endif()
  enable_language(CUDA)
  if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.4)
    message(FATAL_ERROR "cnnx needs CUDA 12.4 or later; found ${CMAKE_CUDA_COMPILER_VERSION}. Use -DCNNX_CUDA=OFF to build without.")
  endif()
  # Kernels call the constexpr members of the geometries; they have no operations on denormals to fear.
  function(cnnx_compile_cuda target)
    set_target_properties(${target} PROPERTIES CUDA_STANDARD 20 CUDA_STANDARD_REQUIRED ON CUDA_RUNTIME_LIBRARY Static
                          CUDA_VISIBILITY_PRESET hidden)
    target_compile_definitions(${target} PRIVATE CNNX_BUILDING CNNX_ISA=cuda)
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr --extended-lambda -Xcompiler=-Wall$<COMMA>-Wextra>)
    target_include_directories(${target} PRIVATE cpp/include cpp/src ${CMAKE_CURRENT_BINARY_DIR}/include)
  endfunction()
  add_library(cnnx_cuda SHARED ${cnnx_cuda_sources})
  cnnx_compile_cuda(cnnx_cuda)
  set_target_properties(cnnx_cuda PROPERTIES
                        INSTALL_RPATH "$ORIGIN/../../nvidia/cu13/lib;$ORIGIN/../../nvidia/cublas/lib;$ORIGIN/../../nvidia/cudnn/lib;/usr/local/cuda/lib64")
  target_link_libraries(cnnx_cuda PRIVATE ${CMAKE_DL_LIBS})

  set(architectures "${CMAKE_CUDA_ARCHITECTURES}")
  if(architectures STREQUAL "native")
    set(architectures "${CMAKE_CUDA_ARCHITECTURES_NATIVE}")
  endif()
  if(architectures MATCHES "(^|;)(all|all-major|90a?)(-real|-virtual)?(;|$)")
    add_library(cnnx_hopper OBJECT ${cnnx_hopper_sources})
    cnnx_compile_cuda(cnnx_hopper)
    # Not as an architecture: early versions of CMake that know C++20 in CUDA do not know 90a.
    set_target_properties(cnnx_hopper PROPERTIES CUDA_ARCHITECTURES OFF POSITION_INDEPENDENT_CODE ON)
    target_compile_options(cnnx_hopper PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-gencode=arch=compute_90a,code=sm_90a>)
    target_sources(cnnx_cuda PRIVATE $<TARGET_OBJECTS:cnnx_hopper>)
  else()
    target_sources(cnnx_cuda PRIVATE cpp/src/cuda/no_hopper.cu)
  endif()
endif()
