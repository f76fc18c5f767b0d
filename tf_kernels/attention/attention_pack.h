// Rows of a strided tensor as operands of products, zeros where there is no row or column.
#ifndef KERASLLM_ATTENTION_ATTENTION_PACK_H_
#define KERASLLM_ATTENTION_ATTENTION_PACK_H_

#include "common/packing.h"

namespace kerasllm {
namespace KERASLLM_ISA {

// Some rows of one head of a (batch, length, heads, dim) tensor.
template <class T>
struct HeadRows {
  const T* data;
  int64_t stride, dim;

  HeadRows(const T* tensor, int64_t length, int64_t heads, int64_t size, int64_t batch,
           int64_t head)
      : data(tensor + (batch * length * heads + head) * size), stride(heads * size), dim(size) {}
  const T* row(int64_t index) const { return data + index * stride; }
};

// Rows that will be read or written soon, brought into the second cache level bit by bit between
// the products: a head's rows lie far apart, and waiting for each takes as long as a tenth of all
// arithmetic.
class Ahead {
 public:
  void clear() { size_ = 0; }
  template <class T>
  void add(const HeadRows<T>& rows, int64_t first, int64_t count) {
    if (count <= 0) return;
    pieces_[size_++] = {reinterpret_cast<const char*>(rows.row(first)),
                        rows.stride * static_cast<int64_t>(sizeof(T)),
                        rows.dim * static_cast<int64_t>(sizeof(T)), count};
  }
  // The next `count` rows of each.
  void fetch(int64_t count) {
    for (int i = 0; i < size_; ++i) {
      Piece& piece = pieces_[i];
      for (int64_t r = min_of(count, piece.count); r > 0; --r) {
        for (int64_t at = 0; at < piece.bytes; at += 64) __builtin_prefetch(piece.from + at, 0, 2);
        piece.from += piece.stride;
        --piece.count;
      }
    }
  }

 private:
  struct Piece {
    const char* from;
    int64_t stride, bytes, count;
  };
  Piece pieces_[8];
  int size_ = 0;
};

// Left operand: (count, depth), row by row.
template <class T>
inline void pack_rows(const HeadRows<T>& from, int64_t first, int64_t count, int64_t depth,
                      float* to) {
  for (int64_t r = 0; r < count; ++r) {
    const T* const row = from.row(first + r);
    for (int64_t k = 0; k < depth; k += kLanes) {
      store_first(to + r * depth + k, load_first(row + k, from.dim - k), depth - k);
    }
  }
}
inline void pack_rows(const HeadRows<bfloat16>& from, int64_t first, int64_t count, int64_t depth,
                      bfloat16* to) {
  for (int64_t r = 0; r < count; ++r) {
    bfloat16* const out = to + r * depth;
    __builtin_memcpy(out, from.row(first + r), from.dim * sizeof(bfloat16));
    for (int64_t k = from.dim; k < depth; ++k) out[k] = bfloat16();
  }
}

// Right operand, transposed: panel[k][j] = row first + j, element k, for up to kPanel rows.
template <class T>
inline void pack_transposed(const HeadRows<T>& from, int64_t first, int64_t count, int64_t depth,
                            Operand<T>* panel) {
  const auto row_at = [&](int64_t j) { return j < count ? from.row(first + j) : nullptr; };
  pack_transposed<T>(row_at, from.dim, depth, panel);
}

// Right operand: panel[k][j] = row first + k, element column + j; zeros from `count` to `depth`.
template <class T>
inline void pack_panel(const HeadRows<T>& from, int64_t first, int64_t count, int64_t column,
                       int64_t depth, float* panel) {
  for (int64_t k = 0; k < depth; ++k) {
    for (int64_t j = 0; j < kPanel; j += kLanes) {
      store(
          panel + k * kPanel + j,
          k < count ? load_first(from.row(first + k) + column + j, from.dim - column - j) : Vec{});
    }
  }
}
inline void pack_panel(const HeadRows<bfloat16>& from, int64_t first, int64_t count, int64_t column,
                       int64_t depth, bfloat16* panel) {
  const auto bits = [&](int64_t k, int64_t j) {  // in the upper half of each lane
    return k < count ? reinterpret_cast<UintVec>(
                           load_first(from.row(first + k) + column + j, from.dim - column - j))
                     : UintVec{};
  };
  for (int64_t k = 0; k < depth; k += 2) {
    for (int64_t j = 0; j < kPanel; j += kLanes) {
      const UintVec pairs = (bits(k, j) >> 16) | bits(k + 1, j);
      __builtin_memcpy(panel + k * kPanel + 2 * j, &pairs, sizeof(pairs));
    }
  }
}

}  // namespace KERASLLM_ISA
}  // namespace kerasllm

#endif  // KERASLLM_ATTENTION_ATTENTION_PACK_H_
