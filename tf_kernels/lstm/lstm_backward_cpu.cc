// LSTM backward, in chunks of time from the last one back, each in two rounds of parallel work.
//
// 1. Slices of the batch go back through the chunk. A step turns the gradient of the hidden and the
//    cell state into that of the gates ("d_gates", kept for round 2), and the product of these with
//    the transposed recurrent weights is the gradient of the hidden state one step before.
// 2. Products over all steps of the chunk at once: the input's gradient by blocks of rows, the
//    weights' gradients by panels of gates. A weight's sum over (time, batch) is made in one order,
//    so its bits do not depend on the number of threads.
//
// A chunk's d_gates stay in the cache between the rounds; all of them would be as large as what
// forward kept.
#include "common/vec_math.h"
#include "lstm/lstm_dispatch.h"
#include "lstm/lstm_pack.h"
#include "lstm/lstm_weights_gradient.h"

namespace kerasllm {
namespace KERASLLM_ISA {
namespace {

template <class T>
struct BackwardSlice {
  const LstmBackward<T>& args;
  const LstmSizes<T>& sizes;
  const Operand<T>* panels;  // of the transposed recurrent weights
  Operand<T>* d_gates;       // (steps of the chunk, batch, 4 * state)
  int64_t first_step, last_step;
  int64_t begin, rows, hidden_panels;
  float* d_cells;           // (rows, state)
  float* d_hidden;          // (hidden_panels, rows, kPanel)
  float* carried_d_output;  // (rows, state): what masked steps pass to the output they repeat

  bool active(int64_t step, int64_t row) const {
    const int64_t t = args.shape.go_backwards ? sizes.time - 1 - step : step;
    return args.mask == nullptr || args.mask[(begin + row) * sizes.time + t];
  }
  Operand<T>* d_gates_of(int64_t step, int64_t row) const {
    return d_gates + ((step - first_step) * sizes.batch + begin + row) * 4 * sizes.state;
  }
  float* d_hidden_at(int64_t row, int64_t unit) const {
    return d_hidden + (unit / kPanel * rows + row) * kPanel + unit % kPanel;
  }

  void load_final_states() const {
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t from = (begin + row) * sizes.units;
      for (int64_t u = 0; u < sizes.state; u += kLanes) {
        const int64_t count = max_of<int64_t>(0, sizes.units - u);
        store(d_hidden_at(row, u), load_first(args.d_final_hidden + from + u, count));
        store(d_cells + row * sizes.state + u, load_first(args.d_final_cell + from + u, count));
        store(carried_d_output + row * sizes.state + u, Vec{});
      }
    }
  }

  // The gradient that reaches the output of a step from outside, for kLanes units.
  Vec d_output(int64_t step, int64_t row, int64_t unit) const {
    const int64_t count = max_of<int64_t>(0, sizes.units - unit);
    if (args.shape.return_sequences) {
      const int64_t from = ((begin + row) * sizes.time + step) * sizes.units + unit;
      return load_first(args.d_outputs + from, count);
    }
    if (step != sizes.time - 1) return Vec{};
    return load_first(args.d_outputs + (begin + row) * sizes.units + unit, count);
  }

  // The gates' gradients of one step; d_cells becomes that of the cell state before it.
  void gates_gradient(int64_t step) const {
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t place = step * sizes.batch + begin + row;
      const bool on = active(step, row);
      const bool repeats = args.mask != nullptr && !args.shape.zero_output_for_mask;
      for (int64_t p = 0; p < sizes.panels; ++p) {
        const int64_t unit = p * kLanes;
        Operand<T>* const to = d_gates_of(step, row) + p * kPanel;
        float* const carried = carried_d_output + row * sizes.state + unit;
        Vec d_y = d_output(step, row, unit);
        if (repeats) d_y += load(carried);
        if (!on) {
          for (int v = 0; v < kPanelVecs; ++v) store(to + v * kLanes, Vec{});
          if (repeats) store(carried, d_y);
          continue;
        }
        if (repeats) store(carried, Vec{});
        one_gate_panel(place, step, row, unit, d_y, to);
      }
    }
  }

  void one_gate_panel(int64_t place, int64_t step, int64_t row, int64_t unit, Vec d_y,
                      Operand<T>* to) const {
    const T* const gates = args.gates + place * 4 * sizes.state + unit * 4;
    const Vec i = load(gates), f = load(gates + kLanes);
    const Vec g = load(gates + 2 * kLanes), o = load(gates + 3 * kLanes);
    const float* const cell = args.cells + place * sizes.state + unit;
    const Vec tanh_c = tanh_vec(load(cell));
    const Vec cell_before = step > 0
                                ? load(cell - sizes.batch * sizes.state)
                                : load_first(args.initial_cell + (begin + row) * sizes.units + unit,
                                             max_of<int64_t>(0, sizes.units - unit));
    float* const d_cell = d_cells + row * sizes.state + unit;
    const Vec d_h = load(d_hidden_at(row, unit)) + d_y;
    const Vec d_c = load(d_cell) + d_h * o * (1.0f - tanh_c * tanh_c);
    store(to, d_c * g * i * (1.0f - i));
    store(to + kLanes, d_c * cell_before * f * (1.0f - f));
    store(to + 2 * kLanes, d_c * i * (1.0f - g * g));
    store(to + 3 * kLanes, d_h * tanh_c * o * (1.0f - o));
    store(d_cell, d_c * f);
  }

  // d_hidden of the step before. A masked row adds the product of zeros to what it has.
  void hidden_gradient(int64_t step) const {
    bool all = true;
    if (args.mask != nullptr) {
      for (int64_t row = 0; row < rows; ++row) {
        if (!active(step, row)) {
          all = false;
          continue;
        }
        for (int64_t u = 0; u < sizes.state; u += kLanes) store(d_hidden_at(row, u), Vec{});
      }
    }
    const int64_t depth = 4 * sizes.state;
    for (int64_t p = 0; p < hidden_panels; ++p) {
      panel_product(d_gates_of(step, 0), depth, rows, depth, panels + p * depth * kPanel,
                    d_hidden + p * rows * kPanel, kPanel, !all);
    }
  }

  void run() const {
    const TilesInUse tiles;
    if (last_step == sizes.time) load_final_states();
    for (int64_t step = last_step - 1; step >= first_step; --step) {
      gates_gradient(step);
      hidden_gradient(step);
    }
    if (first_step == 0) write_initial_states();
  }

  void write_initial_states() const {
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t to = (begin + row) * sizes.units;
      for (int64_t u = 0; u < sizes.units; u += kLanes) {
        const int64_t count = sizes.units - u;
        store_first(args.d_initial_hidden + to + u, load(d_hidden_at(row, u)), count);
        store_first(args.d_initial_cell + to + u, load(d_cells + row * sizes.state + u), count);
      }
    }
  }
};

// d_inputs of `rows` rows of (time, batch) from `begin` on; d_gates are theirs.
template <class T>
void inputs_gradient(const LstmBackward<T>& args, const LstmSizes<T>& sizes,
                     const Operand<T>* panels, const Operand<T>* d_gates, int64_t begin,
                     int64_t rows) {
  const TilesInUse tiles;
  const int64_t depth = 4 * sizes.state;
  Scratch scratch(rows * kPanel * sizeof(float));
  auto* const product = static_cast<float*>(scratch.take(rows * kPanel * sizeof(float)));
  for (int64_t column = 0; column < sizes.input_dim; column += kPanel) {
    panel_product(d_gates, depth, rows, depth, panels + column * depth, product, kPanel, false);
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t step = (begin + row) / sizes.batch, b = (begin + row) % sizes.batch;
      const int64_t t = args.shape.go_backwards ? sizes.time - 1 - step : step;
      T* const to = args.d_inputs + (b * sizes.time + t) * sizes.input_dim + column;
      for (int64_t j = 0; j < kPanel && column + j < sizes.input_dim; j += kLanes) {
        store_first(to + j, load(product + row * kPanel + j), sizes.input_dim - column - j);
      }
    }
  }
}

template <class T>
void backward(const LstmBackward<T>& args, Parallel& parallel) {
  const LstmSizes<T> sizes(args.shape);
  const int64_t depth = 4 * sizes.state, panel_size = depth * kPanel;
  const int64_t hidden_panels = ceil_div(sizes.state, kPanel);
  const int64_t input_panels = ceil_div(sizes.input_dim, kPanel);
  // The size of a chunk must not depend on the number of threads.
  constexpr int64_t kChunkBytes = 2 * 1024 * 1024;
  const int64_t step_bytes = max_of<int64_t>(1, sizes.batch * depth * sizeof(Operand<T>));
  const int64_t chunk = max_of<int64_t>(1, min_of(sizes.time, kChunkBytes / step_bytes));

  const int64_t panels_bytes = (hidden_panels + input_panels) * panel_size * sizeof(Operand<T>);
  const int64_t d_gates_bytes = chunk * step_bytes;
  const int64_t state_bytes = sizes.batch * sizes.state * sizeof(float);
  const int64_t hidden_bytes = hidden_panels * sizes.batch * kPanel * sizeof(float);
  const int64_t product_size = WeightsGradient<T>::rows(sizes) * kPanel;
  const int64_t products_bytes = sizes.panels * product_size * sizeof(float);
  Scratch shared(panels_bytes + d_gates_bytes + 2 * state_bytes + hidden_bytes + products_bytes +
                 6 * 64);
  auto* const panels = static_cast<Operand<T>*>(shared.take(panels_bytes));
  auto* const d_gates = static_cast<Operand<T>*>(shared.take(d_gates_bytes));
  auto* const d_cells = static_cast<float*>(shared.take(state_bytes));
  auto* const carried = static_cast<float*>(shared.take(state_bytes));
  auto* const d_hidden = static_cast<float*>(shared.take(hidden_bytes));
  auto* const products = static_cast<float*>(shared.take(products_bytes));
  const Operand<T>* const transposed_input = panels + hidden_panels * panel_size;
  __builtin_memset(products, 0, products_bytes);

  parallel.for_each(hidden_panels + input_panels, [&](int64_t p) {
    const bool hidden = p < hidden_panels;
    pack_gates_transposed(hidden ? args.recurrent_kernel : args.kernel,
                          hidden ? sizes.units : sizes.input_dim, sizes.units, sizes.panels,
                          hidden ? p : p - hidden_panels, panels + p * panel_size);
  });

  const int64_t slices = sizes.slices(parallel.num_threads());
  constexpr int64_t kRowBlock = 96, kMostPanels = 8;
  const int64_t group =
      max_of<int64_t>(1, min_of(kMostPanels, ceil_div(sizes.panels, parallel.num_threads())));
  const int64_t groups = ceil_div(sizes.panels, group);
  const auto weights_gradient = [&](int64_t index) {
    const int64_t first = index * group;
    return WeightsGradient<T>{args, sizes, first, min_of(sizes.panels, first + group),
                              products + first * product_size};
  };

  int64_t last_step = sizes.time;
  do {
    const int64_t first_step = max_of<int64_t>(0, last_step - chunk);
    parallel.for_each(slices, [&](int64_t index) {
      const int64_t begin = sizes.batch * index / slices;
      const int64_t rows = sizes.batch * (index + 1) / slices - begin;
      BackwardSlice<T>{args,
                       sizes,
                       panels,
                       d_gates,
                       first_step,
                       last_step,
                       begin,
                       rows,
                       hidden_panels,
                       d_cells + begin * sizes.state,
                       d_hidden + hidden_panels * begin * kPanel,
                       carried + begin * sizes.state}
          .run();
    });
    const int64_t first_row = first_step * sizes.batch, last_row = last_step * sizes.batch;
    // The larger tasks first.
    parallel.for_each(groups + ceil_div(last_row - first_row, kRowBlock), [&](int64_t task) {
      if (task < groups) {
        weights_gradient(task).add(first_row, last_row, d_gates);
      } else {
        const int64_t offset = (task - groups) * kRowBlock;
        inputs_gradient(args, sizes, transposed_input, d_gates + offset * depth, first_row + offset,
                        min_of(kRowBlock, last_row - first_row - offset));
      }
    });
    last_step = first_step;
  } while (last_step > 0);
  parallel.for_each(groups, [&](int64_t index) { weights_gradient(index).write_all(); });
}

}  // namespace

extern const LstmBackwardKernels lstm_backward_kernels = {&backward<float>, &backward<bfloat16>};

}  // namespace KERASLLM_ISA
}  // namespace kerasllm
