// The products of a dense layer. The right operand is packed into panels once, by all threads; then
// blocks of rows go through all panels, and what a panel gives a block of rows is a tile that stays
// in the first cache levels until it is written out. A right operand that is larger than the caches
// is packed panel by panel, where it is multiplied.
#include "common/column_sums.h"
#include "common/deep_product.h"
#include "dense/dense_dispatch.h"
#include "dense/dense_kernel_gradient.h"

namespace kerasllm {
namespace KERASLLM_ISA {
namespace {

// rows x depth times depth x columns. All sizes follow from the shape alone, but for how the work
// is cut, on which no bit depends: an element is one sum in the order of depth, in runs.
template <class T>
struct Product {
  int64_t rows, depth, columns;
  const T* left;      // (rows, depth)
  const float* bias;  // (columns), or null
  T* result;          // (rows, columns)

  static constexpr int64_t kRowBlock = 96;

  int64_t padded() const { return padded_depth<Operand<T>>(depth); }
  int64_t panels() const { return ceil_div(columns, kPanel); }
  int64_t panels_size() const { return panels() * padded() * kPanel; }

  // pack(panel index, where to) makes a panel of the right operand.
  template <class Pack>
  void run(Parallel& parallel, const Pack& pack) const {
    if (rows == 0 || columns == 0) return;
    if (worth_going_by_panels(depth * columns)) return run_by_panels(parallel, pack);
    Scratch scratch(panels_size() * static_cast<int64_t>(sizeof(Operand<T>)) + 64);
    auto* const packed = static_cast<Operand<T>*>(scratch.take(panels_size() * sizeof(Operand<T>)));
    parallel.for_each(panels(), [&](int64_t p) { pack(p, packed + p * padded() * kPanel); });
    const int64_t blocks = ceil_div(rows, kRowBlock);
    // Few rows: the threads share the panels.
    const int64_t enough = 16 * parallel.num_threads();
    const int64_t parts = max_of<int64_t>(1, min_of(panels(), enough / blocks));
    parallel.for_each(blocks * parts, [&](int64_t task) {
      const int64_t block = task / parts, part = task % parts;
      multiply(rows * block / blocks, rows * (block + 1) / blocks, panels() * part / parts,
               panels() * (part + 1) / parts, packed);
    });
  }

  template <class Pack>
  void run_by_panels(Parallel& parallel, const Pack& pack) const {
    Scratch scratch(min_of(rows, kRowsByPanels) * padded() *
                    static_cast<int64_t>(sizeof(Operand<T>)));
    auto* const buffer = static_cast<Operand<T>*>(scratch.take(0));
    for_each_part_by_panels(rows, [&](int64_t begin, int64_t count) {
      const Operand<T>* const rows_left =
          left_rows(left + begin * depth, count, depth, padded(), buffer);
      multiply_by_panels<T, 1, true>(
          count, padded(), padded(), panels(), [&](int) { return rows_left; },
          [&](int, int64_t panel, Operand<T>* to) { pack(panel, to); },
          [&](int64_t panel, const float* tile) { write(begin, count, panel * kPanel, tile); },
          parallel);
    });
  }

  void multiply(int64_t begin, int64_t end, int64_t first_panel, int64_t last_panel,
                const Operand<T>* packed) const {
    const TilesInUse tiles;
    const int64_t count = end - begin, stride = padded();
    const bool as_it_lies = sizeof(T) == sizeof(Operand<T>) && depth == stride;
    Scratch scratch((as_it_lies ? 0 : count * stride * static_cast<int64_t>(sizeof(Operand<T>))) +
                    count * kPanel * static_cast<int64_t>(sizeof(float)) + 2 * 64);
    auto* const tile = static_cast<float*>(scratch.take(count * kPanel * sizeof(float)));
    Operand<T>* const buffer =
        as_it_lies ? nullptr
                   : static_cast<Operand<T>*>(scratch.take(count * stride * sizeof(Operand<T>)));
    const Operand<T>* const rows_left =
        left_rows(left + begin * depth, count, depth, stride, buffer);
    for (int64_t p = first_panel; p < last_panel; ++p) {
      const Operand<T>* const panel = packed + p * stride * kPanel;
      multiply_deep(rows_left, stride, count, panel, stride, tile, false);
      write(begin, count, p * kPanel, tile);
    }
  }

  void write(int64_t begin, int64_t count, int64_t column, const float* tile) const {
    for (int64_t j = 0; j < kPanel && column + j < columns; j += kLanes) {
      const int64_t filled = columns - column - j;
      const Vec b = bias == nullptr ? Vec{} : load_first(bias + column + j, filled);
      T* to = result + begin * columns + column + j;
      for (int64_t row = 0; row < count; ++row, to += columns) {
        store_first(to, load(tile + row * kPanel + j) + b, filled);
      }
    }
  }
};

template <class T>
void forward(const DenseForward<T>& args, Parallel& pool) {
  const DenseShape& shape = args.shape;
  Parallel& parallel = threads_worth_waking(shape.rows, shape.input_dim * shape.units, pool);
  const Product<T> product = {shape.rows,  shape.input_dim, shape.units,
                              args.inputs, args.bias,       args.outputs};
  product.run(parallel, [&](int64_t p, Operand<T>* panel) {
    const int64_t column = p * kPanel;
    const auto row_at = [&](int64_t k) {
      return k < shape.input_dim ? args.kernel + k * shape.units + column : nullptr;
    };
    pack_columns<T>(row_at, min_of<int64_t>(kPanel, shape.units - column), product.padded(), panel);
  });
}

template <class T>
void backward(const DenseBackward<T>& args, Parallel& pool) {
  const DenseShape& shape = args.shape;
  Parallel& parallel = threads_worth_waking(shape.rows, shape.input_dim * shape.units, pool);
  if (args.d_inputs != nullptr) {
    const Product<T> product = {shape.rows,     shape.units, shape.input_dim,
                                args.d_outputs, nullptr,     args.d_inputs};
    product.run(parallel, [&](int64_t p, Operand<T>* panel) {
      const auto row_at = [&](int64_t j) {
        const int64_t row = p * kPanel + j;
        return row < shape.input_dim ? args.kernel + row * shape.units : nullptr;
      };
      pack_transposed<T>(row_at, shape.units, product.padded(), panel);
    });
  }
  if (args.d_kernel != nullptr) KernelGradient<T>(args, parallel).run();
  if (args.d_bias != nullptr) {
    sum_columns(shape.rows, shape.units, args.d_bias, parallel,
                [&](int64_t row, int64_t end, float* sums) {
                  for (; row < end; ++row) {
                    const T* const from = args.d_outputs + row * shape.units;
                    for_each_vec(shape.units, [=](int64_t i, int64_t count) KERASLLM_INLINE {
                      store_first(sums + i,
                                  load_first(sums + i, count) + load_first(from + i, count), count);
                    });
                  }
                });
  }
}

}  // namespace

extern const DenseKernels dense_kernels = {&forward<float>, &forward<bfloat16>, &backward<float>,
                                           &backward<bfloat16>};

}  // namespace KERASLLM_ISA
}  // namespace kerasllm
