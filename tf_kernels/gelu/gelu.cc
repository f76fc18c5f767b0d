#include "gelu/gelu.h"

#include "common/isa.h"
#include "gelu/gelu_dispatch.h"

namespace kerasllm {

KERASLLM_DISPATCH(GeluKernels, gelu_kernels)

void gelu_forward(const GeluForward<float>& args, Parallel& parallel) {
  gelu_kernels().forward_float32(args, parallel);
}
void gelu_forward(const GeluForward<bfloat16>& args, Parallel& parallel) {
  gelu_kernels().forward_bfloat16(args, parallel);
}
void gelu_backward(const GeluBackward<float>& args, Parallel& parallel) {
  gelu_kernels().backward_float32(args, parallel);
}
void gelu_backward(const GeluBackward<bfloat16>& args, Parallel& parallel) {
  gelu_kernels().backward_bfloat16(args, parallel);
}

}  // namespace kerasllm
