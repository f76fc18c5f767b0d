// What lies between the two products, forward and backward.
#include "common/column_sums.h"
#include "common/streaming.h"
#include "feed_forward/feed_forward_dispatch.h"
#include "feed_forward/feed_forward_products.h"
#include "gelu/gelu_activations.h"

namespace kerasllm {
namespace KERASLLM_ISA {
namespace {

// A tensor of rows, each of `halves` times `dim` columns, that is written in panels of kPanel
// columns and read again much later, or not before all of it is written.
template <class T>
class PanelWriter {
 public:
  PanelWriter(T* data, int64_t rows, int64_t dim, int64_t halves)
      : data_(data), columns_(halves * dim), streams_(worth_streaming(data, halves * rows, dim)) {}

  T* row(int64_t index) const { return data_ + index * columns_; }
  KERASLLM_INLINE void write(T* to, Vec v, int64_t count) const {
    stream_or_store_first(streams_, to, v, count);
  }

 private:
  T* data_;
  int64_t columns_;
  bool streams_;
};

template <class Op>
void clear_tail(Op* row, int64_t width) {
  for (int64_t i = width; i < kPanel; ++i) row[i] = Op();
}

// The columns of one half of a kernel of several halves beside each other, as panels.
template <class T>
struct KernelHalves {
  const T* kernel;                      // (rows, columns)
  int64_t rows, columns, half_columns;  // of a half: half_columns

  // A panel of columns of `half`; panels are `depth` deep.
  void pack_panel(int half, int64_t panel, int64_t depth, Operand<T>* to) const {
    const int64_t column = panel * kPanel;
    const T* const from = kernel + half * half_columns + column;
    pack_columns<T>([&](int64_t k) { return k < rows ? from + k * columns : nullptr; },
                    min_of<int64_t>(kPanel, half_columns - column), depth, to);
  }
  // A panel of the transpose of `half`: kPanel of the kernel's rows.
  void pack_transposed_panel(int half, int64_t panel, int64_t depth, Operand<T>* to) const {
    const auto row_at = [&](int64_t j) {
      const int64_t row = panel * kPanel + j;
      return row < rows ? kernel + row * columns + half * half_columns : nullptr;
    };
    pack_transposed<T>(row_at, half_columns, depth, to);
  }
};

template <class T>
KernelHalves<T> hidden_kernel_of(const FeedForwardShape& shape, const T* kernel) {
  return {kernel, shape.input_dim, feed_forward_columns(shape), shape.dim};
}
template <class T>
KernelHalves<T> output_kernel_of(const FeedForwardShape& shape, const T* kernel) {
  return {kernel, shape.dim, shape.output_dim, shape.output_dim};
}

template <class Act, bool kGated, class T>
void forward_of(const FeedForwardForward<T>& args, Parallel& parallel) {
  const FeedForwardShape& shape = args.shape;
  using Products = TwoProducts<T, kGated ? 2 : 1, 1>;
  const Products products = {shape.rows,  shape.input_dim,  shape.dim,   shape.output_dim,
                             args.inputs, args.output_bias, args.outputs};
  const KernelHalves<T> first = hidden_kernel_of(shape, args.hidden_kernel);
  const KernelHalves<T> second = output_kernel_of(shape, args.output_kernel);
  const auto pack_first = [&](int half, int64_t panel, Operand<T>* to) {
    first.pack_panel(half, panel, products.first_depth(), to);
  };
  const auto pack_second = [&](int half, int64_t panel, Operand<T>* to) {
    second.pack_panel(half, panel, products.second_depth(), to);
  };
  const PanelWriter<T> hidden(args.hidden, shape.rows, shape.dim, kGated ? 2 : 1);
  const auto activate = [&](const typename Products::Tile& tile) KERASLLM_FLATTEN {
    const bool keep = args.hidden != nullptr;
    const int64_t dim = shape.dim;
    const float* const bias =
        args.hidden_bias == nullptr ? nullptr : args.hidden_bias + tile.column;
    for (int64_t row = 0; row < tile.count; ++row) {
      const float *const gates = tile.from_row(0, row), *const values =
                                                            tile.from_row(kGated ? 1 : 0, row);
      Operand<T>* const to = tile.to_row(0, row);
      T* const kept = keep ? hidden.row(tile.begin + row) + tile.column : nullptr;
      for_each_vec(tile.width, [=](int64_t i, int64_t count) KERASLLM_INLINE {
        Vec gate = load(gates + i);
        if (bias != nullptr) gate += load_first(bias + i, count);
        if (keep) hidden.write(kept + i, gate, count);
        Vec y = Act::value(gate);
        if (kGated) {
          Vec value = load(values + i);
          if (bias != nullptr) value += load_first(bias + dim + i, count);
          if (keep) hidden.write(kept + dim + i, value, count);
          y *= value;
        }
        store_first(to + i, y, count);
      });
      clear_tail(to, tile.width);
    }
    if (keep) stream_end();
  };
  products.run(pack_first, pack_second, activate, parallel);
}

template <class Act, bool kGated, class T>
void backward_of(const FeedForwardBackward<T>& args, Parallel& parallel) {
  const FeedForwardShape& shape = args.shape;
  using Products = TwoProducts<T, 1, kGated ? 2 : 1>;
  const Products products = {shape.rows,     shape.output_dim, shape.dim,    shape.input_dim,
                             args.d_outputs, nullptr,          args.d_inputs};
  const KernelHalves<T> first = output_kernel_of(shape, args.output_kernel);
  const KernelHalves<T> second = hidden_kernel_of(shape, args.hidden_kernel);
  const auto pack_first = [&](int half, int64_t panel, Operand<T>* to) {
    first.pack_transposed_panel(half, panel, products.first_depth(), to);
  };
  const auto pack_second = [&](int half, int64_t panel, Operand<T>* to) {
    second.pack_transposed_panel(half, panel, products.second_depth(), to);
  };
  const int64_t columns = feed_forward_columns(shape), blocks = products.blocks();
  const PanelWriter<T> d_hidden(args.d_hidden, shape.rows, shape.dim, kGated ? 2 : 1);
  const PanelWriter<T> activated(args.activated, shape.rows, shape.dim, 1);
  Scratch scratch(blocks * columns * static_cast<int64_t>(sizeof(float)) + 64);
  auto* const block_sums = static_cast<float*>(scratch.take(blocks * columns * sizeof(float)));
  const auto slope = [&](const typename Products::Tile& tile) KERASLLM_FLATTEN {
    const int64_t dim = shape.dim;
    float* const gate_sums = block_sums + tile.block * columns + tile.column;
    float* const value_sums = gate_sums + (kGated ? dim : 0);
    set_zero(gate_sums, tile.width);
    set_zero(value_sums, tile.width);
    for (int64_t row = 0; row < tile.count; ++row) {
      const float* const d_activated = tile.from_row(0, row);
      const T* const gates = args.hidden + (tile.begin + row) * columns + tile.column;
      T* const d_gates = d_hidden.row(tile.begin + row) + tile.column;
      T* const activations = activated.row(tile.begin + row) + tile.column;
      Operand<T>* const to_gates = tile.to_row(0, row);
      Operand<T>* const to_values = tile.to_row(kGated ? 1 : 0, row);
      // The next panel of the row, a piece far from the others.
      prefetch(gates + kPanel, kPanel);
      if (kGated) prefetch(gates + dim + kPanel, kPanel);
      for_each_vec(tile.width, [=](int64_t i, int64_t count) KERASLLM_INLINE {
        const Point act = Act::point(load_first(gates + i, count));
        const Vec d = load(d_activated + i);
        Vec d_gate = d * act.slope, y = act.value;
        if (kGated) {
          const Vec value = load_first(gates + dim + i, count), d_value = d * act.value;
          d_gate *= value;
          y *= value;
          d_hidden.write(d_gates + dim + i, d_value, count);
          store_first(to_values + i, d_value, count);
          store_first(value_sums + i, load_first(value_sums + i, count) + d_value, count);
        }
        activated.write(activations + i, y, count);
        d_hidden.write(d_gates + i, d_gate, count);
        store_first(to_gates + i, d_gate, count);
        store_first(gate_sums + i, load_first(gate_sums + i, count) + d_gate, count);
      });
      clear_tail(to_gates, tile.width);
      if (kGated) clear_tail(to_values, tile.width);
    }
    stream_end();
  };
  products.run(pack_first, pack_second, slope, parallel);
  set_zero(args.d_hidden_bias, columns);
  for (int64_t block = 0; block < blocks; ++block) {
    add_to(args.d_hidden_bias, block_sums + block * columns, columns);
  }
}

KERASLLM_ACTIVATION_FORMS(forward, FeedForwardForward)
KERASLLM_ACTIVATION_FORMS(backward, FeedForwardBackward)

}  // namespace

extern const FeedForwardKernels feed_forward_kernels = {&forward<float>, &forward<bfloat16>,
                                                        &backward<float>, &backward<bfloat16>};

}  // namespace KERASLLM_ISA
}  // namespace kerasllm
