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

// Two rows side by side, element by element; a null pointer stands for a row of zeros.
inline void put_pairs(const bfloat16* first, const bfloat16* second, int64_t size, bfloat16* out) {
  const auto pair = [](bfloat16 low, bfloat16 high) {
    return static_cast<uint32_t>(low.bits) | static_cast<uint32_t>(high.bits) << 16;
  };
  for (int64_t m = 0; m < size; ++m) {
    const uint32_t bits =
        pair(first == nullptr ? bfloat16() : first[m], second == nullptr ? bfloat16() : second[m]);
    __builtin_memcpy(out + 2 * m, &bits, 4);
  }
}

// The left operand, which has `rows` columns: its rows 0 .. depth - 1 get row_at(k)[0 .. size),
// null for zeros, in the columns from `column` on. `depth` is at most kDepth and padded.
template <class RowAt>
inline void pack_left(const RowAt& row_at, int64_t size, int64_t column, int64_t depth,
                      int64_t rows, float* left) {
  float* to = left + column;
  for (int64_t k = 0; k < depth; ++k, to += TransposedBlock<float>::left_stride(rows)) {
    const auto* const from = row_at(k);
    for (int64_t m = 0; m < size; ++m) {
      if (from != nullptr) {
        convert(from[m], to + m);
      } else {
        to[m] = 0.0f;
      }
    }
  }
}

#ifdef KERASLLM_AMX
// `count` elements of two rows in pairs.
inline Vec load_pairs(const bfloat16* first, const bfloat16* second, int64_t count) {
  UintVec pairs = {};
  if (first != nullptr) pairs = reinterpret_cast<UintVec>(load_first(first, count)) >> 16;
  if (second != nullptr) pairs |= reinterpret_cast<UintVec>(load_first(second, count));
  return reinterpret_cast<Vec>(pairs);
}

// (rows, kDepth): what a tile loads. Element by element nearly every one would go to a cache line
// of its own; kLanes pairs of rows make squares, of whole lines.
template <class RowAt>
inline void pack_left(const RowAt& row_at, int64_t size, int64_t column, int64_t depth, int64_t,
                      bfloat16* left) {
  constexpr int64_t kDepth = TransposedBlock<bfloat16>::kDepth;
  static_assert(kDepthMultiple<bfloat16> == 2 * kLanes, "a square's rows");
  for (int64_t k = 0; k < depth; k += 2 * kLanes) {
    const bfloat16* from[2 * kLanes];
    for (int64_t i = 0; i < 2 * kLanes; ++i) from[i] = row_at(k + i);
    for (int64_t m = 0; m < size; m += kLanes) {
      const int64_t count = min_of<int64_t>(kLanes, size - m);
      Vec square[kLanes];
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) {
        square[i] = load_pairs(from[2 * i] == nullptr ? nullptr : from[2 * i] + m,
                               from[2 * i + 1] == nullptr ? nullptr : from[2 * i + 1] + m, count);
      }
      transpose(square);
      for (int64_t i = 0; i < count; ++i) {
        __builtin_memcpy(left + (column + m + i) * kDepth + k, &square[i], sizeof(Vec));
      }
    }
  }
}
#else
template <class RowAt>  // (kDepth / 2, rows, 2)
inline void pack_left(const RowAt& row_at, int64_t size, int64_t column, int64_t depth,
                      int64_t rows, bfloat16* left) {
  const int64_t stride = TransposedBlock<bfloat16>::left_stride(rows);
  for (int64_t k = 0; k < depth; k += 2) {
    put_pairs(row_at(k), row_at(k + 1), size, left + k * stride + 2 * column);
  }
}
#endif

// The right operand takes kUnit<Op> rows at a time, kPanel elements each: those with k = unit *
// kUnit<Op> and the next.
inline void put_right(const float* const* from, int64_t unit, float* panel) {
  for (int v = 0; v < kPanelVecs; ++v) {
    store(panel + unit * kPanel + v * kLanes,
          from[0] == nullptr ? Vec{} : load(from[0] + v * kLanes));
  }
}
inline void put_right(const bfloat16* const* from, int64_t unit, bfloat16* panel) {
  put_pairs(from[0], from[1], kPanel, panel + unit * 2 * kPanel);
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
