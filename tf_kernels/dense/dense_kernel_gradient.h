// The gradient of the kernel: d_kernel = the transposed inputs x d_outputs, summed over the rows.
//
// Rows come in chunks. A chunk of both operands is packed once, by all threads, and then multiplied
// by all threads, each at panels of columns of its own: every element is summed over the rows in
// one order, so its bits do not depend on the number of threads. While a chunk is multiplied the
// next one is packed.
#ifndef KERASLLM_DENSE_DENSE_KERNEL_GRADIENT_H_
#define KERASLLM_DENSE_DENSE_KERNEL_GRADIENT_H_

#include "common/packing.h"
#include "dense/dense.h"

namespace kerasllm {
namespace KERASLLM_ISA {

template <class T>
class KernelGradient {
 public:
  KernelGradient(const DenseBackward<T>& args, Parallel& parallel)
      : args_(args),
        parallel_(parallel),
        groups_(ceil_div(args.shape.input_dim, kGroup)),
        panels_(ceil_div(args.shape.units, kPanel)),
        chunks_(max_of<int64_t>(1, ceil_div(args.shape.rows, kChunkRows))) {}

  void run() {
    const int64_t left_size = groups_ * kBlocks * Block::left_size(kGroup);
    const int64_t right_size = panels_ * kBlocks * Block::kPanelSize;
    const int64_t sums_size = panels_ * groups_ * kGroup * kPanel;
    const int64_t operand = sizeof(Operand<T>);
    const int64_t buffers = chunks_ > 1 ? 2 : 1;
    Scratch scratch(buffers * ((left_size + right_size) * operand + 2 * 64) +
                    sums_size * static_cast<int64_t>(sizeof(float)) + 64);
    for (int64_t i = 0; i < buffers; ++i) {
      left_[i] = static_cast<Operand<T>*>(scratch.take(left_size * operand));
      right_[i] = static_cast<Operand<T>*>(scratch.take(right_size * operand));
    }
    sums_ = static_cast<float*>(scratch.take(sums_size * sizeof(float)));
    parallel_.for_each(pack_tasks(), [&](int64_t task) { pack(0, task); });
    for (int64_t chunk = 0; chunk < chunks_; ++chunk) {
      const int64_t packs = chunk + 1 < chunks_ ? pack_tasks() : 0;
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
  using Block = TransposedBlock<Operand<T>>;
  static constexpr int64_t kUnitRows = kUnit<Operand<T>>;
  // Columns of the inputs that are packed together: whole blocks of rows of the product, and a
  // stride that spreads over the sets of the first cache level.
  static constexpr int64_t kGroup = 48;
  static constexpr int64_t kBlocks = 8, kChunkRows = kBlocks * Block::kDepth;

  // A task packs one block of rows, of both operands.
  int64_t pack_tasks() const { return kBlocks; }
  int64_t group_size(int64_t group) const {
    return min_of(kGroup, args_.shape.input_dim - group * kGroup);
  }
  int64_t block_rows(int64_t chunk, int64_t block) const {
    const int64_t begin = chunk * kChunkRows + block * Block::kDepth;
    return max_of<int64_t>(0, min_of(Block::kDepth, args_.shape.rows - begin));
  }

  Operand<T>* left(int64_t chunk, int64_t group, int64_t block) const {
    return left_[chunk % 2] + (group * kBlocks + block) * Block::left_size(kGroup);
  }
  Operand<T>* right(int64_t chunk, int64_t panel, int64_t block) const {
    return right_[chunk % 2] + (panel * kBlocks + block) * Block::kPanelSize;
  }

  void pack(int64_t chunk, int64_t block) const {
    const int64_t begin = chunk * kChunkRows + block * Block::kDepth;
    const int64_t count = block_rows(chunk, block);
    const int64_t depth = padded_depth<Operand<T>>(count);
    const int64_t input_dim = args_.shape.input_dim, units = args_.shape.units;
    for (int64_t unit = 0; unit * kUnitRows < depth; ++unit) {
      const T *inputs[kUnitRows], *d_outputs[kUnitRows];
      const auto row_of = [&](const T* rows, int64_t i, int64_t size, int64_t column) {
        const int64_t k = unit * kUnitRows + i;
        return k < count ? rows + (begin + k) * size + column : nullptr;
      };
      for (int64_t group = 0; group < groups_; ++group) {
        const int64_t column = group * kGroup;
        for (int64_t i = 0; i < kUnitRows; ++i) {
          inputs[i] = row_of(args_.inputs, i, input_dim, column);
        }
        const int64_t size = group_size(group);
        put_left(inputs, size, 0, unit, size, left(chunk, group, block));
      }
      for (int64_t panel = 0; panel < panels_; ++panel) {
        const int64_t column = panel * kPanel;
        for (int64_t i = 0; i < kUnitRows; ++i) {
          d_outputs[i] = row_of(args_.d_outputs, i, units, column);
        }
        put_panel_row(d_outputs, min_of<int64_t>(kPanel, units - column), unit,
                      right(chunk, panel, block));
      }
    }
  }

  // Adds a chunk to the columns of one panel, and writes them out after the last chunk.
  void multiply(int64_t chunk, int64_t panel) const {
    const TilesInUse tiles;
    for (int64_t group = 0; group < groups_; ++group) {
      const int64_t begin = group * kGroup;
      const int64_t count = group_size(group);
      float* const sums = sums_ + (panel * groups_ + group) * kGroup * kPanel;
      if (chunk == 0) __builtin_memset(sums, 0, kGroup * kPanel * sizeof(float));
      for (int64_t block = 0; block < kBlocks; ++block) {
        const int64_t depth = padded_depth<Operand<T>>(block_rows(chunk, block));
        if (depth == 0) break;
        transposed_product(left(chunk, group, block), count, depth, right(chunk, panel, block),
                           sums);
      }
      if (chunk + 1 < chunks_) continue;
      for (int64_t row = 0; row < count; ++row) {
        const int64_t column = panel * kPanel;
        T* const to = args_.d_kernel + (begin + row) * args_.shape.units + column;
        for (int64_t j = 0; j < kPanel && column + j < args_.shape.units; j += kLanes) {
          store_first(to + j, load(sums + row * kPanel + j), args_.shape.units - column - j);
        }
      }
    }
  }

  const DenseBackward<T>& args_;
  Parallel& parallel_;
  int64_t groups_, panels_, chunks_;
  Operand<T>*left_[2], *right_[2];
  float* sums_;  // (panels, groups, kGroup, kPanel)
};

}  // namespace KERASLLM_ISA
}  // namespace kerasllm

#endif  // KERASLLM_DENSE_DENSE_KERNEL_GRADIENT_H_
