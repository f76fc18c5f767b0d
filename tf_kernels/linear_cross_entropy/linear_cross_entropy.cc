#include "linear_cross_entropy/linear_cross_entropy.h"

#include "common/isa.h"
#include "linear_cross_entropy/linear_cross_entropy_dispatch.h"

namespace kerasllm {

KERASLLM_DISPATCH(LinearCrossEntropyKernels, linear_cross_entropy_kernels)

int64_t first_wrong_label(const int32_t* labels, int64_t rows, int64_t vocabulary,
                          int64_t ignore_index) {
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t label = labels[row];
    if (label != ignore_index && (label < 0 || label >= vocabulary)) return row;
  }
  return -1;
}

void linear_cross_entropy_forward(const LinearCrossEntropyForward<float>& args,
                                  Parallel& parallel) {
  linear_cross_entropy_kernels().forward_float32(args, parallel);
}
void linear_cross_entropy_forward(const LinearCrossEntropyForward<bfloat16>& args,
                                  Parallel& parallel) {
  linear_cross_entropy_kernels().forward_bfloat16(args, parallel);
}
void linear_cross_entropy_backward(const LinearCrossEntropyBackward<float>& args,
                                   Parallel& parallel) {
  linear_cross_entropy_kernels().backward_float32(args, parallel);
}
void linear_cross_entropy_backward(const LinearCrossEntropyBackward<bfloat16>& args,
                                   Parallel& parallel) {
  linear_cross_entropy_kernels().backward_bfloat16(args, parallel);
}

}  // namespace kerasllm
