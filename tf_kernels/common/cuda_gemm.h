// Matrix products a * b in tiles. An epilogue takes each tile of the result while it is in
// registers, so that what follows from it (statistics of a row, say) needs no second pass.
//
// Two forms: this file's in float32, and that of the tensor cores (common/cuda_gemm_mma.h), which
// also chooses between them. Sums run over the depth in
// order, in float32: the same bits in every run.
//
// An epilogue is called by all threads of a block as
//   epilogue(Tile& tile, const GemmPlace& place, float* shared)
// with Tile::kRows x Tile::kColumns results in each thread: value(i, j) belongs to row(i) and
// column(j) of the tile. The columns of even j and j + 1 are neighbours. A row of the tile lies in
// kRowLanes neighbouring lanes (kRowLanes divides a warp, neighbours begin at its multiples) of
// each of kWarpsAcross warps, of which the thread's is number warp_across(). `shared` has 4 *
// kTileRows * kWarpsAcross places.
#ifndef KERASLLM_COMMON_CUDA_GEMM_H_
#define KERASLLM_COMMON_CUDA_GEMM_H_

#include "common/cuda.h"

namespace kerasllm {
namespace {

// A row-major matrix. The address, the stride and the columns are multiples of 16 bytes; what pads
// the columns takes part in the sums where these run along it.
template <class T>
struct GemmOperand {
  const T* data;
  int64_t stride, rows, columns;
};

// The operands lie with the depth along their rows or down their columns: (rows, depth) or (depth,
// rows) for a, (columns, depth) or (depth, columns) for b.
template <class T>
struct GemmProblem {
  GemmOperand<T> a, b;
  int64_t rows, columns, depth;
  // The depth is cut into so many parts; the epilogue gets each part's sum.
  int64_t splits = 1;
  // What the device alone knows: of the rows, or of the depth if `counts_depth`, only those below
  // *count - first are there. Without a depth the sums are zeros if first is 0, and left out else.
  // Below zero: there is nothing to do at all.
  const int32_t* count = nullptr;
  int64_t first = 0;
  bool counts_depth = false;
};

struct GemmPlace {
  int32_t row, column;    // of the tile's first result
  int32_t rows, columns;  // of the whole
  int32_t split;
};

// Where a block works; `problem` is cut to what is there.
struct GemmBlock {
  GemmPlace place;
  int64_t depth_begin, depth_end;
  bool idle;
};
template <class T>
KERASLLM_DEVICE GemmBlock gemm_block(GemmProblem<T>& problem, int tile_rows, int tile_columns,
                                     int tile_depth) {
  // Bands of row tiles: the blocks that run together share their operands in the cache.
  constexpr int64_t kBand = 16;
  const int64_t row_tiles = cuda_ceil_div(problem.rows, tile_rows);
  const int64_t column_tiles = cuda_ceil_div(problem.columns, tile_columns);
  const int64_t block = blockIdx.x;
  const int64_t band = block / (kBand * column_tiles) * kBand;
  const int64_t band_rows = cuda_min(kBand, row_tiles - band);
  const int64_t within = block - band * column_tiles;
  GemmBlock result;
  result.place = {static_cast<int32_t>((band + within % band_rows) * tile_rows),
                  static_cast<int32_t>(within / band_rows * tile_columns),
                  static_cast<int32_t>(problem.rows), static_cast<int32_t>(problem.columns),
                  static_cast<int32_t>(blockIdx.y)};
  result.idle = false;
  if (problem.count != nullptr) {
    const int64_t count = *problem.count, left = count - problem.first;
    if (problem.counts_depth) {
      problem.depth = cuda_max(0, cuda_min(problem.depth, left));
      result.idle = count < 0 || (problem.depth == 0 && problem.first > 0);
    } else {
      result.place.rows = static_cast<int32_t>(cuda_max(0, cuda_min(problem.rows, left)));
      result.idle = result.place.row >= result.place.rows;
    }
  }
  const int64_t steps = cuda_ceil_div(problem.depth, tile_depth);
  result.depth_begin = steps * result.place.split / problem.splits * tile_depth;
  result.depth_end = steps * (result.place.split + 1) / problem.splits * tile_depth;
  return result;
}
// Rows of an operand that there are, once the problem is cut.
template <bool kAlongDepth, class T>
KERASLLM_DEVICE int64_t rows_there(const GemmOperand<T>& operand, int64_t side, int64_t depth) {
  return cuda_min(operand.rows, kAlongDepth ? side : depth);
}

// The float32 form: 256 threads, 8 x 8 results each. A step's sums are made on their own and added
// to what is there, so that rounding grows with the steps and not with the depth.
struct FmaTile {
  static constexpr int kThreads = 256, kTileRows = 128, kTileColumns = 128, kTileDepth = 16;
  static constexpr int kRows = 8, kColumns = 8, kRowLanes = 16, kWarpsAcross = 1;
  float sums[kRows][kColumns];
  static KERASLLM_DEVICE int row(int i) {
    return i / 4 * 64 + static_cast<int>(threadIdx.x) / 16 * 4 + i % 4;
  }
  static KERASLLM_DEVICE int column(int j) {
    return j / 4 * 64 + static_cast<int>(threadIdx.x) % 16 * 4 + j % 4;
  }
  static KERASLLM_DEVICE int warp_across() { return 0; }
  KERASLLM_DEVICE float& value(int i, int j) { return sums[i][j]; }
};

constexpr int kFmaSide = FmaTile::kTileRows, kFmaDepth = FmaTile::kTileDepth;
constexpr int kFmaEach = kFmaSide * kFmaDepth / 4 / FmaTile::kThreads;  // of 4 elements, a thread

// A thread's share of the tile of one operand.
template <class T, bool kAlongDepth>
struct FmaShare {
  float values[kFmaEach][4];

  static KERASLLM_DEVICE int side_at(int e) {
    const int at = e * FmaTile::kThreads + static_cast<int>(threadIdx.x);
    return kAlongDepth ? at / (kFmaDepth / 4) : at % (kFmaSide / 4) * 4;
  }
  static KERASLLM_DEVICE int depth_at(int e) {
    const int at = e * FmaTile::kThreads + static_cast<int>(threadIdx.x);
    return kAlongDepth ? at % (kFmaDepth / 4) * 4 : at / (kFmaSide / 4);
  }
  KERASLLM_DEVICE void read(const GemmOperand<T>& from, int64_t rows, int64_t side, int64_t depth) {
#pragma unroll
    for (int e = 0; e < kFmaEach; ++e) {
      const int64_t s = side + side_at(e), k = depth + depth_at(e);
      const int64_t row = kAlongDepth ? s : k, column = kAlongDepth ? k : s;
      if (row < rows && column < from.columns) {
        load(from.data + row * from.stride + column, values[e]);
      } else {
#pragma unroll
        for (float& value : values[e]) value = 0.0f;
      }
    }
  }
  KERASLLM_DEVICE void write(float (*to)[kFmaSide + 4]) const {
#pragma unroll
    for (int e = 0; e < kFmaEach; ++e) {
      if constexpr (kAlongDepth) {
#pragma unroll
        for (int k = 0; k < 4; ++k) to[depth_at(e) + k][side_at(e)] = values[e][k];
      } else {
        store_shared(&to[depth_at(e)][side_at(e)], values[e]);
      }
    }
  }
};

// Which form compiled code is for: the one that `gemm` does not launch on a target is left empty.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
constexpr bool kTensorCoresServe = false, kFmaServesHalf = true;
#elif defined(__CUDA_ARCH__)
constexpr bool kTensorCoresServe = true, kFmaServesHalf = false;
#else
constexpr bool kTensorCoresServe = true, kFmaServesHalf = true;
#endif

template <class T, bool kAAlong, bool kBAlong, class Epilogue>
KERASLLM_DEVICE void fma_gemm(GemmProblem<T>& problem, const Epilogue& epilogue) {
  alignas(16) __shared__ float a_tile[kFmaDepth][kFmaSide + 4], b_tile[kFmaDepth][kFmaSide + 4];
  const GemmBlock block = gemm_block(problem, kFmaSide, kFmaSide, kFmaDepth);
  if (block.idle) return;
  const GemmPlace& place = block.place;
  const int64_t a_rows = rows_there<kAAlong>(problem.a, place.rows, problem.depth);
  const int64_t b_rows = rows_there<kBAlong>(problem.b, place.columns, problem.depth);
  FmaTile tile = {};
  FmaShare<T, kAAlong> a;
  FmaShare<T, kBAlong> b;
  if (block.depth_begin < block.depth_end) {
    a.read(problem.a, a_rows, place.row, block.depth_begin);
    b.read(problem.b, b_rows, place.column, block.depth_begin);
  }
  for (int64_t depth = block.depth_begin; depth < block.depth_end; depth += kFmaDepth) {
    a.write(a_tile);
    b.write(b_tile);
    __syncthreads();
    if (depth + kFmaDepth < block.depth_end) {
      a.read(problem.a, a_rows, place.row, depth + kFmaDepth);
      b.read(problem.b, b_rows, place.column, depth + kFmaDepth);
    }
    const int y = static_cast<int>(threadIdx.x) / 16 * 4,
              x = static_cast<int>(threadIdx.x) % 16 * 4;
    float part[8][8] = {};
#pragma unroll
    for (int k = 0; k < kFmaDepth; ++k) {
      float left[2][4], right[2][4];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        load(&a_tile[k][half * 64 + y], left[half]);
        load(&b_tile[k][half * 64 + x], right[half]);
      }
#pragma unroll
      for (int i = 0; i < 8; ++i) {
#pragma unroll
        for (int j = 0; j < 8; ++j) part[i][j] += left[i / 4][i % 4] * right[j / 4][j % 4];
      }
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) {
#pragma unroll
      for (int j = 0; j < 8; ++j) tile.sums[i][j] += part[i][j];
    }
    __syncthreads();
  }
  epilogue(tile, place, a_tile[0]);
}
template <class T, bool kAAlong, bool kBAlong, class Epilogue>
__global__ void __launch_bounds__(FmaTile::kThreads, 1)
    fma_gemm_kernel(GemmProblem<T> problem, Epilogue epilogue) {
  if constexpr (sizeof(T) == 4 || kFmaServesHalf) fma_gemm<T, kAAlong, kBAlong>(problem, epilogue);
}

template <class Tile, class T>
dim3 gemm_grid(const GemmProblem<T>& problem) {
  const int64_t tiles = cuda_ceil_div(problem.rows, Tile::kTileRows) *
                        cuda_ceil_div(problem.columns, Tile::kTileColumns);
  return dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(problem.splits));
}

}  // namespace
}  // namespace kerasllm

#endif  // KERASLLM_COMMON_CUDA_GEMM_H_
