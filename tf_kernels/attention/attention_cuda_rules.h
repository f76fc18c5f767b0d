// Which keys a query sees on the GPU, and what its products with them become before the softmax.
#ifndef KERASLLM_ATTENTION_ATTENTION_CUDA_RULES_H_
#define KERASLLM_ATTENTION_ATTENTION_CUDA_RULES_H_

#include "attention/attention.h"
#include "attention/attention_cuda_softmax.h"
#include "common/cuda.h"
#include "common/cuda_random.h"

namespace kerasllm {
namespace {

constexpr int kMostLength = 1 << 29;  // sums of three places fit in an int
constexpr int64_t kMostBlocks = 0x7fffffff;

// made_anew() where the compiler spills registers without it; on later GPUs it does so with it.
KERASLLM_DEVICE int made_anew_below_sm_86(int v) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 860
  return made_anew(v);
#else
  return v;
#endif
}

// Right to 2e-7, which is much where v is small, but little beside the products of half precision.
KERASLLM_DEVICE float fast_tanh(float v) {
  return 1.0f - 2.0f / (1.0f + fast_exp2(2.0f * kLog2E * v));
}

KERASLLM_DEVICE int min_of(int a, int b) { return a < b ? a : b; }
KERASLLM_DEVICE int max_of(int a, int b) { return a > b ? a : b; }

struct Range {
  int begin, end;
};

// A mask of one row of bools for all heads and queries of a batch element is mostly padding: where
// its keys end, and whether any before is hidden too.
struct Padding {
  int32_t end, holes;
};

// One head of one batch element, of products of T.
template <class T>
struct Head {
  const AttentionOptions& options;
  int query_length, key_length;
  int end;     // of the keys
  int offset;  // of the first query among the keys
  int window;
  bool masked;
  bool finishes;     // whether scores need more than a factor: else they stay products until the
                     // exponential, which multiplies them by the scale along the way
  float multiplier;  // from what finish() leaves to kUnit<T>
  int batch, head, num_heads;

  // `padding`: of each batch element, as look_at_padding_kernel leaves it, or null.
  KERASLLM_DEVICE Head(const AttentionShape& shape, const AttentionOptions& o, int64_t b,
                       int64_t index, const Padding* padding)
      : options(o),
        query_length(static_cast<int>(shape.query_length)),
        key_length(static_cast<int>(shape.key_length)),
        end(key_length),
        offset(0),
        window(static_cast<int>(cuda_min(o.window, kMostLength))),
        masked(o.mask_type != MaskType::kNone),
        batch(static_cast<int>(b)),
        head(static_cast<int>(index)),
        num_heads(static_cast<int>(shape.num_heads)) {
    if (o.lengths != nullptr) {
      end = static_cast<int>(cuda_min(cuda_max(o.lengths[batch], 0), key_length));
    }
    if (o.query_offset != nullptr) {
      offset = static_cast<int>(cuda_min(cuda_max(o.query_offset[batch], 0), kMostLength));
    }
    if (padding != nullptr) {
      end = min_of(end, padding[batch].end);
      masked = padding[batch].holes != 0;
    }
    finishes = masked || o.soft_cap > 0.0f || !(o.scale > 0.0f);
    multiplier = finishes ? 1.0f : o.scale * kUnit<T>;
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

  // Makes the products of a block of queries with a block of keys, from (query, key) on, scores:
  // minus infinity where they are not seen, in kUnit<T> where `finishes`, else still the products.
  // `hides`: whether not all queries see all keys. `gradients` are multiplied by the derivative by
  // the scaled product, where there is a cap. The rows are queries or, `kTransposed`, keys.
  //
  // One thing after the other for all elements: branches among them would make the compiler slow
  // and the registers scarce.
  template <bool kTransposed, int kBlocks, int kPanels>
  KERASLLM_DEVICE void finish(int query, int key, bool hides, float (&scores)[kBlocks][kPanels][4],
                              float (*gradients)[kPanels][4]) const {
    const int g = threadIdx.x % kWarp / 4, t = threadIdx.x % 4;
    query += made_anew(kTransposed ? 2 * t : g);
    key += made_anew(kTransposed ? g : 2 * t);
    const auto for_each = [&](const auto& body) {
#pragma unroll
      for (int i = 0; i < kBlocks; ++i) {
#pragma unroll
        for (int j = 0; j < kPanels; ++j) {
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            const int r = i * 16 + e / 2 * 8, c = j * 8 + e % 2;
            body(scores[i][j][e], query + (kTransposed ? c : r), key + (kTransposed ? r : c), i, j,
                 e);
          }
        }
      }
    };
    if (finishes) {
      if (options.soft_cap > 0.0f) {
        const float cap = options.soft_cap, factor = options.scale / cap;
        for_each([&](float& x, int, int, int i, int j, int e) {
          const float v = sizeof(T) == 4 ? tanhf(x * factor) : fast_tanh(x * factor);
          if (gradients != nullptr) gradients[i][j][e] *= 1.0f - v * v;
          x = v * (cap * kUnit<T>);
        });
      } else {
        for_each([&](float& x, int, int, int, int, int) { x *= options.scale * kUnit<T>; });
      }
      if (masked) {
        const int64_t first = made_anew_below_sm_86(batch) * options.mask_batch_stride +
                              made_anew_below_sm_86(head) * options.mask_head_stride;
        const auto place = [&](int q, int k) { return first + q * options.mask_query_stride + k; };
        if (options.mask_type == MaskType::kBool) {
          const uint8_t* const mask = static_cast<const uint8_t*>(options.mask);
          for_each([&](float& x, int q, int k, int, int, int) {
            if (sees(q, k) && mask[place(q, k)] == 0) x = -infinity();
          });
        } else if (options.mask_type == MaskType::kFloat32) {
          const float* const mask = static_cast<const float*>(options.mask);
          for_each([&](float& x, int q, int k, int, int, int) {
            if (sees(q, k)) x += mask[place(q, k)] * kUnit<T>;
          });
        } else {
          const uint16_t* const mask = static_cast<const uint16_t*>(options.mask);
          const bool wide = options.mask_type == MaskType::kBfloat16;
          for_each([&](float& x, int q, int k, int, int, int) {
            const uint32_t bits = sees(q, k) ? mask[place(q, k)] : 0u;
            const float added =
                wide ? Element<bfloat16>::decode(bits) : Element<float16>::decode(bits);
            x += added * kUnit<T>;
          });
        }
      }
    }
    if (hides) {
      for_each([&](float& x, int q, int k, int, int, int) { x = sees(q, k) ? x : -infinity(); });
    }
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

// Whether the mask may be padding, and the bytes of scratch that looking at it takes.
static inline bool may_be_padding(const AttentionOptions& options) {
  return options.mask_type == MaskType::kBool && options.mask_head_stride == 0 &&
         options.mask_query_stride == 0;
}
static inline int64_t padding_bytes(const AttentionShape& shape, const AttentionOptions& options) {
  return may_be_padding(options) ? shape.batch * static_cast<int64_t>(sizeof(Padding)) : 0;
}

// A block a batch element.
constexpr int kPaddingThreads = 256;
static __global__ void __launch_bounds__(kPaddingThreads)
    look_at_padding_kernel(AttentionOptions options, int key_length, Padding* padding) {
  __shared__ int ends[kPaddingThreads / kWarp], counts[kPaddingThreads / kWarp];
  const uint8_t* const mask =
      static_cast<const uint8_t*>(options.mask) + blockIdx.x * options.mask_batch_stride;
  int end = 0, count = 0;
#pragma unroll 4
  for (int key = threadIdx.x; key < key_length; key += kPaddingThreads) {
    const bool shown = mask[key] != 0;
    end = shown ? key + 1 : end;
    count += shown;
  }
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    end = max_of(end, __shfl_xor_sync(kAllLanes, end, offset));
    count += __shfl_xor_sync(kAllLanes, count, offset);
  }
  if (threadIdx.x % kWarp == 0) {
    ends[threadIdx.x / kWarp] = end;
    counts[threadIdx.x / kWarp] = count;
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int warp = 1; warp < kPaddingThreads / kWarp; ++warp) {
    end = max_of(end, ends[warp]);
    count += counts[warp];
  }
  padding[blockIdx.x] = {end, count != end};
}

// Looks at the mask and sets `padding`, or leaves it null where there is nothing to look for.
static inline int look_at_padding(const AttentionShape& shape, const AttentionOptions& options,
                                  void* scratch, const Padding** padding, void* stream) {
  *padding = nullptr;
  if (!may_be_padding(options) || shape.batch > kMostBlocks) return 0;
  Padding* const to = static_cast<Padding*>(scratch);
  *padding = to;
  return launch(&look_at_padding_kernel, dim3(static_cast<unsigned>(shape.batch)),
                dim3(kPaddingThreads), 0, stream, options, static_cast<int>(shape.key_length), to);
}

}  // namespace
}  // namespace kerasllm

#endif  // KERASLLM_ATTENTION_ATTENTION_CUDA_RULES_H_
