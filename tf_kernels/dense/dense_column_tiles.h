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

// Rows 0 .. depth - 1, row_at(k)[0 .. columns); null stands for zeros. `depth` is padded.
template <class RowAt>
inline void pack_column_tiles(const RowAt& row_at, int64_t columns, int64_t depth, float* tiles) {
  for (int64_t k = 0; k < depth; ++k) {
    const auto* const from = row_at(k);
    float* to = tiles + k * kMaxRows;
    for (int64_t begin = 0; begin < columns; begin += kMaxRows) {
      if (from == nullptr) {
        __builtin_memset(to, 0, kMaxRows * sizeof(float));
      } else if (begin + kMaxRows <= columns) {
        put_tile_row(from + begin, to);
      } else {
        for (int64_t i = begin; i < columns; ++i) convert(from[i], to + i - begin);
      }
      to += ColumnTiles<float>::kTileSize;
    }
  }
}

#ifdef KERASLLM_AMX
template <class RowAt>
inline void pack_column_tiles(const RowAt& row_at, int64_t columns, int64_t depth,
                              bfloat16* tiles) {
  pack_left(row_at, columns, 0, depth, columns, tiles);
}
#else
template <class RowAt>
inline void pack_column_tiles(const RowAt& row_at, int64_t columns, int64_t depth,
                              bfloat16* tiles) {
  constexpr int64_t kTogether = 8 * kMaxRows;  // pairs, made by vectors and then cut into tiles
  for (int64_t k = 0; k < depth; k += 2) {
    const bfloat16 *const first = row_at(k), *const second = row_at(k + 1);
    bfloat16 pairs[2 * kTogether];
    bfloat16* to = tiles + k * kMaxRows;
    for (int64_t begin = 0; begin < columns; begin += kTogether) {
      const int64_t count = min_of(kTogether, columns - begin);
      put_pairs(first == nullptr ? nullptr : first + begin,
                second == nullptr ? nullptr : second + begin, count, pairs);
      for (int64_t i = 0; i < count; i += kMaxRows, to += ColumnTiles<bfloat16>::kTileSize) {
        __builtin_memcpy(to, pairs + 2 * i, 2 * kMaxRows * sizeof(bfloat16));
      }
    }
  }
}
#endif

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
