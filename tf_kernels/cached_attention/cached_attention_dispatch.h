// The table through which cached_attention.cc reaches the compute code of the instruction set in
// use.
#ifndef KERASLLM_CACHED_ATTENTION_CACHED_ATTENTION_DISPATCH_H_
#define KERASLLM_CACHED_ATTENTION_CACHED_ATTENTION_DISPATCH_H_

#include "cached_attention/cached_attention.h"

namespace kerasllm {

struct CachedAttentionKernels {
  void (*float32)(const CachedAttention<float>&, Parallel&);
  void (*bfloat16)(const CachedAttention<kerasllm::bfloat16>&, Parallel&);
};

}  // namespace kerasllm

#endif  // KERASLLM_CACHED_ATTENTION_CACHED_ATTENTION_DISPATCH_H_
