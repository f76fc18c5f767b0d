// The gradient of the kernel: d_kernel = the transposed inputs x d_outputs, summed over the rows.
//
// Of inputs and d_outputs the narrower one is the left operand. Rows come in chunks. A chunk of the
// left operand is packed once, by all threads, while the one before it is multiplied. Of the right
// operand a thread packs the panels that it multiplies, a block of rows at a time, so that they are
// in its first cache level. Every element is summed over the rows in one order, so its bits do not
// depend on the number of threads.
#ifndef KERASLLM_DENSE_DENSE_KERNEL_GRADIENT_H_
#define KERASLLM_DENSE_DENSE_KERNEL_GRADIENT_H_

#include "dense/dense.h"
#include "dense/dense_column_tiles.h"

namespace kerasllm {
namespace KERASLLM_ISA {

template <class T>
class KernelGradient {
 public:
  KernelGradient(const DenseBackward<T>& args, Parallel& parallel)
      : parallel_(parallel),
        rows_(args.shape.rows),
        transposed_(args.shape.input_dim > args.shape.units),
        left_(transposed_ ? args.d_outputs : args.inputs),
        right_(transposed_ ? args.inputs : args.d_outputs),
        d_kernel_(args.d_kernel),
        left_dim_(transposed_ ? args.shape.units : args.shape.input_dim),
        right_dim_(transposed_ ? args.shape.input_dim : args.shape.units),
        panels_(ceil_div(right_dim_, kPanel)),
        blocks_(blocks_of_a_chunk()),
        chunks_(max_of<int64_t>(1, ceil_div(rows_, blocks_ * kDepth))) {}

  void run() {
    const int64_t buffers = chunks_ > 1 ? 2 : 1;
    const int64_t sums_bytes = chunks_ > 1 ? panels_ * sums_bytes_of_panel() : 0;
    Scratch scratch(buffers * blocks_ * Scratch::rounded(tiles_bytes()) +
                    Scratch::rounded(sums_bytes));
    for (int64_t i = 0; i < buffers; ++i) {
      packed_[i] = static_cast<Op*>(scratch.take(blocks_ * tiles_bytes()));
    }
    sums_ = static_cast<float*>(scratch.take(sums_bytes));
    parallel_.for_each(blocks_, [&](int64_t task) { pack(0, task); });
    for (int64_t chunk = 0; chunk < chunks_; ++chunk) {
      const int64_t packs = chunk + 1 < chunks_ ? blocks_ : 0;
      parallel_.for_each(packs + panels_, [&](int64_t task) {
        if (task < packs) {
          pack(chunk + 1, task);
        } else {
          multiply(chunk, task - packs);
        }
      });
    }
  }

 private:
  using Op = Operand<T>;
  static constexpr int64_t kUnitRows = kUnit<Op>, kDepth = ColumnTiles<Op>::kDepth;
  static constexpr int64_t kMinBlocks = 4, kMaxBlocks = 8, kChunkBytes = 1 << 20;

  int64_t tiles_bytes() const {
    return ColumnTiles<Op>::size(left_dim_) * static_cast<int64_t>(sizeof(Op));
  }
  int64_t sums_size() const { return left_dim_ * kPanel; }
  int64_t sums_bytes_of_panel() const { return sums_size() * static_cast<int64_t>(sizeof(float)); }
  // A chunk of wide rows is larger than the second cache level: fewer of them would have all sums
  // pass through memory more often. With one chunk, no sums are kept but those of a panel.
  int64_t blocks_of_a_chunk() const {
    const int64_t needed = max_of<int64_t>(1, ceil_div(rows_, kDepth));
    if (needed <= kMaxBlocks) return needed;
    return max_of(kMinBlocks, min_of(kMaxBlocks, kChunkBytes / max_of<int64_t>(1, tiles_bytes())));
  }
  int64_t first_row(int64_t chunk, int64_t block) const {
    return (chunk * blocks_ + block) * kDepth;
  }
  int64_t num_rows(int64_t chunk, int64_t block) const {
    return max_of<int64_t>(0, min_of(kDepth, rows_ - first_row(chunk, block)));
  }
  Op* tiles(int64_t chunk, int64_t block) const {
    return packed_[chunk % 2] + block * ColumnTiles<Op>::size(left_dim_);
  }

  void pack(int64_t chunk, int64_t block) const {
    const int64_t first = first_row(chunk, block), count = num_rows(chunk, block);
    const auto row_at = [&](int64_t k) {
      return k < count ? left_ + (first + k) * left_dim_ : nullptr;
    };
    pack_column_tiles(row_at, left_dim_, padded_depth<Op>(count), tiles(chunk, block));
  }

  // Adds a chunk to the columns of one panel, and writes them out after the last chunk.
  void multiply(int64_t chunk, int64_t panel) const {
    const TilesInUse tiles_in_use;
    constexpr int64_t kPanelBytes = kDepth * kPanel * static_cast<int64_t>(sizeof(Op));
    const int64_t own_sums_bytes = chunks_ > 1 ? 0 : sums_bytes_of_panel();
    Scratch scratch(kPanelBytes + own_sums_bytes);
    Op* const packed = static_cast<Op*>(scratch.take(kPanelBytes));
    float* const sums = chunks_ > 1 ? sums_ + panel * sums_size()
                                    : static_cast<float*>(scratch.take(own_sums_bytes));
    if (chunk == 0) __builtin_memset(sums, 0, static_cast<size_t>(sums_size()) * sizeof(float));
    for (int64_t block = 0; block < blocks_; ++block) {
      const int64_t count = num_rows(chunk, block);
      if (count == 0) break;
      pack_panel(first_row(chunk, block), count, panel, packed);
      columns_product(tiles(chunk, block), left_dim_, padded_depth<Op>(count), packed, sums);
    }
    if (chunk + 1 == chunks_) write(panel, sums);
  }

  void pack_panel(int64_t first, int64_t count, int64_t panel, Op* packed) const {
    const int64_t column = panel * kPanel, size = min_of<int64_t>(kPanel, right_dim_ - column);
    for (int64_t unit = 0; unit * kUnitRows < padded_depth<Op>(count); ++unit) {
      const T* from[kUnitRows];
      for (int64_t i = 0; i < kUnitRows; ++i) {
        const int64_t row = first + unit * kUnitRows + i;
        from[i] = row < first + count ? right_ + row * right_dim_ + column : nullptr;
        // The rows of the next block are on their way while this one is multiplied.
        if (row + kDepth < rows_) prefetch(right_ + (row + kDepth) * right_dim_ + column, size);
      }
      put_panel_row(from, size, unit, packed);
    }
  }

  void write(int64_t panel, const float* sums) const {
    const int64_t column = panel * kPanel, size = min_of<int64_t>(kPanel, right_dim_ - column);
    if (!transposed_) {
      for (int64_t row = 0; row < left_dim_; ++row) {
        T* const to = d_kernel_ + row * right_dim_ + column;
        for (int64_t j = 0; j < size; j += kLanes) {
          store_first(to + j, load(sums + row * kPanel + j), size - j);
        }
      }
      return;
    }
    for (int64_t j = 0; j < size; ++j) {
      T* const to = d_kernel_ + (column + j) * left_dim_;
      for_each_vec(left_dim_, [=](int64_t i, int64_t count) KERASLLM_INLINE {
        float lanes[kLanes] = {};
        for (int64_t lane = 0; lane < count; ++lane) lanes[lane] = sums[(i + lane) * kPanel + j];
        store_first(to + i, load(lanes), count);
      });
    }
  }

  Parallel& parallel_;
  int64_t rows_;
  bool transposed_;  // the result is
  const T *left_, *right_;
  T* d_kernel_;
  int64_t left_dim_, right_dim_, panels_, blocks_, chunks_;
  Op* packed_[2];  // a chunk each: (blocks, tiles)
  float* sums_;    // (panels, left_dim, kPanel), with more than one chunk
};

}  // namespace KERASLLM_ISA
}  // namespace kerasllm

#endif  // KERASLLM_DENSE_DENSE_KERNEL_GRADIENT_H_
