// The table through which layer_norm.cc reaches the compute code of the instruction set in use.
#ifndef KERASLLM_LAYER_NORM_LAYER_NORM_DISPATCH_H_
#define KERASLLM_LAYER_NORM_LAYER_NORM_DISPATCH_H_

#include "layer_norm/layer_norm.h"

namespace kerasllm {

struct LayerNormKernels {
  void (*forward_float32)(const LayerNormForward<float>&, Parallel&);
  void (*forward_bfloat16)(const LayerNormForward<kerasllm::bfloat16>&, Parallel&);
  void (*backward_float32)(const LayerNormBackward<float>&, Parallel&);
  void (*backward_bfloat16)(const LayerNormBackward<kerasllm::bfloat16>&, Parallel&);
};

}  // namespace kerasllm

#endif  // KERASLLM_LAYER_NORM_LAYER_NORM_DISPATCH_H_
