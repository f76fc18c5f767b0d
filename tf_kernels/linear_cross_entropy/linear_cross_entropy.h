// The last layer of a language model and its loss in one call: logits = hidden_states * kernel^T +
// bias, and the softmax cross-entropy of each row against its label, without the (rows, vocabulary)
// logits ever being in memory at once (Wijmans et al., Cut Your Losses in Large-Vocabulary Language
// Models, 2024; Hsu et al., Liger Kernel, 2024).
//
//   loss = (1 - s) * (log_sum_exp - logits[label]) + s * (log_sum_exp - mean of logits)
//          + z_loss * log_sum_exp^2
//
// with s = label_smoothing (Szegedy et al., Rethinking the Inception Architecture, 2016) and z_loss
// as in PaLM (Chowdhery et al., 2022). A row whose label is ignore_index has loss 0 and takes part
// in no product.
//
// The gradient of a row's logits follows from the row alone, up to the factor d_losses[row]. So
// forward can make the gradients of the sum of all losses while it has the logits at hand; backward
// then only multiplies. Where d_losses differs from row to row, the kernel's gradient has to be
// made again.
//
// Pointers are to row-major tensors.
#ifndef KERASLLM_LINEAR_CROSS_ENTROPY_LINEAR_CROSS_ENTROPY_H_
#define KERASLLM_LINEAR_CROSS_ENTROPY_LINEAR_CROSS_ENTROPY_H_

#include <cstdint>
#include <string>

#include "common/bfloat16.h"
#include "common/parallel.h"

namespace kerasllm {

struct LinearCrossEntropyOptions {
  int64_t ignore_index;
  float label_smoothing, z_loss;
};

template <class T>
struct LinearCrossEntropyInputs {
  int64_t rows, vocabulary, dim;
  LinearCrossEntropyOptions options;
  const T* hidden_states;  // (rows, dim)
  const T* kernel;         // (vocabulary, dim)
  const float* bias;       // (vocabulary), or null
  const int32_t* labels;   // (rows), each ignore_index or in [0, vocabulary)
};

template <class T>
struct LinearCrossEntropyForward {
  LinearCrossEntropyInputs<T> inputs;
  float* losses;       // (rows)
  bool* correct;       // (rows): the label has the largest logit, and no smaller id has the same
  float* log_sum_exp;  // (rows), 0 where ignored
  // The gradients of the sum of all losses, or null where none is wanted; d_bias also without bias.
  float* d_hidden_states;  // (rows, dim)
  float* d_kernel;         // (vocabulary, dim)
  float* d_bias;           // (vocabulary)
};

template <class T>
struct LinearCrossEntropyBackward {
  LinearCrossEntropyInputs<T> inputs;
  const float* d_losses;  // (rows)
  // Whether forward made the gradients below, which may lie where the results go.
  bool saved;
  const float* saved_d_hidden_states;
  const float* saved_d_kernel;
  const float* saved_d_bias;
  T* d_hidden_states;
  T* d_kernel;
  float* d_bias;  // null without bias
};

// Empty if every label is ignore_index or in [0, vocabulary), else a sentence that names the first
// that is not.
std::string wrong_label(const int32_t* labels, int64_t rows, int64_t vocabulary,
                        int64_t ignore_index);

void linear_cross_entropy_forward(const LinearCrossEntropyForward<float>& args, Parallel& parallel);
void linear_cross_entropy_forward(const LinearCrossEntropyForward<bfloat16>& args,
                                  Parallel& parallel);
void linear_cross_entropy_backward(const LinearCrossEntropyBackward<float>& args,
                                   Parallel& parallel);
void linear_cross_entropy_backward(const LinearCrossEntropyBackward<bfloat16>& args,
                                   Parallel& parallel);

}  // namespace kerasllm

#endif  // KERASLLM_LINEAR_CROSS_ENTROPY_LINEAR_CROSS_ENTROPY_H_
