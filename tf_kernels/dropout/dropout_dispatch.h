// The table through which dropout.cc reaches the compute code of the instruction set in use.
#ifndef KERASLLM_DROPOUT_DROPOUT_DISPATCH_H_
#define KERASLLM_DROPOUT_DROPOUT_DISPATCH_H_

#include "dropout/dropout.h"

namespace kerasllm {

struct DropoutKernels {
  void (*float32)(const DropoutArgs<float>&, Parallel&);
  void (*bfloat16)(const DropoutArgs<kerasllm::bfloat16>&, Parallel&);
};

}  // namespace kerasllm

#endif  // KERASLLM_DROPOUT_DROPOUT_DISPATCH_H_
