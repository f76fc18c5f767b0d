// How an LSTM's weights and rows are laid out for panel_product.
//
// A panel of the gates holds kLanes units: their four gates side by side, a vector each, so that a
// row of the product has everything that one step of these units needs.
#ifndef KERASLLM_LSTM_LSTM_PACK_H_
#define KERASLLM_LSTM_LSTM_PACK_H_

#include "common/transposed_product.h"
#include "lstm/lstm.h"

namespace kerasllm {
namespace KERASLLM_ISA {

// Sizes that forward and backward share.
template <class T>
struct LstmSizes {
  explicit LstmSizes(const LstmShape& shape)
      : batch(shape.batch),
        time(shape.time),
        input_dim(shape.input_dim),
        units(shape.units),
        state(lstm_state_size(shape.units)),
        panels(state / kLanes),
        input_depth(padded_depth<Operand<T>>(shape.input_dim)),
        hidden_depth(padded_depth<Operand<T>>(shape.units)),
        hidden_stride(padded_depth<Operand<T>>(state)) {}

  int64_t batch, time, input_dim, units;
  int64_t state;          // units, padded
  int64_t panels;         // of kLanes units
  int64_t input_depth;    // input_dim, padded as an operand
  int64_t hidden_depth;   // units, padded as an operand
  int64_t hidden_stride;  // of a row of hidden states as an operand

  // Into how many slices the batch is cut: two a thread, so that one that starts late leaves work
  // to the others, but not so thin that the weights are read for a few rows only.
  int64_t slices(int num_threads) const {
    constexpr int64_t kFewestRows = 4, kEnoughRows = 12;
    const int64_t two_a_thread = min_of<int64_t>(2 * num_threads, batch / kEnoughRows);
    const int64_t one_a_thread = min_of<int64_t>(num_threads, ceil_div(batch, kFewestRows));
    return max_of<int64_t>(1, max_of(one_a_thread, two_a_thread));
  }
};

template <class T>
inline Vec rounded_to(Vec v) {
  T lanes[kLanes];
  store(lanes, v);
  return load(lanes);
}
template <>
inline Vec rounded_to<float>(Vec v) {
  return v;
}

// One row of `size` elements, followed by zeros up to `stride`.
template <class T>
inline void copy_row(const T* from, int64_t size, int64_t stride, Operand<T>* to) {
  for (int64_t i = 0; i < size; ++i) convert(from[i], to + i);
  for (int64_t i = size; i < stride; ++i) to[i] = Operand<T>();
}

// Panel `panel` of (depth, 4 * units) weights, `padded` rows deep.
template <class T>
inline void pack_gates(const T* weights, int64_t depth, int64_t padded, int64_t units,
                       int64_t panel, Operand<T>* out) {
  const int64_t first = panel * kLanes;
  const int64_t count = max_of<int64_t>(0, min_of<int64_t>(kLanes, units - first));
  for (int64_t k = 0; k < padded; ++k) {
    for (int64_t gate = 0; gate < 4; ++gate) {
      const T* const from = weights + k * 4 * units + gate * units + first;
      for (int64_t lane = 0; lane < kLanes; ++lane) {
        Operand<T>* const to = out + panel_index(out, k, gate * kLanes + lane);
        if (k < depth && lane < count) {
          convert(from[lane], to);
        } else {
          *to = Operand<T>();
        }
      }
    }
  }
}

// Panel `panel` of the transposed weights: kPanel rows of (rows, 4 * units) weights as columns, and
// the gates of all panels, in their order above, as depth.
template <class T>
inline void pack_gates_transposed(const T* weights, int64_t rows, int64_t units,
                                  int64_t gate_panels, int64_t panel, Operand<T>* out) {
  for (int64_t p = 0; p < gate_panels; ++p) {
    const int64_t first = p * kLanes;
    const int64_t count = max_of<int64_t>(0, min_of<int64_t>(kLanes, units - first));
    for (int64_t gate = 0; gate < 4; ++gate) {
      const int64_t k = p * kPanel + gate * kLanes;
      for (int64_t j = 0; j < kPanel; ++j) {
        const int64_t row = panel * kPanel + j;
        const T* const from = weights + row * 4 * units + gate * units + first;
        const int64_t filled = row < rows ? count : 0;
        for (int64_t lane = 0; lane < filled; ++lane) {
          convert(from[lane], out + panel_index(out, k + lane, j));
        }
        for (int64_t lane = filled; lane < kLanes; ++lane) {
          out[panel_index(out, k + lane, j)] = Operand<T>();
        }
      }
    }
  }
}

}  // namespace KERASLLM_ISA
}  // namespace kerasllm

#endif  // KERASLLM_LSTM_LSTM_PACK_H_
