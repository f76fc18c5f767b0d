// Inverted dropout (Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, 2014) with random
// bits by counter: outputs[i] = inputs[i] * scale where kept, else zero. The gradient is the same
// map of the gradient, with the same seed.
#ifndef KERASLLM_DROPOUT_DROPOUT_H_
#define KERASLLM_DROPOUT_DROPOUT_H_

#include <cstdint>

#include "common/bfloat16.h"
#include "common/dropout.h"
#include "common/parallel.h"

namespace kerasllm {

template <class T>
struct DropoutArgs {
  int64_t rows, columns;
  Dropout dropout;
  const T* inputs;  // (rows, columns)
  T* outputs;       // (rows, columns)
};

void dropout(const DropoutArgs<float>& args, Parallel& parallel);
void dropout(const DropoutArgs<bfloat16>& args, Parallel& parallel);

}  // namespace kerasllm

#endif  // KERASLLM_DROPOUT_DROPOUT_H_
