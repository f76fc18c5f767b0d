#include "lstm/lstm.h"

#include "common/isa.h"
#include "lstm/lstm_dispatch.h"

namespace kerasllm {

KERASLLM_DISPATCH(LstmForwardKernels, lstm_forward_kernels)
KERASLLM_DISPATCH(LstmBackwardKernels, lstm_backward_kernels)

void lstm_forward(const LstmForward<float>& args, Parallel& parallel) {
  lstm_forward_kernels().float32(args, parallel);
}
void lstm_forward(const LstmForward<bfloat16>& args, Parallel& parallel) {
  lstm_forward_kernels().bfloat16(args, parallel);
}
void lstm_backward(const LstmBackward<float>& args, Parallel& parallel) {
  lstm_backward_kernels().float32(args, parallel);
}
void lstm_backward(const LstmBackward<bfloat16>& args, Parallel& parallel) {
  lstm_backward_kernels().bfloat16(args, parallel);
}

}  // namespace kerasllm
