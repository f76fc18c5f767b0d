// The products of common/cuda_gemm.h on tensor cores, for bfloat16 and float16.
//
// A block of 8 warps makes 128 x 256 results, each warp 64 x 64 of them in registers. Tiles of the
// operands, 32 deep, come into shared memory by asynchronous copies, kStages - 1 steps ahead. There
// they lie in rows of 16-byte chunks as they lie in memory, along the depth or across it, with the
// chunks of a row exchanged so that the eight rows of a matrix that ldmatrix reads, and those that
// copies write, are in different banks.
#ifndef KERASLLM_COMMON_CUDA_GEMM_MMA_H_
#define KERASLLM_COMMON_CUDA_GEMM_MMA_H_

#include "common/cuda_gemm.h"
#include "common/cuda_mma.h"

namespace kerasllm {
namespace {

struct MmaTile {
  static constexpr int kThreads = 256, kTileRows = 128, kTileColumns = 256, kTileDepth = 32;
  static constexpr int kWarpsDown = 2, kWarpsAcross = 4, kWarpSide = 64;
  static constexpr int kRows = 8, kColumns = 16, kRowLanes = 4;
  float sums[kWarpSide / 16][kWarpSide / 8][4];

  static KERASLLM_DEVICE int warp_across() {
    return static_cast<int>(threadIdx.x) / kWarp % kWarpsAcross;
  }
  static KERASLLM_DEVICE int warp_row() {
    return static_cast<int>(threadIdx.x) / kWarp / kWarpsAcross * kWarpSide;
  }
  static KERASLLM_DEVICE int warp_column() { return warp_across() * kWarpSide; }
  static KERASLLM_DEVICE int row(int i) {
    return warp_row() + i / 2 * 16 + i % 2 * 8 + static_cast<int>(threadIdx.x) % kWarp / 4;
  }
  static KERASLLM_DEVICE int column(int j) {
    return warp_column() + j / 2 * 8 + static_cast<int>(threadIdx.x) % 4 * 2 + j % 2;
  }
  KERASLLM_DEVICE float& value(int i, int j) { return sums[i / 2][j / 2][i % 2 * 2 + j % 2]; }
};

// A tile of one operand in shared memory: kSide of its rows or columns, MmaTile::kTileDepth deep.
template <class T, bool kAlongDepth, int kSide>
struct MmaOperand {
  static constexpr int kDepth = MmaTile::kTileDepth;
  static constexpr int kSize = kSide * kDepth;  // elements
  static constexpr int kRowSize = kAlongDepth ? kDepth : kSide;
  static constexpr int kChunks = kRowSize / 8;  // of 16 bytes, a row
  static constexpr int kEach = kSize / 8 / MmaTile::kThreads;

  // Where chunk `chunk` of row `row` lies. A bank's width of 128 bytes is two rows of 32 elements.
  static KERASLLM_DEVICE int at(int row, int chunk) {
    const int exchanged = kAlongDepth ? chunk ^ (row / 2 % 4) : chunk ^ (row % 8);
    return row * kRowSize + exchanged * 8;
  }

  // The tile from `side` and `depth` on; zeros where there is nothing.
  static KERASLLM_DEVICE void copy(const GemmOperand<T>& from, int64_t rows, int64_t side,
                                   int64_t depth, T* to) {
    constexpr int kRowsEach = MmaTile::kThreads / kChunks;
    static_assert(kRowsEach % 8 == 0, "the chunks of a thread's rows are exchanged alike");
    const int64_t first_row = kAlongDepth ? side : depth;
    const int row = static_cast<int>(threadIdx.x) / kChunks;
    const int chunk = static_cast<int>(threadIdx.x) % kChunks;
    const int64_t column = (kAlongDepth ? depth : side) + chunk * 8;
    const int rows_left =
        column < from.columns ? static_cast<int>(cuda_min(rows - first_row, kSide)) : 0;
    const T* source = from.data + (first_row + row) * from.stride + column;
    T* const target = to + at(row, chunk);
#pragma unroll
    for (int e = 0; e < kEach; ++e) {
      const bool there = row + e * kRowsEach < rows_left;
      copy_async<16>(target + e * kRowsEach * kRowSize, there ? source : from.data, there);
      source += kRowsEach * from.stride;
    }
  }

  // The fragments of 16 rows of a from `side` on.
  static KERASLLM_DEVICE void left(const T* tile, int side, int depth, uint32_t (&words)[4]) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    if constexpr (kAlongDepth) {
      load_matrices(tile + at(side + lane % 16, depth / 8 + lane / 16), words);
    } else {
      load_matrices_transposed(tile + at(depth + lane % 8 + lane / 16 * 8, side / 8 + lane / 8 % 2),
                               words);
    }
  }
  // The fragments of 16 columns of b from `side` on: words 0 and 1 of the first 8.
  static KERASLLM_DEVICE void right(const T* tile, int side, int depth, uint32_t (&words)[4]) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    if constexpr (kAlongDepth) {
      load_matrices(tile + at(side + lane % 8 + lane / 16 * 8, depth / 8 + lane / 8 % 2), words);
    } else {
      load_matrices_transposed(tile + at(depth + lane % 16, side / 8 + lane / 16), words);
    }
  }
};

constexpr int kMmaStages = 4;
constexpr int kMmaStageSize =
    (MmaTile::kTileRows + MmaTile::kTileColumns) * MmaTile::kTileDepth;  // elements
constexpr int kMmaSharedBytes = kMmaStages * kMmaStageSize * 2;

template <class T, bool kAAlong, bool kBAlong, class Epilogue>
KERASLLM_DEVICE void mma_gemm(GemmProblem<T>& problem, const Epilogue& epilogue) {
  using A = MmaOperand<T, kAAlong, MmaTile::kTileRows>;
  using B = MmaOperand<T, kBAlong, MmaTile::kTileColumns>;
  KERASLLM_DYNAMIC_SHARED(shared);
  T* const tiles = reinterpret_cast<T*>(shared);
  constexpr int kDepth = MmaTile::kTileDepth;
  const GemmBlock block = gemm_block(problem, MmaTile::kTileRows, MmaTile::kTileColumns, kDepth);
  if (block.idle) return;
  const GemmPlace& place = block.place;
  const int64_t a_rows = rows_there<kAAlong>(problem.a, place.rows, problem.depth);
  const int64_t b_rows = rows_there<kBAlong>(problem.b, place.columns, problem.depth);
  // A group of copies for each step, empty behind the last.
  const int steps = static_cast<int>((block.depth_end - block.depth_begin) / kDepth);
  const auto copy = [&](int stage, int step) {
    if (step < steps) {
      const int64_t depth = block.depth_begin + static_cast<int64_t>(step) * kDepth;
      T* const to = tiles + stage * kMmaStageSize;
      A::copy(problem.a, a_rows, place.row, depth, to);
      B::copy(problem.b, b_rows, place.column, depth, to + A::kSize);
    }
    commit_copies();
  };
  for (int stage = 0; stage < kMmaStages - 1; ++stage) {
    copy(stage, stage);
  }
  MmaTile tile = {};
  if (steps > 0) {
    const int row = MmaTile::warp_row(), column = MmaTile::warp_column();
    const bool works = place.row + row < place.rows && place.column + column < place.columns;
    // The fragments of one half of a step are read while those of the other are multiplied.
    uint32_t left[2][4][4], right[2][4][4];
    const auto read = [&](int stage, int half) {
      const T* const a_tile = tiles + stage * kMmaStageSize;
#pragma unroll
      for (int i = 0; i < 4; ++i) A::left(a_tile, row + i * 16, half * 16, left[half][i]);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        B::right(a_tile + A::kSize, column + j * 16, half * 16, right[half][j]);
      }
    };
    const auto multiply = [&](int half) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          const uint32_t (&words)[4] = right[half][j / 2];
          const uint32_t pair[2] = {words[j % 2 * 2], words[j % 2 * 2 + 1]};
          multiply_add<T>(tile.sums[i][j], left[half][i], pair);
        }
      }
    };
    wait_for_copies<kMmaStages - 2>();
    __syncthreads();
    if (works) read(0, 0);
    int stage = 0;
    for (int step = 0; step < steps; ++step) {
      if (works) read(stage, 1);
      // Where the step before this one read, and all threads are done with it.
      copy((stage + kMmaStages - 1) % kMmaStages, step + kMmaStages - 1);
      if (works) multiply(0);
      stage = (stage + 1) % kMmaStages;
      wait_for_copies<kMmaStages - 2>();
      __syncthreads();  // the next step's tiles are there, and all have read those of this one
      if (!works) continue;
      if (step + 1 < steps) read(stage, 0);
      multiply(1);
    }
  }
  wait_for_copies<0>();
  __syncthreads();  // the epilogue's memory is the tiles'
  epilogue(tile, place, shared);
}

template <class T, bool kAAlong, bool kBAlong, class Epilogue>
__global__ void __launch_bounds__(MmaTile::kThreads, 1)
    mma_gemm_kernel(GemmProblem<T> problem, Epilogue epilogue) {
  if constexpr (kTensorCoresServe) mma_gemm<T, kAAlong, kBAlong>(problem, epilogue);
}

// Tells which target's code runs here.
__global__ void target_kernel() {}

// Whether products of T run on tensor cores here: all GPUs from sm_80 on have the memory, those
// before have not. A later GPU may run code for an earlier one, in which mma_gemm_kernel is empty.
template <class T>
bool gemm_on_tensor_cores() {
  return sizeof(T) == 2 && shared_memory_limit() >= kMmaSharedBytes &&
         is_compiled_for(&target_kernel, 80);
}

// Columns of a tile.
template <class T>
int64_t gemm_tile_columns() {
  return gemm_on_tensor_cores<T>() ? MmaTile::kTileColumns : FmaTile::kTileColumns;
}

// kAlong: the depth lies along the operand's rows. At most 2^31 - 512 rows and
// columns, 2^31 - 1 tiles and 65535 splits.
template <bool kAAlong, bool kBAlong, class T, class Epilogue>
int gemm(const GemmProblem<T>& problem, const Epilogue& epilogue, void* stream) {
  if (problem.rows == 0 || problem.columns == 0) return 0;
  if constexpr (sizeof(T) == 2) {
    if (gemm_on_tensor_cores<T>()) {
      return launch(&mma_gemm_kernel<T, kAAlong, kBAlong, Epilogue>, gemm_grid<MmaTile>(problem),
                    dim3(MmaTile::kThreads), kMmaSharedBytes, stream, problem, epilogue);
    }
  }
  return launch(&fma_gemm_kernel<T, kAAlong, kBAlong, Epilogue>, gemm_grid<FmaTile>(problem),
                dim3(FmaTile::kThreads), 0, stream, problem, epilogue);
}

}  // namespace
}  // namespace kerasllm

#endif  // KERASLLM_COMMON_CUDA_GEMM_MMA_H_
