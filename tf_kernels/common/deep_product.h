// Rows times panels of any depth, and products whose right operand is larger than a core's cache.
#ifndef KERASLLM_COMMON_DEEP_PRODUCT_H_
#define KERASLLM_COMMON_DEEP_PRODUCT_H_

#include "common/packing.h"
#include "common/parallel.h"

namespace kerasllm {
namespace KERASLLM_ISA {

// Of a row of the left operand, what passes a panel at a time: its part of the panel stays in the
// first two cache levels.
inline constexpr int64_t kRunBytes = 2048;
template <class Op>
inline constexpr int64_t kRun = kRunBytes / static_cast<int64_t>(sizeof(Op));

// c (count, kPanel) is, or with `accumulate` grows by, rows (count, depth), `stride` apart, times a
// panel. `depth` is padded; with none c is zero.
template <class Op>
inline void multiply_deep(const Op* rows, int64_t stride, int64_t count, const Op* panel,
                          int64_t depth, float* c, bool accumulate) {
  int64_t k = 0;
  do {
    panel_product(rows + k, stride, count, min_of(kRun<Op>, depth - k), panel + k * kPanel, c,
                  kPanel, accumulate || k > 0);
    k += kRun<Op>;
  } while (k < depth);
}

// Who multiplies rows with right operands of so many elements in all: the calling thread alone,
// where that is done before another one is awake.
inline Parallel& threads_worth_waking(int64_t rows, int64_t elements, Parallel& parallel) {
  constexpr int64_t kPacking = 16;  // multiply-adds that take the time in which one is packed
  constexpr int64_t kLeastWork = 8 << 20;
  static Serial serial;
  return (rows + kPacking) * elements < kLeastWork ? serial : parallel;
}

// Where a matrix of so many elements is the right operand, threads pack the panels that they
// multiply, and up to kRowsByPanels rows pass each of them. A smaller one is packed first, as a
// whole: then blocks of rows find it in a cache.
inline bool worth_going_by_panels(int64_t elements) { return elements > 1 << 20; }
inline constexpr int64_t kRowsByPanels = 384;

// Calls body(first row, rows) for parts of all rows of about one size, kRowsByPanels at most.
template <class Body>
inline void for_each_part_by_panels(int64_t rows, const Body& body) {
  const int64_t parts = ceil_div(rows, kRowsByPanels);
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t begin = rows * part / parts;
    body(begin, rows * (part + 1) / parts - begin);
  }
}

// Of each panel kProducts products: rows(index), (count, depth) and `stride` apart, times the panel
// that pack(index, panel, to) makes, `depth` deep. take(panel, c) gets c (count, kPanel), their
// sum, or, without kSums, one of these after the other.
template <class T, int kProducts, bool kSums, class Rows, class Pack, class Take>
inline void multiply_by_panels(int64_t count, int64_t stride, int64_t depth, int64_t panels,
                               const Rows& rows, const Pack& pack, const Take& take,
                               Parallel& parallel) {
  using Op = Operand<T>;
  constexpr int64_t kFloat = sizeof(float), kOperand = sizeof(Op);
  parallel.for_each(panels, [&](int64_t panel) {
    const TilesInUse tiles;
    const int64_t packed_bytes = depth * kPanel * kOperand;
    const int64_t c_size = count * kPanel, c_bytes = (kSums ? 1 : kProducts) * c_size * kFloat;
    Scratch scratch(Scratch::rounded(packed_bytes) + Scratch::rounded(c_bytes));
    auto* const packed = static_cast<Op*>(scratch.take(packed_bytes));
    auto* const c = static_cast<float*>(scratch.take(c_bytes));
    for (int i = 0; i < kProducts; ++i) {
      pack(i, panel, packed);
      multiply_deep(rows(i), stride, count, packed, depth, c + (kSums ? 0 : i * c_size),
                    kSums && i > 0);
    }
    take(panel, c);
  });
}

}  // namespace KERASLLM_ISA
}  // namespace kerasllm

#endif  // KERASLLM_COMMON_DEEP_PRODUCT_H_
