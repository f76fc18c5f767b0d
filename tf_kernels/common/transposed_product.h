// The product that sums over rows, as gradients of weights do:
//
//   c[r][j] += sum over k of left[k][r] * right[k][j],   0 <= k < depth, 0 <= j < kPanel
//
// Both operands come row by row (a row is one k) into a block of kDepth rows, which the product
// then takes in one go. How a block lies in memory is this file's own matter.
#ifndef KERASLLM_COMMON_TRANSPOSED_PRODUCT_H_
#define KERASLLM_COMMON_TRANSPOSED_PRODUCT_H_

#include "common/panel_product.h"

namespace kerasllm {
namespace KERASLLM_ISA {

// As operands: exact, since an operand is no narrower than its tensor.
inline void convert(float value, float* out) { *out = value; }
inline void convert(bfloat16 value, float* out) { *out = to_float(value); }
inline void convert(bfloat16 value, bfloat16* out) { *out = value; }

template <class Op>
struct TransposedBlock {
  static constexpr int64_t kDepth = 128;

  // Elements that a left operand of `rows` columns and a right operand (a panel) take.
  static int64_t left_size(int64_t rows) { return kDepth * left_stride(rows); }
  static constexpr int64_t kPanelSize = kDepth * kPanel;

  // Rows padded to whole cache lines, so that what is put at their begin does not straddle two.
  static int64_t left_stride(int64_t rows) { return round_up(rows, 64 / sizeof(Op)); }
};

// Both operands take kUnit<Op> rows at a time: those with k = unit * kUnit<Op> and the next. A null
// pointer stands for a row of zeros.

// Columns [column, column + size) of the left operand, which has `rows` columns, get from[i][0 ..
// size) in row unit * kUnit<Op> + i.
template <class T>
inline void put_left(const T* const* from, int64_t size, int64_t column, int64_t unit, int64_t rows,
                     float* left) {
  float* const to = left + unit * TransposedBlock<float>::left_stride(rows) + column;
  for (int64_t m = 0; m < size; ++m) {
    if (from[0] != nullptr) {
      convert(from[0][m], to + m);
    } else {
      to[m] = 0.0f;
    }
  }
}

// Two rows side by side, element by element, each pair in 32 bits; `stride` 32 bits apart.
inline void put_pairs(const bfloat16* first, const bfloat16* second, int64_t size, int64_t stride,
                      bfloat16* out) {
  const auto pair = [](bfloat16 low, bfloat16 high) {
    return static_cast<uint32_t>(low.bits) | static_cast<uint32_t>(high.bits) << 16;
  };
  for (int64_t m = 0; m < size; ++m) {
    const uint32_t bits =
        pair(first == nullptr ? bfloat16() : first[m], second == nullptr ? bfloat16() : second[m]);
    __builtin_memcpy(out + 2 * m * stride, &bits, 4);
  }
}

inline void put_left(const bfloat16* const* from, int64_t size, int64_t column, int64_t unit,
                     int64_t rows, bfloat16* left) {
#ifdef KERASLLM_AMX  // (rows, kDepth): what a tile loads
  (void)rows;
  constexpr int64_t kDepth = TransposedBlock<bfloat16>::kDepth;
  put_pairs(from[0], from[1], size, kDepth / 2, left + column * kDepth + 2 * unit);
#else  // (kDepth / 2, rows, 2)
  const int64_t stride = TransposedBlock<bfloat16>::left_stride(rows);
  put_pairs(from[0], from[1], size, 1, left + (unit * stride + column) * 2);
#endif
}

// The right operand, kPanel elements a row.
inline void put_right(const float* const* from, int64_t unit, float* panel) {
  for (int v = 0; v < kPanelVecs; ++v) {
    store(panel + unit * kPanel + v * kLanes,
          from[0] == nullptr ? Vec{} : load(from[0] + v * kLanes));
  }
}
inline void put_right(const bfloat16* const* from, int64_t unit, bfloat16* panel) {
  put_pairs(from[0], from[1], kPanel, 1, panel + unit * 2 * kPanel);
}

// Adds the product over the first `depth` rows of a block, at most kDepth and, for bfloat16, a
// multiple of kDepthMultiple.
inline void transposed_product(const float* left, int64_t rows, int64_t depth, const float* panel,
                               float* c) {
  const int64_t stride = TransposedBlock<float>::left_stride(rows);
  multiply_blocks(Left<float>{left, 1, stride}, rows, depth, panel, c, kPanel, true);
}
#ifdef KERASLLM_AMX
inline void transposed_product(const bfloat16* left, int64_t rows, int64_t depth,
                               const bfloat16* panel, float* c) {
  panel_product(left, TransposedBlock<bfloat16>::kDepth, rows, depth, panel, c, kPanel, true);
}
#elif defined(__AVX512BF16__)
inline void transposed_product(const bfloat16* left, int64_t rows, int64_t depth,
                               const bfloat16* panel, float* c) {
  const int64_t stride = TransposedBlock<bfloat16>::left_stride(rows);
  multiply_blocks(Left<bfloat16>{left, 2, 2 * stride}, rows, depth, panel, c, kPanel, true);
}
#endif

}  // namespace KERASLLM_ISA
}  // namespace kerasllm

#endif  // KERASLLM_COMMON_TRANSPOSED_PRODUCT_H_
