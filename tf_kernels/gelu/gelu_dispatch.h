// The table through which gelu.cc reaches the compute code of the instruction set in use.
#ifndef KERASLLM_GELU_GELU_DISPATCH_H_
#define KERASLLM_GELU_GELU_DISPATCH_H_

#include "gelu/gelu.h"

namespace kerasllm {

struct GeluKernels {
  void (*forward_float32)(const GeluForward<float>&, Parallel&);
  void (*forward_bfloat16)(const GeluForward<kerasllm::bfloat16>&, Parallel&);
  void (*backward_float32)(const GeluBackward<float>&, Parallel&);
  void (*backward_bfloat16)(const GeluBackward<kerasllm::bfloat16>&, Parallel&);
};

}  // namespace kerasllm

#endif  // KERASLLM_GELU_GELU_DISPATCH_H_
