# Makes CNNX_CUDA one of AUTO, ON and OFF: other spellings of a switch, such as 1 or off, mean what they mean elsewhere in
# CMake. Anything else is an error, so that a typing error does not silently build without CUDA.
string(TOUPPER "${CNNX_CUDA}" cnnx_cuda_switch)
if(cnnx_cuda_switch STREQUAL "AUTO")
  set(CNNX_CUDA AUTO)
elseif(cnnx_cuda_switch MATCHES "^(ON|1|TRUE|YES|Y)$")
  set(CNNX_CUDA ON)
elseif(cnnx_cuda_switch MATCHES "^(OFF|0|FALSE|NO|N)$")
  set(CNNX_CUDA OFF)
else()
  message(FATAL_ERROR "CNNX_CUDA must be AUTO, ON or OFF; got \"${CNNX_CUDA}\".")
endif()
