// The GPU's kernels of embedding.h, with pointers into the device's memory and
// EmbeddingLookup::device_start set.
//
// The host cannot look at ids there without waiting for the device, so the kernels do: the output
// of a token whose id, segment or position has no row is NaN, and an id without a row takes part in
// no gradient.
#ifndef KERASLLM_EMBEDDING_EMBEDDING_CUDA_H_
#define KERASLLM_EMBEDDING_EMBEDDING_CUDA_H_

#include "common/cuda_call.h"
#include "embedding/embedding.h"

namespace kerasllm {

// Tables of type T and outputs of type U; in half precision both are of the same or one is float32.
inline constexpr int embedding_cuda_type(CudaType table, CudaType output) {
  return table * 4 + output;
}

}  // namespace kerasllm

// `type` is an embedding_cuda_type. `deterministic`: the same bits in every run, else the tokens'
// gradient, if the table is float32, is summed by atomic additions in any order.
KERASLLM_CUDA_EXPORT int kerasllm_cuda_embedding_forward(int type, const void* args, void* scratch,
                                                         void* stream);
KERASLLM_CUDA_EXPORT int kerasllm_cuda_embedding_backward(int type, const void* args,
                                                          int deterministic, void* scratch,
                                                          void* stream);
KERASLLM_CUDA_EXPORT int64_t kerasllm_cuda_embedding_backward_scratch(int type, const void* args,
                                                                      int deterministic);

#endif  // KERASLLM_EMBEDDING_EMBEDDING_CUDA_H_
