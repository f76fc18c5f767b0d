// A plain tiled matrix product, c(i, j) = sum over k of a(i, k) * b(k, j), in float32 and in one
// order. Operands are given by functions of their indices, so that a product may read through a
// permutation, a mask or a type; `store(i, j, value)` takes the result.
#ifndef KERASLLM_COMMON_CUDA_PRODUCT_H_
#define KERASLLM_COMMON_CUDA_PRODUCT_H_

#include "common/cuda.h"

namespace kerasllm {
namespace {

constexpr int kTile = 64, kDepth = 16, kSide = 16;  // kSide x kSide threads, 4 x 4 results each
constexpr int kEach = kTile / kSide;

// kAlong: neighbouring threads read neighbours along the depth k, else along i or j.
// Two blocks a multiprocessor: left to choose, ptxas spills to have three.
template <bool kAAlong, bool kBAlong, class A, class B, class Store>
__global__ void __launch_bounds__(kSide* kSide, 2)
    product_kernel(int64_t rows, int64_t columns, int64_t depth, A a, B b, Store store) {
  alignas(16) __shared__ float a_tile[kDepth][kTile + 4], b_tile[kDepth][kTile + 4];
  const int thread = threadIdx.x, x = thread % kSide * kEach, y = thread / kSide * kEach;
  const int64_t across = cuda_ceil_div(columns, kTile);
  const int64_t row = blockIdx.x / across * kTile, column = blockIdx.x % across * kTile;
  // The next part of the operands is on its way while this one is multiplied.
  constexpr int kParts = kDepth * kTile / (kSide * kSide);
  float a_part[kParts], b_part[kParts];
  const auto place = [&](int part, bool along, int& k, int& side) {
    const int e = part * kSide * kSide + thread;
    k = along ? e % kDepth : e / kTile;
    side = along ? e / kDepth : e % kTile;
  };
  const auto read = [&](int64_t first) {
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      int ka, i, kb, j;
      place(part, kAAlong, ka, i);
      place(part, kBAlong, kb, j);
      const bool a_inside = row + i < rows && first + ka < depth;
      const bool b_inside = column + j < columns && first + kb < depth;
      a_part[part] = a_inside ? a(row + i, first + ka) : 0.0f;
      b_part[part] = b_inside ? b(first + kb, column + j) : 0.0f;
    }
  };
  float sums[kEach][kEach] = {};
  read(0);
  for (int64_t first = 0; first < depth; first += kDepth) {
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      int ka, i, kb, j;
      place(part, kAAlong, ka, i);
      place(part, kBAlong, kb, j);
      a_tile[ka][i] = a_part[part];
      b_tile[kb][j] = b_part[part];
    }
    __syncthreads();
    if (first + kDepth < depth) read(first + kDepth);
#pragma unroll
    for (int k = 0; k < kDepth; ++k) {
      float left[kEach], right[kEach];
      load(&a_tile[k][y], left);
      load(&b_tile[k][x], right);
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
#pragma unroll
        for (int j = 0; j < kEach; ++j) sums[i][j] += left[i] * right[j];
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      const int64_t to_row = row + y + i, to_column = column + x + j;
      if (to_row < rows && to_column < columns) store(to_row, to_column, sums[i][j]);
    }
  }
}

// At most 2^31 - 1 tiles.
template <bool kAAlong, bool kBAlong, class A, class B, class Store>
int product(int64_t rows, int64_t columns, int64_t depth, const A& a, const B& b,
            const Store& store, void* stream) {
  if (rows == 0 || columns == 0) return 0;
  const int64_t tiles = cuda_ceil_div(columns, kTile) * cuda_ceil_div(rows, kTile);
  if (tiles > 0x7fffffff) return kCudaNotSupported;
  const dim3 grid(static_cast<unsigned>(tiles));
  return launch(&product_kernel<kAAlong, kBAlong, A, B, Store>, grid, dim3(kSide * kSide), 0,
                stream, rows, columns, depth, a, b, store);
}

}  // namespace
}  // namespace kerasllm

#endif  // KERASLLM_COMMON_CUDA_PRODUCT_H_
