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

// Row k of the left operand gets from[0 .. size) at columns [column, column + size) of `rows`.
template <class T>
inline void put_left(const T* from, int64_t size, int64_t column, int64_t k, int64_t rows,
                     float* left) {
  float* const to = left + k * TransposedBlock<float>::left_stride(rows) + column;
  for (int64_t m = 0; m < size; ++m) convert(from[m], to + m);
}

inline void put_left(const bfloat16* from, int64_t size, int64_t column, int64_t k, int64_t rows,
                     bfloat16* left) {
#ifdef KERASLLM_AMX  // (rows, kDepth): what a tile loads
  (void)rows;
  constexpr int64_t kDepth = TransposedBlock<bfloat16>::kDepth;
  for (int64_t m = 0; m < size; ++m) left[(column + m) * kDepth + k] = from[m];
#else  // (kDepth / 2, rows, 2): pairs of k side by side
  const int64_t stride = TransposedBlock<bfloat16>::left_stride(rows);
  bfloat16* const to = left + (k / 2 * stride + column) * 2 + k % 2;
  for (int64_t m = 0; m < size; ++m) to[2 * m] = from[m];
#endif
}

// Row k of the right operand, kPanel elements; zeros where `from` is null.
inline void put_right(const float* from, int64_t k, float* panel) {
  for (int v = 0; v < kPanelVecs; ++v) {
    store(panel + k * kPanel + v * kLanes, from == nullptr ? Vec{} : load(from + v * kLanes));
  }
}
inline void put_right(const bfloat16* from, int64_t k, bfloat16* panel) {
  bfloat16* const to = panel + panel_index(panel, k, 0);
  for (int64_t j = 0; j < kPanel; ++j) to[2 * j] = from == nullptr ? bfloat16() : from[j];
}

// Adds the product of a whole block. Rows of the right operand beyond the data are zeros; those of
// the left one must hold finite numbers.
inline void transposed_product(const float* left, int64_t rows, const float* panel, float* c) {
  constexpr int64_t kDepth = TransposedBlock<float>::kDepth;
  const int64_t stride = TransposedBlock<float>::left_stride(rows);
  multiply_blocks(Left<float>{left, 1, stride}, rows, kDepth, panel, c, kPanel, true);
}
#ifdef KERASLLM_AMX
inline void transposed_product(const bfloat16* left, int64_t rows, const bfloat16* panel,
                               float* c) {
  constexpr int64_t kDepth = TransposedBlock<bfloat16>::kDepth;
  panel_product(left, kDepth, rows, kDepth, panel, c, kPanel, true);
}
#elif defined(__AVX512BF16__)
inline void transposed_product(const bfloat16* left, int64_t rows, const bfloat16* panel,
                               float* c) {
  constexpr int64_t kDepth = TransposedBlock<bfloat16>::kDepth;
  const int64_t stride = TransposedBlock<bfloat16>::left_stride(rows);
  multiply_blocks(Left<bfloat16>{left, 2, 2 * stride}, rows, kDepth, panel, c, kPanel, true);
}
#endif

}  // namespace KERASLLM_ISA
}  // namespace kerasllm

#endif  // KERASLLM_COMMON_TRANSPOSED_PRODUCT_H_
