// How host code reaches the GPU kernels: C functions that take an element type, a family's struct
// of sizes and device pointers, scratch memory and a stream. They check nothing (the caller has),
// allocate nothing and wait for nothing; what they return is a cudaError_t. Without CUDA's headers,
// for files that are compiled without them and for ctypes.
#ifndef KERASLLM_COMMON_CUDA_CALL_H_
#define KERASLLM_COMMON_CUDA_CALL_H_

#include <cstdint>

#include "common/bfloat16.h"
#include "common/float16.h"

#define KERASLLM_CUDA_EXPORT extern "C" __attribute__((visibility("default")))

namespace kerasllm {

enum CudaType : int { kCudaFloat32, kCudaBfloat16, kCudaFloat16 };
template <class T>
inline constexpr CudaType kCudaType = kCudaFloat32;
template <>
inline constexpr CudaType kCudaType<bfloat16> = kCudaBfloat16;
template <>
inline constexpr CudaType kCudaType<float16> = kCudaFloat16;

// What launchers return for sizes that they do not serve, before they launch anything
// (cudaErrorNotSupported).
inline constexpr int kCudaNotSupported = 801;

}  // namespace kerasllm

// Exports the size of a struct that launchers take, for callers that mirror it
// (benchmarks/cuda/structures.py).
#define KERASLLM_CUDA_STRUCT(name, ...) \
  KERASLLM_CUDA_EXPORT int64_t kerasllm_cuda_sizeof_##name() { return sizeof(__VA_ARGS__); }

// A sentence for what a launcher returned.
KERASLLM_CUDA_EXPORT const char* kerasllm_cuda_error_string(int error);

#endif  // KERASLLM_COMMON_CUDA_CALL_H_
