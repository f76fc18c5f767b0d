#include "embedding/embedding.h"

#include "common/isa.h"
#include "embedding/embedding_dispatch.h"

namespace kerasllm {
namespace {

// The first index at which `ids` lies outside [0, size); -1 where none does.
int64_t first_out_of_range(const int32_t* ids, int64_t count, int64_t size) {
  for (int64_t i = 0; i < count; ++i) {
    if (ids[i] < 0 || ids[i] >= size) return i;
  }
  return -1;
}

std::string id_error(const EmbeddingLookup& lookup, const char* what, const int32_t* ids,
                     const char* table, int64_t size) {
  const int64_t index = first_out_of_range(ids, lookup.batch * lookup.time, size);
  if (index < 0) return "";
  return std::string(what) + "_ids[" + std::to_string(index / lookup.time) + ", " +
         std::to_string(index % lookup.time) + "] is " + std::to_string(ids[index]) +
         ", expected at least 0 and below " + std::to_string(size) + ", the rows of " + table;
}

}  // namespace

std::string embedding_error(const EmbeddingLookup& lookup, bool positions) {
  if (lookup.start < 0) {
    return "start is " + std::to_string(lookup.start) + ", expected at least 0";
  }
  if (positions && lookup.start + lookup.time > lookup.max_length) {
    return "positions " + std::to_string(lookup.start) + " to " +
           std::to_string(lookup.start + lookup.time - 1) + " are asked for, but " +
           "position_embeddings has " + std::to_string(lookup.max_length) + " rows";
  }
  const std::string error =
      id_error(lookup, "token", lookup.token_ids, "token_embeddings", lookup.vocabulary);
  if (!error.empty() || lookup.segment_ids == nullptr) return error;
  return id_error(lookup, "segment", lookup.segment_ids, "segment_embeddings", lookup.num_segments);
}

KERASLLM_DISPATCH(EmbeddingForwardKernels, embedding_forward_kernels)
KERASLLM_DISPATCH(EmbeddingBackwardKernels, embedding_backward_kernels)

#define KERASLLM_EMBEDDING(T, U, name)                                               \
  template <>                                                                        \
  void embedding_forward(const EmbeddingForward<T, U>& args, Parallel& parallel) {   \
    embedding_forward_kernels().name(args, parallel);                                \
  }                                                                                  \
  template <>                                                                        \
  void embedding_backward(const EmbeddingBackward<T, U>& args, Parallel& parallel) { \
    embedding_backward_kernels().name(args, parallel);                               \
  }

KERASLLM_EMBEDDING(float, float, float32_float32)
KERASLLM_EMBEDDING(float, bfloat16, float32_bfloat16)
KERASLLM_EMBEDDING(bfloat16, float, bfloat16_float32)
KERASLLM_EMBEDDING(bfloat16, bfloat16, bfloat16_bfloat16)

}  // namespace kerasllm
