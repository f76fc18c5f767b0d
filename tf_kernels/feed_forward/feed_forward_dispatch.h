// The table through which feed_forward.cc reaches the compute code of the instruction set in use.
#ifndef KERASLLM_FEED_FORWARD_FEED_FORWARD_DISPATCH_H_
#define KERASLLM_FEED_FORWARD_FEED_FORWARD_DISPATCH_H_

#include "feed_forward/feed_forward.h"

namespace kerasllm {

struct FeedForwardKernels {
  void (*forward_float32)(const FeedForwardForward<float>&, Parallel&);
  void (*forward_bfloat16)(const FeedForwardForward<kerasllm::bfloat16>&, Parallel&);
  void (*backward_float32)(const FeedForwardBackward<float>&, Parallel&);
  void (*backward_bfloat16)(const FeedForwardBackward<kerasllm::bfloat16>&, Parallel&);
};

}  // namespace kerasllm

#endif  // KERASLLM_FEED_FORWARD_FEED_FORWARD_DISPATCH_H_
