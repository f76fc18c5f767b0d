// Attention's backward kernel on the GPU. Probabilities are computed again from the scores and
// forward's log_sum_exp, tile by tile, as attention_backward_cpu.cc says. Two kernels, which are
// one template: in the first a block keeps some rows of keys and values, and the queries that see
// them pass by; in the second it keeps queries, and the keys pass by. So each gradient is summed by
// one warp in one order, in its registers: no atomics, at the cost of making the scores twice
// (seven products of matrices). Where the order of sums is free, and half precision leaves the
// room, the first adds the gradient by queries to sums in global memory instead (five products, as
// in Dao, FlashAttention-2, 2023), and the second is left out.
//
// A block's scores stand with the rows that stay: what a warp has of them is then a left operand of
// the products that follow, without a way through shared memory.
#ifndef KERASLLM_ATTENTION_ATTENTION_CUDA_BACKWARD_H_
#define KERASLLM_ATTENTION_ATTENTION_CUDA_BACKWARD_H_

#include "attention/attention_cuda_query_sums.h"
#include "attention/attention_cuda_rules.h"
#include "attention/attention_cuda_tiles.h"
#include "common/cuda_random.h"

namespace kerasllm {
namespace {

// The gradients that a kernel makes: those by keys and values, that by queries, or the first and
// its blocks' parts of the second.
enum class Makes { kKeysAndValues, kQueries, kAll };

template <class T, int kDim, Makes kMakes>
struct BackwardSizes {
  static constexpr bool kAll = kMakes == Makes::kAll, kKeysStay = kMakes != Makes::kQueries;
  static constexpr bool kHalf = sizeof(T) == 2;
  // Of 16 rows that stay, a warp.
  static constexpr int kBlocks = kHalf && kDim <= (kKeysStay ? 64 : 128) ? 2 : 1;
  // Of 8 rows that pass, a tile; so many that registers and 64 KB of shared memory are enough.
  static constexpr int kPanels =
      kHalf ? (kDim <= 128 ? 4 : 2) : (kKeysStay && kDim == 64 ? 2 : 256 / kDim);
  static constexpr int kPassing = 8 * kPanels;
  // Blocks that share the columns of two gradients.
  static constexpr int kParts = kKeysStay && kDim > (kHalf ? 128 : 64) ? 2 : 1;
  static constexpr int kWarps = kHalf ? (kKeysStay && kDim == 128 ? 8 : 4) : (kDim > 128 ? 2 : 4);
  static constexpr int kColumns = kDim / kParts;

  static int rows(int warps) { return warps * 16 * kBlocks; }
  // `stages`: tiles that pass by in shared memory at a time, two if one is to arrive meanwhile.
  static int64_t shared_bytes(int warps, int stages, bool drops) {
    const int64_t kept = drops ? warps * 2 * kBlocks * kPassing : 0;
    const int64_t numbers = kKeysStay ? stages * 2 * kPassing * 4 : 0;
    const int64_t gradients = kAll ? rows(warps) * kPassing * sizeof(T) : 0;
    return Tile<T, kDim>::bytes(2 * rows(warps) + 2 * stages * kPassing) + gradients + numbers +
           kept;
  }
};

// What exponentials are relative to, for the logarithm of their sum: infinity for a sum of nothing,
// so that probabilities are zeros.
template <class T>
KERASLLM_DEVICE float as_base(float log_sum_exp) {
  return log_sum_exp == -infinity() ? infinity() : log_sum_exp * kUnit<T>;
}

// `query_sums`: for kAll, which is launched with kWarps warps.
template <class T, int kDim, Makes kMakes>
__global__ void __launch_bounds__(BackwardSizes<T, kDim, kMakes>::kWarps* kWarp, 1)
    attention_backward_kernel(AttentionBackward<T> args, const float* deltas,
                              const Padding* padding, int stages, bool aligned, bool pairs,
                              float* query_sums) {
  using Sizes = BackwardSizes<T, kDim, kMakes>;
  constexpr bool kAll = Sizes::kAll, kKeysStay = Sizes::kKeysStay;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
  if constexpr (kAll) return;  // never launched there
#endif
  constexpr int kBlocks = Sizes::kBlocks, kPanels = Sizes::kPanels, kPassing = Sizes::kPassing;
  KERASLLM_DYNAMIC_SHARED(shared);
  const AttentionShape& shape = args.shape;
  const int warp = threadIdx.x / kWarp, rows = blockDim.x / kWarp * 16 * kBlocks;
  const int g = threadIdx.x % kWarp / 4, t = threadIdx.x % 4;
  const int row = warp * 16 * kBlocks;  // of the warp's, in the block
  // Keys and values, or queries and d_outputs; and the others, `stages` of each.
  const Tile<T, kDim> left = {reinterpret_cast<T*>(shared)};
  const Tile<T, kDim> left_values = {left.data + rows * kDim};
  T* const passing = left_values.data + rows * kDim;
  T* const behind = passing + stages * 2 * kPassing * kDim;
  // Where queries pass: their log_sum_exp and deltas, of each stage.
  float* const numbers = reinterpret_cast<float*>(behind + (kAll ? rows * kPassing : 0));
  uint8_t* const kept =
      reinterpret_cast<uint8_t*>(numbers + (kKeysStay ? stages * 2 * kPassing : 0)) +
      warp * 2 * kBlocks * kPassing;

  const int64_t staying = kKeysStay ? shape.key_length : shape.query_length;
  const int64_t staying_heads = kKeysStay ? shape.num_key_value_heads : shape.num_heads;
  const int64_t passing_heads = kKeysStay ? shape.num_heads : shape.num_key_value_heads;
  const unsigned row_tiles = static_cast<unsigned>(cuda_ceil_div(staying, rows));
  const unsigned heads = static_cast<unsigned>(staying_heads);
  // The longest pieces of causal attention first: the first keys, the last queries.
  const unsigned tile = blockIdx.x % row_tiles;
  const int first = static_cast<int>(kKeysStay ? tile : row_tiles - 1 - tile) * rows;
  const int stays = static_cast<int>(blockIdx.x / row_tiles % heads);  // the head
  const int batch = static_cast<int>(blockIdx.x / row_tiles / heads);
  const int group = static_cast<int>(shape.num_heads / shape.num_key_value_heads);
  const int real = min_of(rows, static_cast<int>(staying) - first);
  const int dim = static_cast<int>(shape.head_dim), value_dim = static_cast<int>(shape.value_dim);
  const int column = blockIdx.y * Sizes::kColumns;
  const bool drops = args.options.dropout.threshold != 0;

  const T* const from = kKeysStay ? args.key : args.query;
  const T* const from_values = kKeysStay ? args.value : args.d_outputs;
  // Places are made from few numbers where they are needed: registers are scarce.
  const auto first_row = [&] {
    return (made_anew(batch) * staying + made_anew(first)) * staying_heads + made_anew(stays);
  };
  // What lies behind the keys that are seen could be NaN, and would be multiplied by zeros.
  int loaded = real;
  if constexpr (kAll) {
    loaded = min_of(real, Head<T>(shape, args.options, batch, 0, padding).end - first);
  }
  left.load(from + first_row() * dim, staying_heads * dim, rows, loaded, dim, aligned);
  left_values.load(from_values + first_row() * value_dim, staying_heads * value_dim, rows, loaded,
                   value_dim, aligned);
  commit_copies();

  float sums[kBlocks][Sizes::kColumns / 8][4] = {};
  float value_sums[kBlocks][kKeysStay ? Sizes::kColumns / 8 : 1][4] = {};
  const int end_head = kKeysStay ? (stays + 1) * group : stays + 1;
#pragma unroll 1
  for (int head_index = kKeysStay ? stays * group : stays; head_index < end_head; ++head_index) {
    const Head<T> head(shape, args.options, batch, head_index, padding);
    const Range seen =
        kKeysStay ? head.queries(first, first + real - 1) : head.keys(first, first + real - 1);
    const int begin = seen.begin / kPassing * kPassing;
    const auto numbers_row = [&] {
      return (made_anew(batch) * shape.num_heads + made_anew(head_index)) * shape.query_length;
    };
    const auto load_stage = [&](int at, int stage) {
      const Tile<T, kDim> right = {passing + stage * 2 * kPassing * kDim};
      const Tile<T, kDim> right_values = {right.data + kPassing * kDim};
      const int there = seen.end - at;
      const int passes = kKeysStay ? head_index : head_index / group;
      const int64_t passing_length = kKeysStay ? shape.query_length : shape.key_length;
      const int64_t from_row =
          (made_anew(batch) * passing_length + at) * passing_heads + made_anew(passes);
      right.load((kKeysStay ? args.query : args.key) + from_row * dim, passing_heads * dim,
                 kPassing, there, dim, aligned);
      right_values.load((kKeysStay ? args.d_outputs : args.value) + from_row * value_dim,
                        passing_heads * value_dim, kPassing, there, value_dim, aligned);
      if constexpr (kKeysStay) {
        for (int i = threadIdx.x; i < 2 * kPassing; i += blockDim.x) {
          const bool inside = i % kPassing < there;
          const int64_t place = numbers_row() + at + (inside ? i % kPassing : 0);
          copy_async<4>(numbers + stage * 2 * kPassing + i,
                        (i < kPassing ? args.log_sum_exp : deltas) + place, inside);
        }
      }
      commit_copies();
    };

    // Of rows 16 i + g and 16 i + g + 8, where queries stay.
    float bases[kBlocks][2] = {}, row_deltas[kBlocks][2] = {};
    if constexpr (!kKeysStay) {
#pragma unroll
      for (int i = 0; i < kBlocks; ++i) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int r = row + i * 16 + half * 8 + g;
          const int64_t place = numbers_row() + first + r;
          bases[i][half] = r < real ? as_base<T>(args.log_sum_exp[place]) : infinity();
          row_deltas[i][half] = r < real ? deltas[place] : 0.0f;
        }
      }
    }

    if (begin < seen.end) load_stage(begin, 0);
    int stage = 0;
    for (int at = begin; at < seen.end; at += kPassing) {
      wait_for_copies<0>();
      __syncthreads();  // this stage is there, and the other has been read
      const int next = stages == 2 ? 1 - stage : 0;
      if (stages == 2 && at + kPassing < seen.end) load_stage(at + kPassing, next);
      const Tile<T, kDim> right = {passing + stage * 2 * kPassing * kDim};
      const Tile<T, kDim> right_values = {right.data + kPassing * kDim};
      const int query = kKeysStay ? at : first + row, key = kKeysStay ? first + row : at;
      if (drops) {
        if constexpr (kKeysStay) {
          draw_kept<kPassing, 2 * kBlocks>(head, query, key, kept);
        } else {
          draw_kept<16 * kBlocks, kPanels>(head, query, key, kept);
        }
      }
      // Products with the keys become probabilities, those with the values the scores' gradients.
      float weights[kBlocks][kPanels][4] = {}, gradients[kBlocks][kPanels][4] = {};
      multiply_rows(left, row, right, dim, weights);
      multiply_rows(left_values, row, right_values, value_dim, gradients);
      const bool hides =
          !(kKeysStay ? head.all_see(at, at + kPassing - 1, first, first + rows - 1)
                      : head.all_see(first, first + rows - 1, at, at + kPassing - 1));
      const float* const stage_numbers = numbers + stage * 2 * kPassing;
      const auto for_each = [&](const auto& body) {
#pragma unroll
        for (int j = 0; j < kPanels; ++j) {
#pragma unroll
          for (int i = 0; i < kBlocks; ++i) {
#pragma unroll
            for (int e = 0; e < 4; ++e) body(i, j, e, j * 8 + 2 * t + e % 2);
          }
        }
      };
      const auto drop = [&](float (&values)[kBlocks][kPanels][4]) {
        for_each([&](int i, int j, int e, int c) {
          const int r = i * 16 + e / 2 * 8 + g, q = kKeysStay ? c : r, k = kKeysStay ? r : c;
          const uint32_t byte = kept[q * (kKeysStay ? 2 * kBlocks : kPanels) + k / 8];
          values[i][j][e] *= (byte >> (k % 8) & 1u) != 0 ? args.options.dropout.scale : 0.0f;
        });
      };
      if (drops) drop(gradients);
      for_each([&](int i, int j, int e, int c) {
        gradients[i][j][e] -= kKeysStay ? stage_numbers[kPassing + c] : row_deltas[i][e / 2];
      });
      head.template finish<kKeysStay>(query, key, hides, weights, gradients);
      for_each([&](int i, int j, int e, int c) {
        const float base = kKeysStay ? as_base<T>(stage_numbers[c]) : bases[i][e / 2];
        weights[i][j][e] = exponential<T>(weights[i][j][e], head.multiplier, base);
        gradients[i][j][e] *= weights[i][j][e];
      });
      if (drops) drop(weights);
      if constexpr (kAll) ScoreGradients<T>{behind}.store(gradients, row);
      if constexpr (kKeysStay) {
        multiply_columns(weights, right_values, column, value_dim, value_sums);
      }
      multiply_columns(gradients, right, column, dim, sums);
      if constexpr (kAll) {
        static_assert(kPassing == kSumsQueries && Sizes::kWarps * kSumsColumns == kDim,
                      "a part a warp");
        constexpr int kKeys = Sizes::kWarps * 16 * kBlocks;
        __syncthreads();  // all warps' gradients of the scores are there
        if (made_anew(warp) * kSumsColumns < dim) {
          const int64_t tiles = cuda_ceil_div(shape.query_length, kPassing);
          const int64_t index =
              (made_anew(batch) * shape.num_heads + made_anew(head_index)) * tiles + at / kPassing;
          ScoreGradients<T>{behind}.template multiply<kKeys>(
              left, made_anew(warp) * kSumsColumns,
              query_sums + (index * Sizes::kWarps + made_anew(warp)) * kPart);
        }
      }
      if (stages == 1) {
        __syncthreads();  // the stage has been read
        if (at + kPassing < seen.end) load_stage(at + kPassing, 0);
      }
      stage = next;
    }
    __syncthreads();  // before the next head's first stage
  }
  wait_for_copies<0>();  // of the operands that stay, where no tile was seen

  float factors[kBlocks][2], ones[kBlocks][2];
#pragma unroll
  for (int i = 0; i < kBlocks; ++i) {
    factors[i][0] = factors[i][1] = args.options.scale;
    ones[i][0] = ones[i][1] = 1.0f;
  }
  store_rows(sums, factors, (kKeysStay ? args.d_key : args.d_query) + first_row() * dim,
             staying_heads * dim, row, real, column, dim, pairs);
  if constexpr (kKeysStay) {
    store_rows(value_sums, ones, args.d_value + first_row() * value_dim, staying_heads * value_dim,
               row, real, column, value_dim, pairs);
  }
}

}  // namespace
}  // namespace kerasllm

#endif  // KERASLLM_ATTENTION_ATTENTION_CUDA_BACKWARD_H_
