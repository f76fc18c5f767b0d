// Rows of a strided tensor as operands of products, zeros where there is no row or column.
#ifndef KERASLLM_ATTENTION_ATTENTION_PACK_H_
#define KERASLLM_ATTENTION_ATTENTION_PACK_H_

#include "common/transposed_product.h"

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

// kLanes rows of kLanes 32-bit elements become columns: halves of rows i and i + h change places
// across the diagonal, for h = kLanes / 2, ..., 1 (Eklundh, 1972).
template <int kStep>
inline __attribute__((always_inline)) void transpose_step(Vec* rows) {
  if constexpr (kStep > 0) {
    IntVec upper = {}, lower = {};
    for (int lane = 0; lane < kLanes; ++lane) {
      upper[lane] = lane & kStep ? kLanes + lane - kStep : lane;
      lower[lane] = lane & kStep ? kLanes + lane : lane + kStep;
    }
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) {
      if (i & kStep) continue;
      const Vec a = rows[i], b = rows[i + kStep];
      rows[i] = __builtin_shuffle(a, b, upper);
      rows[i + kStep] = __builtin_shuffle(a, b, lower);
    }
    transpose_step<kStep / 2>(rows);
  }
}

// One vector of units (a float, or a pair of bfloat16) of a row, from element k on.
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
    __builtin_memcpy(&units, row + k, (dim - k) * sizeof(bfloat16));
  }
  return units;
}

// Right operand, transposed: panel[k][j] = row first + j, element k, for up to kPanel rows.
template <class T, class Op>
inline void pack_transposed(const HeadRows<T>& from, int64_t first, int64_t count, int64_t depth,
                            Op* panel) {
  constexpr int64_t kElements = kLanes * kUnit<Op>;
  for (int64_t j = 0; j < kPanel; j += kLanes) {
    for (int64_t k = 0; k < depth; k += kElements) {
      Op* const to = panel + k * kPanel + j * kUnit<Op>;
      Vec rows[kLanes];
      if (count - j >= kLanes && from.dim - k >= kElements) {  // nothing to be checked
        const T* const row = from.row(first + j) + k;
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; ++i) {
          rows[i] = load_units(row + i * from.stride, 0, kElements, panel);
        }
        transpose_step<kLanes / 2>(rows);
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; ++i) {
          __builtin_memcpy(to + i * kUnit<Op> * kPanel, &rows[i], sizeof(Vec));
        }
        continue;
      }
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) {
        rows[i] = j + i < count ? load_units(from.row(first + j + i), k, from.dim, panel) : Vec{};
      }
      transpose_step<kLanes / 2>(rows);
      const int64_t units = min_of<int64_t>(kLanes, (depth - k) / kUnit<Op>);
      for (int64_t i = 0; i < units; ++i) {
        __builtin_memcpy(to + i * kUnit<Op> * kPanel, &rows[i], sizeof(Vec));
      }
    }
  }
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
