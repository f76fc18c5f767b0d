// A whole LSTM layer, forward and backward, in one call each (Hochreiter and Schmidhuber, Long
// Short-Term Memory, 1997; gates in Keras's order: input, forget, candidate, output).
//
// Pointers are to row-major tensors. Shapes use
//   batch, time, input_dim, units: the layer's sizes
//   state: units rounded up to kLstmStateMultiple, the width of what forward keeps for backward
//
// Time: step s reads inputs[:, t, :] and mask[:, t] with t = s, or time - 1 - s where go_backwards,
// and writes outputs[:, s, :].
//
// A masked step (mask false) carries both states on. Its output is zero where zero_output_for_mask,
// else the output of the step before it, and zero before the first unmasked step.
#ifndef KERASLLM_LSTM_LSTM_H_
#define KERASLLM_LSTM_LSTM_H_

#include <cstdint>

#include "common/bfloat16.h"
#include "common/parallel.h"

namespace kerasllm {

inline constexpr int64_t kLstmStateMultiple = 16;
inline int64_t lstm_state_size(int64_t units) {
  return (units + kLstmStateMultiple - 1) / kLstmStateMultiple * kLstmStateMultiple;
}

struct LstmShape {
  int64_t batch, time, input_dim, units;
  bool go_backwards, zero_output_for_mask, return_sequences;
};

template <class T>
struct LstmForward {
  LstmShape shape;
  const T* inputs;            // (batch, time, input_dim)
  const T* initial_hidden;    // (batch, units)
  const T* initial_cell;      // (batch, units)
  const T* kernel;            // (input_dim, 4 * units)
  const T* recurrent_kernel;  // (units, 4 * units)
  const T* bias;              // (4 * units)
  const bool* mask;           // (batch, time), or null
  T* outputs;                 // (batch, time or 1, units)
  T* final_hidden;            // (batch, units)
  T* final_cell;              // (batch, units)
  // What backward needs, in an order of its own: step by step, padded to `state`. Null where no
  // gradient is wanted.
  T* gates;      // (time, batch, 4 * state), after their activations
  float* cells;  // (time, batch, state), after each step
  T* hidden;     // (time, batch, state), after each step
};

template <class T>
struct LstmBackward {
  LstmShape shape;
  const T* inputs;
  const T* initial_hidden;
  const T* initial_cell;
  const T* kernel;
  const T* recurrent_kernel;
  const bool* mask;
  const T* gates;  // as forward kept them
  const float* cells;
  const T* hidden;
  const T* d_outputs;  // gradients of the loss by what forward returned
  const T* d_final_hidden;
  const T* d_final_cell;
  T* d_inputs;  // and by what it took
  T* d_initial_hidden;
  T* d_initial_cell;
  T* d_kernel;
  T* d_recurrent_kernel;
  T* d_bias;
};

void lstm_forward(const LstmForward<float>& args, Parallel& parallel);
void lstm_forward(const LstmForward<bfloat16>& args, Parallel& parallel);
void lstm_backward(const LstmBackward<float>& args, Parallel& parallel);
void lstm_backward(const LstmBackward<bfloat16>& args, Parallel& parallel);

}  // namespace kerasllm

#endif  // KERASLLM_LSTM_LSTM_H_
