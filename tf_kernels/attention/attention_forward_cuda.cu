// Attention forward on the GPU (Dao, FlashAttention-2: Faster Attention with Better Parallelism and
// Work Partitioning, 2023). A block takes some rows of queries, a warp 16 or 32 of them; keys and
// values pass by in tiles, the next keys while the values are multiplied and the values while the
// keys are. Tiles that no query of the block sees are left out, and only those that not every query
// sees are masked.
#include "attention/attention_cuda.h"
#include "attention/attention_cuda_rules.h"
#include "attention/attention_cuda_softmax.h"
#include "attention/attention_cuda_tiles.h"

namespace kerasllm {
namespace {

// `kTuring`: for sm_75, where half precision has no mma.sync of depth 16, and none for bfloat16.
// What stands in for them takes registers: tiles of heads of 128 have half as many keys there.
template <class T, int kDim, bool kTuring>
struct ForwardSizes {
  static constexpr bool kHalf = sizeof(T) == 2;
  static constexpr bool kHasTuring = kHalf && kDim == 128;
  static constexpr int kBlocks = kHalf && kDim <= 128 ? 2 : 1;  // of 16 rows of queries, a warp
  static constexpr bool kWide = kDim > (kHalf && !kTuring ? 128 : 64);
  static constexpr int kPanels = (kHalf ? 8 : 4) / (kWide ? 2 : 1);  // of 8 keys, a tile
  static constexpr int kKeys = 8 * kPanels;
  static constexpr int kWarps = kHalf || kDim != 128 ? 4 : 8;  // with 4, registers spill

  static int rows(int warps) { return warps * 16 * kBlocks; }
  static int64_t shared_bytes(int warps, bool drops) {
    const int64_t kept = drops ? rows(warps) * kPanels : 0;
    return Tile<T, kDim>::bytes(rows(warps) + 2 * kKeys) + kept;
  }
};

// Blocks of sm_75 have 64 KB of shared memory, those of all later GPUs more.
constexpr int64_t kTuringShared = 64 * 1024;

// Whether a kernel that has a `kTuring` is compiled for the GPU at hand: else it is empty.
template <bool kTuring>
constexpr __host__ __device__ bool compiled_here() {
#ifdef __CUDA_ARCH__
  return kTuring == (__CUDA_ARCH__ < 800);
#else
  return true;
#endif
}

template <class T, int kDim, bool kTuring>
__global__ void __launch_bounds__(ForwardSizes<T, kDim, kTuring>::kWarps* kWarp, 1)
    attention_forward_kernel(AttentionForward<T> args, const Padding* padding, bool aligned,
                             bool pairs) {
  using Sizes = ForwardSizes<T, kDim, kTuring>;
  if constexpr (Sizes::kHasTuring && !compiled_here<kTuring>()) return;
  constexpr int kBlocks = Sizes::kBlocks, kPanels = Sizes::kPanels, kKeys = Sizes::kKeys;
  KERASLLM_DYNAMIC_SHARED(shared);
  const AttentionShape& shape = args.shape;
  const int warp = threadIdx.x / kWarp, rows = blockDim.x / kWarp * 16 * kBlocks;
  const int g = threadIdx.x % kWarp / 4, t = threadIdx.x % 4;
  const Tile<T, kDim> queries = {reinterpret_cast<T*>(shared)};
  const Tile<T, kDim> keys = {queries.data + rows * kDim};
  const Tile<T, kDim> values = {keys.data + kKeys * kDim};
  uint8_t* const kept =
      reinterpret_cast<uint8_t*>(values.data + kKeys * kDim) + warp * 16 * kBlocks * kPanels;

  // The last queries first: where attention is causal they have the most to do.
  const unsigned row_tiles = static_cast<unsigned>(cuda_ceil_div(shape.query_length, rows));
  const int first = static_cast<int>(row_tiles - 1 - blockIdx.x % row_tiles) * rows;
  const unsigned heads = static_cast<unsigned>(shape.num_heads);
  const int head_index = static_cast<int>(blockIdx.x / row_tiles % heads);
  const int batch = static_cast<int>(blockIdx.x / row_tiles / heads);
  const Head<T> head(shape, args.options, batch, head_index, padding);
  const int real = min_of(rows, head.query_length - first);
  const int dim = static_cast<int>(shape.head_dim), value_dim = static_cast<int>(shape.value_dim);
  // Places are made from few numbers where they are needed: registers are scarce.
  const auto first_row = [&] {
    return (made_anew(batch) * shape.query_length + made_anew(first)) * shape.num_heads +
           made_anew(head_index);
  };
  const auto key_row = [&](int key) {
    const int group = static_cast<int>(shape.num_heads / shape.num_key_value_heads);
    return (made_anew(batch) * shape.key_length + key) * shape.num_key_value_heads +
           made_anew(head_index) / group;
  };
  const auto load_keys = [&](int key, int end) {
    keys.load(args.key + key_row(key) * dim, shape.num_key_value_heads * dim, kKeys, end - key, dim,
              aligned);
  };
  const Range seen = head.keys(first, first + real - 1);
  const int begin = seen.begin / kKeys * kKeys;
  const int row = warp * 16 * kBlocks;  // of the warp's, in the block
  const bool drops = args.options.dropout.threshold != 0;

  float sums[kBlocks][kDim / 8][4] = {};
  OnlineSoftmax<T, kBlocks> softmax;

  if (begin < seen.end) {
    queries.load(args.query + first_row() * dim, shape.num_heads * dim, rows, real, dim, aligned);
    load_keys(begin, seen.end);
    commit_copies();
  }
  for (int key = begin; key < seen.end; key += kKeys) {
    wait_for_copies<0>();
    __syncthreads();  // the keys are there, and the values before have been read
    values.load(args.value + key_row(key) * value_dim, shape.num_key_value_heads * value_dim, kKeys,
                seen.end - key, value_dim, aligned);
    commit_copies();
    if (drops) draw_kept<16 * kBlocks, kPanels>(head, first + row, key, kept);
    float scores[kBlocks][kPanels][4] = {};
    multiply_rows(queries, row, keys, dim, scores);
    const bool hides = !head.all_see(first, first + rows - 1, key, key + kKeys - 1);
    float (*const no_gradients)[kPanels][4] = nullptr;
    head.template finish<false>(first + row, key, hides, scores, no_gradients);
    wait_for_copies<0>();
    __syncthreads();  // the values are there, and the keys have been read
    if (key + kKeys < seen.end) {
      load_keys(key + kKeys, seen.end);
      commit_copies();
    }
    softmax.pass(scores, head.multiplier, sums);
    if (drops) {  // their scale comes at the end
      const int place = made_anew(g * kPanels);
#pragma unroll
      for (int i = 0; i < kBlocks; ++i) {
#pragma unroll
        for (int j = 0; j < kPanels; ++j) {
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            const uint32_t byte = kept[place + (i * 16 + e / 2 * 8) * kPanels + j];
            if ((byte >> (2 * t + e % 2) & 1u) == 0) scores[i][j][e] = 0.0f;
          }
        }
      }
    }
    multiply_columns(scores, values, 0, value_dim, sums);
  }

  softmax.finish();
  float factors[kBlocks][2];
#pragma unroll
  for (int i = 0; i < kBlocks; ++i) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float sum = softmax.total[i][half];
      const int r = row + i * 16 + half * 8 + g;
      bool any = sum != 0.0f;
      if (r < real && args.options.query_mask != nullptr) {
        any = any && args.options.query_mask[batch * shape.query_length + first + r];
      }
      factors[i][half] = any ? (drops ? args.options.dropout.scale : 1.0f) / sum : 0.0f;
      if (t == 0 && r < real) {
        args.log_sum_exp[(batch * shape.num_heads + head_index) * shape.query_length + first + r] =
            any ? softmax.top[i][half] * head.multiplier / kUnit<T> + logf(sum) : -infinity();
      }
    }
  }
  store_rows(sums, factors, args.outputs + first_row() * value_dim, shape.num_heads * value_dim,
             row, real, 0, value_dim, pairs);
}

template <class T, int kDim, bool kTuring = false>
int forward_of(const AttentionForward<T>& args, const Padding* padding, void* stream) {
  using Sizes = ForwardSizes<T, kDim, kTuring>;
  const int64_t limit = shared_memory_limit();
  if constexpr (Sizes::kHasTuring && !kTuring) {
    if (limit <= kTuringShared) return forward_of<T, kDim, true>(args, padding, stream);
  }
  const AttentionShape& shape = args.shape;
  constexpr int kChunk = Tile<T, kDim>::kChunk;
  const bool drops = args.options.dropout.threshold != 0;
  int warps = Sizes::kWarps;
  while (warps > 1 && Sizes::shared_bytes(warps, drops) > limit) warps /= 2;
  const int64_t bytes = Sizes::shared_bytes(warps, drops);
  const int64_t blocks = cuda_ceil_div(shape.query_length, Sizes::rows(warps)) * shape.num_heads;
  if (bytes > limit || blocks > kMostBlocks / shape.batch) return kCudaNotSupported;
  const bool aligned = shape.head_dim % kChunk == 0 && shape.value_dim % kChunk == 0 &&
                       aligned_to_16(args.query, args.key, args.value);
  const bool pairs = shape.value_dim % 2 == 0 && aligned_to_16(args.outputs);
  return launch(&attention_forward_kernel<T, kDim, kTuring>,
                dim3(static_cast<unsigned>(blocks * shape.batch)),
                dim3(static_cast<unsigned>(warps * kWarp)), static_cast<size_t>(bytes), stream,
                args, padding, aligned, pairs);
}

template <class T>
int forward(const AttentionForward<T>& args, void* scratch, void* stream) {
  const AttentionShape& shape = args.shape;
  if (!serves(shape)) return kCudaNotSupported;
  if (shape.batch == 0 || shape.query_length == 0 || shape.num_heads == 0) return 0;
  const Padding* padding;
  KERASLLM_RETURN_IF_ERROR(look_at_padding(shape, args.options, scratch, &padding, stream));
  const int64_t dim = cuda_max(shape.head_dim, shape.value_dim);
  if (dim <= 64) return forward_of<T, 64>(args, padding, stream);
  if (dim <= 128) return forward_of<T, 128>(args, padding, stream);
  return forward_of<T, 256>(args, padding, stream);
}

}  // namespace
}  // namespace kerasllm

int64_t kerasllm_cuda_attention_forward_scratch(int, const void* args) {
  // What it reads lies in the same places for every element type.
  const auto& sizes = *static_cast<const kerasllm::AttentionForward<float>*>(args);
  return kerasllm::padding_bytes(sizes.shape, sizes.options);
}
int kerasllm_cuda_attention_forward(int type, const void* args, void* scratch, void* stream) {
  return kerasllm::for_type(static_cast<kerasllm::CudaType>(type), [&](auto t) {
    return kerasllm::forward(*static_cast<const kerasllm::AttentionForward<decltype(t)>*>(args),
                             scratch, stream);
  });
}

KERASLLM_CUDA_STRUCT(AttentionForward, kerasllm::AttentionForward<float>)
KERASLLM_CUDA_STRUCT(AttentionBackward, kerasllm::AttentionBackward<float>)
