// The gradient by queries in a kernel whose blocks keep keys: a tile of queries is passed by many
// blocks, each of which adds its part to sums in global memory by atomics, in any order.
//
// The sums are of float32 and lie as the warps that add to them have them, so that neighbouring
// lanes write neighbouring words: for each tile of 32 queries kDim / 16 parts of 16 columns, of
// four fragments of 16 x 8 as common/cuda_mma.h's results lie.
#ifndef KERASLLM_ATTENTION_ATTENTION_CUDA_QUERY_SUMS_H_
#define KERASLLM_ATTENTION_ATTENTION_CUDA_QUERY_SUMS_H_

#include "attention/attention.h"
#include "attention/attention_cuda_tiles.h"

namespace kerasllm {
namespace {

constexpr int kSumsQueries = 32;                    // of a tile
constexpr int kSumsColumns = 16;                    // of a part
constexpr int kFragment = 4 * kWarp;                // words
constexpr int kPart = kSumsQueries * kSumsColumns;  // words

// sm_90 adds four words at a time, from the compiler of CUDA 12.1 on.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900 && \
    (__CUDACC_VER_MAJOR__ > 12 || (__CUDACC_VER_MAJOR__ == 12 && __CUDACC_VER_MINOR__ >= 1))
#define KERASLLM_ADDS_FOUR 1
#else
#define KERASLLM_ADDS_FOUR 0
#endif

// Where word e of a lane lies in its fragment.
KERASLLM_DEVICE int place_in_fragment(int lane, int e) {
  return KERASLLM_ADDS_FOUR ? lane * 4 + e : e * kWarp + lane;
}

// Adds this lane's words to those of a fragment in global memory.
KERASLLM_DEVICE void add_to_fragment(float* fragment, const float (&words)[4]) {
  const int lane = threadIdx.x % kWarp;
#if KERASLLM_ADDS_FOUR
  asm volatile("red.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(
                   __cvta_generic_to_global(fragment + place_in_fragment(lane, 0))),
               "f"(words[0]), "f"(words[1]), "f"(words[2]), "f"(words[3])
               : "memory");
#else
#pragma unroll
  for (int e = 0; e < 4; ++e) atomicAdd(fragment + place_in_fragment(lane, e), words[e]);
#endif
}

// The scores' gradients of a block in shared memory, (keys, 32 queries): 64 bytes a row, whose
// chunks of 16 bytes are permuted by the row: the same chunk of 8 neighbouring rows lies in all of
// shared memory's banks.
template <class T>
struct ScoreGradients {
  static_assert(sizeof(T) == 2, "bfloat16 or float16");
  T* data;

  static int64_t bytes(int64_t keys) {
    return keys * kSumsQueries * static_cast<int64_t>(sizeof(T));
  }

  // A warp's rows, from `row`, a multiple of 16, on.
  template <int kBlocks, int kPanels>
  KERASLLM_DEVICE void store(const float (&values)[kBlocks][kPanels][4], int row) const {
    static_assert(kPanels * 8 == kSumsQueries, "a tile's queries");
    const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
    T* const rows = data + made_anew((row + g) * kSumsQueries + 2 * t);
    const int permuted = made_anew(g / 2);
#pragma unroll
    for (int i = 0; i < kBlocks; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
#pragma unroll
        for (int j = 0; j < kPanels; ++j) {
          const float* const pair = values[i][j] + 2 * half;
          T* const to = rows + (i * 16 + half * 8) * kSumsQueries + (j ^ permuted) * 8;
          *reinterpret_cast<uint32_t*>(to) = pack<T>(pair[0], pair[1]);
        }
      }
    }
  }

  // Adds their products with kKeys keys, of the columns from `column`, a multiple of 16, on, to a
  // part of the sums. By a warp.
  template <int kKeys, int kDim>
  KERASLLM_DEVICE void multiply(const Tile<T, kDim>& keys, int column, float* part) const {
    const int lane = threadIdx.x % kWarp, r = lane % 8;
    const T* const left_rows = data + made_anew((lane / 16 * 8 + r) * kSumsQueries);
    const int left_chunk = made_anew(lane / 8 % 2 ^ r / 2);
    const T* const right_rows =
        keys.data + made_anew(lane % 16 * kDim + (column / 8 ^ lane / 16 ^ r) * 8);
    float sums[2][2][4] = {};
#pragma unroll
    for (int key = 0; key < kKeys; key += 16) {
      uint32_t left[2][4], right[4];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        load_matrices_transposed(left_rows + key * kSumsQueries + (2 * i ^ left_chunk) * 8,
                                 left[i]);
      }
      load_matrices_transposed(right_rows + key * kDim, right);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        multiply_add<T>(sums[i][0], left[i], {right[0], right[1]});
        multiply_add<T>(sums[i][1], left[i], {right[2], right[3]});
      }
    }
#pragma unroll
    for (int f = 0; f < 4; ++f) add_to_fragment(part + f * kFragment, sums[f / 2][f % 2]);
  }
};

// Floats of the sums of all queries.
static inline int64_t query_sums_size(const AttentionShape& shape, int64_t dim) {
  return shape.batch * shape.num_heads * cuda_ceil_div(shape.query_length, kSumsQueries) *
         kSumsQueries * dim;
}

// d_query from the sums, a block a tile.
template <class T, int kDim>
__global__ void __launch_bounds__(256)
    attention_query_sums_kernel(AttentionBackward<T> args, const float* sums, bool pairs) {
  const AttentionShape& shape = args.shape;
  const unsigned tiles = static_cast<unsigned>(cuda_ceil_div(shape.query_length, kSumsQueries));
  const unsigned heads = static_cast<unsigned>(shape.num_heads);
  const int64_t first = static_cast<int64_t>(blockIdx.x % tiles) * kSumsQueries;
  const int64_t head = blockIdx.x / tiles % heads, batch = blockIdx.x / tiles / heads;
  const int dim = static_cast<int>(shape.head_dim);
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  const float scale = args.options.scale;
  sums += static_cast<int64_t>(blockIdx.x) * kSumsQueries * kDim;
  for (int f = threadIdx.x / kWarp; f < kSumsQueries * kDim / kFragment; f += blockDim.x / kWarp) {
    float words[4];
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const float sum = sums[f * kFragment + place_in_fragment(lane, e)];
      words[e] = scale == 0.0f ? 0.0f : sum * scale;
    }
    const int column = f / 4 * kSumsColumns + f % 2 * 8 + 2 * t;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t query = first + f / 2 % 2 * 16 + half * 8 + g;
      if (query >= shape.query_length) continue;
      T* const to =
          args.d_query + ((batch * shape.query_length + query) * heads + head) * dim + column;
      const float two[2] = {words[2 * half], words[2 * half + 1]};
      if (pairs) {
        if (column < dim) store(to, two);
      } else {
        if (column < dim) store_one(to, two[0]);
        if (column + 1 < dim) store_one(to + 1, two[1]);
      }
    }
  }
}

}  // namespace
}  // namespace kerasllm

#endif  // KERASLLM_ATTENTION_ATTENTION_CUDA_QUERY_SUMS_H_
