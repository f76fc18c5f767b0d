// LSTM forward. The batch is cut into slices, one a thread, and no thread waits for another before
// the end. A slice goes through time in chunks: the input's part of the gates for a whole chunk at
// once, then step by step the recurrent part, and on its result, still in the first cache level,
// the activations and the new states.
#include "common/vec_math.h"
#include "lstm/lstm_dispatch.h"
#include "lstm/lstm_pack.h"

namespace kerasllm {
namespace KERASLLM_ISA {
namespace {

template <class T>
struct Slice {
  const LstmForward<T>& args;
  const LstmSizes<T>& sizes;
  const Operand<T>* input_panels;
  const Operand<T>* recurrent_panels;
  const float* bias;  // (panels, kPanel)
  int64_t begin, rows;
  float* cells;                     // (rows, state)
  Operand<T>*hidden, *next_hidden;  // (rows, hidden_stride)

  int64_t time_of(int64_t step) const {
    return args.shape.go_backwards ? sizes.time - 1 - step : step;
  }
  bool active(int64_t step, int64_t row) const {
    return args.mask == nullptr || args.mask[(begin + row) * sizes.time + time_of(step)];
  }
  bool any_active(int64_t step) const {
    for (int64_t row = 0; row < rows; ++row) {
      if (active(step, row)) return true;
    }
    return false;
  }
  T* output(int64_t step, int64_t row) const {
    const int64_t index =
        args.shape.return_sequences ? (begin + row) * sizes.time + step : begin + row;
    return args.outputs + index * sizes.units;
  }

  void load_initial_states() {
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t from = (begin + row) * sizes.units;
      copy_row(args.initial_hidden + from, sizes.units, sizes.hidden_stride,
               hidden + row * sizes.hidden_stride);
      copy_row(args.initial_hidden + from, 0, sizes.hidden_stride,
               next_hidden + row * sizes.hidden_stride);
      float* const cell = cells + row * sizes.state;
      for (int64_t u = 0; u < sizes.state; ++u) {
        cell[u] = u < sizes.units ? to_float(args.initial_cell[from + u]) : 0.0f;
      }
    }
  }

  // gates (panels, steps * rows, kPanel) = inputs x kernel, for `steps` steps from `first` on.
  void input_product(int64_t first, int64_t steps, Operand<T>* inputs, float* gates) const {
    for (int64_t s = 0; s < steps; ++s) {
      for (int64_t row = 0; row < rows; ++row) {
        const int64_t from = (begin + row) * sizes.time + time_of(first + s);
        copy_row(args.inputs + from * sizes.input_dim, sizes.input_dim, sizes.input_depth,
                 inputs + (s * rows + row) * sizes.input_depth);
      }
    }
    for (int64_t p = 0; p < sizes.panels; ++p) {
      panel_product(inputs, sizes.input_depth, steps * rows, sizes.input_depth,
                    input_panels + p * sizes.input_depth * kPanel,
                    gates + p * steps * rows * kPanel, kPanel, false);
    }
  }

  // The new states of panel `p`'s units in every row, from their gates (rows, kPanel).
  void update_states(int64_t step, int64_t p, const float* gates) const {
    const int64_t unit = p * kLanes;
    const float* const b = bias + p * kPanel;
    const Vec bias_i = load(b), bias_f = load(b + kLanes);
    const Vec bias_g = load(b + 2 * kLanes), bias_o = load(b + 3 * kLanes);
    const bool write_outputs =
        args.shape.return_sequences || args.mask != nullptr || step == sizes.time - 1;
    for (int64_t row = 0; row < rows; ++row) {
      const float* const z = gates + row * kPanel;
      float* const cell = cells + row * sizes.state + unit;
      Operand<T>* const to = next_hidden + row * sizes.hidden_stride + unit;
      const int64_t place = step * sizes.batch + begin + row;
      if (!active(step, row)) {
        const Vec kept = load(hidden + row * sizes.hidden_stride + unit);
        store(to, kept);
        if (args.gates != nullptr)
          save(place, unit, p, Vec{}, Vec{}, Vec{}, Vec{}, load(cell), kept);
        continue;
      }
      const Vec i = sigmoid_vec(load(z) + bias_i);
      const Vec f = sigmoid_vec(load(z + kLanes) + bias_f);
      const Vec g = tanh_vec(load(z + 2 * kLanes) + bias_g);
      const Vec o = sigmoid_vec(load(z + 3 * kLanes) + bias_o);
      const Vec c = f * load(cell) + i * g;
      const Vec h = rounded_to<T>(o * tanh_vec(c));
      store(cell, c);
      store(to, h);
      if (args.gates != nullptr) save(place, unit, p, i, f, g, o, c, h);
      if (write_outputs) store_first(output(step, row) + unit, h, sizes.units - unit);
    }
  }

  void save(int64_t place, int64_t unit, int64_t p, Vec i, Vec f, Vec g, Vec o, Vec c,
            Vec h) const {
    T* const to = args.gates + place * 4 * sizes.state + p * kPanel;
    store(to, i);
    store(to + kLanes, f);
    store(to + 2 * kLanes, g);
    store(to + 3 * kLanes, o);
    store(args.cells + place * sizes.state + unit, c);
    store(args.hidden + place * sizes.state + unit, h);
  }

  // Outputs of the masked rows of a step, whose states were carried on.
  void write_masked_outputs(int64_t step) const {
    for (int64_t row = 0; row < rows; ++row) {
      if (active(step, row)) continue;
      T* const to = output(step, row);
      if (step == 0 || args.shape.zero_output_for_mask) {
        for (int64_t u = 0; u < sizes.units; ++u) to[u] = T();
      } else if (args.shape.return_sequences) {
        for (int64_t u = 0; u < sizes.units; ++u) to[u] = (to - sizes.units)[u];
      }
    }
  }

  void run(int64_t chunk, Operand<T>* inputs, float* gates) {
    const TilesInUse tiles;
    load_initial_states();
    for (int64_t first = 0; first < sizes.time; first += chunk) {
      const int64_t steps = min_of(chunk, sizes.time - first);
      input_product(first, steps, inputs, gates);
      for (int64_t s = 0; s < steps; ++s) {
        const bool any = any_active(first + s);
        for (int64_t p = 0; p < sizes.panels; ++p) {
          float* const z = gates + (p * steps + s) * rows * kPanel;
          if (any) {
            panel_product(hidden, sizes.hidden_stride, rows, sizes.hidden_depth,
                          recurrent_panels + p * sizes.hidden_depth * kPanel, z, kPanel, true);
          }
          update_states(first + s, p, z);
        }
        if (args.mask != nullptr) write_masked_outputs(first + s);
        Operand<T>* const swap = hidden;
        hidden = next_hidden;
        next_hidden = swap;
      }
    }
    write_final_states();
  }

  void write_final_states() const {
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t to = (begin + row) * sizes.units;
      for (int64_t u = 0; u < sizes.units; u += kLanes) {
        const int64_t count = sizes.units - u;
        store_first(args.final_hidden + to + u, load(hidden + row * sizes.hidden_stride + u),
                    count);
        store_first(args.final_cell + to + u, load(cells + row * sizes.state + u), count);
        if (sizes.time == 0 && !args.shape.return_sequences) {
          store_first(args.outputs + to + u, Vec{}, count);
        }
      }
    }
  }
};

template <class T>
void forward(const LstmForward<T>& args, Parallel& parallel) {
  const LstmSizes<T> sizes(args.shape);
  const int64_t input_size = sizes.input_depth * kPanel,
                recurrent_size = sizes.hidden_depth * kPanel;
  Scratch weights((input_size + recurrent_size) * sizes.panels * sizeof(Operand<T>) +
                  sizes.panels * kPanel * sizeof(float) + 128);
  auto* const input_panels =
      static_cast<Operand<T>*>(weights.take(input_size * sizes.panels * sizeof(Operand<T>)));
  auto* const recurrent_panels =
      static_cast<Operand<T>*>(weights.take(recurrent_size * sizes.panels * sizeof(Operand<T>)));
  auto* const bias = static_cast<float*>(weights.take(sizes.panels * kPanel * sizeof(float)));

  parallel.for_each(sizes.panels, [&](int64_t p) {
    pack_gates(args.kernel, sizes.input_dim, sizes.input_depth, sizes.units, p,
               input_panels + p * input_size);
    pack_gates(args.recurrent_kernel, sizes.units, sizes.hidden_depth, sizes.units, p,
               recurrent_panels + p * recurrent_size);
    for (int64_t j = 0; j < kPanel; ++j) {
      const int64_t unit = p * kLanes + j % kLanes;
      bias[p * kPanel + j] =
          unit < sizes.units ? to_float(args.bias[j / kLanes * sizes.units + unit]) : 0.0f;
    }
  });

  // Chunks of time whose gates fit the second cache level beside the weights.
  constexpr int64_t kGatesBytes = 256 * 1024;
  const int64_t slices = sizes.slices(parallel.num_threads());
  parallel.for_each(slices, [&](int64_t index) {
    const int64_t begin = sizes.batch * index / slices, end = sizes.batch * (index + 1) / slices;
    const int64_t rows = end - begin;
    if (rows == 0) return;
    const int64_t row_bytes = 4 * sizes.state * static_cast<int64_t>(sizeof(float));
    const int64_t chunk = min_of(sizes.time, max_of<int64_t>(1, kGatesBytes / (row_bytes * rows)));
    const int64_t inputs_bytes = chunk * rows * sizes.input_depth * sizeof(Operand<T>);
    const int64_t gates_bytes = chunk * rows * row_bytes;
    const int64_t cells_bytes = rows * sizes.state * sizeof(float);
    const int64_t hidden_bytes = rows * sizes.hidden_stride * sizeof(Operand<T>);
    Scratch scratch(inputs_bytes + gates_bytes + cells_bytes + 2 * hidden_bytes + 5 * 64);
    auto* const inputs = static_cast<Operand<T>*>(scratch.take(inputs_bytes));
    auto* const gates = static_cast<float*>(scratch.take(gates_bytes));
    Slice<T> slice = {args,
                      sizes,
                      input_panels,
                      recurrent_panels,
                      bias,
                      begin,
                      rows,
                      static_cast<float*>(scratch.take(cells_bytes)),
                      static_cast<Operand<T>*>(scratch.take(hidden_bytes)),
                      static_cast<Operand<T>*>(scratch.take(hidden_bytes))};
    slice.run(chunk, inputs, gates);
  });
}

}  // namespace

extern const LstmForwardKernels lstm_forward_kernels = {&forward<float>, &forward<bfloat16>};

}  // namespace KERASLLM_ISA
}  // namespace kerasllm
