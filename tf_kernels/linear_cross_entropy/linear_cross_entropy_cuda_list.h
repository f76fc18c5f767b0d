// The rows that count, which the GPU's linear cross-entropy lists and packs before its products.
#ifndef KERASLLM_LINEAR_CROSS_ENTROPY_LINEAR_CROSS_ENTROPY_CUDA_LIST_H_
#define KERASLLM_LINEAR_CROSS_ENTROPY_LINEAR_CROSS_ENTROPY_CUDA_LIST_H_

#include "linear_cross_entropy/linear_cross_entropy_cuda_rows.h"

namespace kerasllm {
namespace {

constexpr int kThreads = 256, kListThreads = 1024;

// The rows that count, in order; and whether their losses have one factor.
struct ListRows {
  int64_t rows, ignore_index;
  const int32_t* labels;
  const float* d_losses;  // null in forward
  bool saved;             // one factor is enough
  float scale;            // for factors around 1
  int32_t *list, *listed_labels;
  Found* found;
};
__global__ void __launch_bounds__(kListThreads) list_rows_kernel(ListRows args) {
  __shared__ int32_t counts[kListThreads];
  __shared__ float largest[kListThreads];
  __shared__ float first_factor;
  const int thread = threadIdx.x;
  const int64_t each = cuda_ceil_div(args.rows, kListThreads);
  const int64_t begin = cuda_min(args.rows, thread * each);
  const int64_t end = cuda_min(args.rows, begin + each);
  int32_t mine = 0;
  for (int64_t row = begin; row < end; ++row) mine += args.labels[row] != args.ignore_index;
  counts[thread] = mine;
  __syncthreads();
  for (int step = 1; step < kListThreads; step *= 2) {
    const int32_t before = thread >= step ? counts[thread - step] : 0;
    __syncthreads();
    counts[thread] += before;
    __syncthreads();
  }
  const int32_t count = counts[kListThreads - 1];
  int32_t to = counts[thread] - mine;
  __syncthreads();  // `counts` serves again
  const bool has_factors = args.d_losses != nullptr;
  for (int64_t row = begin; row < end; ++row) {
    const int32_t label = args.labels[row];
    if (label == args.ignore_index) continue;
    if (to == 0 && has_factors) first_factor = args.d_losses[row];
    args.list[to] = static_cast<int32_t>(row);
    args.listed_labels[to++] = label;
  }
  __syncthreads();
  int32_t others = 0;
  float most = 0.0f;
  if (has_factors) {
    for (int64_t row = begin; row < end; ++row) {
      if (args.labels[row] == args.ignore_index) continue;
      const float factor = args.d_losses[row];
      others |= !(factor == first_factor);  // a NaN is equal to nothing
      most = fmaxf(most, fabsf(factor));
    }
  }
  counts[thread] = others;
  largest[thread] = most;
  __syncthreads();
  for (int step = kListThreads / 2; step > 0; step /= 2) {
    if (thread < step) {
      counts[thread] |= counts[thread + step];
      largest[thread] = fmaxf(largest[thread], largest[thread + step]);
    }
    __syncthreads();
  }
  if (thread != 0) return;
  Found found = {count, count, 1.0f, args.scale, 1.0f / args.scale};
  if (has_factors && count > 0) {
    found.factor = first_factor;
    if (args.saved && counts[0] == 0) found.remake = -1;
    const float size = largest[0];
    if (args.scale != 1.0f && size > 1e-30f && size < 1e30f) {
      const int exponent = ilogbf(size);
      found.scale = scalbnf(args.scale, -exponent);
      found.unscale = scalbnf(1.0f / args.scale, exponent);
    }
  }
  *args.found = found;
}

// Rows of `from` (dim wide), those in `list` or all, to rows of `stride` with zeros behind dim.
template <class T>
__global__ void __launch_bounds__(kThreads)
    pack_rows_kernel(const Found* found, const int32_t* list, const T* from, int64_t dim, T* to,
                     int64_t stride) {
  const int64_t row = blockIdx.x;
  if (found->remake < 0 || (list != nullptr && row >= found->remake)) return;
  const T* const source = from + (list != nullptr ? list[row] : row) * dim;
  for (int64_t column = threadIdx.x; column < stride; column += blockDim.x) {
    store_one(to + row * stride + column, column < dim ? load_one(source + column) : 0.0f);
  }
}

}  // namespace
}  // namespace kerasllm

#endif  // KERASLLM_LINEAR_CROSS_ENTROPY_LINEAR_CROSS_ENTROPY_CUDA_LIST_H_
