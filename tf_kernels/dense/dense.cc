#include "dense/dense.h"

#include "common/isa.h"
#include "dense/dense_dispatch.h"

namespace kerasllm {

KERASLLM_DISPATCH(DenseKernels, dense_kernels)

void dense_forward(const DenseForward<float>& args, Parallel& parallel) {
  dense_kernels().forward_float32(args, parallel);
}
void dense_forward(const DenseForward<bfloat16>& args, Parallel& parallel) {
  dense_kernels().forward_bfloat16(args, parallel);
}
void dense_backward(const DenseBackward<float>& args, Parallel& parallel) {
  dense_kernels().backward_float32(args, parallel);
}
void dense_backward(const DenseBackward<bfloat16>& args, Parallel& parallel) {
  dense_kernels().backward_bfloat16(args, parallel);
}

}  // namespace kerasllm
