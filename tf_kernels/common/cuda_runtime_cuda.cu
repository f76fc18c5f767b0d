#include "common/cuda.h"

KERASLLM_CUDA_EXPORT const char* kerasllm_cuda_error_string(int error) {
#ifdef __CUDACC__
  return cudaGetErrorString(static_cast<cudaError_t>(error));
#else
  if (error == kerasllm::kCudaNotSupported) return "operation not supported";
  return error == 0 ? "no error" : "invalid launch";
#endif
}
