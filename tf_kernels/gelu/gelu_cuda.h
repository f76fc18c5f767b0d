// The GPU's kernels of gelu.h: `args` is the struct of that element type, with pointers into the
// device's memory.
#ifndef KERASLLM_GELU_GELU_CUDA_H_
#define KERASLLM_GELU_GELU_CUDA_H_

#include "common/cuda_call.h"
#include "gelu/gelu.h"

KERASLLM_CUDA_EXPORT int kerasllm_cuda_gelu_forward(int type, const void* args, void* scratch,
                                                    void* stream);
KERASLLM_CUDA_EXPORT int kerasllm_cuda_gelu_backward(int type, const void* args, void* scratch,
                                                     void* stream);
// Bytes of scratch that backward takes; forward takes none.
KERASLLM_CUDA_EXPORT int64_t kerasllm_cuda_gelu_backward_scratch(int type, const void* args);

#endif  // KERASLLM_GELU_GELU_CUDA_H_
