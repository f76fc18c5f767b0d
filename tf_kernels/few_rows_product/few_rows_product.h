// A few rows times a matrix, as in decoding: the matrix passes by once, in the order in which it
// lies in memory, and memory's bandwidth is the limit. Sums are float32.
//
//   outputs[r][j] = bias[j] + sum over k of inputs[r][k] * kernel[k][j]
//
// or of inputs[r][k] * kernel[j][k] where the kernel is given transposed, as an embedding matrix
// is.
#ifndef KERASLLM_FEW_ROWS_PRODUCT_FEW_ROWS_PRODUCT_H_
#define KERASLLM_FEW_ROWS_PRODUCT_FEW_ROWS_PRODUCT_H_

#include <cstdint>

#include "common/bfloat16.h"
#include "common/parallel.h"

namespace kerasllm {

template <class T>
struct FewRowsProduct {
  int64_t rows, depth, columns;
  bool transposed;
  const T* inputs;  // (rows, depth)
  const T* kernel;  // (depth, columns), or (columns, depth) where transposed
  const T* bias;    // (columns), or null
  // (rows, columns); one of the two, the other null.
  T* outputs;
  float* wide_outputs;
};

// Up to so many products of the same inputs are one piece of work, such as those that make query,
// key and value: threads are woken up once for all of them.
constexpr int64_t kMaxProducts = 4;

// All have the same rows, depth, transposed and inputs.
void few_rows_products(const FewRowsProduct<float>* args, int64_t count, Parallel& parallel);
void few_rows_products(const FewRowsProduct<bfloat16>* args, int64_t count, Parallel& parallel);

}  // namespace kerasllm

#endif  // KERASLLM_FEW_ROWS_PRODUCT_FEW_ROWS_PRODUCT_H_
