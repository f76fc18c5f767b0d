// Attention without the matrix of scores (flash attention: Dao, Fu, Ermon, Rudra and Re, 2022; Dao,
// 2023), forward and backward in one call each. Keys pass by in tiles; the softmax is carried along
// (Milakov and Gimelshein, Online Normalizer Calculation for Softmax, 2018).
//
//   score[i][j] = scale * (query[i] . key[j]), then cap * tanh(score / cap), then + mask[i][j]
//   outputs[i]  = sum over j of dropout(softmax(score[i]))[j] * value[j]
//
// Pointers are to row-major tensors. Head h reads key and value head h / (num_heads /
// num_key_value_heads) (grouped queries: Ainslie et al., 2023).
//
// Query i sees key j if all of these hold; a query that sees none gives zeros:
//   j < lengths[batch]
//   j <= i + query_offset[batch]                      where causal
//   i + query_offset[batch] - j < window              where there is a window
//   j - (i + query_offset[batch]) < window            where there is a window and not causal
//   query_mask[batch][i]
//   mask[...][i][j] is true, or is a number that is added to the score
#ifndef KERASLLM_ATTENTION_ATTENTION_H_
#define KERASLLM_ATTENTION_ATTENTION_H_

#include <cstdint>

#include "common/bfloat16.h"
#include "common/dropout.h"
#include "common/parallel.h"

namespace kerasllm {

inline constexpr int64_t kMaxHeadDim = 256;

struct AttentionShape {
  int64_t batch, query_length, key_length, num_heads, num_key_value_heads, head_dim, value_dim;
};

// The CPU's kernels take no float16.
enum class MaskType { kNone, kBool, kFloat32, kBfloat16, kFloat16 };

struct AttentionOptions {
  float scale;
  float soft_cap;  // 0: none
  bool causal;
  int64_t window;               // 0: none
  const int32_t* lengths;       // (batch), or null
  const int32_t* query_offset;  // (batch), or null for zeros
  const bool* query_mask;       // (batch, query_length), or null
  MaskType mask_type;
  const void* mask;  // (batch or 1, num_heads or 1, query_length or 1, key_length)
  int64_t mask_batch_stride, mask_head_stride, mask_query_stride;  // 0 where the size is 1
  // The random row is (batch_index * num_heads + head) * query_length + i, the column j.
  Dropout dropout;
};

template <class T>
struct AttentionForward {
  AttentionShape shape;
  AttentionOptions options;
  const T* query;      // (batch, query_length, num_heads, head_dim)
  const T* key;        // (batch, key_length, num_key_value_heads, head_dim)
  const T* value;      // (batch, key_length, num_key_value_heads, value_dim)
  T* outputs;          // (batch, query_length, num_heads, value_dim)
  float* log_sum_exp;  // (batch, num_heads, query_length): of the scores; minus infinity for none
};

template <class T>
struct AttentionBackward {
  AttentionShape shape;
  AttentionOptions options;
  const T* query;
  const T* key;
  const T* value;
  const T* outputs;  // as forward gave them
  const float* log_sum_exp;
  const T* d_outputs;
  T* d_query;
  T* d_key;
  T* d_value;
};

void attention_forward(const AttentionForward<float>& args, Parallel& parallel);
void attention_forward(const AttentionForward<bfloat16>& args, Parallel& parallel);
void attention_backward(const AttentionBackward<float>& args, Parallel& parallel);
void attention_backward(const AttentionBackward<bfloat16>& args, Parallel& parallel);

}  // namespace kerasllm

#endif  // KERASLLM_ATTENTION_ATTENTION_H_
