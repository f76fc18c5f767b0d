// Attention of the newest positions over a cache, on the GPU. All query heads of a key and value
// head stand together as the rows of a matrix of 16, so that keys and values pass by once; the keys
// are shared out over blocks, and in a block over warps, each with a softmax of its own (Dao,
// Haziza, Massa and Sizov, Flash-Decoding for Long-Context Inference, 2023). A second kernel adds
// up the blocks' parts in the order of the keys.
#include "attention/attention.h"
#include "attention/attention_cuda_softmax.h"
#include "attention/attention_cuda_tiles.h"
#include "cached_attention/cached_attention_cuda.h"

namespace kerasllm {
namespace {

constexpr int kRows = 16;            // of queries, a block
constexpr int64_t kLeastKeys = 256;  // of a block
constexpr int64_t kBlocksWanted = 528;
constexpr int64_t kMostGrid = 0x7fffffff;

template <class T, int kDim>
struct DecodeSizes {
  static constexpr int kPanels = sizeof(T) == 2 ? 2 : 1, kKeys = 8 * kPanels;  // a warp, at a time
  static constexpr int kWarps = 4;

  // The queries, and for each warp two tiles of keys and of values.
  static int64_t shared_bytes(int warps) { return Tile<T, kDim>::bytes(kRows + warps * 4 * kKeys); }
};

// How the work is shared out.
struct Split {
  int64_t group, chunks;  // query heads of a key head; blocks for its rows
  int64_t keys, splits;   // keys of a block; blocks for all keys
  int64_t heads;          // batch * num_key_value_heads * chunks

  Split(const CachedAttentionShape& shape, int64_t all_keys) {
    group = shape.num_heads / cuda_max(1, shape.num_key_value_heads);
    chunks = cuda_ceil_div(group * shape.query_length, kRows);
    heads = shape.batch * shape.num_key_value_heads * chunks;
    const int64_t wanted = cuda_ceil_div(kBlocksWanted, cuda_max(1, heads));
    keys = cuda_max(cuda_ceil_div(all_keys, wanted), kLeastKeys);
    keys = cuda_ceil_div(keys, 64) * 64;
    splits = cuda_max(1, cuda_ceil_div(all_keys, keys));
  }
  int64_t blocks() const { return heads * splits; }
  // A block leaves the sums of its rows, their largest scores and their totals.
  static __host__ __device__ int64_t part_floats(int64_t dim) { return kRows * (dim + 2); }
};

template <class T>
Split split_of(const CachedAttention<T>& args, const int32_t* device_start) {
  const int64_t all =
      device_start != nullptr ? args.shape.max_length : args.start + args.shape.query_length;
  return Split(args.shape, all);
}

KERASLLM_DEVICE int64_t place_of_first(const CachedAttentionShape& shape, int64_t start,
                                       const int32_t* device_start) {
  if (device_start == nullptr) return start;
  return cuda_min(cuda_max(*device_start, 0), shape.max_length - shape.query_length);
}

template <class T, int kDim>
__global__ void __launch_bounds__(DecodeSizes<T, kDim>::kWarps* kWarp, 1)
    decode_kernel(CachedAttention<T> args, const int32_t* device_start, Split split, bool aligned,
                  float* parts) {
  using Sizes = DecodeSizes<T, kDim>;
  constexpr int kPanels = Sizes::kPanels, kKeys = Sizes::kKeys;
  KERASLLM_DYNAMIC_SHARED(shared);
  const CachedAttentionShape& shape = args.shape;
  const int dim = static_cast<int>(shape.head_dim);
  const int warp = threadIdx.x / kWarp, warps = blockDim.x / kWarp, lane = threadIdx.x % kWarp;
  const int g = lane / 4, t = lane % 4;
  const Tile<T, kDim> queries = {reinterpret_cast<T*>(shared)};
  T* const passing = queries.data + kRows * kDim + warp * 4 * kKeys * kDim;

  const int64_t part = blockIdx.x % split.splits, index = blockIdx.x / split.splits;
  const int64_t first = index % split.chunks * kRows;  // of (query, head of the group)
  const int64_t key_head = index / split.chunks % shape.num_key_value_heads;
  const int64_t batch = index / split.chunks / shape.num_key_value_heads;
  const int rows = static_cast<int>(cuda_min(kRows, split.group * shape.query_length - first));
  const auto row_of = [&](int64_t r) {  // of (batch, query_length, num_heads)
    return (batch * shape.query_length + (first + r) / split.group) * shape.num_heads +
           key_head * split.group + (first + r) % split.group;
  };
  const int64_t start = place_of_first(shape, args.start, device_start);
  const int64_t first_key = args.first_key != nullptr ? cuda_max(args.first_key[batch], 0) : 0;
  const auto begin_of = [&](int64_t place) {
    return args.window > 0 ? cuda_max(first_key, place - args.window + 1) : first_key;
  };
  const int64_t first_place = start + first / split.group;
  const int64_t last_place = start + (first + rows - 1) / split.group;
  const int64_t begin = cuda_max(begin_of(first_place) / kKeys * kKeys, part * split.keys);
  const int64_t end = cuda_min(last_place + 1, (part + 1) * split.keys);

  float sums[1][kDim / 8][4] = {};
  OnlineSoftmax<T, 1> softmax;
  if (begin < end) {
    const int each = aligned ? queries.kChunk : 1;  // elements at a time
#pragma unroll 1
    for (int e = threadIdx.x * each; e < kRows * kDim; e += blockDim.x * each) {
      const int r = e / kDim, k = e % kDim;
      const bool there = r < rows && k < dim;
      const T* const from = args.query + (there ? row_of(r) * dim + k : 0);
      T* const to = queries.chunk(r, k / queries.kChunk) + k % queries.kChunk;
      if (aligned) {
        copy_async<16>(to, from, there);
      } else {
        *to = there ? *from : T();
      }
    }
    const int64_t cache = (batch * shape.num_key_value_heads + key_head) * shape.max_length * dim;
    const auto load_stage = [&](int64_t at, int stage) {
      const Tile<T, kDim> keys = {passing + stage * 2 * kKeys * kDim};
      const Tile<T, kDim> values = {keys.data + kKeys * kDim};
      const int real = static_cast<int>(cuda_min(end - at, kKeys));
      keys.load(args.key_cache + cache + at * dim, dim, kKeys, real, dim, aligned, lane, kWarp);
      values.load(args.value_cache + cache + at * dim, dim, kKeys, real, dim, aligned, lane, kWarp);
    };
    commit_copies();
    const int64_t step = warps * kKeys;
    const int64_t warp_begin = begin + warp * kKeys;
    if (warp_begin < end) load_stage(warp_begin, 0);
    commit_copies();
    wait_for_copies<1>();
    __syncthreads();  // the queries are there
    const int64_t place[2] = {start + (first + g) / split.group,
                              start + (first + g + 8) / split.group};
    int stage = 0;
    for (int64_t at = warp_begin; at < end; at += step) {
      if (at + step < end) load_stage(at + step, 1 - stage);
      commit_copies();
      wait_for_copies<1>();
      __syncwarp();  // this stage is there
      const Tile<T, kDim> keys = {passing + stage * 2 * kKeys * kDim};
      const Tile<T, kDim> values = {keys.data + kKeys * kDim};
      float scores[1][kPanels][4] = {};
      multiply_rows(queries, 0, keys, dim, scores);
#pragma unroll
      for (int j = 0; j < kPanels; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int64_t key = at + j * 8 + 2 * t + e % 2;
          const bool seen = key <= place[e / 2] && key >= begin_of(place[e / 2]) && key < end;
          scores[0][j][e] = seen ? scores[0][j][e] * args.scale * kUnit<T> : -infinity();
        }
      }
      softmax.pass(scores, 1.0f, sums);
      multiply_columns(scores, values, 0, dim, sums);
      __syncwarp();  // this stage has been read
      stage = 1 - stage;
    }
  }
  softmax.finish();

  // The warps' parts, one after the other, through the memory of the tiles.
  wait_for_copies<0>();
  __syncthreads();
  float* const all_sums = reinterpret_cast<float*>(queries.data + kRows * kDim);
  float* const ends = reinterpret_cast<float*>(queries.data);  // [warp][row]: top, total
  static_assert(kRows * kDim * sizeof(T) >= Sizes::kWarps * kRows * 2 * sizeof(float), "room");
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int r = half * 8 + g;
    float* const line = all_sums + (warp * kRows + r) * kDim;
#pragma unroll
    for (int j = 0; j < kDim / 8; ++j) {
      const float two[2] = {sums[0][j][2 * half], sums[0][j][2 * half + 1]};
      store_shared(line + j * 8 + 2 * t, two);
    }
    if (t == 0) {
      ends[(warp * kRows + r) * 2] = softmax.top[0][half];
      ends[(warp * kRows + r) * 2 + 1] = softmax.total[0][half];
    }
  }
  __syncthreads();
  float* const to = parts + blockIdx.x * Split::part_floats(dim);
  for (int r = 0; r < rows; ++r) {
    float top = -infinity();
    for (int w = 0; w < warps; ++w) top = fmaxf(top, ends[(w * kRows + r) * 2]);
    const float base = top == -infinity() ? 0.0f : top;
    for (int k = threadIdx.x; k < dim + 2; k += blockDim.x) {
      float sum = 0.0f;
      for (int w = 0; w < warps; ++w) {
        const float value =
            k < dim ? all_sums[(w * kRows + r) * kDim + k] : ends[(w * kRows + r) * 2 + 1];
        sum += value * exponential<T>(ends[(w * kRows + r) * 2], 1.0f, base);
      }
      to[r * (dim + 2) + k] = k == dim + 1 ? top : sum;  // the total stands at dim
    }
  }
}

// The rows of the outputs from the blocks' parts; a block a row.
template <class T>
__global__ void __launch_bounds__(128)
    combine_kernel(CachedAttention<T> args, Split split, const float* parts) {
  const CachedAttentionShape& shape = args.shape;
  const int64_t dim = shape.head_dim, floats = Split::part_floats(dim);
  const int64_t head = blockIdx.x % shape.num_heads, row = blockIdx.x / shape.num_heads;
  const int64_t query = row % shape.query_length, batch = row / shape.query_length;
  const int64_t place = query * split.group + head % split.group;
  const int64_t index =
      (batch * shape.num_key_value_heads + head / split.group) * split.chunks + place / kRows;
  const float* const from = parts + index * split.splits * floats + place % kRows * (dim + 2);
  float top = -infinity();
  for (int64_t s = 0; s < split.splits; ++s) top = fmaxf(top, from[s * floats + dim + 1]);
  const float base = top == -infinity() ? 0.0f : top;
  float total = 0.0f;
  for (int64_t s = 0; s < split.splits; ++s) {
    total += from[s * floats + dim] * exponential<T>(from[s * floats + dim + 1], 1.0f, base);
  }
  for (int64_t k = threadIdx.x; k < dim; k += blockDim.x) {
    float sum = 0.0f;
#pragma unroll 4
    for (int64_t s = 0; s < split.splits; ++s) {
      sum += from[s * floats + k] * exponential<T>(from[s * floats + dim + 1], 1.0f, base);
    }
    store_one(args.outputs + blockIdx.x * dim + k, total == 0.0f ? 0.0f : sum / total);
  }
}

template <class T, int kDim>
int decode_of(const CachedAttention<T>& args, const int32_t* device_start, float* parts,
              void* stream) {
  using Sizes = DecodeSizes<T, kDim>;
  const CachedAttentionShape& shape = args.shape;
  const Split split = split_of(args, device_start);
  const int64_t limit = shared_memory_limit();
  const int64_t rows = shape.batch * shape.query_length * shape.num_heads;
  int warps = Sizes::kWarps;
  while (warps > 1 && Sizes::shared_bytes(warps) > limit) warps /= 2;
  if (Sizes::shared_bytes(warps) > limit || split.blocks() > kMostGrid || rows > kMostGrid) {
    return kCudaNotSupported;
  }
  const bool aligned = shape.head_dim % Tile<T, kDim>::kChunk == 0 &&
                       aligned_to_16(args.query, args.key_cache, args.value_cache);
  KERASLLM_RETURN_IF_ERROR(launch(
      &decode_kernel<T, kDim>, dim3(static_cast<unsigned>(split.blocks())),
      dim3(static_cast<unsigned>(warps * kWarp)), static_cast<size_t>(Sizes::shared_bytes(warps)),
      stream, args, device_start, split, aligned, parts));
  return launch(&combine_kernel<T>, dim3(static_cast<unsigned>(rows)), dim3(128), 0, stream, args,
                split, parts);
}

template <class T>
int decode(const CachedAttention<T>& args, const int32_t* device_start, void* scratch,
           void* stream) {
  const CachedAttentionShape& shape = args.shape;
  if (shape.head_dim > kMaxHeadDim) return kCudaNotSupported;
  if (shape.batch * shape.query_length * shape.num_heads * shape.head_dim == 0) return 0;
  float* const parts = static_cast<float*>(scratch);
  if (shape.head_dim <= 64) return decode_of<T, 64>(args, device_start, parts, stream);
  if (shape.head_dim <= 128) return decode_of<T, 128>(args, device_start, parts, stream);
  return decode_of<T, 256>(args, device_start, parts, stream);
}

// A thread a pack of kWidth elements.
template <class T, int kWidth>
__global__ void __launch_bounds__(256)
    cache_update_kernel(CacheUpdate<T> args, const int32_t* device_start) {
  const CachedAttentionShape& shape = args.shape;
  const int64_t packs = shape.head_dim / kWidth;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t row = index / packs, pack = index % packs;
  if (row >= shape.batch * shape.query_length * shape.num_key_value_heads) return;
  const int64_t head = row % shape.num_key_value_heads, rest = row / shape.num_key_value_heads;
  const int64_t query = rest % shape.query_length, batch = rest / shape.query_length;
  const int64_t place = place_of_first(shape, args.start, device_start) + query;
  const int64_t to = (batch * shape.num_key_value_heads + head) * shape.max_length + place;
  float values[kWidth];
  load(args.rows + row * shape.head_dim + pack * kWidth, values);
  store(args.cache + to * shape.head_dim + pack * kWidth, values);
}

template <class T>
int update(const CacheUpdate<T>& args, const int32_t* device_start, void* stream) {
  const CachedAttentionShape& shape = args.shape;
  constexpr int kWidth = kVectorWidth<T>;
  const int64_t elements =
      shape.batch * shape.query_length * shape.num_key_value_heads * shape.head_dim;
  if (elements == 0) return 0;
  const bool wide = shape.head_dim % kWidth == 0 && aligned_to_16(args.rows, args.cache);
  const int64_t blocks = cuda_ceil_div(wide ? elements / kWidth : elements, 256);
  if (blocks > kMostGrid) return kCudaNotSupported;
  return launch(wide ? &cache_update_kernel<T, kWidth> : &cache_update_kernel<T, 1>,
                dim3(static_cast<unsigned>(blocks)), dim3(256), 0, stream, args, device_start);
}

}  // namespace
}  // namespace kerasllm

using kerasllm::CudaType;

int64_t kerasllm_cuda_cached_attention_scratch(int, const void* args, const int32_t* device_start) {
  // What it reads lies in the same places for every element type.
  const auto& sizes = *static_cast<const kerasllm::CachedAttention<float>*>(args);
  return kerasllm::split_of(sizes, device_start).blocks() *
         kerasllm::Split::part_floats(sizes.shape.head_dim) * static_cast<int64_t>(sizeof(float));
}
int kerasllm_cuda_cached_attention(int type, const void* args, const int32_t* device_start,
                                   void* scratch, void* stream) {
  return kerasllm::for_type(static_cast<CudaType>(type), [&](auto t) {
    return kerasllm::decode(*static_cast<const kerasllm::CachedAttention<decltype(t)>*>(args),
                            device_start, scratch, stream);
  });
}
int kerasllm_cuda_cache_update(int type, const void* args, const int32_t* device_start, void*,
                               void* stream) {
  return kerasllm::for_type(static_cast<CudaType>(type), [&](auto t) {
    return kerasllm::update(*static_cast<const kerasllm::CacheUpdate<decltype(t)>*>(args),
                            device_start, stream);
  });
}

KERASLLM_CUDA_STRUCT(CachedAttention, kerasllm::CachedAttention<float>)
KERASLLM_CUDA_STRUCT(CacheUpdate, kerasllm::CacheUpdate<float>)
