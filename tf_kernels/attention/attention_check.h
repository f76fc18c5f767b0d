// The sizes and options of attention from the op's inputs, checked; one for TensorFlow's kernels
// and XLA's handlers, which know their tensors by different types.
#ifndef KERASLLM_ATTENTION_ATTENTION_CHECK_H_
#define KERASLLM_ATTENTION_ATTENTION_CHECK_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "attention/attention.h"

namespace kerasllm {

// An input of the op: its shape and its data.
struct AttentionInput {
  std::vector<int64_t> shape;
  const void* data;

  int64_t size() const {
    int64_t product = 1;
    for (const int64_t dimension : shape) product *= dimension;
    return product;
  }
  std::string text() const { return absl::StrCat("[", absl::StrJoin(shape, ","), "]"); }
};

// In the order of the op's inputs.
enum AttentionInputs { kQuery, kKey, kValue, kMask, kLengths, kQueryOffset, kQueryMask, kSeed };
inline constexpr int kNumAttentionInputs = 8;

struct AttentionAttributes {
  float scale, soft_cap, dropout_rate;
  bool causal;
  int64_t window;
};

inline absl::Status check_attention_attributes(const char* op, const AttentionAttributes& a) {
  if (!(a.soft_cap >= 0.0f)) {
    return absl::InvalidArgumentError(
        absl::StrCat(op, ": soft_cap is ", a.soft_cap, ", expected at least 0"));
  }
  if (a.window < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(op, ": window is ", a.window, ", expected at least 0"));
  }
  if (!(a.dropout_rate >= 0.0f && a.dropout_rate < 1.0f)) {
    return absl::InvalidArgumentError(absl::StrCat(op, ": dropout rate is ", a.dropout_rate,
                                                   ", expected at least 0 and below 1"));
  }
  return absl::OkStatus();
}

// Fills in shape and options. `mask_type` says what the mask's elements are. Where is OnCpu or its
// like: on a GPU the values of lengths and query_offset are not looked at (attention_cuda.h).
template <class Where>
absl::Status read_attention(const char* op, const AttentionInput* inputs, MaskType mask_type,
                            const AttentionAttributes& attributes, AttentionShape* shape,
                            AttentionOptions* options) {
  const auto expected = [&](const char* name, const AttentionInput& input,
                            const std::string& what) {
    return absl::InvalidArgumentError(
        absl::StrCat(op, ": ", name, " has shape ", input.text(), ", expected ", what));
  };
  const AttentionInput &query = inputs[kQuery], &key = inputs[kKey], &value = inputs[kValue];
  if (query.shape.size() != 4) {
    return expected("query", query, "(batch, query_length, num_heads, head_dim)");
  }
  if (key.shape.size() != 4) {
    return expected("key", key, "(batch, key_length, num_key_value_heads, head_dim)");
  }
  if (value.shape.size() != 4) {
    return expected("value", value, "(batch, key_length, num_key_value_heads, value_dim)");
  }
  *shape = {query.shape[0], query.shape[1], key.shape[1],  query.shape[2],
            key.shape[2],   query.shape[3], value.shape[3]};
  const AttentionShape& s = *shape;
  if (key.shape[0] != s.batch || key.shape[3] != s.head_dim) {
    return expected(
        "key", key,
        absl::StrCat("[", s.batch, ",key_length,num_key_value_heads,", s.head_dim, "]"));
  }
  if (value.shape[0] != s.batch || value.shape[1] != s.key_length ||
      value.shape[2] != s.num_key_value_heads) {
    return expected(
        "value", value,
        absl::StrCat("[", s.batch, ",", s.key_length, ",", s.num_key_value_heads, ",value_dim]"));
  }
  if (s.num_key_value_heads == 0 ? s.num_heads != 0 : s.num_heads % s.num_key_value_heads != 0) {
    return absl::InvalidArgumentError(absl::StrCat(op, ": query has ", s.num_heads,
                                                   " heads and key ", s.num_key_value_heads,
                                                   ", expected a multiple"));
  }
  for (const int64_t dim : {s.head_dim, s.value_dim}) {
    if (dim < 1 || dim > kMaxHeadDim) {
      return absl::InvalidArgumentError(
          absl::StrCat(op, ": head_dim or value_dim is ", dim, ", expected 1 to ", kMaxHeadDim));
    }
  }
  constexpr int64_t kMost = int64_t{1} << 30;  // places of keys are 32-bit numbers in the kernels
  if (s.key_length > kMost || s.query_length > kMost || attributes.window > kMost) {
    return absl::InvalidArgumentError(
        absl::StrCat(op, ": query_length, key_length or window is above ", kMost));
  }

  const bool dropped = attributes.dropout_rate > 0.0f;
  if (inputs[kSeed].shape != std::vector<int64_t>{2}) return expected("seed", inputs[kSeed], "[2]");
  *options = {};
  options->scale = attributes.scale;
  options->soft_cap = attributes.soft_cap;
  options->causal = attributes.causal;
  options->window = attributes.window;
  if (dropped) {
    const auto* const seed = static_cast<const int32_t*>(inputs[kSeed].data);
    options->dropout = Where::dropout(attributes.dropout_rate, seed);
  }

  const AttentionInput& mask = inputs[kMask];
  if (mask.shape != std::vector<int64_t>{0, 0, 0, 0}) {
    const int64_t full[4] = {s.batch, s.num_heads, s.query_length, s.key_length};
    bool fits = mask.shape.size() == 4 && mask.shape[3] == s.key_length;
    for (size_t i = 0; fits && i < 3; ++i) fits = mask.shape[i] == 1 || mask.shape[i] == full[i];
    if (!fits) {
      return expected("mask", mask,
                      absl::StrCat("[", s.batch, " or 1,", s.num_heads, " or 1,", s.query_length,
                                   " or 1,", s.key_length, "]"));
    }
    options->mask_type = mask_type;
    options->mask = mask.data;
    int64_t stride = s.key_length;
    int64_t* const strides[3] = {&options->mask_query_stride, &options->mask_head_stride,
                                 &options->mask_batch_stride};
    for (int i = 0; i < 3; ++i) {
      const int64_t dimension = mask.shape[2 - i];
      *strides[i] = dimension == 1 ? 0 : stride;
      stride *= dimension;
    }
  }
  const AttentionInput& query_mask = inputs[kQueryMask];
  if (query_mask.shape != std::vector<int64_t>{0, 0}) {
    if (query_mask.shape != std::vector<int64_t>{s.batch, s.query_length}) {
      return expected("query_mask", query_mask,
                      absl::StrCat("[", s.batch, ",", s.query_length, "]"));
    }
    options->query_mask = static_cast<const bool*>(query_mask.data);
  }
  const char* const names[] = {"lengths", "query_offset"};
  const int32_t** const places[] = {&options->lengths, &options->query_offset};
  const int64_t most[] = {s.key_length, kMost};
  for (int i = 0; i < 2; ++i) {
    const AttentionInput& input = inputs[kLengths + i];
    if (input.shape == std::vector<int64_t>{0}) continue;
    if (input.shape != std::vector<int64_t>{s.batch}) {
      return expected(names[i], input, absl::StrCat("[", s.batch, "]"));
    }
    const int32_t* const values = static_cast<const int32_t*>(input.data);
    for (int64_t b = 0; Where::kHostReads && b < s.batch; ++b) {
      if (values[b] < 0 || values[b] > most[i]) {
        return absl::InvalidArgumentError(absl::StrCat(op, ": ", names[i], "[", b, "] is ",
                                                       values[b], ", expected 0 to ", most[i]));
      }
    }
    *places[i] = values;
  }
  return absl::OkStatus();
}

}  // namespace kerasllm

#endif  // KERASLLM_ATTENTION_ATTENTION_CHECK_H_
