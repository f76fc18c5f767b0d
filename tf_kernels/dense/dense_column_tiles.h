// The left operand of a product that sums over rows, packed in the order in which it is read:
//
//   c[r][j] += sum over k of rows[k][r] * panel[k][j],   0 <= k < depth, 0 <= j < kPanel
//
// kDepth rows at a time lie in tiles of kMaxRows columns, each tile row by row (bfloat16: pair of
// rows by pair of rows), so that a tile is one stream of memory while the panel stays in the first
// cache level. On AMX they lie as tiles of its own take them.
#ifndef KERASLLM_DENSE_DENSE_COLUMN_TILES_H_
#define KERASLLM_DENSE_DENSE_COLUMN_TILES_H_

#include "common/packing.h"

namespace kerasllm {
namespace KERASLLM_ISA {

template <class Op>
struct ColumnTiles {
  static constexpr int64_t kDepth = TransposedBlock<Op>::kDepth;
  static constexpr int64_t kTileSize = kDepth * kMaxRows;
  static int64_t size(int64_t columns) { return round_up(columns, kMaxRows) * kDepth; }
};

// kMaxRows elements as operands. Float ones in one piece, which a loop of single stores is not.
inline void put_tile_row(const float* from, float* to) {
  __builtin_memcpy(to, from, kMaxRows * sizeof(float));
}
inline void put_tile_row(const bfloat16* from, float* to) {
  for (int64_t i = 0; i < kMaxRows; ++i) convert(from[i], to + i);
}

// Row `unit`, or the pair of rows: from[i][0 .. columns); a null pointer stands for a row of zeros.
template <class T>
inline void put_columns(const T* const* from, int64_t columns, int64_t unit, float* tiles) {
  float* to = tiles + unit * kMaxRows;
  for (int64_t begin = 0; begin < columns; begin += kMaxRows, to += ColumnTiles<float>::kTileSize) {
    if (from[0] == nullptr) {
      __builtin_memset(to, 0, kMaxRows * sizeof(float));
    } else if (begin + kMaxRows <= columns) {
      put_tile_row(from[0] + begin, to);
    } else {
      for (int64_t i = begin; i < columns; ++i) convert(from[0][i], to + i - begin);
    }
  }
}

inline void put_columns(const bfloat16* const* from, int64_t columns, int64_t unit,
                        bfloat16* tiles) {
#ifdef KERASLLM_AMX
  put_left(from, columns, 0, unit, columns, tiles);
#else
  constexpr int64_t kTogether = 8 * kMaxRows;  // pairs, made by vectors and then cut into tiles
  bfloat16 pairs[2 * kTogether];
  bfloat16* to = tiles + unit * 2 * kMaxRows;
  for (int64_t begin = 0; begin < columns; begin += kTogether) {
    const int64_t count = min_of(kTogether, columns - begin);
    put_pairs(from[0] == nullptr ? nullptr : from[0] + begin,
              from[1] == nullptr ? nullptr : from[1] + begin, count, 1, pairs);
    for (int64_t i = 0; i < count; i += kMaxRows, to += ColumnTiles<bfloat16>::kTileSize) {
      __builtin_memcpy(to, pairs + 2 * i, 2 * kMaxRows * sizeof(bfloat16));
    }
  }
#endif
}

// Adds the product to c, with rows of kPanel. `depth` is at most kDepth and padded.
template <class Op>
inline void columns_product(const Op* tiles, int64_t columns, int64_t depth, const Op* panel,
                            float* c) {
  for (int64_t begin = 0; begin < columns; begin += kMaxRows) {
    const Left<Op> left = {tiles, kUnit<Op>, kUnit<Op> * kMaxRows};
    float* const to = c + begin * kPanel;
    if (begin + kMaxRows <= columns) {
      multiply_rows<kMaxRows>(left, depth, panel, to, kPanel, true);
    } else {
      multiply_blocks(left, columns - begin, depth, panel, to, kPanel, true);
    }
    tiles += ColumnTiles<Op>::kTileSize;
  }
}
#ifdef KERASLLM_AMX
inline void columns_product(const bfloat16* tiles, int64_t columns, int64_t depth,
                            const bfloat16* panel, float* c) {
  transposed_product(tiles, columns, depth, panel, c);
}
#endif

}  // namespace KERASLLM_ISA
}  // namespace kerasllm

#endif  // KERASLLM_DENSE_DENSE_COLUMN_TILES_H_
