// Tiles of rows in shared memory and a warp's products with them.
//
// A warp has 16 kBlocks rows of a matrix of 8 kPanels columns, as mma.sync's results lie
// (common/cuda_mma.h): [block][panel][4], of row 16 block + g (and + 8) and columns 8 panel + 2t
// and + 1. float32 matrices lie so too, but are multiplied by plain arithmetic.
#ifndef KERASLLM_ATTENTION_ATTENTION_CUDA_TILES_H_
#define KERASLLM_ATTENTION_ATTENTION_CUDA_TILES_H_

#include "common/cuda_mma.h"

namespace kerasllm {
namespace {

// Rows of kDim elements, zeros behind `dim`. The 16-byte chunks of a row are permuted among each 8,
// by the row: the same chunk of 8 neighbouring rows lies in all of shared memory's banks.
template <class T, int kDim>
struct Tile {
  static constexpr int kChunk = 16 / static_cast<int>(sizeof(T)), kChunks = kDim / kChunk;
  static_assert(kChunks % 8 == 0, "whole groups of chunks");
  T* data;

  static int64_t bytes(int64_t rows) { return rows * kDim * static_cast<int64_t>(sizeof(T)); }

  KERASLLM_DEVICE T* chunk(int row, int c) const {
    return data + row * kDim + (c ^ (row & 7)) * kChunk;
  }

  // Rows [0, rows), zeros from `real` rows on; `from`: of row 0. Each of `threads` threads makes
  // its part; with `aligned` the rows arrive as copy_async's do.
  KERASLLM_DEVICE void load(const T* from, int64_t stride, int rows, int real, int dim,
                            bool aligned, int thread, int threads) const {
    if (aligned) {
      const int step = threads > kChunks ? threads / kChunks : 1;
      for (int c = thread % kChunks; c < kChunks; c += threads) {
        const bool inside = c * kChunk < dim;
        int row = thread / kChunks;
        const T* source = from + row * stride + c * kChunk;
#pragma unroll 1
        for (; row < rows; row += step, source += step * stride) {
          const bool copies = inside && row < real;
          copy_async<16>(chunk(row, c), copies ? source : from, copies);
        }
      }
    } else {
#pragma unroll 1
      for (int e = thread; e < rows * kDim; e += threads) {
        const int row = e / kDim, k = e % kDim;
        T value = {};
        if (row < real && k < dim) value = from[row * stride + k];
        chunk(row, k / kChunk)[k % kChunk] = value;
      }
    }
  }
  // By all threads of the block.
  KERASLLM_DEVICE void load(const T* from, int64_t stride, int rows, int real, int dim,
                            bool aligned) const {
    load(from, stride, rows, real, dim, aligned, static_cast<int>(threadIdx.x),
         static_cast<int>(blockDim.x));
  }
};

// On sm_75 the compiler would bring so many of a product's loads forward that registers spill; all
// lanes of the warp call it.
KERASLLM_DEVICE void hold_back_loads() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
  __syncwarp();
#endif
}

// products[block][panel] += rows `row` and on of `a` times the rows of `b`, transposed.
template <int kBlocks, int kPanels, class T, int kDim>
KERASLLM_DEVICE void multiply_rows(const Tile<T, kDim>& a, int row, const Tile<T, kDim>& b, int dim,
                                   float (&products)[kBlocks][kPanels][4]) {
  const int lane = threadIdx.x % kWarp;
  if constexpr (sizeof(T) == 2) {
    // (2 step + half) ^ r is 2 step ^ (half ^ r): one exclusive or a step.
    const int r = lane % 8;
    const int a_chunk = made_anew(lane / 16 ^ r), b_chunk = made_anew(lane / 8 % 2 ^ r);
    const T* const a_rows = a.data + made_anew((row + lane % 16) * kDim);
    const T* const b_rows = b.data + made_anew((r + lane / 16 * 8) * kDim);
#pragma unroll
    for (int step = 0; step < kDim / 16; ++step) {
      if (kDim > 128 && step * 16 >= dim) break;
      hold_back_loads();
      uint32_t left[kBlocks][4];
#pragma unroll
      for (int i = 0; i < kBlocks; ++i) {
        load_matrices(a_rows + i * 16 * kDim + (2 * step ^ a_chunk) * 8, left[i]);
      }
#pragma unroll
      for (int j = 0; j < kPanels; j += 2) {
        uint32_t right[4];
        load_matrices(b_rows + j * 8 * kDim + (2 * step ^ b_chunk) * 8, right);
#pragma unroll
        for (int i = 0; i < kBlocks; ++i) {
          multiply_add<T>(products[i][j], left[i], {right[0], right[1]});
          multiply_add<T>(products[i][j + 1], left[i], {right[2], right[3]});
        }
      }
    }
  } else {
    const int g = lane / 4, t = lane % 4;
#pragma unroll 1
    for (int c = 0; c * 4 < dim; ++c) {
      float left[kBlocks][2][4];
#pragma unroll
      for (int i = 0; i < kBlocks; ++i) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          kerasllm::load(a.chunk(row + i * 16 + half * 8 + g, c), left[i][half]);
        }
      }
#pragma unroll
      for (int j = 0; j < kPanels; ++j) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          float right[4];
          kerasllm::load(b.chunk(j * 8 + 2 * t + e, c), right);
#pragma unroll
          for (int i = 0; i < kBlocks; ++i) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
              const float* const a4 = left[i][half];
              // Sums of four: fewer roundings than one after the other.
              products[i][j][half * 2 + e] += fmaf(
                  a4[3], right[3], fmaf(a4[2], right[2], fmaf(a4[1], right[1], a4[0] * right[0])));
            }
          }
        }
      }
    }
  }
}

// sums += a times the rows of `b`, their columns from `column`, a multiple of 32, on.
template <int kBlocks, int kDepth, int kPanels, class T, int kDim>
KERASLLM_DEVICE void multiply_columns(const float (&a)[kBlocks][kDepth][4], const Tile<T, kDim>& b,
                                      int column, int dim, float (&sums)[kBlocks][kPanels][4]) {
  const int lane = threadIdx.x % kWarp;
  if constexpr (sizeof(T) == 2) {
    const int b_chunk = made_anew(lane / 16 ^ (lane % 8));
    const T* const b_rows = b.data + made_anew(lane % 16 * kDim);
#pragma unroll
    for (int step = 0; step < kDepth / 2; ++step) {
      hold_back_loads();
      uint32_t left[kBlocks][4];
#pragma unroll
      for (int i = 0; i < kBlocks; ++i) {
#pragma unroll
        for (int w = 0; w < 4; ++w) {
          const float* const pair = a[i][2 * step + w / 2] + w % 2 * 2;
          left[i][w] = pack<T>(pair[0], pair[1]);
        }
      }
#pragma unroll
      for (int j = 0; j < kPanels; j += 2) {
        if (kDim > 128 && column + j * 8 >= dim) break;
        uint32_t right[4];
        load_matrices_transposed(b_rows + step * 16 * kDim + ((column / 8 + j) ^ b_chunk) * 8,
                                 right);
#pragma unroll
        for (int i = 0; i < kBlocks; ++i) {
          multiply_add<T>(sums[i][j], left[i], {right[0], right[1]});
          multiply_add<T>(sums[i][j + 1], left[i], {right[2], right[3]});
        }
      }
    }
  } else {
    // (2 j + t / 2) ^ r is (2 j ^ r / 2 * 2) + (t / 2 ^ r % 2): two places, of even and of odd
    // rows, and the rest is known to the compiler. `column` is a multiple of 32.
    const int t = lane % 4;
    const T* const even_rows = b.data + made_anew(column + t * 2);
    const T* const odd_rows = b.data + made_anew(column + (t ^ 2) * 2);
#pragma unroll
    for (int k = 0; k < kDepth * 8; ++k) {
      float left[kBlocks][2];
#pragma unroll
      for (int i = 0; i < kBlocks; ++i) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          left[i][half] =
              __shfl_sync(kAllLanes, a[i][k / 8][half * 2 + k % 2], lane / 4 * 4 + k % 8 / 2);
        }
      }
#pragma unroll
      for (int j = 0; j < kPanels; ++j) {
        if (kDim > 128 && j % 4 == 0 && column + j * 8 >= dim) break;
        float right[2];
        const int chunk = 2 * j ^ k % 8 / 2 * 2;
        kerasllm::load((k % 2 == 0 ? even_rows : odd_rows) + k * kDim + chunk * 4, right);
#pragma unroll
        for (int i = 0; i < kBlocks; ++i) {
#pragma unroll
          for (int e = 0; e < 4; ++e) sums[i][j][e] += left[i][e / 2] * right[e % 2];
        }
      }
    }
  }
}

// Rows row, row + 1 and so on of `values`, times `factor`, to `to` (row 0's, of `columns` elements
// from `column` on); `real` rows are there. `pairs`: two elements at a time.
template <int kBlocks, int kPanels, class T>
KERASLLM_DEVICE void store_rows(const float (&values)[kBlocks][kPanels][4],
                                const float (&factors)[kBlocks][2], T* to, int64_t stride, int row,
                                int real, int column, int columns, bool pairs) {
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int i = 0; i < kBlocks; ++i) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int r = row + i * 16 + half * 8 + g;
      if (r >= real) continue;
      T* const line = to + r * stride;
#pragma unroll
      for (int j = 0; j < kPanels; ++j) {
        const int c = column + j * 8 + 2 * t;
        const float factor = factors[i][half];  // 0: zeros, whatever the values
        const float two[2] = {factor == 0.0f ? 0.0f : values[i][j][half * 2] * factor,
                              factor == 0.0f ? 0.0f : values[i][j][half * 2 + 1] * factor};
        if (pairs) {
          if (c < columns) store(line + c, two);
        } else {
          if (c < columns) store_one(line + c, two[0]);
          if (c + 1 < columns) store_one(line + c + 1, two[1]);
        }
      }
    }
  }
}

}  // namespace
}  // namespace kerasllm

#endif  // KERASLLM_ATTENTION_ATTENTION_CUDA_TILES_H_
