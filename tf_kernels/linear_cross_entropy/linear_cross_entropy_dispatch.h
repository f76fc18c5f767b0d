// The table through which linear_cross_entropy.cc reaches the compute code of the instruction set
// in use.
#ifndef KERASLLM_LINEAR_CROSS_ENTROPY_LINEAR_CROSS_ENTROPY_DISPATCH_H_
#define KERASLLM_LINEAR_CROSS_ENTROPY_LINEAR_CROSS_ENTROPY_DISPATCH_H_

#include "linear_cross_entropy/linear_cross_entropy.h"

namespace kerasllm {

struct LinearCrossEntropyKernels {
  void (*forward_float32)(const LinearCrossEntropyForward<float>&, Parallel&);
  void (*forward_bfloat16)(const LinearCrossEntropyForward<bfloat16>&, Parallel&);
  void (*backward_float32)(const LinearCrossEntropyBackward<float>&, Parallel&);
  void (*backward_bfloat16)(const LinearCrossEntropyBackward<bfloat16>&, Parallel&);
};

}  // namespace kerasllm

#endif  // KERASLLM_LINEAR_CROSS_ENTROPY_LINEAR_CROSS_ENTROPY_DISPATCH_H_
