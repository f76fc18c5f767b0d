// The part of LSTM backward that sums over (time, batch): the gradients of the weights.
#ifndef KERASLLM_LSTM_LSTM_WEIGHTS_GRADIENT_H_
#define KERASLLM_LSTM_LSTM_WEIGHTS_GRADIENT_H_

#include "common/transposed_product.h"
#include "lstm/lstm_pack.h"

namespace kerasllm {
namespace KERASLLM_ISA {

// The gradients of the weights' columns of the gate panels [first, last): the product of the
// transposed rows (input, hidden state before, one) with d_gates, block by block.
template <class T>
struct WeightsGradient {
  using Block = TransposedBlock<Operand<T>>;
  static constexpr int64_t kUnitRows = kUnit<Operand<T>>;
  const LstmBackward<T>& args;
  const LstmSizes<T>& sizes;
  int64_t first, last;
  float* products;  // (last - first, rows, kPanel), the sums so far

  // The last row is the bias.
  static int64_t rows(const LstmSizes<T>& sizes) { return sizes.input_dim + sizes.units + 1; }
  int64_t rows() const { return rows(sizes); }

  // The rows [begin, begin + count) of (time, batch), and zeros up to `depth`.
  void pack_inputs_and_hidden(int64_t begin, int64_t count, int64_t depth, Operand<T>* left) const {
    T one;
    store_first(&one, broadcast(1.0f), 1);
    const auto input_at = [&](int64_t k) -> const T* {
      const int64_t step = (begin + k) / sizes.batch, b = (begin + k) % sizes.batch;
      const int64_t t = args.shape.go_backwards ? sizes.time - 1 - step : step;
      return k < count ? args.inputs + (b * sizes.time + t) * sizes.input_dim : nullptr;
    };
    const auto hidden_at = [&](int64_t k) -> const T* {
      const int64_t row = begin + k;
      if (k >= count) return nullptr;
      return row < sizes.batch ? args.initial_hidden + row * sizes.units
                               : args.hidden + (row - sizes.batch) * sizes.state;
    };
    const auto bias_at = [&](int64_t k) { return k < count ? &one : nullptr; };
    pack_left(input_at, sizes.input_dim, 0, depth, rows(), left);
    pack_left(hidden_at, sizes.units, sizes.input_dim, depth, rows(), left);
    pack_left(bias_at, 1, rows() - 1, depth, rows(), left);
  }

  // All panels of a row of d_gates at a time: they lie side by side.
  void pack_d_gates(const Operand<T>* d_gates, int64_t count, int64_t depth,
                    Operand<T>* panels) const {
    for (int64_t unit = 0; unit * kUnitRows < depth; ++unit) {
      for (int64_t p = first; p < last; ++p) {
        const Operand<T>* from[kUnitRows];
        for (int64_t i = 0; i < kUnitRows; ++i) {
          const int64_t k = unit * kUnitRows + i;
          from[i] = k < count ? d_gates + k * 4 * sizes.state + p * kPanel : nullptr;
        }
        put_right(from, unit, panels + (p - first) * Block::kPanelSize);
      }
    }
  }

  // Adds the rows [begin, end) of (time, batch); d_gates are theirs.
  void add(int64_t begin, int64_t end, const Operand<T>* d_gates) const {
    const TilesInUse tiles;
    const int64_t left_bytes = Block::left_size(rows()) * sizeof(Operand<T>);
    const int64_t panels_bytes = Block::kPanelSize * (last - first) * sizeof(Operand<T>);
    Scratch scratch(left_bytes + panels_bytes + 2 * 64);
    auto* const left = static_cast<Operand<T>*>(scratch.take(left_bytes));
    auto* const panels = static_cast<Operand<T>*>(scratch.take(panels_bytes));
    for (int64_t row = begin; row < end; row += Block::kDepth) {
      const int64_t count = min_of(Block::kDepth, end - row);
      const int64_t depth = padded_depth<Operand<T>>(count);
      pack_inputs_and_hidden(row, count, depth, left);
      pack_d_gates(d_gates + (row - begin) * 4 * sizes.state, count, depth, panels);
      for (int64_t p = 0; p < last - first; ++p) {
        transposed_product(left, rows(), depth, panels + p * Block::kPanelSize,
                           products + p * rows() * kPanel);
      }
    }
  }

  void write_all() const {
    for (int64_t p = first; p < last; ++p) write(p, products + (p - first) * rows() * kPanel);
  }

  void write(int64_t panel, const float* product) const {
    for (int64_t m = 0; m < rows(); ++m) {
      T* const row = m < sizes.input_dim ? args.d_kernel + m * 4 * sizes.units
                     : m < rows() - 1
                         ? args.d_recurrent_kernel + (m - sizes.input_dim) * 4 * sizes.units
                         : args.d_bias;
      const int64_t unit = panel * kLanes;
      if (unit >= sizes.units) continue;
      for (int64_t gate = 0; gate < 4; ++gate) {
        store_first(row + gate * sizes.units + unit, load(product + m * kPanel + gate * kLanes),
                    sizes.units - unit);
      }
    }
  }
};

}  // namespace KERASLLM_ISA
}  // namespace kerasllm

#endif  // KERASLLM_LSTM_LSTM_WEIGHTS_GRADIENT_H_
