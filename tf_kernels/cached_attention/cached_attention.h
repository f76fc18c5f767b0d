// Attention of one new position of each text over the keys and values of the earlier ones, which
// lie in a buffer of a fixed size: what decoding does at each step. Memory's bandwidth is the
// limit: keys and values pass by once for all the query heads that share them.
//
//   score[j]  = scale * (query . key[j])        for j in [first_key[batch], place] that lies in the
//   output    = sum over j of softmax(score)[j] * value[j]                                  window
//
// Head h reads key and value head h / (num_heads / num_key_value_heads) (grouped queries: Ainslie
// et al., 2023). The buffers hold head after head, so that a head's keys are read in one go.
#ifndef KERASLLM_CACHED_ATTENTION_CACHED_ATTENTION_H_
#define KERASLLM_CACHED_ATTENTION_CACHED_ATTENTION_H_

#include <cstdint>

#include "common/bfloat16.h"
#include "common/parallel.h"

namespace kerasllm {

struct CachedAttentionShape {
  int64_t batch, query_length, max_length, num_heads, num_key_value_heads, head_dim;
};

template <class T>
struct CachedAttention {
  CachedAttentionShape shape;
  float scale;
  int64_t window;            // 0: none
  int64_t start;             // the place of the first query; start + query_length <= max_length
  const int32_t* first_key;  // (batch), or null for zeros: what is before is padding
  const T* query;            // (batch, query_length, num_heads, head_dim)
  const T* key_cache;        // (batch, num_key_value_heads, max_length, head_dim)
  const T* value_cache;      // the same
  T* outputs;                // (batch, query_length, num_heads, head_dim)
};

// Puts (batch, query_length, num_key_value_heads, head_dim) new keys or values into a cache.
template <class T>
struct CacheUpdate {
  CachedAttentionShape shape;
  int64_t start;
  const T* rows;
  T* cache;
};

void cached_attention(const CachedAttention<float>& args, Parallel& parallel);
void cached_attention(const CachedAttention<bfloat16>& args, Parallel& parallel);
void update_cache(const CacheUpdate<float>& args);
void update_cache(const CacheUpdate<bfloat16>& args);

}  // namespace kerasllm

#endif  // KERASLLM_CACHED_ATTENTION_CACHED_ATTENTION_H_
