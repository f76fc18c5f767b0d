// An LSTM layer and its gradients in plain float64 loops: what the kernels are compared with.
#ifndef KERASLLM_LSTM_LSTM_REFERENCE_H_
#define KERASLLM_LSTM_LSTM_REFERENCE_H_

#include <cmath>
#include <vector>

#include "lstm/lstm.h"

namespace kerasllm::testing {

using Values = std::vector<double>;

inline double largest(const Values& values) {
  double result = 0.0;
  for (double v : values) result = std::max(result, std::fabs(v));
  return result;
}

// Returns outputs, final_hidden, final_cell, d_inputs, d_kernel, d_initial_hidden, d_initial_cell,
// d_recurrent_kernel and d_bias.
inline std::vector<Values> reference_lstm(const LstmShape& s, const Values& inputs,
                                          const Values& initial_hidden, const Values& initial_cell,
                                          const Values& kernel, const Values& recurrent_kernel,
                                          const Values& bias, const char* mask,
                                          const Values& d_outputs, const Values& d_final_hidden,
                                          const Values& d_final_cell) {
  const int64_t units = s.units, gates = 4 * units;
  const int64_t length = s.return_sequences ? s.time : 1;
  Values outputs(s.batch * length * units), final_hidden, final_cell;
  Values d_inputs(inputs.size()), d_kernel(kernel.size()), d_recurrent(recurrent_kernel.size());
  Values d_bias(gates), d_initial_hidden, d_initial_cell;

  for (int64_t b = 0; b < s.batch; ++b) {
    const auto time_of = [&](int64_t step) { return s.go_backwards ? s.time - 1 - step : step; };
    const auto active = [&](int64_t step) { return !mask || mask[b * s.time + time_of(step)]; };
    // State i is the one before step i; output i that of step i.
    std::vector<Values> hidden(s.time + 1, Values(units)), cell = hidden, z(s.time, Values(gates));
    std::vector<Values> output(s.time, Values(units));
    for (int64_t u = 0; u < units; ++u) {
      hidden[0][u] = initial_hidden[b * units + u];
      cell[0][u] = initial_cell[b * units + u];
    }
    const auto sigmoid = [](double x) { return 1.0 / (1.0 + std::exp(-x)); };
    for (int64_t step = 0; step < s.time; ++step) {
      const double* const x = &inputs[(b * s.time + time_of(step)) * s.input_dim];
      hidden[step + 1] = hidden[step];
      cell[step + 1] = cell[step];
      if (!active(step)) {
        if (step > 0 && !s.zero_output_for_mask) output[step] = output[step - 1];
        continue;
      }
      for (int64_t j = 0; j < gates; ++j) {
        double sum = bias[j];
        for (int64_t i = 0; i < s.input_dim; ++i) sum += x[i] * kernel[i * gates + j];
        for (int64_t i = 0; i < units; ++i)
          sum += hidden[step][i] * recurrent_kernel[i * gates + j];
        z[step][j] = j / units == 2 ? std::tanh(sum) : sigmoid(sum);
      }
      for (int64_t u = 0; u < units; ++u) {
        const double* g = &z[step][u];
        cell[step + 1][u] = g[units] * cell[step][u] + g[0] * g[2 * units];
        hidden[step + 1][u] = g[3 * units] * std::tanh(cell[step + 1][u]);
      }
      output[step] = hidden[step + 1];
    }
    for (int64_t i = 0; i < length; ++i) {
      const Values& y = output[s.return_sequences ? i : s.time - 1];
      std::copy(y.begin(), y.end(), &outputs[(b * length + i) * units]);
    }
    final_hidden.insert(final_hidden.end(), hidden[s.time].begin(), hidden[s.time].end());
    final_cell.insert(final_cell.end(), cell[s.time].begin(), cell[s.time].end());

    Values d_hidden(&d_final_hidden[b * units], &d_final_hidden[b * units] + units);
    Values d_cell(&d_final_cell[b * units], &d_final_cell[b * units] + units);
    Values d_repeated(units);  // reaches an output through the masked steps that repeat it
    for (int64_t step = s.time - 1; step >= 0; --step) {
      Values d_y(units);
      for (int64_t u = 0; u < units; ++u) {
        if (s.return_sequences) d_y[u] = d_outputs[(b * s.time + step) * units + u];
        if (!s.return_sequences && step == s.time - 1) d_y[u] = d_outputs[b * units + u];
      }
      if (!active(step)) {
        for (int64_t u = 0; u < units; ++u) {
          if (!s.zero_output_for_mask) d_repeated[u] += d_y[u];
        }
        continue;
      }
      Values d_z(gates);
      for (int64_t u = 0; u < units; ++u) {
        const double *g = &z[step][u], i = g[0], f = g[units], c = g[2 * units], o = g[3 * units];
        const double tanh_c = std::tanh(cell[step + 1][u]);
        const double d_h = d_hidden[u] + d_y[u] + d_repeated[u];
        d_repeated[u] = 0.0;
        const double d_c = d_cell[u] + d_h * o * (1.0 - tanh_c * tanh_c);
        d_z[u] = d_c * c * i * (1.0 - i);
        d_z[units + u] = d_c * cell[step][u] * f * (1.0 - f);
        d_z[2 * units + u] = d_c * i * (1.0 - c * c);
        d_z[3 * units + u] = d_h * tanh_c * o * (1.0 - o);
        d_cell[u] = d_c * f;
        d_hidden[u] = 0.0;
      }
      const int64_t from = (b * s.time + time_of(step)) * s.input_dim;
      for (int64_t j = 0; j < gates; ++j) {
        d_bias[j] += d_z[j];
        for (int64_t i = 0; i < s.input_dim; ++i) {
          d_inputs[from + i] += d_z[j] * kernel[i * gates + j];
          d_kernel[i * gates + j] += d_z[j] * inputs[from + i];
        }
        for (int64_t i = 0; i < units; ++i) {
          d_hidden[i] += d_z[j] * recurrent_kernel[i * gates + j];
          d_recurrent[i * gates + j] += d_z[j] * hidden[step][i];
        }
      }
    }
    d_initial_hidden.insert(d_initial_hidden.end(), d_hidden.begin(), d_hidden.end());
    d_initial_cell.insert(d_initial_cell.end(), d_cell.begin(), d_cell.end());
  }
  return {outputs,          final_hidden,   final_cell,  d_inputs, d_kernel,
          d_initial_hidden, d_initial_cell, d_recurrent, d_bias};
}

}  // namespace kerasllm::testing

#endif  // KERASLLM_LSTM_LSTM_REFERENCE_H_
