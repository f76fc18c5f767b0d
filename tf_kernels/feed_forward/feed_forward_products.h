// Two matrix products with something element by element between them, over blocks of rows:
//
//   result = between(left x first) x second + bias
//
// A run of columns of the first product is made, passed through `between` into operands of the
// second one, and multiplied into its sums at once: what lies between is a block of rows by a run
// of columns, in the second cache level. Where the matrices are too large for that, a part of the
// rows goes through all of the first product and then through the second one. Gated activations
// have two first products side by side (forward), or two second ones whose results add up
// (backward).
#ifndef KERASLLM_FEED_FORWARD_FEED_FORWARD_PRODUCTS_H_
#define KERASLLM_FEED_FORWARD_FEED_FORWARD_PRODUCTS_H_

#include "common/deep_product.h"

namespace kerasllm {
namespace KERASLLM_ISA {

template <class T, int kFirsts, int kSeconds>
struct TwoProducts {
  int64_t rows, depth, dim, columns;
  const T* left;      // (rows, depth)
  const float* bias;  // (columns), or null
  T* result;          // (rows, columns)

  static constexpr int64_t kRun = kerasllm::KERASLLM_ISA::kRun<Operand<T>>;
  static_assert(kRun % kPanel == 0);

  // What lies between, for one panel of columns of the first products.
  struct Tile {
    int64_t block, begin, count;  // the rows: begin, ..., begin + count - 1
    int64_t column, width;        // the columns; beyond width, `to` gets zeros
    const float* from;            // kFirsts times (count, kPanel)
    Operand<T>* to;               // kSeconds times (count, kPanel), with rows of `stride`
    int64_t stride;
    const float* from_row(int index, int64_t row) const {
      return from + (index * count + row) * kPanel;
    }
    Operand<T>* to_row(int index, int64_t row) const { return to + (index * count + row) * stride; }
  };

  // Few rows are few for one matrix; many make up for packing both, until a block of them does not
  // fit into a cache with what it needs.
  bool by_panels() const {
    return worth_going_by_panels(rows <= kRowsByPanels ? elements() : elements() / 3);
  }
  int64_t elements() const { return dim * (kFirsts * depth + kSeconds * columns); }
  // Rows of a block, by the shape alone, as sums over the rows of a block take their order from it:
  // what a block needs stays in the second cache level, and few rows still make work for threads.
  int64_t block_rows() const {
    constexpr int64_t kLeast = 3 * kMaxRows, kMost = 16 * kMaxRows;
    constexpr int64_t kCacheBytes = 512 * 1024, kTasks = 16;
#ifdef KERASLLM_AMX  // two tiles have 32 rows
    constexpr int64_t kWholeRows = sizeof(Operand<T>) == 2 ? 32 : kMaxRows;
#else
    constexpr int64_t kWholeRows = kMaxRows;
#endif
    const int64_t row_bytes = (depth + columns) * 4 + kSeconds * kRunBytes;
    const int64_t fitting = min_of(kCacheBytes / row_bytes, ceil_div(rows, kTasks));
    return round_up(max_of(kLeast, min_of(kMost, fitting)), kWholeRows);
  }
  int64_t blocks() const { return ceil_div(rows, by_panels() ? kRowsByPanels : block_rows()); }

  // pack_first(index, panel, where to) and pack_second make a panel of a right operand;
  // between(tile) fills tile.to.
  template <class PackFirst, class PackSecond, class Between>
  void run(const PackFirst& pack_first, const PackSecond& pack_second, const Between& between,
           Parallel& pool) const {
    if (rows == 0) return;
    Parallel& parallel = threads_worth_waking(rows, elements(), pool);
    if (by_panels()) return run_by_panels(pack_first, pack_second, between, parallel);
    const int64_t first_size = first_panel_size(), second_size = second_panel_size();
    const int64_t firsts = kFirsts * first_panels(), seconds = kSeconds * second_panels();
    const int64_t operand = sizeof(Operand<T>);
    Scratch scratch((firsts * first_size + seconds * second_size) * operand + 2 * 64);
    auto* const first = static_cast<Operand<T>*>(scratch.take(firsts * first_size * operand));
    auto* const second = static_cast<Operand<T>*>(scratch.take(seconds * second_size * operand));
    parallel.for_each(firsts + seconds, [&](int64_t task) {
      if (task < firsts) {
        pack_first(static_cast<int>(task / first_panels()), task % first_panels(),
                   first + task * first_size);
      } else {
        task -= firsts;
        pack_second(static_cast<int>(task / second_panels()), task % second_panels(),
                    second + task * second_size);
      }
    });
    parallel.for_each(blocks(), [&](int64_t block) { multiply(block, first, second, between); });
  }

  int64_t first_depth() const { return padded_depth<Operand<T>>(depth); }
  int64_t second_depth() const { return padded_depth<Operand<T>>(dim); }

 private:
  int64_t first_panels() const { return ceil_div(dim, kPanel); }
  int64_t second_panels() const { return ceil_div(columns, kPanel); }
  int64_t first_panel_size() const { return first_depth() * kPanel; }
  int64_t second_panel_size() const { return second_depth() * kPanel; }

  template <class PackFirst, class PackSecond, class Between>
  void run_by_panels(const PackFirst& pack_first, const PackSecond& pack_second,
                     const Between& between, Parallel& parallel) const {
    constexpr int64_t kOperand = sizeof(Operand<T>);
    const int64_t most = min_of(rows, kRowsByPanels), stride = first_panels() * kPanel;
    const int64_t left_bytes = most * first_depth() * kOperand;
    const int64_t between_bytes = kSeconds * most * stride * kOperand;
    Scratch scratch(Scratch::rounded(left_bytes) + Scratch::rounded(between_bytes));
    auto* const buffer = static_cast<Operand<T>*>(scratch.take(left_bytes));
    auto* const activated = static_cast<Operand<T>*>(scratch.take(between_bytes));
    int64_t block = 0;
    for_each_part_by_panels(rows, [&](int64_t begin, int64_t count) {
      const Operand<T>* const rows_left =
          left_rows(left + begin * depth, count, depth, first_depth(), buffer);
      multiply_by_panels<T, kFirsts, false>(
          count, first_depth(), first_depth(), first_panels(), [&](int) { return rows_left; },
          pack_first,
          [&](int64_t panel, const float* tile) {
            const int64_t column = panel * kPanel;
            between(Tile{block, begin, count, column, min_of<int64_t>(kPanel, dim - column), tile,
                         activated + column, stride});
          },
          parallel);
      multiply_by_panels<T, kSeconds, true>(
          count, stride, second_depth(), second_panels(),
          [&](int index) { return activated + index * count * stride; }, pack_second,
          [&](int64_t panel, const float* sums) {
            const int64_t column = panel * kPanel;
            write(begin, count, column, min_of<int64_t>(kPanel, columns - column), sums);
          },
          parallel);
      ++block;
    });
  }

  template <class Between>
  void multiply(int64_t block, const Operand<T>* first, const Operand<T>* second,
                const Between& between) const {
    const TilesInUse tiles;
    const int64_t begin = block * block_rows(), count = min_of(block_rows(), rows - begin);
    const int64_t stride = first_depth();
    const bool as_it_lies = sizeof(T) == sizeof(Operand<T>) && depth == stride;
    constexpr int64_t kFloat = sizeof(float), kOperand = sizeof(Operand<T>);
    const int64_t tile_size = kFirsts * count * kPanel * kFloat;
    const int64_t run_size = kSeconds * count * kRun * kOperand;
    const int64_t sums_size = second_panels() * count * kPanel * kFloat;
    const int64_t left_size = as_it_lies ? 0 : count * stride * kOperand;
    Scratch scratch(tile_size + run_size + sums_size + left_size + 4 * 64);
    auto* const tile = static_cast<float*>(scratch.take(tile_size));
    auto* const run = static_cast<Operand<T>*>(scratch.take(run_size));
    auto* const sums = static_cast<float*>(scratch.take(sums_size));
    const Operand<T>* const rows_left =
        left_rows(left + begin * depth, count, depth, stride,
                  static_cast<Operand<T>*>(as_it_lies ? nullptr : scratch.take(left_size)));
    if (dim == 0) __builtin_memset(sums, 0, static_cast<size_t>(sums_size));
    for (int64_t column = 0; column < dim; column += kRun) {
      for (int64_t panel = column; panel < min_of(dim, column + kRun); panel += kPanel) {
        for (int i = 0; i < kFirsts; ++i) {
          multiply_deep(rows_left, stride, count,
                        first + (i * first_panels() + panel / kPanel) * first_panel_size(), stride,
                        tile + i * count * kPanel, false);
        }
        between(Tile{block, begin, count, panel, min_of<int64_t>(kPanel, dim - panel), tile,
                     run + (panel - column), kRun});
      }
      const int64_t run_depth = min_of(kRun, second_depth() - column);
      for (int64_t panel = 0; panel < second_panels(); ++panel) {
        for (int i = 0; i < kSeconds; ++i) {
          panel_product(
              run + i * count * kRun, kRun, count, run_depth,
              second + (i * second_panels() + panel) * second_panel_size() + column * kPanel,
              sums + panel * count * kPanel, kPanel, column > 0 || i > 0);
        }
      }
    }
    for (int64_t panel = 0; panel < second_panels(); ++panel) {
      const int64_t column = panel * kPanel;
      write(begin, count, column, min_of<int64_t>(kPanel, columns - column),
            sums + panel * count * kPanel);
    }
  }

  void write(int64_t begin, int64_t count, int64_t column, int64_t width, const float* sums) const {
    for (int64_t row = 0; row < count; ++row, sums += kPanel) {
      T* const to = result + (begin + row) * columns + column;
      const float* const from = bias == nullptr ? nullptr : bias + column;
      for_each_vec(width, [=](int64_t i, int64_t filled) KERASLLM_INLINE {
        const Vec b = from == nullptr ? Vec{} : load_first(from + i, filled);
        store_first(to + i, load(sums + i) + b, filled);
      });
    }
  }
};

}  // namespace KERASLLM_ISA
}  // namespace kerasllm

#endif  // KERASLLM_FEED_FORWARD_FEED_FORWARD_PRODUCTS_H_
