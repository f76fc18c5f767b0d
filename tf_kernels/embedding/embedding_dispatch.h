// The table through which embedding.cc reaches the compute code of the instruction set in use.
#ifndef KERASLLM_EMBEDDING_EMBEDDING_DISPATCH_H_
#define KERASLLM_EMBEDDING_EMBEDDING_DISPATCH_H_

#include "embedding/embedding.h"

namespace kerasllm {

// Named by the types of tables and outputs.
template <template <class, class> class Args>
struct EmbeddingKernels {
  void (*float32_float32)(const Args<float, float>&, Parallel&);
  void (*float32_bfloat16)(const Args<float, bfloat16>&, Parallel&);
  void (*bfloat16_float32)(const Args<bfloat16, float>&, Parallel&);
  void (*bfloat16_bfloat16)(const Args<bfloat16, bfloat16>&, Parallel&);
};
using EmbeddingForwardKernels = EmbeddingKernels<EmbeddingForward>;
using EmbeddingBackwardKernels = EmbeddingKernels<EmbeddingBackward>;

}  // namespace kerasllm

#endif  // KERASLLM_EMBEDDING_EMBEDDING_DISPATCH_H_
