// The second stage of sums over rows: partial sums, made by one block or warp each over rows of its
// own, are added in their order. No atomics: the same bits in every run.
#ifndef KERASLLM_COMMON_CUDA_COLUMN_SUMS_H_
#define KERASLLM_COMMON_CUDA_COLUMN_SUMS_H_

#include "common/cuda.h"

namespace kerasllm {
namespace {

constexpr int kSumLanes = 32, kSumRows = 16;

// Column c of `partials` (count, columns), summed, goes to first[c] where c < split, else to
// second[c - split].
template <class T>
__global__ void __launch_bounds__(kSumLanes* kSumRows)
    sum_partials_kernel(const float* partials, int64_t count, int64_t columns, int64_t split,
                        T* first, T* second) {
  __shared__ float sums[kSumRows][kSumLanes + 1];
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kSumLanes + threadIdx.x;
  float sum = 0.0f;
  if (column < columns) {
#pragma unroll 4
    for (int64_t i = threadIdx.y; i < count; i += kSumRows) sum += partials[i * columns + column];
  }
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || column >= columns) return;
  for (int i = 1; i < kSumRows; ++i) sum += sums[i][threadIdx.x];
  if (column < split) {
    store_one(first + column, sum);
  } else {
    store_one(second + (column - split), sum);
  }
}

template <class T>
int sum_partials(const float* partials, int64_t count, int64_t columns, int64_t split, T* first,
                 T* second, void* stream) {
  if (columns == 0) return 0;
  const unsigned blocks = static_cast<unsigned>(cuda_ceil_div(columns, kSumLanes));
  return launch(&sum_partials_kernel<T>, dim3(blocks), dim3(kSumLanes, kSumRows), 0, stream,
                partials, count, columns, split, first, second);
}

}  // namespace
}  // namespace kerasllm

#endif  // KERASLLM_COMMON_CUDA_COLUMN_SUMS_H_
