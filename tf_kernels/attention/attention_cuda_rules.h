// Which keys a query sees on the GPU, and what its products with them become before the softmax.
#ifndef KERASLLM_ATTENTION_ATTENTION_CUDA_RULES_H_
#define KERASLLM_ATTENTION_ATTENTION_CUDA_RULES_H_

#include "attention/attention.h"
#include "attention/attention_cuda_softmax.h"
#include "common/cuda.h"

namespace kerasllm {
namespace {

constexpr int kMostLength = 1 << 29;  // sums of three places fit in an int
constexpr int64_t kMostBlocks = 0x7fffffff;

// Right to 2e-7, which is much where v is small, but little beside the products of half precision.
KERASLLM_DEVICE float fast_tanh(float v) {
  return 1.0f - 2.0f / (1.0f + fast_exp2(2.0f * kLog2E * v));
}

KERASLLM_DEVICE int min_of(int a, int b) { return a < b ? a : b; }
KERASLLM_DEVICE int max_of(int a, int b) { return a > b ? a : b; }

struct Range {
  int begin, end;
};

// Whether scores need more than a factor: else they stay products until the exponential, which
// multiplies them by the scale along the way.
static inline __host__ __device__ bool finishes_scores(const AttentionOptions& options) {
  return options.mask_type != MaskType::kNone || options.soft_cap > 0.0f || !(options.scale > 0.0f);
}

// One head of one batch element, of products of T.
template <class T>
struct Head {
  const AttentionOptions& options;
  int query_length, key_length;
  int end;     // of the keys
  int offset;  // of the first query among the keys
  int window;
  bool finishes;
  float multiplier;  // from what score() gives to kUnit<T>
  int batch, head, num_heads;

  KERASLLM_DEVICE Head(const AttentionShape& shape, const AttentionOptions& o, int64_t b,
                       int64_t index)
      : options(o),
        query_length(static_cast<int>(shape.query_length)),
        key_length(static_cast<int>(shape.key_length)),
        end(key_length),
        offset(0),
        window(static_cast<int>(cuda_min(o.window, kMostLength))),
        finishes(finishes_scores(o)),
        multiplier(finishes ? 1.0f : o.scale * kUnit<T>),
        batch(static_cast<int>(b)),
        head(static_cast<int>(index)),
        num_heads(static_cast<int>(shape.num_heads)) {
    if (o.lengths != nullptr) {
      end = static_cast<int>(cuda_min(cuda_max(o.lengths[batch], 0), key_length));
    }
    if (o.query_offset != nullptr) {
      offset = static_cast<int>(cuda_min(cuda_max(o.query_offset[batch], 0), kMostLength));
    }
  }

  // The keys that any of the queries [first, last] may see.
  KERASLLM_DEVICE Range keys(int first, int last) const {
    Range range = {0, end};
    if (options.causal) range.end = min_of(range.end, last + offset + 1);
    if (window > 0) {
      range.begin = max_of(0, first + offset - window + 1);
      range.end = min_of(range.end, last + offset + window);
    }
    return range;
  }
  // The queries that may see any of the keys [first, last].
  KERASLLM_DEVICE Range queries(int first, int last) const {
    Range range = {0, first < end ? query_length : 0};
    if (options.causal) range.begin = max_of(0, first - offset);
    if (window > 0) {
      range.begin = max_of(range.begin, first - offset - window + 1);
      range.end = min_of(range.end, last - offset + window);
    }
    return range;
  }
  KERASLLM_DEVICE bool sees(int query, int key) const {
    const int distance = query + offset - key;
    return query < query_length && key < end && (!options.causal || distance >= 0) &&
           (window == 0 || (distance < window && -distance < window));
  }
  // Whether all queries of [query, last_query] see all keys of [key, last_key], but for the mask.
  KERASLLM_DEVICE bool all_see(int query, int last_query, int key, int last_key) const {
    return sees(query, last_key) && sees(last_query, key);
  }

  // The score of a product: minus infinity where it is not seen. Where `finishes`, in kUnit<T>
  // and with the derivative by the scaled product as `slope`, else the product itself.
  // Without `kMasks` there is no mask.
  template <bool kMasks>
  KERASLLM_DEVICE float score(float product, int query, int key, float* slope) const {
    const bool seen = sees(query, key);
    if (!finishes) return seen ? product : -infinity();
    float x = product * options.scale;
    if (options.soft_cap > 0.0f) {
      const float t =
          sizeof(T) == 4 ? tanhf(x / options.soft_cap) : fast_tanh(x / options.soft_cap);
      *slope = 1.0f - t * t;
      x = t * options.soft_cap;
    }
    if (!seen) return -infinity();
    if (kMasks && options.mask_type != MaskType::kNone) {
      const float added = mask_value(query, key);
      x = added == -infinity() ? added : x + added;
    }
    return x * kUnit<T>;
  }
  // What is added to a score, minus infinity where a mask of bools hides it.
  KERASLLM_DEVICE float mask_value(int query, int key) const {
    const int64_t place = batch * options.mask_batch_stride + head * options.mask_head_stride +
                          query * options.mask_query_stride + key;
    if (options.mask_type == MaskType::kFloat32) {
      return static_cast<const float*>(options.mask)[place];
    }
    if (options.mask_type == MaskType::kBool) {
      return static_cast<const bool*>(options.mask)[place] ? 0.0f : -infinity();
    }
    const uint32_t bits = static_cast<const uint16_t*>(options.mask)[place];
    return options.mask_type == MaskType::kBfloat16 ? Element<bfloat16>::decode(bits)
                                                    : Element<float16>::decode(bits);
  }
};

// Dropout of a block of probabilities, kQueries x 8 kKeyBlocks of them from (query, key) on, as a
// byte for every 8 keys of a query, whose bit b says that key b stays. Written by one warp, for
// itself.
template <int kQueries, int kKeyBlocks, class T>
KERASLLM_DEVICE void draw_kept(const Head<T>& head, int query, int key, uint8_t* kept) {
  const Dropout& dropout = head.options.dropout;
  const uint32_t seed[2] = {static_cast<uint32_t>(dropout.device_seed[0]),
                            static_cast<uint32_t>(dropout.device_seed[1])};
  __syncwarp();  // the bytes before these have been read
#pragma unroll 1
  for (int i = threadIdx.x % kWarp; i < kQueries * kKeyBlocks; i += kWarp) {
    const int64_t row =
        (static_cast<int64_t>(head.batch) * head.num_heads + head.head) * head.query_length +
        query + i / kKeyBlocks;
    const RandomWords random =
        random_words(seed[0], seed[1], static_cast<uint64_t>(row), key + i % kKeyBlocks * 8);
    uint32_t byte = 0;
#pragma unroll
    for (int b = 0; b < 8; ++b) {
      const uint32_t bits = (random.word[b / 2] >> (b % 2 * 16)) & 0xffffu;
      byte |= static_cast<uint32_t>(bits >= dropout.threshold) << b;
    }
    kept[i] = static_cast<uint8_t>(byte);
  }
  __syncwarp();
}

// What launchers check of the sizes.
static inline bool serves(const AttentionShape& shape) {
  return shape.head_dim <= kMaxHeadDim && shape.value_dim <= kMaxHeadDim &&
         shape.query_length <= kMostLength && shape.key_length <= kMostLength;
}

}  // namespace
}  // namespace kerasllm

#endif  // KERASLLM_ATTENTION_ATTENTION_CUDA_RULES_H_
