// Where the products of the GPU's linear cross-entropy put their sums, and how these become the
// gradients: by the factors of the losses, in the order of the splits.
#ifndef KERASLLM_LINEAR_CROSS_ENTROPY_LINEAR_CROSS_ENTROPY_CUDA_GRADIENTS_H_
#define KERASLLM_LINEAR_CROSS_ENTROPY_LINEAR_CROSS_ENTROPY_CUDA_GRADIENTS_H_

#include "common/cuda_gemm.h"
#include "linear_cross_entropy/linear_cross_entropy_cuda_list.h"

namespace kerasllm {
namespace {

// Takes a product's sums times `*factor`, in float32 or, where `sums` is null, in T.
template <class T>
struct StoreSums {
  float* sums;
  T* results;
  int64_t stride;
  int64_t split_size;  // elements between the sums of two splits
  bool adds;           // to the sums that are there
  bool in_pairs;       // two elements are aligned where the first is of an even column
  const float* factor;

  template <class Tile>
  KERASLLM_DEVICE void operator()(Tile& tile, const GemmPlace& place, float*) const {
    const float times = factor == nullptr ? 1.0f : *factor;
    const int64_t split = place.split * split_size;
#pragma unroll
    for (int i = 0; i < Tile::kRows; ++i) {
      const int row = place.row + tile.row(i);
      if (row >= place.rows) continue;
#pragma unroll
      for (int j = 0; j < Tile::kColumns; j += 2) {
        const int column = place.column + tile.column(j);
        if (column >= place.columns) continue;
        const bool second = column + 1 < place.columns;
        const int64_t at = split + row * stride + column;
        float v[2] = {tile.value(i, j) * times, tile.value(i, j + 1) * times};
        if (sums != nullptr && adds) {
          v[0] += sums[at];
          if (second) v[1] += sums[at + 1];
        }
        if (sums != nullptr) {
          put(sums + at, v, second);
        } else {
          put(results + at, v, second);
        }
      }
    }
  }

 private:
  template <class Out>
  KERASLLM_DEVICE void put(Out* to, const float (&v)[2], bool second) const {
    if (in_pairs) {
      store(to, v);
    } else {
      store_one(to, v[0]);
      if (second) store_one(to + 1, v[1]);
    }
  }
};

// The sums of all splits (splits, rows, dim), in order, to the rows of the tensor.
template <class T>
__global__ void __launch_bounds__(kThreads)
    hidden_gradient_kernel(const Found* found, const int32_t* list, int64_t first,
                           const float* partials, int64_t splits, int64_t split_size, int64_t dim,
                           T* to) {
  const int64_t row = blockIdx.x;
  if (row >= found->remake - first) return;
  const float factor = found->unscale;
  for (int64_t column = threadIdx.x; column < dim; column += blockDim.x) {
    float sum = 0.0f;
    for (int64_t split = 0; split < splits; ++split) {
      sum += partials[split * split_size + row * dim + column];
    }
    store_one(to + list[row] * dim + column, sum * factor);
  }
}

__global__ void __launch_bounds__(kThreads)
    bias_gradient_kernel(const Found* found, const float* strips, int64_t count, int64_t classes,
                         bool adds, float* to) {
  const int64_t id = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (found->remake < 0 || id >= classes) return;
  float sum = 0.0f;
  for (int64_t strip = 0; strip < count; ++strip) sum += strips[strip * classes + id];
  to[id] = (adds ? to[id] : 0.0f) + sum * found->unscale;
}

// What forward saved, times the losses' one factor, if they have one.
template <int kWidth, class T>
__global__ void __launch_bounds__(kThreads)
    scale_kernel(const Found* found, const float* from, int64_t size, T* to) {
  if (found->remake >= 0) return;
  const int64_t at = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kWidth;
  if (at >= size) return;
  float v[kWidth];
  load_floats(from + at, v);
#pragma unroll
  for (float& value : v) value *= found->factor;
  store(to + at, v);
}
template <class T>
int scale(const Found* found, const float* from, int64_t size, T* to, void* stream) {
  if (size == 0) return 0;
  const bool wide = size % 4 == 0 && aligned_to_16(from, to);
  const int64_t blocks = cuda_ceil_div(size, kThreads * (wide ? 4 : 1));
  return launch(wide ? &scale_kernel<4, T> : &scale_kernel<1, T>,
                dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 0, stream, found, from, size,
                to);
}

// The same of the hidden states, each row by its own factor.
template <class T>
__global__ void __launch_bounds__(kThreads)
    scale_rows_kernel(const int32_t* labels, int64_t ignore_index, const float* factors,
                      const float* from, int64_t dim, T* to) {
  const int64_t row = blockIdx.x;
  // Saved as zero; what came for it, which may be no number, does not count.
  const float factor = labels[row] == ignore_index ? 0.0f : factors[row];
  for (int64_t column = threadIdx.x; column < dim; column += blockDim.x) {
    store_one(to + row * dim + column, from[row * dim + column] * factor);
  }
}

}  // namespace
}  // namespace kerasllm

#endif  // KERASLLM_LINEAR_CROSS_ENTROPY_LINEAR_CROSS_ENTROPY_CUDA_GRADIENTS_H_
