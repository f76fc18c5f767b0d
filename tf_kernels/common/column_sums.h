// Sums over the rows of a matrix, as gradients of biases and gains are: in float32, in an order
// that depends on the number of rows only, so the bits do not depend on the number of threads.
//
// Rows come in runs of kRunRows, runs in blocks, of which there are kMaxRowBlocks at most. Runs are
// summed up on their own, then added to their block, and the blocks are added in the end: the error
// grows with the lengths of these three sums and not with the number of rows.
#ifndef KERASLLM_COMMON_COLUMN_SUMS_H_
#define KERASLLM_COMMON_COLUMN_SUMS_H_

#include "common/parallel.h"
#include "common/vec.h"

namespace kerasllm {
namespace KERASLLM_ISA {

inline constexpr int64_t kRunRows = 32, kMaxRowBlocks = 64;

inline void add_to(float* sums, const float* terms, int64_t columns) {
  for_each_vec(columns, [=](int64_t i, int64_t count) KERASLLM_INLINE {
    store_first(sums + i, load_first(sums + i, count) + load_first(terms + i, count), count);
  });
}

inline void set_zero(float* values, int64_t count) {
  __builtin_memset(values, 0, static_cast<size_t>(count) * sizeof(float));
}

// Calls body(first, end, sums) for runs [first, end) of all rows, on any thread: it adds its rows'
// terms to sums (columns). Then result (columns) has the sums over all rows.
template <class Body>
inline void sum_columns(int64_t rows, int64_t columns, float* result, Parallel& parallel,
                        const Body& body) {
  constexpr int64_t kTaskColumns = 4096;
  const int64_t block_rows = round_up(ceil_div(max_of(rows, int64_t{1}), kMaxRowBlocks), kRunRows);
  const int64_t blocks = ceil_div(rows, block_rows);
  const int64_t size = columns * static_cast<int64_t>(sizeof(float));
  Scratch scratch(blocks * Scratch::rounded(size));
  float* const block_sums = static_cast<float*>(scratch.take(blocks * size));
  parallel.for_each(blocks, [&](int64_t block) {
    float* const sums = block_sums + block * columns;
    const int64_t begin = block * block_rows, end = min_of(rows, begin + block_rows);
    set_zero(sums, columns);
    body(begin, min_of(end, begin + kRunRows), sums);
    if (begin + kRunRows >= end) return;
    Scratch run_scratch(size);
    float* const run_sums = static_cast<float*>(run_scratch.take(size));
    for (int64_t first = begin + kRunRows; first < end; first += kRunRows) {
      set_zero(run_sums, columns);
      body(first, min_of(end, first + kRunRows), run_sums);
      add_to(sums, run_sums, columns);
    }
  });
  parallel.for_each(ceil_div(columns, kTaskColumns), [&](int64_t task) {
    const int64_t column = task * kTaskColumns, count = min_of(kTaskColumns, columns - column);
    set_zero(result + column, count);
    for (int64_t block = 0; block < blocks; ++block) {
      add_to(result + column, block_sums + block * columns + column, count);
    }
  });
}

}  // namespace KERASLLM_ISA
}  // namespace kerasllm

#endif  // KERASLLM_COMMON_COLUMN_SUMS_H_
