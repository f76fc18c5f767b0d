// How rows in memory become the operands of panel_product: panels of their columns, panels of their
// transpose, and left operands.
#ifndef KERASLLM_COMMON_PACKING_H_
#define KERASLLM_COMMON_PACKING_H_

#include "common/transposed_product.h"

namespace kerasllm {
namespace KERASLLM_ISA {

// Unit `unit` of a panel: `size` elements, at most kPanel, of each of its rows; null for zeros.
template <class T>
inline void put_panel_row(const T* const* from, int64_t size, int64_t unit, float* panel) {
  float* const to = panel + unit * kPanel;
  const int64_t filled = from[0] == nullptr ? 0 : size;
  for (int64_t j = 0; j < filled; ++j) convert(from[0][j], to + j);
  for (int64_t j = filled; j < kPanel; ++j) to[j] = 0.0f;
}
inline void put_panel_row(const bfloat16* const* from, int64_t size, int64_t unit,
                          bfloat16* panel) {
  bfloat16* const to = panel + unit * 2 * kPanel;
  put_pairs(from[0], from[1], size, to);
  for (int64_t j = 2 * size; j < 2 * kPanel; ++j) to[j] = bfloat16();
}

template <class T>
inline void prefetch(const T* row, int64_t size) {
  if (row == nullptr) return;
  for (int64_t i = 0; i < size; i += 64 / static_cast<int64_t>(sizeof(T))) {
    __builtin_prefetch(row + i);
  }
}

// Rows of `dim` elements as panels of their columns, each `depth` rows deep; row_at(k) is row k's
// address, null for zeros.
template <class T, class RowAt>
inline void pack_columns(const RowAt& row_at, int64_t dim, int64_t depth, Operand<T>* panels) {
  constexpr int64_t kUnitRows = kUnit<Operand<T>>, kAhead = 16 * kUnitRows;
  for (int64_t unit = 0; unit * kUnitRows < depth; ++unit) {
    const T* rows[kUnitRows];
    for (int64_t i = 0; i < kUnitRows; ++i) {
      const int64_t k = unit * kUnitRows + i;
      rows[i] = row_at(k);
      // One panel of wide rows is pieces far apart, which no prefetcher of the processor sees
      // coming.
      if (dim <= kPanel && k + kAhead < depth) prefetch(row_at(k + kAhead), dim);
    }
    for (int64_t column = 0; column < dim; column += kPanel) {
      const T* from[kUnitRows];
      for (int64_t i = 0; i < kUnitRows; ++i) {
        from[i] = rows[i] == nullptr ? nullptr : rows[i] + column;
      }
      put_panel_row(from, min_of<int64_t>(kPanel, dim - column), unit, panels + column * depth);
    }
  }
}

// A vector of units (a float, or a pair of bfloat16) of a row, from element k on.
inline Vec load_units(const float* row, int64_t k, int64_t dim, const float*) {
  return load_first(row + k, dim - k);
}
inline Vec load_units(const bfloat16* row, int64_t k, int64_t dim, const float*) {
  return load_first(row + k, dim - k);
}
inline Vec load_units(const bfloat16* row, int64_t k, int64_t dim, const bfloat16*) {
  Vec units = {};
  if (dim - k >= 2 * kLanes) {
    __builtin_memcpy(&units, row + k, sizeof(units));
  } else if (dim > k) {
    __builtin_memcpy(&units, row + k, static_cast<size_t>(dim - k) * sizeof(bfloat16));
  }
  return units;
}

// The transpose of kPanel rows as one panel, `depth` deep; row_at(j) is row j's address, null for
// zeros. kLanes rows at a time, each a stream of memory, square by square.
template <class T, class RowAt>
inline void pack_transposed(const RowAt& row_at, int64_t dim, int64_t depth, Operand<T>* panel) {
  using Op = Operand<T>;
  constexpr int64_t kElements = kLanes * kUnit<Op>, kAhead = 512 / sizeof(T);
  for (int64_t j = 0; j < kPanel; j += kLanes) {
    const T* rows[kLanes];
    bool all = true;
    for (int64_t i = 0; i < kLanes; ++i) {
      rows[i] = row_at(j + i);
      all = all && rows[i] != nullptr;
    }
    for (int64_t k = 0; k < depth; k += kElements) {
      Op* const to = panel + k * kPanel + j * kUnit<Op>;
      Vec square[kLanes];
      if (all && dim - k >= kElements) {  // nothing to be checked
        const bool prefetches = k + kAhead < dim;
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; ++i) {
          square[i] = load_units(rows[i] + k, 0, kElements, panel);
          if (prefetches) __builtin_prefetch(rows[i] + k + kAhead);
        }
        transpose(square);
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; ++i) {
          __builtin_memcpy(to + i * kUnit<Op> * kPanel, &square[i], sizeof(Vec));
        }
        continue;
      }
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) {
        square[i] = rows[i] == nullptr ? Vec{} : load_units(rows[i], k, dim, panel);
      }
      transpose(square);
      const int64_t units = min_of<int64_t>(kLanes, (depth - k) / kUnit<Op>);
      for (int64_t i = 0; i < units; ++i) {
        __builtin_memcpy(to + i * kUnit<Op> * kPanel, &square[i], sizeof(Vec));
      }
    }
  }
}

// `count` rows as the left operand of a product: as they lie where that serves, else a copy in
// `buffer`, which has space for count * depth elements.
template <class T>
inline const Operand<T>* left_rows(const T* rows, int64_t count, int64_t dim, int64_t depth,
                                   Operand<T>* buffer) {
  if (sizeof(T) == sizeof(Operand<T>) && dim == depth) {
    return reinterpret_cast<const Operand<T>*>(rows);
  }
  for (int64_t row = 0; row < count; ++row) {
    for (int64_t k = 0; k < dim; ++k) convert(rows[row * dim + k], buffer + row * depth + k);
    for (int64_t k = dim; k < depth; ++k) buffer[row * depth + k] = Operand<T>();
  }
  return buffer;
}

}  // namespace KERASLLM_ISA
}  // namespace kerasllm

#endif  // KERASLLM_COMMON_PACKING_H_
