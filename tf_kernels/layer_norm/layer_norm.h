// Layer normalisation (Ba, Kiros and Hinton, Layer Normalization, 2016) and root mean square
// normalisation (Zhang and Sennrich, Root Mean Square Layer Normalization, 2019) of rows, with the
// sum of a residual connection and dropout before it:
//
//   sum     = residual + dropout(inputs)
//   outputs = (sum - mean) * reciprocal_deviation * gamma + beta
//
// mean and reciprocal_deviation = 1 / sqrt(variance + epsilon) are those of the row; where rms, the
// mean is zero and the variance that about zero. Dropout counts its random bits by row and column.
#ifndef KERASLLM_LAYER_NORM_LAYER_NORM_H_
#define KERASLLM_LAYER_NORM_LAYER_NORM_H_

#include <cstdint>

#include "common/bfloat16.h"
#include "common/dropout.h"
#include "common/parallel.h"

namespace kerasllm {

struct LayerNormShape {
  int64_t rows, dim;
  bool rms;
  Dropout dropout;
};

template <class T>
struct LayerNormForward {
  LayerNormShape shape;
  float epsilon;
  const T* inputs;     // (rows, dim)
  const T* residual;   // (rows, dim), or null
  const float* gamma;  // (dim), or null for ones
  const float* beta;   // (dim), or null for zeros
  T* outputs;          // (rows, dim); may be inputs or residual
  T* sum;              // (rows, dim), what was normalised, rounded to T; may be inputs or residual.
                       // Null where there is neither residual nor dropout: it is inputs then
  float* mean;         // (rows)
  float* reciprocal_deviation;  // (rows)
};

template <class T>
struct LayerNormBackward {
  LayerNormShape shape;
  const T* sum;                       // (rows, dim), what was normalised
  const float* gamma;                 // (dim), or null
  const float* mean;                  // (rows), as forward gave it
  const float* reciprocal_deviation;  // (rows), as forward gave it
  const T* d_outputs;                 // (rows, dim), the loss's gradient by outputs
  const T* d_sum;                     // (rows, dim), that by sum from elsewhere, or null for zeros
  T* d_inputs;                        // (rows, dim); may be any of the three tensors above
  T* d_residual;   // (rows, dim), likewise; null without dropout: it is d_inputs then
  float* d_gamma;  // (dim)
  float* d_beta;   // (dim)
};

void layer_norm_forward(const LayerNormForward<float>& args, Parallel& parallel);
void layer_norm_forward(const LayerNormForward<bfloat16>& args, Parallel& parallel);
void layer_norm_backward(const LayerNormBackward<float>& args, Parallel& parallel);
void layer_norm_backward(const LayerNormBackward<bfloat16>& args, Parallel& parallel);

}  // namespace kerasllm

#endif  // KERASLLM_LAYER_NORM_LAYER_NORM_H_
