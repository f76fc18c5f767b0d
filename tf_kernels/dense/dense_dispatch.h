// The table through which dense.cc reaches the compute code of the instruction set in use.
#ifndef KERASLLM_DENSE_DENSE_DISPATCH_H_
#define KERASLLM_DENSE_DENSE_DISPATCH_H_

#include "dense/dense.h"

namespace kerasllm {

struct DenseKernels {
  void (*forward_float32)(const DenseForward<float>&, Parallel&);
  void (*forward_bfloat16)(const DenseForward<kerasllm::bfloat16>&, Parallel&);
  void (*backward_float32)(const DenseBackward<float>&, Parallel&);
  void (*backward_bfloat16)(const DenseBackward<kerasllm::bfloat16>&, Parallel&);
};

}  // namespace kerasllm

#endif  // KERASLLM_DENSE_DENSE_DISPATCH_H_
