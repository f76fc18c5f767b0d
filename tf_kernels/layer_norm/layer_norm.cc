#include "layer_norm/layer_norm.h"

#include "common/isa.h"
#include "layer_norm/layer_norm_dispatch.h"

namespace kerasllm {

KERASLLM_DISPATCH(LayerNormKernels, layer_norm_kernels)

void layer_norm_forward(const LayerNormForward<float>& args, Parallel& parallel) {
  layer_norm_kernels().forward_float32(args, parallel);
}
void layer_norm_forward(const LayerNormForward<bfloat16>& args, Parallel& parallel) {
  layer_norm_kernels().forward_bfloat16(args, parallel);
}
void layer_norm_backward(const LayerNormBackward<float>& args, Parallel& parallel) {
  layer_norm_kernels().backward_float32(args, parallel);
}
void layer_norm_backward(const LayerNormBackward<bfloat16>& args, Parallel& parallel) {
  layer_norm_kernels().backward_bfloat16(args, parallel);
}

}  // namespace kerasllm
