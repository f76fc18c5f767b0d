// The products of the GPU's LSTM over all steps: where their operands lie and their results go.
#ifndef KERASLLM_LSTM_LSTM_CUDA_PRODUCTS_H_
#define KERASLLM_LSTM_LSTM_CUDA_PRODUCTS_H_

#include "common/cuda_gemm_mma.h"
#include "common/cuda_product.h"
#include "lstm/lstm.h"

namespace kerasllm {
namespace {

// Operands of the products over all steps; row r is batch row r % batch at step r / batch.
struct Steps {
  LstmShape shape;
  KERASLLM_DEVICE int64_t input_row(int64_t r) const {
    const int64_t step = r / shape.batch;
    const int64_t t = shape.go_backwards ? shape.time - 1 - step : step;
    return r % shape.batch * shape.time + t;
  }
};
template <class T>
struct StepInputs {  // (rows, input_dim), or its transpose
  Steps steps;
  const T* inputs;
  bool transposed;
  KERASLLM_DEVICE float operator()(int64_t i, int64_t k) const {
    const int64_t r = transposed ? k : i, column = transposed ? i : k;
    return load_one(inputs + steps.input_row(r) * steps.shape.input_dim + column);
  }
};
template <class T>
struct HiddenBefore {  // (units, rows): the hidden states before each step, transposed
  Steps steps;
  const T* initial_hidden;
  const T* hidden;
  int64_t state;
  KERASLLM_DEVICE float operator()(int64_t unit, int64_t r) const {
    const int64_t batch = steps.shape.batch;
    return r < batch ? load_one(initial_hidden + r * steps.shape.units + unit)
                     : load_one(hidden + (r - batch) * state + unit);
  }
};
template <class T>
struct Matrix {  // row-major, or its transpose
  const T* data;
  int64_t stride;
  bool transposed;
  KERASLLM_DEVICE float operator()(int64_t i, int64_t j) const {
    return load_one(data + (transposed ? j * stride + i : i * stride + j));
  }
};
template <class T>
struct StoreBiased {
  float* to;
  const T* bias;
  int64_t stride;
  KERASLLM_DEVICE void operator()(int64_t i, int64_t j, float v) const {
    to[i * stride + j] = v + load_one(bias + j);
  }
};
template <class T>
struct StoreMatrix {
  T* to;
  int64_t stride;
  KERASLLM_DEVICE void operator()(int64_t i, int64_t j, float v) const {
    store_one(to + i * stride + j, v);
  }
};
template <class T>
struct StoreStepInputs {
  Steps steps;
  T* to;
  KERASLLM_DEVICE void operator()(int64_t r, int64_t column, float v) const {
    store_one(to + steps.input_row(r) * steps.shape.input_dim + column, v);
  }
};

// Takes the products of the inputs as they lie, (batch, time): with the bias to the steps' rows.
template <class T>
struct TakeStepsBiased {
  LstmShape shape;
  float* to;
  const T* bias;
  template <class Tile>
  KERASLLM_DEVICE void operator()(Tile& tile, const GemmPlace& place, float*) const {
#pragma unroll
    for (int i = 0; i < Tile::kRows; ++i) {
      const int row = place.row + tile.row(i);
      if (row >= place.rows) continue;
      const int64_t t = row % shape.time, step = shape.go_backwards ? shape.time - 1 - t : t;
      float* const target = to + (step * shape.batch + row / shape.time) * place.columns;
#pragma unroll
      for (int j = 0; j < Tile::kColumns; j += 2) {
        const int column = place.column + tile.column(j);
        if (column >= place.columns) continue;
        float v[2];
        load(bias + column, v);
        v[0] += tile.value(i, j);
        v[1] += tile.value(i, j + 1);
        store(target + column, v);
      }
    }
  }
};

// The inputs' part of all gates, (time, batch, 4 * units).
template <class T>
int inputs_product(const LstmForward<T>& args, float* inputs_part, void* stream) {
  const LstmShape& s = args.shape;
  const int64_t rows = s.time * s.batch, width = 4 * s.units;
  const bool fits = s.input_dim % kVectorWidth<T> == 0 && width % kVectorWidth<T> == 0 &&
                    aligned_to_16(args.inputs, args.kernel, args.bias, inputs_part);
  if (!fits) {
    return product<true, false>(rows, width, s.input_dim, StepInputs<T>{{s}, args.inputs, false},
                                Matrix<T>{args.kernel, width, false},
                                StoreBiased<T>{inputs_part, args.bias, width}, stream);
  }
  const GemmProblem<T> problem = {{args.inputs, s.input_dim, rows, s.input_dim},
                                  {args.kernel, width, s.input_dim, width},
                                  rows,
                                  width,
                                  s.input_dim};
  return gemm<true, false>(problem, TakeStepsBiased<T>{s, inputs_part, args.bias}, stream);
}

}  // namespace
}  // namespace kerasllm

#endif  // KERASLLM_LSTM_LSTM_CUDA_PRODUCTS_H_
