// The steps of the GPU's linear cross-entropy between its products: statistics of a row of logits
// while they are in registers, what follows from all of a row's, and the logits' gradient.
#ifndef KERASLLM_LINEAR_CROSS_ENTROPY_LINEAR_CROSS_ENTROPY_CUDA_ROWS_H_
#define KERASLLM_LINEAR_CROSS_ENTROPY_LINEAR_CROSS_ENTROPY_CUDA_ROWS_H_

#include "common/cuda_gemm.h"
#include "linear_cross_entropy/linear_cross_entropy.h"

namespace kerasllm {
namespace {

constexpr float kLeast = -3.402823466e38f;
constexpr int kStripRows = 128;  // rows whose gradients one block makes

// What is known on the device only.
struct Found {
  int32_t count;  // rows that count
  // As the products' count: `count`, or below zero where gradients that forward saved serve.
  int32_t remake;
  float factor;  // of all rows' losses, if it is the same
  // The logits' gradients are kept times `scale`, a power of two: float16 has few small numbers.
  float scale, unscale;
};

// Places of the rows that count, one after the other, from the first row of a chunk on.
struct Rows {
  const int32_t* list;    // which rows of the tensors
  const int32_t* labels;  // theirs
  float* label_logit;
  float* peak;            // the largest logit
  float* scale;           // of exp(logit - peak) in the gradient
  float* offset;          // what smoothing takes from each class's gradient
  float* label_gradient;  // the gradient of the label's logit

  Rows from(int64_t row) const {
    return {list + row,  labels + row, label_logit + row,   peak + row,
            scale + row, offset + row, label_gradient + row};
  }
};

// Of each tile of classes and each row of a chunk: (tiles, stride).
struct Statistics {
  float *largest, *sum, *total;  // the largest logit, the sum of exp(logit - largest), of logits
  int32_t* best;                 // the first class of the largest logit, below zero for none
  int64_t stride;
};

// Takes logits: their statistics, and exp(logit - the tile's largest) into `block`, if it is kept.
template <class T>
struct TakeLogits {
  const float* bias;
  Rows rows;
  Statistics statistics;
  int64_t first_class;
  T* block;  // (rows, stride), or null
  int64_t stride;

  template <class Tile>
  KERASLLM_DEVICE void operator()(Tile& tile, const GemmPlace& place, float* shared) const {
    // What a warp found in its part of a row, for the other warps of that row.
    constexpr int kPlaces = Tile::kTileRows * Tile::kWarpsAcross;
    float *const largests = shared, *const sums = shared + 2 * kPlaces,
                 *const totals = sums + kPlaces;
    int32_t* const bests = reinterpret_cast<int32_t*>(shared + kPlaces);
    const bool writes = threadIdx.x % Tile::kRowLanes == 0;
#pragma unroll
    for (int j = 0; j < Tile::kColumns; ++j) {
      const int column = place.column + tile.column(j);
      const bool inside = column < place.columns;
      const float added = inside && bias != nullptr ? bias[first_class + column] : 0.0f;
#pragma unroll
      for (int i = 0; i < Tile::kRows; ++i) {
        tile.value(i, j) = inside ? tile.value(i, j) + added : -INFINITY;
      }
    }
    const int32_t first = static_cast<int32_t>(first_class + place.column);
#pragma unroll
    for (int i = 0; i < Tile::kRows; ++i) {
      const int row = place.row + tile.row(i);
      const int32_t label = row < place.rows ? rows.labels[row] : -1;
      float largest = kLeast;
      int32_t best = -1;
#pragma unroll
      for (int j = 0; j < Tile::kColumns; ++j) {
        const float v = tile.value(i, j);
        if (v > largest) {
          largest = v;
          best = first + tile.column(j);
        }
        if (first + tile.column(j) == label) rows.label_logit[row] = v;
      }
#pragma unroll
      for (int lanes = 1; lanes < Tile::kRowLanes; lanes *= 2) {
        take_larger(__shfl_xor_sync(kAllLanes, largest, lanes),
                    __shfl_xor_sync(kAllLanes, best, lanes), largest, best);
      }
      const int at = tile.row(i) * Tile::kWarpsAcross + tile.warp_across();
      if (writes) {
        largests[at] = largest;
        bests[at] = best;
      }
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < Tile::kRows; ++i) {
      const int at = tile.row(i) * Tile::kWarpsAcross;
      float largest = kLeast;
#pragma unroll
      for (int warp = 0; warp < Tile::kWarpsAcross; ++warp) {
        largest = fmaxf(largest, largests[at + warp]);
      }
      float sum = 0.0f, total = 0.0f;
#pragma unroll
      for (int j = 0; j < Tile::kColumns; ++j) {
        float& v = tile.value(i, j);
        total += place.column + tile.column(j) < place.columns ? v : 0.0f;
        v = expf(v - largest);
        sum += v;
      }
#pragma unroll
      for (int lanes = 1; lanes < Tile::kRowLanes; lanes *= 2) {
        sum += __shfl_xor_sync(kAllLanes, sum, lanes);
        total += __shfl_xor_sync(kAllLanes, total, lanes);
      }
      if (writes) {
        sums[at + tile.warp_across()] = sum;
        totals[at + tile.warp_across()] = total;
      }
      const int row = place.row + tile.row(i);
      if (block == nullptr || row >= place.rows) continue;
#pragma unroll
      for (int j = 0; j < Tile::kColumns; j += 2) {
        const int column = place.column + tile.column(j);
        const float pair[2] = {tile.value(i, j), tile.value(i, j + 1)};
        if (column < stride) store(block + row * stride + column, pair);
      }
    }
    __syncthreads();
    const int row = static_cast<int>(threadIdx.x);
    if (row >= Tile::kTileRows || place.row + row >= place.rows) return;
    float largest = kLeast, sum = 0.0f, total = 0.0f;
    int32_t best = -1;
#pragma unroll
    for (int warp = 0; warp < Tile::kWarpsAcross; ++warp) {
      const int at = row * Tile::kWarpsAcross + warp;
      take_larger(largests[at], bests[at], largest, best);
      sum += sums[at];
      total += totals[at];
    }
    const int64_t to = place.column / Tile::kTileColumns * statistics.stride + place.row + row;
    statistics.largest[to] = largest;
    statistics.sum[to] = sum;
    statistics.total[to] = total;
    statistics.best[to] = best;
  }

 private:
  static KERASLLM_DEVICE void take_larger(float other, int32_t other_best, float& largest,
                                          int32_t& best) {
    if (other_best < 0) return;  // no number in there
    if (best >= 0 && (other < largest || (other == largest && other_best > best))) return;
    largest = other;
    best = other_best;
  }
};

// All tiles of a row: loss and what the gradient needs. A block takes 32 rows, threads of the same
// threadIdx.y a slice of the tiles.
constexpr int kSlices = 8;
struct FinishRows {
  LinearCrossEntropyOptions options;
  int64_t vocabulary, tiles, rows;  // the rows of the chunk
  int64_t first;                    // the chunk's first row
  const Found* found;
  Rows places;
  Statistics statistics;
  const float* weights;  // by the rows of the tensors, or null for ones
  float* losses;         // null where not wanted
  bool* correct;
  float* log_sum_exp;
};
__global__ void __launch_bounds__(kWarp* kSlices) finish_rows_kernel(FinishRows args) {
  __shared__ float shared[3][kSlices][kWarp];
  __shared__ int32_t bests[kSlices][kWarp];
  const int x = threadIdx.x, y = threadIdx.y;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarp + x;
  const bool there = row < args.rows && row < args.found->remake - args.first;
  const int64_t begin = args.tiles * y / kSlices;
  const int64_t end = there ? args.tiles * (y + 1) / kSlices : begin;
  const Statistics& s = args.statistics;
  float peak = kLeast, sum = 0.0f, total = 0.0f;
  int32_t best = -1;
#pragma unroll 4
  for (int64_t tile = begin; tile < end; ++tile) {
    const float largest = s.largest[tile * s.stride + row];
    const int32_t its_best = s.best[tile * s.stride + row];
    if (largest > peak) {
      peak = largest;
      best = its_best;
    }
  }
  shared[0][y][x] = peak;
  bests[y][x] = best;
  __syncthreads();
  peak = kLeast;
  for (int slice = 0; slice < kSlices; ++slice) {
    if (shared[0][slice][x] > peak) {
      peak = shared[0][slice][x];
      best = bests[slice][x];
    }
  }
#pragma unroll 4
  for (int64_t tile = begin; tile < end; ++tile) {
    const int64_t at = tile * s.stride + row;
    sum += s.sum[at] * expf(s.largest[at] - peak);
    total += s.total[at];
  }
  shared[1][y][x] = sum;
  shared[2][y][x] = total;
  __syncthreads();
  if (y != 0 || !there) return;
  for (int slice = 1; slice < kSlices; ++slice) {
    sum += shared[1][slice][x];
    total += shared[2][slice][x];
  }
  const float smoothing = args.options.label_smoothing, z_loss = args.options.z_loss;
  const float classes = static_cast<float>(args.vocabulary);
  const int32_t label = args.places.labels[row], to = args.places.list[row];
  // Nothing else can be said of a label that there is not.
  const bool known = label >= 0 && label < args.vocabulary;
  const float label_logit = known ? args.places.label_logit[row] : NAN;
  // Beside the peak, so that large logits take no digits from the loss.
  const float log_sum = logf(sum), log_sum_exp = peak + log_sum;
  const float label_loss = log_sum - (label_logit - peak);
  if (args.losses != nullptr) {
    float loss = label_loss;
    if (smoothing != 0.0f) {
      loss = (1.0f - smoothing) * label_loss + smoothing * (log_sum - (total / classes - peak));
    }
    if (z_loss != 0.0f) loss += z_loss * log_sum_exp * log_sum_exp;
    args.losses[to] = loss;
    args.log_sum_exp[to] = log_sum_exp;
    args.correct[to] = best == label && sum == sum;
  }
  const float weight =
      (args.weights == nullptr ? 1.0f : args.weights[to]) * (known ? args.found->scale : NAN);
  const float of_softmax = z_loss == 0.0f ? weight : weight * (1.0f + 2.0f * z_loss * log_sum_exp);
  args.places.peak[row] = peak;
  args.places.scale[row] = of_softmax / sum;
  args.places.offset[row] = weight * smoothing / classes;
  args.places.label_gradient[row] =
      of_softmax * expf(-label_loss) - weight * (1.0f - smoothing) - args.places.offset[row];
}

// A block of exp(logit - the tile's largest) becomes the logits' gradient; the padding columns
// become zeros. A block takes kStripRows rows and adds up its columns for the bias.
template <class T>
struct LogitsGradient {
  int64_t rows, first;  // of the chunk
  int64_t first_class, classes, tile_columns;
  const Found* found;
  Rows places;
  Statistics statistics;
  T* block;
  int64_t stride;
  float* strips;  // (strips, classes), or null
};
template <class T>
__global__ void __launch_bounds__(kWarp* kSlices) logits_gradient_kernel(LogitsGradient<T> args) {
  constexpr int kWidth = kVectorWidth<T>;
  __shared__ float sums[kSlices][kWarp * kWidth];
  if (args.found->remake < 0) return;
  const int64_t column = (static_cast<int64_t>(blockIdx.x) * kWarp + threadIdx.x) * kWidth;
  const int64_t begin = static_cast<int64_t>(blockIdx.y) * kStripRows;
  const int64_t there = cuda_min(args.rows, args.found->remake - args.first);
  const int64_t end = cuda_min(there, begin + kStripRows);
  const int64_t tile = column / args.tile_columns * args.statistics.stride;
  float sum[kWidth] = {};
  if (column < args.stride) {
    for (int64_t row = begin + threadIdx.y; row < end; row += kSlices) {
      const float factor = args.places.scale[row] *
                           expf(args.statistics.largest[tile + row] - args.places.peak[row]);
      const float offset = args.places.offset[row];
      const int64_t label = args.places.labels[row] - args.first_class - column;
      float v[kWidth];
      load(args.block + row * args.stride + column, v);
#pragma unroll
      for (int k = 0; k < kWidth; ++k) {
        v[k] = v[k] * factor - offset;
        if (k == label) v[k] = args.places.label_gradient[row];
        v[k] = column + k < args.classes ? rounded<T>(v[k]) : 0.0f;
        sum[k] += v[k];
      }
      store(args.block + row * args.stride + column, v);
    }
  }
  if (args.strips == nullptr) return;
#pragma unroll
  for (int k = 0; k < kWidth; ++k) sums[threadIdx.y][threadIdx.x * kWidth + k] = sum[k];
  __syncthreads();
  const int64_t first_column = static_cast<int64_t>(blockIdx.x) * kWarp * kWidth;
  const int thread = threadIdx.y * kWarp + threadIdx.x;
  if (thread >= kWarp * kWidth || first_column + thread >= args.classes) return;
  float of_column = 0.0f;
  for (int slice = 0; slice < kSlices; ++slice) of_column += sums[slice][thread];
  args.strips[blockIdx.y * args.classes + first_column + thread] = of_column;
}

}  // namespace
}  // namespace kerasllm

#endif  // KERASLLM_LINEAR_CROSS_ENTROPY_LINEAR_CROSS_ENTROPY_CUDA_ROWS_H_
