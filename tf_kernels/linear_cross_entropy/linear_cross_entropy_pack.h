// How hidden states and the kernel are laid out for the products, and the sizes that go with it.
//
// The logits are made transposed, vocabulary by rows: the kernel enters as it lies, its rows being
// the rows of the product, and only the few hidden states of a chunk are packed into panels. The
// statistics of a row then run down a lane of vectors, without any sum across lanes.
#ifndef KERASLLM_LINEAR_CROSS_ENTROPY_LINEAR_CROSS_ENTROPY_PACK_H_
#define KERASLLM_LINEAR_CROSS_ENTROPY_LINEAR_CROSS_ENTROPY_PACK_H_

#include "common/transposed_product.h"
#include "linear_cross_entropy/linear_cross_entropy.h"

namespace kerasllm {
namespace KERASLLM_ISA {

// Classes that are worked on together; one block of transposed_product.
inline constexpr int64_t kGroup = 128;
static_assert(TransposedBlock<float>::kDepth == kGroup &&
                  TransposedBlock<bfloat16>::kDepth == kGroup,
              "a group is one block of the transposed product");

// All sizes follow from the shape alone, never from the number of threads.
template <class T>
struct LinearCrossEntropySizes {
  LinearCrossEntropySizes(const LinearCrossEntropyInputs<T>& in, int64_t active)
      : active_rows(active),
        depth(padded_depth<Operand<T>>(in.dim)),
        column_panels(ceil_div(in.dim, kPanel)),
        groups(ceil_div(in.vocabulary, kGroup)),
        slots(min_of(kMostSlots, groups)) {
    // The logits of a chunk stay in the last cache level where they can; yet a chunk must not be
    // so short that the kernel's gradient is read and written for a few rows only.
    const int64_t rows_in_cache = kBlockBytes / (4 * max_of<int64_t>(1, in.vocabulary));
    const int64_t most = max_of(kFewestRows, min_of(kMostRows, rows_in_cache / 64 * 64));
    chunks = ceil_div(active, most);
    chunk_rows = chunks == 0 ? 0 : round_up(ceil_div(active, chunks), kPanel);
    // The threads' start costs more than a product below this.
    constexpr int64_t kWorthThreads = 1 << 20;
    threads_pay = active * (in.dim + 16) * in.vocabulary >= kWorthThreads;
  }
  static constexpr int64_t kBlockBytes = 24 << 20, kFewestRows = 256, kMostRows = 1024;
  static constexpr int64_t kMostSlots = 16;

  int64_t active_rows;    // rows whose label counts
  int64_t depth;          // dim, padded as an operand
  int64_t column_panels;  // of dim
  int64_t groups;         // of classes
  int64_t slots;          // the hidden states' gradient is summed over this many runs of groups
  int64_t chunks, chunk_rows;
  bool threads_pay;
};

template <class Body>
inline void for_each_task(Parallel& parallel, bool threads_pay, int64_t tasks, const Body& body) {
  if (threads_pay) {
    parallel.for_each(tasks, body);
  } else {
    for (int64_t task = 0; task < tasks; ++task) body(task);
  }
}

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
  put_pairs(from[0], from[1], size, 1, to);
  for (int64_t j = 2 * size; j < 2 * kPanel; ++j) to[j] = bfloat16();
}

// Rows of `dim` elements as panels of their columns, each `depth` rows deep; row_at(k) is row k's
// address, null for zeros.
template <class T, class RowAt>
inline void pack_columns(const RowAt& row_at, int64_t dim, int64_t depth, Operand<T>* panels) {
  constexpr int64_t kUnitRows = kUnit<Operand<T>>;
  for (int64_t unit = 0; unit * kUnitRows < depth; ++unit) {
    const T* rows[kUnitRows];
    for (int64_t i = 0; i < kUnitRows; ++i) rows[i] = row_at(unit * kUnitRows + i);
    for (int64_t column = 0; column < dim; column += kPanel) {
      const T* from[kUnitRows];
      for (int64_t i = 0; i < kUnitRows; ++i) {
        from[i] = rows[i] == nullptr ? nullptr : rows[i] + column;
      }
      put_panel_row(from, min_of<int64_t>(kPanel, dim - column), unit, panels + column * depth);
    }
  }
}

// The transpose of kPanel rows as one panel, `depth` deep.
template <class T, class RowAt>
inline void pack_rows(const RowAt& row_at, int64_t dim, int64_t depth, Operand<T>* panel) {
  for (int64_t j = 0; j < kPanel; ++j) {
    const T* const from = row_at(j);
    const int64_t filled = from == nullptr ? 0 : dim;
    for (int64_t k = 0; k < filled; ++k) convert(from[k], panel + panel_index(panel, k, j));
    for (int64_t k = filled; k < depth; ++k) panel[panel_index(panel, k, j)] = Operand<T>();
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

#endif  // KERASLLM_LINEAR_CROSS_ENTROPY_LINEAR_CROSS_ENTROPY_PACK_H_
