// The GPU's kernels of attention.h, for float32, bfloat16 and float16: `args` is the struct of that
// element type, all its pointers (lengths, query_offset, query_mask and mask too) into the device's
// memory, Dropout::device_seed set. Nothing is read on the host, so the values of lengths are taken
// into [0, key_length] and those of query_offset into [0, 2^29].
//
// head_dim and value_dim are at most kMaxHeadDim, lengths at most 2^29, blocks of a launch fewer
// than 2^31: anything else is refused with kCudaNotSupported before anything is launched. Where a
// dimension is no multiple of 16 bytes, or an address is not, rows are read element by element:
// right, but slow.
//
// The same bits in every run, but for d_query where backward is not `deterministic`: in half
// precision, with heads of up to 128 and on GPUs with the shared memory for it, its sums over keys
// are then of atomic additions in any order. Gradients of query heads that share keys are added in
// the heads' order. float32 products are in float32. A mask has no gradient.
#ifndef KERASLLM_ATTENTION_ATTENTION_CUDA_H_
#define KERASLLM_ATTENTION_ATTENTION_CUDA_H_

#include "attention/attention.h"
#include "common/cuda_call.h"

// Bytes of `scratch`, aligned to 16, that each takes; 0 bytes may be null. Forward takes some for a
// mask of bools that may be padding: its end is looked for first, and where nothing before it is
// hidden the mask is not read again.
KERASLLM_CUDA_EXPORT int64_t kerasllm_cuda_attention_forward_scratch(int type, const void* args);
KERASLLM_CUDA_EXPORT int64_t kerasllm_cuda_attention_backward_scratch(int type, const void* args,
                                                                      int deterministic);

KERASLLM_CUDA_EXPORT int kerasllm_cuda_attention_forward(int type, const void* args, void* scratch,
                                                         void* stream);
KERASLLM_CUDA_EXPORT int kerasllm_cuda_attention_backward(int type, const void* args,
                                                          int deterministic, void* scratch,
                                                          void* stream);

#endif  // KERASLLM_ATTENTION_ATTENTION_CUDA_H_
