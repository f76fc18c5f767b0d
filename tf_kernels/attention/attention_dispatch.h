// The tables through which attention.cc reaches the compute code of the instruction set in use.
#ifndef KERASLLM_ATTENTION_ATTENTION_DISPATCH_H_
#define KERASLLM_ATTENTION_ATTENTION_DISPATCH_H_

#include "attention/attention.h"

namespace kerasllm {

struct AttentionForwardKernels {
  void (*float32)(const AttentionForward<float>&, Parallel&);
  void (*bfloat16)(const AttentionForward<kerasllm::bfloat16>&, Parallel&);
};

struct AttentionBackwardKernels {
  void (*float32)(const AttentionBackward<float>&, Parallel&);
  void (*bfloat16)(const AttentionBackward<kerasllm::bfloat16>&, Parallel&);
};

}  // namespace kerasllm

#endif  // KERASLLM_ATTENTION_ATTENTION_DISPATCH_H_
