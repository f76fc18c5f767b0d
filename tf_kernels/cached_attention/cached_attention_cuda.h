// The GPU's kernels of cached_attention.h, for float32, bfloat16 and float16: `args` is the struct
// of that element type, all its pointers into the device's memory.
//
// `device_start`, where it is not null, points to the place of the first query in the device's
// memory and is taken instead of args.start, into [0, max_length - query_length]; scratch and
// launches are then those of max_length keys. head_dim is at most kMaxHeadDim: anything else is
// refused with kCudaNotSupported. The same bits in every run.
#ifndef KERASLLM_CACHED_ATTENTION_CACHED_ATTENTION_CUDA_H_
#define KERASLLM_CACHED_ATTENTION_CACHED_ATTENTION_CUDA_H_

#include "cached_attention/cached_attention.h"
#include "common/cuda_call.h"

// Bytes of `scratch`, aligned to 16.
KERASLLM_CUDA_EXPORT int64_t kerasllm_cuda_cached_attention_scratch(int type, const void* args,
                                                                    const int32_t* device_start);
KERASLLM_CUDA_EXPORT int kerasllm_cuda_cached_attention(int type, const void* args,
                                                        const int32_t* device_start, void* scratch,
                                                        void* stream);
// `args`: a CacheUpdate of that type.
KERASLLM_CUDA_EXPORT int kerasllm_cuda_cache_update(int type, const void* args,
                                                    const int32_t* device_start, void* scratch,
                                                    void* stream);

#endif  // KERASLLM_CACHED_ATTENTION_CACHED_ATTENTION_CUDA_H_
