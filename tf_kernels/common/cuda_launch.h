// Launches of GPU kernels: shared memory, the element type that a caller names, errors as numbers.
#ifndef KERASLLM_COMMON_CUDA_LAUNCH_H_
#define KERASLLM_COMMON_CUDA_LAUNCH_H_

#include <cstdint>
#include <cstring>
#include <map>
#include <mutex>
#include <type_traits>
#include <utility>

#include "common/cuda_call.h"
#ifndef __CUDACC__
#include "common/cuda_emulation.h"
#endif

namespace kerasllm {

#ifdef __CUDACC__
// More dynamic shared memory than every block may have is to be asked for, on each device. What was
// asked for is never lowered: another thread may be about to launch the kernel with it.
inline int allow_shared(const void* kernel, size_t bytes) {
  if (bytes <= 48 * 1024) return 0;
  static std::mutex mutex;
  static std::map<std::pair<const void*, int>, size_t> allowed;
  int device = 0;
  if (const cudaError_t error = cudaGetDevice(&device); error != cudaSuccess) {
    return static_cast<int>(error);
  }
  const std::lock_guard<std::mutex> lock(mutex);
  size_t& most = allowed[{kernel, device}];
  if (bytes < most) return 0;
  const cudaError_t error = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  if (error == cudaSuccess) most = bytes;
  return static_cast<int>(error);
}
template <class T>
struct SameType {
  using type = T;
};
template <class... Args>
int launch(void (*kernel)(Args...), dim3 grid, dim3 block, size_t shared_bytes, void* stream,
           typename SameType<Args>::type... args) {
  const int error = allow_shared(reinterpret_cast<const void*>(kernel), shared_bytes);
  if (error != 0) return error;
  kernel<<<grid, block, shared_bytes, static_cast<cudaStream_t>(stream)>>>(args...);
  return static_cast<int>(cudaGetLastError());
}
inline int clear(void* memory, int64_t bytes, void* stream) {
  if (bytes == 0) return 0;
  return static_cast<int>(
      cudaMemsetAsync(memory, 0, static_cast<size_t>(bytes), static_cast<cudaStream_t>(stream)));
}
// Whether the code of a kernel that runs on the current device was compiled for `target` (80 for
// sm_80) or later: where the library has none for this GPU, the driver compiles an older one's.
template <class... Args>
bool is_compiled_for(void (*kernel)(Args...), int target) {
  cudaFuncAttributes attributes;
  if (cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(kernel)) != cudaSuccess) {
    cudaGetLastError();  // the launch will say what is wrong
    return false;
  }
  return attributes.ptxVersion >= target;
}
// Bytes of shared memory that a block may have on the current device; 0 if it cannot be told.
inline int64_t shared_memory_limit() {
  int device = 0, bytes = 0;
  if (cudaGetDevice(&device) != cudaSuccess) return 0;
  if (cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) !=
      cudaSuccess)
    return 0;
  return bytes;
}
#define KERASLLM_DYNAMIC_SHARED(name) extern __shared__ __align__(16) float name[]
#else
using emulation::launch;
inline int64_t shared_memory_limit() { return emulation::shared_limit(); }
template <class... Args>
bool is_compiled_for(void (*)(Args...), int) {
  return true;
}
inline int clear(void* memory, int64_t bytes, void*) {
  if (bytes > 0) memset(memory, 0, static_cast<size_t>(bytes));
  return 0;
}
#define KERASLLM_DYNAMIC_SHARED(name) float* const name = emulation::dynamic_shared()
#endif

// Calls body(T()) with the element type that `type` names.
template <class Body>
int for_type(CudaType type, const Body& body) {
  if (type == kCudaBfloat16) return body(bfloat16());
  if (type == kCudaFloat16) return body(float16());
  return body(float());
}

#define KERASLLM_RETURN_IF_ERROR(call)                         \
  do {                                                         \
    if (const int error_ = (call); error_ != 0) return error_; \
  } while (false)

}  // namespace kerasllm

#endif  // KERASLLM_COMMON_CUDA_LAUNCH_H_
