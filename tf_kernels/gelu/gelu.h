// A bias and an activation, forward and backward in one pass each:
//
//   outputs = act(inputs + bias)
//
// with act the GELU (Hendrycks and Gimpel, Gaussian Error Linear Units, 2016), exact or by tanh,
// the SiLU of the same paper, or ReLU. Gated (Shazeer, GLU Variants Improve Transformer, 2020),
// inputs and bias have a gate and a value side by side in each row, and
//
//   outputs = act(gate + its bias) * (value + its bias)
//
// Backward computes the activation again: nothing but the inputs is kept.
#ifndef KERASLLM_GELU_GELU_H_
#define KERASLLM_GELU_GELU_H_

#include <cstdint>

#include "common/bfloat16.h"
#include "common/parallel.h"

namespace kerasllm {

enum class GeluKind : int { kErf, kTanh, kSilu, kRelu };
inline constexpr int kNumGeluKinds = 4;

struct GeluShape {
  int64_t rows, dim;  // dim: of the outputs
  GeluKind kind;
  bool gated;
};
// The width of inputs and bias.
static inline int64_t gelu_columns(const GeluShape& shape) {
  return shape.gated ? 2 * shape.dim : shape.dim;
}

template <class T>
struct GeluForward {
  GeluShape shape;
  const T* inputs;    // (rows, columns)
  const float* bias;  // (columns), or null for zeros
  T* outputs;         // (rows, dim); may be inputs where not gated
};

template <class T>
struct GeluBackward {
  GeluShape shape;
  const T* inputs;     // (rows, columns)
  const float* bias;   // (columns), or null
  const T* d_outputs;  // (rows, dim)
  T* d_inputs;         // (rows, columns); may be inputs and, where not gated, d_outputs
  float* d_bias;       // (columns), or null where it is not wanted
};

void gelu_forward(const GeluForward<float>& args, Parallel& parallel);
void gelu_forward(const GeluForward<bfloat16>& args, Parallel& parallel);
void gelu_backward(const GeluBackward<float>& args, Parallel& parallel);
void gelu_backward(const GeluBackward<bfloat16>& args, Parallel& parallel);

}  // namespace kerasllm

#endif  // KERASLLM_GELU_GELU_H_
