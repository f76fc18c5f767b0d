// The one matrix product under every family: some rows of A times a packed panel of B, as wide as
// four vectors, into float32.
//
//   c[r][j] (+)= sum over k of a[r][k] * panel[k][j],   0 <= j < kPanel
//
// The panel lies packed in the order in which it is read, so a panel of a few hundred rows stays in
// the first two cache levels while all rows of A pass by. Each c is summed in the order of k
// whatever the block of rows it falls into, so results do not depend on how work was divided.
//
// Two kinds of operand:
//   float      panel[k][j]
//   bfloat16   panel[k / 2][j][k % 2], with AVX512-BF16 or AMX; elsewhere bfloat16 tensors are
//              widened to float operands first (see Operand)
#ifndef KERASLLM_COMMON_PANEL_PRODUCT_H_
#define KERASLLM_COMMON_PANEL_PRODUCT_H_

#include "common/bfloat16.h"
#include "common/vec.h"
#ifdef KERASLLM_AMX
#include "common/tiles.h"
#endif

namespace kerasllm {
namespace KERASLLM_ISA {

#ifndef KERASLLM_AMX
struct TilesInUse {
  TilesInUse() {}  // nothing to set up, but a named object of it is no unused variable
};
#endif

inline constexpr int kPanelVecs = 4;
inline constexpr int kPanel = kPanelVecs * kLanes;

// The type in which a tensor of T enters a product.
template <class T>
struct OperandOf {
  using type = float;
};
#if defined(__AVX512BF16__) || defined(KERASLLM_AMX)
template <>
struct OperandOf<bfloat16> {
  using type = bfloat16;
};
#endif
template <class T>
using Operand = typename OperandOf<T>::type;

// Depths are padded with zeros to a multiple of this, in A and in the panel.
template <class Op>
inline constexpr int kDepthMultiple = 1;
#ifdef KERASLLM_AMX
template <>
inline constexpr int kDepthMultiple<bfloat16> = 32;
#else
template <>
inline constexpr int kDepthMultiple<bfloat16> = 2;
#endif

template <class Op>
inline int64_t padded_depth(int64_t depth) {
  return round_up(depth, kDepthMultiple<Op>);
}

// Where element (k, j) of a panel lies.
inline int64_t panel_index(const float*, int64_t k, int64_t j) { return k * kPanel + j; }
inline int64_t panel_index(const bfloat16*, int64_t k, int64_t j) {
  return (k / 2) * (2 * kPanel) + 2 * j + k % 2;
}

// A left operand: element (row, k) lies at data[row * row_stride + k / unit * depth_stride + k %
// unit], where a unit is what one instruction takes of k: one float, or a pair of bfloat16.
template <class Op>
struct Left {
  const Op* data;
  int64_t row_stride, depth_stride;
};

// sum += value * b, over one unit of k.
inline __attribute__((always_inline)) Vec broadcast_unit(const float* a) { return broadcast(*a); }
inline __attribute__((always_inline)) Vec multiply_add(Vec sum, Vec value, const float* b) {
  return sum + value * load(b);
}
#if defined(__AVX512BF16__)
inline __attribute__((always_inline)) __m512i broadcast_unit(const bfloat16* a) {
  int32_t pair;
  __builtin_memcpy(&pair, a, 4);
  return _mm512_set1_epi32(pair);
}
inline __attribute__((always_inline)) Vec multiply_add(Vec sum, __m512i value, const bfloat16* b) {
  return reinterpret_cast<Vec>(_mm512_dpbf16_ps(reinterpret_cast<__m512>(sum),
                                                reinterpret_cast<__m512bh>(value),
                                                reinterpret_cast<__m512bh>(_mm512_loadu_si512(b))));
}
#endif
template <class Op>
inline constexpr int kUnit = 4 / sizeof(Op);

template <int kRows, class Op>
inline __attribute__((always_inline)) void multiply_rows(Left<Op> left, int64_t depth,
                                                         const Op* panel, float* c, int64_t ldc,
                                                         bool accumulate) {
  Vec sum[kRows][kPanelVecs];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kPanelVecs; ++v) {
      sum[r][v] = Vec{};
    }
  }
  if (accumulate) {
    // Where c is large, it is on its way from memory while the sums are made.
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < kPanelVecs; ++v) {
        __builtin_prefetch(c + r * ldc + v * kLanes, 1);
      }
    }
  }
  const Op* a = left.data;
  for (int64_t k = 0; k < depth; k += kUnit<Op>, a += left.depth_stride) {
    const Op* const b = panel + k * kPanel;
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const auto value = broadcast_unit(a + r * left.row_stride);
#pragma GCC unroll 4
      for (int v = 0; v < kPanelVecs; ++v) {
        sum[r][v] = multiply_add(sum[r][v], value, b + v * kLanes * kUnit<Op>);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kPanelVecs; ++v) {
      // Added at the end and not begun with: sums of sums lose less than one long sum.
      float* const to = c + r * ldc + v * kLanes;
      store(to, accumulate ? load(to) + sum[r][v] : sum[r][v]);
    }
  }
}

// Rows in blocks of nearly equal height: 32 rows are 6+6+5+5+5+5, not 6+6+6+6+6+2.
template <class Op>
inline void multiply_blocks(Left<Op> left, int64_t rows, int64_t depth, const Op* panel, float* c,
                            int64_t ldc, bool accumulate) {
  const int64_t blocks = ceil_div(rows, kMaxRows);
  for (int64_t block = 0, begin = 0; block < blocks; ++block) {
    const int64_t end = rows * (block + 1) / blocks;
    const Left<Op> from = {left.data + begin * left.row_stride, left.row_stride, left.depth_stride};
    float* const to = c + begin * ldc;
    switch (end - begin) {
#define KERASLLM_ROWS(n)                                       \
  case n:                                                      \
    multiply_rows<n>(from, depth, panel, to, ldc, accumulate); \
    break;
      KERASLLM_ROWS(1)
      KERASLLM_ROWS(2)
      KERASLLM_ROWS(3)
      KERASLLM_ROWS(4)
      KERASLLM_ROWS(5)
      KERASLLM_ROWS(6)
#undef KERASLLM_ROWS
    }
    begin = end;
  }
}

inline void panel_product(const float* a, int64_t lda, int64_t rows, int64_t depth,
                          const float* panel, float* c, int64_t ldc, bool accumulate) {
  multiply_blocks(Left<float>{a, lda, 1}, rows, depth, panel, c, ldc, accumulate);
}

#if defined(KERASLLM_AMX)
// `depth` is a multiple of 32. Needs a TilesInUse on this thread.
inline void panel_product(const bfloat16* a, int64_t lda, int64_t rows, int64_t depth,
                          const bfloat16* panel, float* c, int64_t ldc, bool accumulate) {
  int64_t row = 0;
  for (; row + 32 <= rows; row += 32) {
    multiply_tiles_of_32_rows(a + row * lda, lda, depth, panel, c + row * ldc, ldc, accumulate);
  }
  for (; row < rows; row += 16) {
    const int height = static_cast<int>(min_of<int64_t>(16, rows - row));
    if (height < 16) configure_tiles(height);
    multiply_tiles(a + row * lda, lda, depth, panel, c + row * ldc, ldc, accumulate);
    if (height < 16) configure_tiles(16);
  }
}
#elif defined(__AVX512BF16__)
inline void panel_product(const bfloat16* a, int64_t lda, int64_t rows, int64_t depth,
                          const bfloat16* panel, float* c, int64_t ldc, bool accumulate) {
  multiply_blocks(Left<bfloat16>{a, lda, 2}, rows, depth, panel, c, ldc, accumulate);
}
#endif

}  // namespace KERASLLM_ISA
}  // namespace kerasllm

#endif  // KERASLLM_COMMON_PANEL_PRODUCT_H_
