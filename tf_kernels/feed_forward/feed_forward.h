// The feed-forward branch of a transformer's block, forward and backward:
//
//   hidden = inputs x hidden_kernel + hidden_bias
//   outputs = act(hidden) x output_kernel + output_bias
//
// with the activations of the gelu family; gated, a row of `hidden` has a gate and a value side by
// side and act(gate) * value goes on. Rows pass through both products a part at a time:
// act(hidden), a layer's largest tensor, is never there as a whole, and `hidden` is written only
// for a backward pass.
#ifndef KERASLLM_FEED_FORWARD_FEED_FORWARD_H_
#define KERASLLM_FEED_FORWARD_FEED_FORWARD_H_

#include <cstdint>

#include "common/bfloat16.h"
#include "common/parallel.h"
#include "gelu/gelu.h"

namespace kerasllm {

struct FeedForwardShape {
  int64_t rows, input_dim, dim, output_dim;  // dim: of act(hidden)
  GeluKind kind;
  bool gated;
};
// The width of `hidden`.
static inline int64_t feed_forward_columns(const FeedForwardShape& shape) {
  return shape.gated ? 2 * shape.dim : shape.dim;
}

template <class T>
struct FeedForwardForward {
  FeedForwardShape shape;
  const T* inputs;           // (rows, input_dim)
  const T* hidden_kernel;    // (input_dim, columns)
  const float* hidden_bias;  // (columns), or null for zeros
  const T* output_kernel;    // (dim, output_dim)
  const float* output_bias;  // (output_dim), or null for zeros
  T* hidden;                 // (rows, columns), or null where no backward pass will come
  T* outputs;                // (rows, output_dim)
};

// By the inputs and hidden_bias, and what the gradients of both kernels are made of: those are the
// transposed inputs x d_hidden and the transposed activated x d_outputs.
template <class T>
struct FeedForwardBackward {
  FeedForwardShape shape;
  const T* hidden_kernel;  // (input_dim, columns)
  const T* output_kernel;  // (dim, output_dim)
  const T* hidden;         // (rows, columns)
  const T* d_outputs;      // (rows, output_dim)
  T* d_inputs;             // (rows, input_dim)
  T* d_hidden;             // (rows, columns)
  T* activated;            // (rows, dim): act(hidden), or act(gate) * value
  float* d_hidden_bias;    // (columns)
};

void feed_forward_forward(const FeedForwardForward<float>& args, Parallel& parallel);
void feed_forward_forward(const FeedForwardForward<bfloat16>& args, Parallel& parallel);
void feed_forward_backward(const FeedForwardBackward<float>& args, Parallel& parallel);
void feed_forward_backward(const FeedForwardBackward<bfloat16>& args, Parallel& parallel);

}  // namespace kerasllm

#endif  // KERASLLM_FEED_FORWARD_FEED_FORWARD_H_
