// A dense layer's products: forward, and backward by its inputs, its kernel and its bias.
//
//   outputs = inputs x kernel + bias
//
// What it has before a general matrix product: the bias is added in float32 while a tile of the
// result is still in the cache, and bfloat16 is multiplied as bfloat16 also under XLA.
#ifndef KERASLLM_DENSE_DENSE_H_
#define KERASLLM_DENSE_DENSE_H_

#include <cstdint>

#include "common/bfloat16.h"
#include "common/parallel.h"

namespace kerasllm {

struct DenseShape {
  int64_t rows, input_dim, units;
};

template <class T>
struct DenseForward {
  DenseShape shape;
  const T* inputs;    // (rows, input_dim)
  const T* kernel;    // (input_dim, units)
  const float* bias;  // (units), or null for zeros
  T* outputs;         // (rows, units)
};

template <class T>
struct DenseBackward {
  DenseShape shape;
  const T* inputs;     // (rows, input_dim)
  const T* kernel;     // (input_dim, units)
  const T* d_outputs;  // (rows, units)
  T* d_inputs;         // (rows, input_dim), or null where it is not wanted
  T* d_kernel;         // (input_dim, units), or null
  float* d_bias;       // (units), or null
};

void dense_forward(const DenseForward<float>& args, Parallel& parallel);
void dense_forward(const DenseForward<bfloat16>& args, Parallel& parallel);
void dense_backward(const DenseBackward<float>& args, Parallel& parallel);
void dense_backward(const DenseBackward<bfloat16>& args, Parallel& parallel);

}  // namespace kerasllm

#endif  // KERASLLM_DENSE_DENSE_H_
