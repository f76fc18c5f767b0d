// The GPU's kernels of linear_cross_entropy.h: `args` is the struct of that element type, with
// pointers into the device's memory, and kernel's is a multiple of 16. The caller has checked the
// shapes. Labels it cannot read: a row whose label is out of range has the loss NaN, and the
// gradients get NaN from it wherever its d_losses counts.
//
// Results may lie where saved gradients do, and nowhere else where inputs are. With gradients asked
// for, forward makes the logits once and sums the kernel's gradient in d_kernel, chunk of rows by
// chunk of rows. Backward without saved gradients, or where d_losses is not the same for all rows
// that count, makes the logits again, block of classes by block of classes, and needs no sum in
// float32 of the kernel's size. Whether d_losses is the same is found out on the device: the
// launches are the same either way, and nothing is waited for.
#ifndef KERASLLM_LINEAR_CROSS_ENTROPY_LINEAR_CROSS_ENTROPY_CUDA_H_
#define KERASLLM_LINEAR_CROSS_ENTROPY_LINEAR_CROSS_ENTROPY_CUDA_H_

#include "common/cuda_call.h"
#include "linear_cross_entropy/linear_cross_entropy.h"

KERASLLM_CUDA_EXPORT int kerasllm_cuda_linear_cross_entropy_forward(int type, const void* args,
                                                                    void* scratch, void* stream);
KERASLLM_CUDA_EXPORT int kerasllm_cuda_linear_cross_entropy_backward(int type, const void* args,
                                                                     void* scratch, void* stream);
// Bytes of scratch that these take; it starts at a multiple of 256.
KERASLLM_CUDA_EXPORT int64_t kerasllm_cuda_linear_cross_entropy_forward_scratch(int type,
                                                                                const void* args);
KERASLLM_CUDA_EXPORT int64_t kerasllm_cuda_linear_cross_entropy_backward_scratch(int type,
                                                                                 const void* args);

#endif  // KERASLLM_LINEAR_CROSS_ENTROPY_LINEAR_CROSS_ENTROPY_CUDA_H_
