// Sums of embeddings: a token's row, its position's and its segment's, and the gradients of the
// three tables.
//
// The gradient of a table row is the sum of the output gradients of the tokens that took it, in
// their order, long sums in pieces of fixed length: the same bits for any number of threads.
#ifndef KERASLLM_EMBEDDING_EMBEDDING_H_
#define KERASLLM_EMBEDDING_EMBEDDING_H_

#include <cstdint>
#include <string>

#include "common/bfloat16.h"
#include "common/parallel.h"

namespace kerasllm {

// What forward and backward share. A null table (and null segment_ids) is one that is not there.
struct EmbeddingLookup {
  int64_t batch, time, dim;
  int64_t vocabulary, max_length, num_segments;  // rows of the tables
  int64_t start;                                 // the position of the first step
  const int32_t* token_ids;                      // (batch, time)
  const int32_t* segment_ids;                    // (batch, time) or null
  const int32_t* device_start = nullptr;         // on a GPU: where start lies, instead of `start`
};

// T: the tables' type, U: that of the outputs. Sums are float32.
template <class T, class U>
struct EmbeddingForward {
  EmbeddingLookup lookup;
  const T* token_embeddings;     // (vocabulary, dim)
  const T* position_embeddings;  // (max_length, dim) or null
  const T* segment_embeddings;   // (num_segments, dim) or null
  U* outputs;                    // (batch, time, dim)
};

template <class T, class U>
struct EmbeddingBackward {
  EmbeddingLookup lookup;
  const U* d_outputs;        // (batch, time, dim)
  T* d_token_embeddings;     // (vocabulary, dim)
  T* d_position_embeddings;  // (max_length, dim) or null
  T* d_segment_embeddings;   // (num_segments, dim) or null
};

// Empty where every id and position has a row in its table, else the sentence that names the first
// one that has none. To be asked before either of the functions below.
std::string embedding_error(const EmbeddingLookup& lookup, bool positions);

template <class T, class U>
void embedding_forward(const EmbeddingForward<T, U>& args, Parallel& parallel);
template <class T, class U>
void embedding_backward(const EmbeddingBackward<T, U>& args, Parallel& parallel);

}  // namespace kerasllm

#endif  // KERASLLM_EMBEDDING_EMBEDDING_H_
