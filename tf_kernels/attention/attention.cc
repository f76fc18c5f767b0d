#include "attention/attention.h"

#include "attention/attention_dispatch.h"
#include "common/isa.h"

namespace kerasllm {

KERASLLM_DISPATCH(AttentionForwardKernels, attention_forward_kernels)
KERASLLM_DISPATCH(AttentionBackwardKernels, attention_backward_kernels)

void attention_forward(const AttentionForward<float>& args, Parallel& parallel) {
  attention_forward_kernels().float32(args, parallel);
}
void attention_forward(const AttentionForward<bfloat16>& args, Parallel& parallel) {
  attention_forward_kernels().bfloat16(args, parallel);
}
void attention_backward(const AttentionBackward<float>& args, Parallel& parallel) {
  attention_backward_kernels().float32(args, parallel);
}
void attention_backward(const AttentionBackward<bfloat16>& args, Parallel& parallel) {
  attention_backward_kernels().bfloat16(args, parallel);
}

}  // namespace kerasllm
