// The LSTM on the GPU, plain: the input's part of the gates for all steps in one product, then a
// launch a step for the recurrent part, the activations and the new states; backward two launches a
// step, then the products over all steps at once (lstm_cuda_products.h). A step's products are
// those of lstm_cuda_step.h.
#include <utility>

#include "common/cuda.h"
#include "common/cuda_column_sums.h"
#include "lstm/lstm_cuda.h"
#include "lstm/lstm_cuda_products.h"
#include "lstm/lstm_cuda_step.h"

namespace kerasllm {
namespace {

// lstm_state_size, which is for the host.
KERASLLM_DEVICE int64_t lstm_state_size_of(int64_t units) {
  return cuda_ceil_div(units, kLstmStateMultiple) * kLstmStateMultiple;
}

KERASLLM_DEVICE float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

template <class Args>
KERASLLM_DEVICE bool is_active(const Args& args, int64_t step, int64_t row) {
  const int64_t time = args.shape.time;
  const int64_t t = args.shape.go_backwards ? time - 1 - step : step;
  return args.mask == nullptr || args.mask[row * time + t];
}

// This thread's row and unit.
struct Place {
  int64_t row, unit;
  bool inside;
  KERASLLM_DEVICE Place(const LstmShape& shape) {
    row = static_cast<int64_t>(blockIdx.y) * kBlock + threadIdx.x / kBlock;
    unit = static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x % kBlock;
    inside = row < shape.batch && unit < shape.units;
  }
};

// hidden, next_hidden and cells are (batch, units) in float32; inputs_part (time, batch, 4 * units)
// has the bias in it.
// `wide`: four neighbouring units are aligned.
template <class T>
__global__ void __launch_bounds__(kStepThreads)
    step_kernel(LstmForward<T> args, int64_t step, bool wide, const float* inputs_part,
                const float* hidden, float* next_hidden, float* cells) {
  using Product = StepProduct<4 * kBlock, 64>;  // column 4 * unit + gate
  alignas(16) __shared__ float shared[Product::kShared];
  const int64_t units = args.shape.units, state = lstm_state_size_of(units);
  const Place place(args.shape);
  float gates[4];
  Product::template run<false>(
      units,
      [&](int r, int64_t k, float (&v)[4]) {
        const int64_t row = static_cast<int64_t>(blockIdx.y) * kBlock + r;
        load_four(hidden + row * units + k, row < args.shape.batch ? units - k : 0, wide, v);
      },
      [&](int index, int64_t k, float (&v)[4]) {
        const int64_t unit = static_cast<int64_t>(blockIdx.x) * kBlock + index % 4 * 4;
        load_four(args.recurrent_kernel + (k * 4 + index / 4) * units + unit,
                  k < units ? units - unit : 0, wide, v);
      },
      [](int index, int i) { return (index % 4 * 4 + i) * 4 + index / 4; }, shared, gates);
  if (!place.inside) return;
  const int64_t at = place.row * units + place.unit;
  const int64_t saved = step * args.shape.batch + place.row;
  const int64_t length = args.shape.return_sequences ? args.shape.time : 1;
  T* const output = args.outputs +
                    (place.row * length + (args.shape.return_sequences ? step : 0)) * units +
                    place.unit;
  const bool active = is_active(args, step, place.row);
  float c = cells[at], h = hidden[at];
  if (active) {
    const float* const from = inputs_part + saved * 4 * units + place.unit;
#pragma unroll
    for (int g = 0; g < 4; ++g) {
      const float z = gates[g] + from[g * units];
      gates[g] = g == 2 ? tanhf(z) : sigmoid(z);
    }
    c = gates[1] * c + gates[0] * gates[2];
    h = rounded<T>(gates[3] * tanhf(c));
    store_one(output, h);
  } else {
    for (float& gate : gates) gate = 0.0f;
    if (step == 0 || args.shape.zero_output_for_mask) {
      store_one(output, 0.0f);
    } else if (args.shape.return_sequences) {
      store_one(output, load_one(output - units));
    }
  }
  cells[at] = c;
  next_hidden[at] = h;
  if (args.gates != nullptr) {
    for (int g = 0; g < 4; ++g) {
      store_one(args.gates + (saved * 4 + g) * state + place.unit, gates[g]);
    }
    args.cells[saved * state + place.unit] = c;
    store_one(args.hidden + saved * state + place.unit, h);
  }
  if (step == args.shape.time - 1) {
    store_one(args.final_hidden + at, h);
    store_one(args.final_cell + at, c);
  }
}

// The states before the first step; without steps they are the final ones.
template <class T>
__global__ void __launch_bounds__(kBlock* kBlock)
    begin_kernel(LstmForward<T> args, float* hidden, float* cells) {
  const Place place(args.shape);
  if (!place.inside) return;
  const int64_t at = place.row * args.shape.units + place.unit;
  hidden[at] = load_one(args.initial_hidden + at);
  cells[at] = load_one(args.initial_cell + at);
  if (args.shape.time > 0) return;
  store_one(args.final_hidden + at, hidden[at]);
  store_one(args.final_cell + at, cells[at]);
  if (!args.shape.return_sequences) store_one(args.outputs + at, 0.0f);
}

// d_hidden, d_cells and carried (batch, units): the gradients by the states after `step`; carried
// is what masked steps pass to the output that they repeat.
template <class T>
__global__ void __launch_bounds__(kBlock* kBlock)
    gates_gradient_kernel(LstmBackward<T> args, int64_t step, const float* d_hidden, float* d_cells,
                          float* carried, float* d_gates) {
  const Place place(args.shape);
  if (!place.inside) return;
  const int64_t units = args.shape.units, state = lstm_state_size_of(units);
  const int64_t batch = args.shape.batch, time = args.shape.time;
  const int64_t at = place.row * units + place.unit, saved = step * batch + place.row;
  float* const to = d_gates + saved * 4 * units + place.unit;
  const bool repeats = args.mask != nullptr && !args.shape.zero_output_for_mask;
  float d_y = 0.0f;
  if (args.shape.return_sequences) {
    d_y = load_one(args.d_outputs + (place.row * time + step) * units + place.unit);
  } else if (step == time - 1) {
    d_y = load_one(args.d_outputs + at);
  }
  if (repeats) d_y += carried[at];
  const bool active = is_active(args, step, place.row);
  if (repeats) carried[at] = active ? 0.0f : d_y;
  if (!active) {
    for (int g = 0; g < 4; ++g) to[g * units] = 0.0f;
    return;
  }
  const T* const gates = args.gates + saved * 4 * state + place.unit;
  const float i = load_one(gates), f = load_one(gates + state);
  const float g = load_one(gates + 2 * state), o = load_one(gates + 3 * state);
  const float* const cell = args.cells + saved * state + place.unit;
  const float tanh_c = tanhf(*cell);
  const float before = step > 0 ? cell[-batch * state] : load_one(args.initial_cell + at);
  const float d_h = d_hidden[at] + d_y;
  const float d_c = d_cells[at] + d_h * o * (1.0f - tanh_c * tanh_c);
  to[0] = d_c * g * i * (1.0f - i);
  to[units] = d_c * before * f * (1.0f - f);
  to[2 * units] = d_c * i * (1.0f - g * g);
  to[3 * units] = d_h * tanh_c * o * (1.0f - o);
  d_cells[at] = d_c * f;
}

// d_before (batch, units): the gradient by the hidden state before `step`.
template <class T>
__global__ void __launch_bounds__(kStepThreads)
    hidden_gradient_kernel(LstmBackward<T> args, int64_t step, bool wide, const float* d_gates,
                           const float* d_hidden, float* d_before) {
  using Product = StepProduct<kBlock, 128>;
  alignas(16) __shared__ float shared[Product::kShared];
  const int64_t units = args.shape.units, depth = 4 * units;
  const Place place(args.shape);
  const float* const rows = d_gates + step * args.shape.batch * depth;
  float sum[1];
  Product::template run<true>(
      depth,
      [&](int r, int64_t k, float (&v)[4]) {
        const int64_t row = static_cast<int64_t>(blockIdx.y) * kBlock + r;
        load_four(rows + row * depth + k, row < args.shape.batch ? depth - k : 0, wide, v);
      },
      [&](int index, int64_t k, float (&v)[4]) {
        const int64_t unit = static_cast<int64_t>(blockIdx.x) * kBlock + index;
        load_four(args.recurrent_kernel + unit * depth + k, unit < units ? depth - k : 0, wide, v);
      },
      [](int index, int) { return index; }, shared, sum);
  if (!place.inside) return;
  const int64_t at = place.row * units + place.unit;
  d_before[at] = is_active(args, step, place.row) ? sum[0] : d_hidden[at];
}

template <class T>
__global__ void __launch_bounds__(kBlock* kBlock)
    begin_backward_kernel(LstmBackward<T> args, float* d_hidden, float* d_cells, float* carried) {
  const Place place(args.shape);
  if (!place.inside) return;
  const int64_t at = place.row * args.shape.units + place.unit;
  d_hidden[at] = load_one(args.d_final_hidden + at);
  d_cells[at] = load_one(args.d_final_cell + at);
  carried[at] = 0.0f;
}
template <class T>
__global__ void __launch_bounds__(kBlock* kBlock)
    end_backward_kernel(LstmBackward<T> args, const float* d_hidden, const float* d_cells) {
  const Place place(args.shape);
  if (!place.inside) return;
  const int64_t at = place.row * args.shape.units + place.unit;
  store_one(args.d_initial_hidden + at, d_hidden[at]);
  store_one(args.d_initial_cell + at, d_cells[at]);
}

dim3 grid_of(const LstmShape& shape) {
  return dim3(static_cast<unsigned>(cuda_ceil_div(shape.units, kBlock)),
              static_cast<unsigned>(cuda_ceil_div(shape.batch, kBlock)));
}

template <class T>
int forward(const LstmForward<T>& args, void* scratch, void* stream) {
  const LstmShape& s = args.shape;
  const int64_t rows = s.time * s.batch, width = 4 * s.units, states = s.batch * s.units;
  if (states == 0) return 0;
  float* const inputs_part = static_cast<float*>(scratch);
  float* hidden = inputs_part + rows * width;
  float* next_hidden = hidden + states;
  float* const cells = next_hidden + states;
  const bool wide = s.units % 4 == 0 && aligned_to_16(args.recurrent_kernel, hidden);
  const dim3 block(kBlock * kBlock);
  KERASLLM_RETURN_IF_ERROR(inputs_product(args, inputs_part, stream));
  KERASLLM_RETURN_IF_ERROR(
      launch(&begin_kernel<T>, grid_of(s), block, 0, stream, args, hidden, cells));
  for (int64_t step = 0; step < s.time; ++step) {
    KERASLLM_RETURN_IF_ERROR(launch(&step_kernel<T>, grid_of(s), block, 0, stream, args, step, wide,
                                    inputs_part, hidden, next_hidden, cells));
    std::swap(hidden, next_hidden);
  }
  return 0;
}

template <class T>
int backward(const LstmBackward<T>& args, void* scratch, void* stream) {
  const LstmShape& s = args.shape;
  const int64_t rows = s.time * s.batch, width = 4 * s.units, states = s.batch * s.units;
  float* const d_gates = static_cast<float*>(scratch);
  float* d_hidden = d_gates + rows * width;
  float* d_before = d_hidden + states;
  float* const d_cells = d_before + states;
  float* const carried = d_cells + states;
  const bool wide = aligned_to_16(args.recurrent_kernel, d_gates);
  const dim3 block(kBlock * kBlock), grid = grid_of(s);
  if (states > 0) {
    KERASLLM_RETURN_IF_ERROR(launch(&begin_backward_kernel<T>, grid, block, 0, stream, args,
                                    d_hidden, d_cells, carried));
    for (int64_t step = s.time - 1; step >= 0; --step) {
      KERASLLM_RETURN_IF_ERROR(launch(&gates_gradient_kernel<T>, grid, block, 0, stream, args, step,
                                      d_hidden, d_cells, carried, d_gates));
      KERASLLM_RETURN_IF_ERROR(launch(&hidden_gradient_kernel<T>, grid, block, 0, stream, args,
                                      step, wide, d_gates, d_hidden, d_before));
      std::swap(d_hidden, d_before);
    }
    KERASLLM_RETURN_IF_ERROR(
        launch(&end_backward_kernel<T>, grid, block, 0, stream, args, d_hidden, d_cells));
  }
  const Matrix<float> gates = {d_gates, width, false};
  KERASLLM_RETURN_IF_ERROR(
      (product<true, true>(rows, s.input_dim, width, gates, Matrix<T>{args.kernel, width, true},
                           StoreStepInputs<T>{{s}, args.d_inputs}, stream)));
  KERASLLM_RETURN_IF_ERROR(
      (product<false, false>(s.input_dim, width, rows, StepInputs<T>{{s}, args.inputs, true}, gates,
                             StoreMatrix<T>{args.d_kernel, width}, stream)));
  KERASLLM_RETURN_IF_ERROR((product<false, false>(
      s.units, width, rows,
      HiddenBefore<T>{{s}, args.initial_hidden, args.hidden, lstm_state_size(s.units)}, gates,
      StoreMatrix<T>{args.d_recurrent_kernel, width}, stream)));
  return sum_partials(d_gates, rows, width, width, args.d_bias, args.d_bias, stream);
}

int64_t scratch_bytes(const LstmShape& s, int64_t states) {
  return (s.time * s.batch * 4 * s.units + states * s.batch * s.units) * 4;
}

}  // namespace
}  // namespace kerasllm

using kerasllm::CudaType;

int kerasllm_cuda_lstm_forward(int type, const void* args, void* scratch, void* stream) {
  return kerasllm::for_type(static_cast<CudaType>(type), [&](auto t) {
    return kerasllm::forward(*static_cast<const kerasllm::LstmForward<decltype(t)>*>(args), scratch,
                             stream);
  });
}
int kerasllm_cuda_lstm_backward(int type, const void* args, void* scratch, void* stream) {
  return kerasllm::for_type(static_cast<CudaType>(type), [&](auto t) {
    return kerasllm::backward(*static_cast<const kerasllm::LstmBackward<decltype(t)>*>(args),
                              scratch, stream);
  });
}
// The structs of all types begin with their shape.
int64_t kerasllm_cuda_lstm_forward_scratch(int, const void* args) {
  return kerasllm::scratch_bytes(static_cast<const kerasllm::LstmForward<float>*>(args)->shape, 3);
}
int64_t kerasllm_cuda_lstm_backward_scratch(int, const void* args) {
  return kerasllm::scratch_bytes(static_cast<const kerasllm::LstmBackward<float>*>(args)->shape, 4);
}

KERASLLM_CUDA_STRUCT(LstmForward, kerasllm::LstmForward<float>)
KERASLLM_CUDA_STRUCT(LstmBackward, kerasllm::LstmBackward<float>)
