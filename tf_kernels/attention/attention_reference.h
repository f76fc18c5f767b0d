// Attention forward and backward in float64, one score at a time.
#ifndef KERASLLM_ATTENTION_ATTENTION_REFERENCE_H_
#define KERASLLM_ATTENTION_ATTENTION_REFERENCE_H_

#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "attention/attention.h"

namespace kerasllm::testing {

struct AttentionReference {
  std::vector<double> outputs, log_sum_exp, d_query, d_key, d_value;
};

// `mask(batch, head, i, j)` is added to a score; `factor(row, column)` is dropout's.
inline AttentionReference reference_attention(
    const AttentionShape& s, const AttentionOptions& o, const std::vector<double>& query,
    const std::vector<double>& key, const std::vector<double>& value,
    const std::vector<double>& d_outputs,
    const std::function<double(int64_t, int64_t, int64_t, int64_t)>& mask,
    const std::function<double(int64_t, int64_t)>& factor) {
  const double infinity = std::numeric_limits<double>::infinity();
  AttentionReference r;
  r.outputs.assign(d_outputs.size(), 0.0);
  r.log_sum_exp.assign(s.batch * s.num_heads * s.query_length, -infinity);
  r.d_query.assign(query.size(), 0.0);
  r.d_key.assign(key.size(), 0.0);
  r.d_value.assign(value.size(), 0.0);
  const int64_t group = s.num_heads / s.num_key_value_heads;
  for (int64_t b = 0; b < s.batch; ++b) {
    const int64_t length = o.lengths == nullptr ? s.key_length : o.lengths[b];
    for (int64_t h = 0; h < s.num_heads; ++h) {
      for (int64_t i = 0; i < s.query_length; ++i) {
        const double* const q = &query[((b * s.query_length + i) * s.num_heads + h) * s.head_dim];
        const int64_t out = ((b * s.query_length + i) * s.num_heads + h) * s.value_dim;
        const int64_t row = (b * s.num_heads + h) * s.query_length + i;
        const auto key_row = [&](int64_t j) {
          return (b * s.key_length + j) * s.num_key_value_heads + h / group;
        };
        const int64_t place = i + (o.query_offset == nullptr ? 0 : o.query_offset[b]);
        std::vector<double> score(s.key_length, -infinity), slope(s.key_length, 1.0);
        double top = -infinity, total = 0.0;
        for (int64_t j = 0; j < length; ++j) {
          if (o.causal && j > place) continue;
          if (o.window > 0 && place - j >= o.window) continue;
          if (o.window > 0 && !o.causal && j - place >= o.window) continue;
          if (o.query_mask != nullptr && !o.query_mask[b * s.query_length + i]) continue;
          double product = 0.0;
          for (int64_t k = 0; k < s.head_dim; ++k)
            product += q[k] * key[key_row(j) * s.head_dim + k];
          double x = product * o.scale;
          if (o.soft_cap > 0.0f) {
            const double t = std::tanh(x / o.soft_cap);
            slope[j] = 1.0 - t * t;
            x = t * o.soft_cap;
          }
          score[j] = x + mask(b, h, i, j);
          if (score[j] > top) top = score[j];
        }
        if (top == -infinity) continue;
        for (int64_t j = 0; j < length; ++j) total += std::exp(score[j] - top);
        r.log_sum_exp[row] = top + std::log(total);
        double mean_gradient = 0.0;
        std::vector<double> probability(s.key_length), gradient(s.key_length);
        for (int64_t j = 0; j < length; ++j) {
          probability[j] = std::exp(score[j] - top) / total;
          const double p = probability[j] * factor(row, j);
          for (int64_t k = 0; k < s.value_dim; ++k) {
            const int64_t v = key_row(j) * s.value_dim + k;
            r.outputs[out + k] += p * value[v];
            r.d_value[v] += p * d_outputs[out + k];
            gradient[j] += factor(row, j) * value[v] * d_outputs[out + k];
          }
          mean_gradient += probability[j] * gradient[j];
        }
        for (int64_t j = 0; j < length; ++j) {
          const double d = probability[j] * (gradient[j] - mean_gradient) * slope[j] * o.scale;
          for (int64_t k = 0; k < s.head_dim; ++k) {
            r.d_query[((b * s.query_length + i) * s.num_heads + h) * s.head_dim + k] +=
                d * key[key_row(j) * s.head_dim + k];
            r.d_key[key_row(j) * s.head_dim + k] += d * q[k];
          }
        }
      }
    }
  }
  return r;
}

}  // namespace kerasllm::testing

#endif  // KERASLLM_ATTENTION_ATTENTION_REFERENCE_H_
