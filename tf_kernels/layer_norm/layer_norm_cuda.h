// The GPU's kernels of layer_norm.h: `args` is the struct of that element type, with pointers into
// the device's memory and Dropout::device_seed set.
#ifndef KERASLLM_LAYER_NORM_LAYER_NORM_CUDA_H_
#define KERASLLM_LAYER_NORM_LAYER_NORM_CUDA_H_

#include "common/cuda_call.h"
#include "layer_norm/layer_norm.h"

KERASLLM_CUDA_EXPORT int kerasllm_cuda_layer_norm_forward(int type, const void* args, void* scratch,
                                                          void* stream);
KERASLLM_CUDA_EXPORT int kerasllm_cuda_layer_norm_backward(int type, const void* args,
                                                           void* scratch, void* stream);
// Bytes of scratch that backward takes; forward takes none.
KERASLLM_CUDA_EXPORT int64_t kerasllm_cuda_layer_norm_backward_scratch(int type, const void* args);

#endif  // KERASLLM_LAYER_NORM_LAYER_NORM_CUDA_H_
