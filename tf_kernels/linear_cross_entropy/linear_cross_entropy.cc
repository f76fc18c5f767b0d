#include "linear_cross_entropy/linear_cross_entropy.h"

#include "common/isa.h"
#include "linear_cross_entropy/linear_cross_entropy_dispatch.h"

namespace kerasllm {

KERASLLM_DISPATCH(LinearCrossEntropyKernels, linear_cross_entropy_kernels)

std::string wrong_label(const int32_t* labels, int64_t rows, int64_t vocabulary,
                        int64_t ignore_index) {
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t label = labels[row];
    if (label != ignore_index && (label < 0 || label >= vocabulary)) {
      return "the label of row " + std::to_string(row) + " is " + std::to_string(label) +
             ", expected at least 0 and below the vocabulary's " + std::to_string(vocabulary) +
             ", or ignore_index " + std::to_string(ignore_index);
    }
  }
  return "";
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
