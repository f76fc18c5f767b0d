#include "feed_forward/feed_forward.h"

#include "common/isa.h"
#include "feed_forward/feed_forward_dispatch.h"

namespace kerasllm {

KERASLLM_DISPATCH(FeedForwardKernels, feed_forward_kernels)

void feed_forward_forward(const FeedForwardForward<float>& args, Parallel& parallel) {
  feed_forward_kernels().forward_float32(args, parallel);
}
void feed_forward_forward(const FeedForwardForward<bfloat16>& args, Parallel& parallel) {
  feed_forward_kernels().forward_bfloat16(args, parallel);
}
void feed_forward_backward(const FeedForwardBackward<float>& args, Parallel& parallel) {
  feed_forward_kernels().backward_float32(args, parallel);
}
void feed_forward_backward(const FeedForwardBackward<bfloat16>& args, Parallel& parallel) {
  feed_forward_kernels().backward_bfloat16(args, parallel);
}

}  // namespace kerasllm
