#include "cached_attention/cached_attention.h"

#include <cstring>

#include "cached_attention/cached_attention_dispatch.h"
#include "common/isa.h"

namespace kerasllm {

KERASLLM_DISPATCH(CachedAttentionKernels, cached_attention_kernels)

void cached_attention(const CachedAttention<float>& args, Parallel& parallel) {
  cached_attention_kernels().float32(args, parallel);
}
void cached_attention(const CachedAttention<bfloat16>& args, Parallel& parallel) {
  cached_attention_kernels().bfloat16(args, parallel);
}

namespace {

template <class T>
void update(const CacheUpdate<T>& args) {
  const CachedAttentionShape& s = args.shape;
  const T* from = args.rows;
  for (int64_t b = 0; b < s.batch; ++b) {
    for (int64_t i = 0; i < s.query_length; ++i) {
      for (int64_t h = 0; h < s.num_key_value_heads; ++h, from += s.head_dim) {
        T* const to =
            args.cache +
            ((b * s.num_key_value_heads + h) * s.max_length + args.start + i) * s.head_dim;
        std::memcpy(static_cast<void*>(to), from, s.head_dim * sizeof(T));
      }
    }
  }
}

}  // namespace

void update_cache(const CacheUpdate<float>& args) { update(args); }
void update_cache(const CacheUpdate<bfloat16>& args) { update(args); }

}  // namespace kerasllm
