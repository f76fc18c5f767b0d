// A chunk of rows on its way to losses and gradients.
//
// 1. logits: group by group of classes, exp(logit - m) with m the largest logit of (row, group),
//    and the sum of these. Where gradients are wanted the chunk's block of them is kept.
// 2. finish_rows: a row's groups come together in log-sum-exp, loss and what its gradient needs.
// 3. gradients: run by run of groups, the block becomes the logits' gradient, and that is
// multiplied
//    with the hidden states (the kernel's gradient, each class in one place only) and with the
//    kernel (the hidden states' gradient, one partial sum for each run).
// 4. hidden_gradient: the partial sums of a row, added in order.
#ifndef KERASLLM_LINEAR_CROSS_ENTROPY_LINEAR_CROSS_ENTROPY_CHUNK_H_
#define KERASLLM_LINEAR_CROSS_ENTROPY_LINEAR_CROSS_ENTROPY_CHUNK_H_

#include "common/vec_math.h"
#include "linear_cross_entropy/linear_cross_entropy_pack.h"

namespace kerasllm {
namespace KERASLLM_ISA {

// What is wanted of the gradients; `weights` (rows) may be null for ones, the others where not
// wanted.
struct LinearCrossEntropyGradients {
  const float* weights;
  float* d_hidden_states;
  float* d_kernel;
  float* d_bias;
  bool wanted() const { return d_hidden_states != nullptr || d_kernel != nullptr; }
};

// Memory that one chunk after the other uses; rows are those of the chunk.
template <class T>
struct LinearCrossEntropyMemory {
  using Op = Operand<T>;
  Op* row_panels;     // hidden states, transposed, for the logits
  Op* column_panels;  // hidden states for the kernel's gradient
  Op* block;          // (groups, kGroup, rows), as products take them; null without gradients
  float* partials;    // (slots, column_panels, rows, kPanel)
  // (groups, rows): the largest logit, the sum of exp(logit - largest), the sum of logits.
  float *largest, *sum, *total;
  // (rows)
  float* label_logit;
  bool* label_first;      // no class of the label's group beats it
  float* peak;            // the largest logit
  float* scale;           // of exp(logit - peak) in the gradient
  float* offset;          // what smoothing takes from each class's gradient
  float* label_gradient;  // the gradient of the label's logit

  // Hands out a block, or, with a null block, only counts its bytes.
  int64_t divide(Scratch* memory, const LinearCrossEntropySizes<T>& sizes, bool gradients) {
    int64_t bytes = 0;
    const auto take = [&](auto** pointer, int64_t size) {
      const int64_t wanted = size * static_cast<int64_t>(sizeof(**pointer));
      bytes += (wanted + 63) / 64 * 64;
      if (memory != nullptr) {
        *reinterpret_cast<void**>(pointer) = size == 0 ? nullptr : memory->take(wanted);
      }
    };
    const int64_t rows = sizes.chunk_rows, kept = gradients ? 1 : 0;
    const int64_t per_group = sizes.groups * rows;
    take(&row_panels, rows * sizes.depth);
    take(&column_panels, kept * rows * sizes.column_panels * kPanel);
    take(&block, kept * per_group * kGroup);
    take(&partials, kept * sizes.slots * sizes.column_panels * rows * kPanel);
    for (float** p : {&largest, &sum, &total}) take(p, per_group);
    for (float** p : {&label_logit, &peak, &scale, &offset, &label_gradient}) take(p, rows);
    take(&label_first, rows);
    return bytes;
  }
};

template <class T>
struct LinearCrossEntropyChunk {
  using Op = Operand<T>;
  const LinearCrossEntropyInputs<T>& in;
  const LinearCrossEntropySizes<T>& sizes;
  const LinearCrossEntropyMemory<T>& memory;
  const LinearCrossEntropyGradients& gradients;
  const int32_t* rows;    // which rows of the tensors, `count` of them
  const int32_t* labels;  // theirs
  int64_t count;
  int64_t width;  // count, padded to whole panels
  bool first;     // the chunk that begins the sums over rows

  const T* hidden_row(int64_t r) const {
    return r < count ? in.hidden_states + rows[r] * in.dim : nullptr;
  }
  int64_t group_size(int64_t group) const { return min_of(kGroup, in.vocabulary - group * kGroup); }

  int64_t pack_tasks() const { return width / kPanel + (gradients.d_kernel != nullptr ? 1 : 0); }
  void pack(int64_t task) const {
    if (task < width / kPanel) {
      pack_transposed<T>([&](int64_t j) { return hidden_row(task * kPanel + j); }, in.dim,
                         sizes.depth, memory.row_panels + task * kPanel * sizes.depth);
    } else {
      pack_columns<T>([&](int64_t r) { return hidden_row(r); }, in.dim, width,
                      memory.column_panels);
    }
  }

  void logits(int64_t group) const {
    const TilesInUse tiles;
    const int64_t size = group_size(group);
    const int64_t tile_bytes = kGroup * kPanel * sizeof(float);
    const int64_t copy_bytes = kGroup * sizes.depth * sizeof(Op);
    Scratch scratch(tile_bytes + copy_bytes + 64);
    auto* const tile = static_cast<float*>(scratch.take(tile_bytes));
    const Op* const left = left_rows(in.kernel + group * kGroup * in.dim, size, in.dim, sizes.depth,
                                     static_cast<Op*>(scratch.take(copy_bytes)));
    const float* const bias = in.bias == nullptr ? nullptr : in.bias + group * kGroup;
    for (int64_t begin = 0; begin < width; begin += kPanel) {
      panel_product(left, sizes.depth, size, sizes.depth, memory.row_panels + begin * sizes.depth,
                    tile, kPanel, false);
      statistics(group, size, begin, bias, tile);
    }
  }

  // Of one panel of rows, whose logits of the group are `tile` (size, kPanel), yet without bias.
  void statistics(int64_t group, int64_t size, int64_t begin, const float* bias,
                  float* tile) const {
    // From the least number on: minus infinity less itself would be no number.
    Vec largest[kPanelVecs], total[kPanelVecs] = {}, sum[kPanelVecs] = {};
    for (Vec& vec : largest) vec = broadcast(-__FLT_MAX__);
    for (int64_t i = 0; i < size; ++i) {
      for (int v = 0; v < kPanelVecs; ++v) {
        float* const at = tile + i * kPanel + v * kLanes;
        Vec logit = load(at);
        if (bias != nullptr) {
          logit += bias[i];
          store(at, logit);
        }
        largest[v] = max_vec(logit, largest[v]);
        total[v] += logit;
      }
    }
    find_labels(group, size, begin, tile);
    Op* const block =
        memory.block == nullptr ? nullptr : memory.block + group * kGroup * width + begin;
    for (int64_t i = 0; i < size; ++i) {
      for (int v = 0; v < kPanelVecs; ++v) {
        const Vec e = softmax_exp_vec(load(tile + i * kPanel + v * kLanes) - largest[v]);
        sum[v] += e;
        if (block != nullptr) store(block + i * width + v * kLanes, e);
      }
    }
    for (int v = 0; v < kPanelVecs; ++v) {
      const int64_t at = group * width + begin + v * kLanes;
      store(memory.largest + at, largest[v]);
      store(memory.sum + at, sum[v]);
      store(memory.total + at, total[v]);
    }
  }

  void find_labels(int64_t group, int64_t size, int64_t begin, const float* tile) const {
    for (int64_t r = begin; r < min_of(count, begin + kPanel); ++r) {
      const int64_t place = labels[r] - group * kGroup;
      if (place < 0 || place >= size) continue;
      const float* const column = tile + (r - begin);
      const float logit = column[place * kPanel];
      bool best = true;
      for (int64_t i = 0; i < place; ++i) best &= column[i * kPanel] < logit;
      for (int64_t i = place + 1; i < size; ++i) best &= column[i * kPanel] <= logit;
      memory.label_logit[r] = logit;
      memory.label_first[r] = best;
    }
  }

  // kLanes rows from `begin` on.
  void finish_rows(int64_t begin, const LinearCrossEntropyForward<T>* results) const {
    Vec peak = broadcast(-__FLT_MAX__), sum = {}, total = {};
    IntVec peak_group = {};
    for (int64_t group = 0; group < sizes.groups; ++group) {
      const Vec largest = load(memory.largest + group * width + begin);
      peak_group = largest > peak ? IntVec{} + static_cast<int32_t>(group) : peak_group;
      peak = max_vec(largest, peak);
    }
    for (int64_t group = 0; group < sizes.groups; ++group) {
      const int64_t at = group * width + begin;
      sum += load(memory.sum + at) * exp_vec(load(memory.largest + at) - peak);
      total += load(memory.total + at);
    }
    store(memory.peak + begin, peak);
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const int64_t r = begin + lane;
      if (r < count) {
        finish_row(r, peak[lane], peak_group[lane], sum[lane], total[lane], results);
      } else {
        memory.scale[r] = memory.offset[r] = 0.0f;
      }
    }
  }

  void finish_row(int64_t r, float peak, int32_t peak_group, float sum, float total,
                  const LinearCrossEntropyForward<T>* results) const {
    const float smoothing = in.options.label_smoothing, z_loss = in.options.z_loss;
    const float classes = static_cast<float>(in.vocabulary);
    // Beside the peak, so that large logits take no digits from the loss.
    const float log_sum = __builtin_logf(sum), log_sum_exp = peak + log_sum;
    const float label_loss = log_sum - (memory.label_logit[r] - peak);
    if (results != nullptr) {
      float loss = label_loss;
      if (smoothing != 0.0f) {
        loss = (1.0f - smoothing) * label_loss + smoothing * (log_sum - (total / classes - peak));
      }
      if (z_loss != 0.0f) loss += z_loss * log_sum_exp * log_sum_exp;
      results->losses[rows[r]] = loss;
      results->log_sum_exp[rows[r]] = log_sum_exp;
      results->correct[rows[r]] = memory.label_first[r] && memory.label_logit[r] == peak &&
                                  labels[r] / kGroup == peak_group && sum == sum;
    }
    const float weight = gradients.weights == nullptr ? 1.0f : gradients.weights[rows[r]];
    const float of_softmax =
        z_loss == 0.0f ? weight : weight * (1.0f + 2.0f * z_loss * log_sum_exp);
    memory.scale[r] = of_softmax / sum;
    memory.offset[r] = weight * smoothing / classes;
    memory.label_gradient[r] =
        of_softmax * __builtin_expf(-label_loss) - weight * (1.0f - smoothing) - memory.offset[r];
  }

  // The groups of one slot.
  void gradient(int64_t slot) const {
    const TilesInUse tiles;
    const int64_t partial_size = sizes.column_panels * width * kPanel;
    float* const partial = memory.partials + slot * partial_size;
    if (gradients.d_hidden_states != nullptr && partial_size > 0) {
      __builtin_memset(partial, 0, partial_size * sizeof(float));
    }
    const int64_t factors_bytes = width * sizeof(float);
    const int64_t tile_bytes = kGroup * kPanel * sizeof(float);
    const int64_t panels_bytes = kGroup * sizes.column_panels * kPanel * sizeof(Op);
    const int64_t rows_bytes = kGroup * width * sizeof(Op);
    const int64_t left_bytes =
        sizeof(Op) == 4 ? 0 : TransposedBlock<Op>::left_size(width) * sizeof(Op);
    Scratch scratch(factors_bytes + panels_bytes + tile_bytes + rows_bytes + left_bytes + 5 * 64);
    auto* const factors = static_cast<float*>(scratch.take(factors_bytes));
    auto* const panels = static_cast<Op*>(scratch.take(panels_bytes));
    auto* const tile = static_cast<float*>(scratch.take(tile_bytes));
    auto* const d_logits = static_cast<Op*>(scratch.take(rows_bytes));
    auto* const left_buffer = static_cast<Op*>(scratch.take(left_bytes));
    const int64_t end = sizes.groups * (slot + 1) / sizes.slots;
    for (int64_t group = sizes.groups * slot / sizes.slots; group < end; ++group) {
      logits_gradient(group, factors, d_logits);
      if (gradients.d_bias != nullptr) bias_gradient(group, d_logits);
      if (gradients.d_kernel != nullptr) kernel_gradient(group, d_logits, tile);
      if (gradients.d_hidden_states != nullptr) {
        add_hidden_gradient(group, transposed(group, d_logits, left_buffer), panels, partial);
      }
    }
  }

  // (kGroup, width) as the left operand.
  void logits_gradient(int64_t group, float* factors, Op* d_logits) const {
    const Op* const block = memory.block + group * kGroup * width;
    for (int64_t r = 0; r < width; r += kLanes) {
      const Vec largest = load(memory.largest + group * width + r);
      store(factors + r, load(memory.scale + r) * exp_vec(largest - load(memory.peak + r)));
    }
    const int64_t size = group_size(group);
    for (int64_t i = 0; i < size; ++i) {
      for (int64_t r = 0; r < width; r += kLanes) {
        store(d_logits + i * width + r,
              load(block + i * width + r) * load(factors + r) - load(memory.offset + r));
      }
    }
    for (int64_t r = 0; r < count; ++r) {
      const int64_t place = labels[r] - group * kGroup;
      if (place >= 0 && place < size) {
        store_first(d_logits + place * width + r, broadcast(memory.label_gradient[r]), 1);
      }
    }
  }

  void bias_gradient(int64_t group, const Op* d_logits) const {
    float* const to = gradients.d_bias + group * kGroup;
    for (int64_t i = 0; i < group_size(group); ++i) {
      Vec sum = {};
      for (int64_t r = 0; r < width; r += kLanes) sum += load(d_logits + i * width + r);
      to[i] = (first ? 0.0f : to[i]) + sum_of_lanes(sum);
    }
  }

  void kernel_gradient(int64_t group, const Op* d_logits, float* tile) const {
    const int64_t size = group_size(group);
    float* const to = gradients.d_kernel + group * kGroup * in.dim;
    for (int64_t column = 0; column < in.dim; column += kPanel) {
      const Op* const panel = memory.column_panels + column * width;
      if (in.dim - column >= kPanel) {
        panel_product(d_logits, width, size, width, panel, to + column, in.dim, !first);
        continue;
      }
      panel_product(d_logits, width, size, width, panel, tile, kPanel, false);
      for (int64_t i = 0; i < size; ++i) {
        for (int64_t j = column; j < in.dim; j += kLanes) {
          float* const at = to + i * in.dim + j;
          const Vec before = first ? Vec{} : load_first(at, in.dim - j);
          store_first(at, before + load(tile + i * kPanel + j - column), in.dim - j);
        }
      }
    }
  }

  // The transpose as transposed_product takes it: for float32 the block lies so already.
  const float* transposed(int64_t, const float* d_logits, float*) const { return d_logits; }
  const bfloat16* transposed(int64_t group, const bfloat16* d_logits, bfloat16* left) const {
    const int64_t size = group_size(group);
    const auto row_at = [&](int64_t k) { return k < size ? d_logits + k * width : nullptr; };
    pack_left(row_at, width, 0, padded_depth<bfloat16>(size), width, left);
    return left;
  }

  // The kernel is packed for each chunk again: that takes 2% of the product's time, and all of it
  // packed would be one more array of its size that wants a place in the cache.
  void add_hidden_gradient(int64_t group, const Op* left, Op* panels, float* partial) const {
    const int64_t size = group_size(group), depth = padded_depth<Op>(size);
    const T* const kernel = in.kernel + group * kGroup * in.dim;
    const auto row_at = [&](int64_t k) { return k < size ? kernel + k * in.dim : nullptr; };
    pack_columns<T>(row_at, in.dim, depth, panels);
    for (int64_t p = 0; p < sizes.column_panels; ++p) {
      transposed_product(left, width, depth, panels + p * depth * kPanel,
                         partial + p * width * kPanel);
    }
  }

  void hidden_gradient(int64_t r) const {
    float* const to = gradients.d_hidden_states + rows[r] * in.dim;
    const int64_t partial_size = sizes.column_panels * width * kPanel;
    for (int64_t column = 0; column < in.dim; column += kLanes) {
      const float* const from =
          memory.partials + (column / kPanel * width + r) * kPanel + column % kPanel;
      Vec sum = load(from);
      for (int64_t slot = 1; slot < sizes.slots; ++slot) sum += load(from + slot * partial_size);
      store_first(to + column, sum, in.dim - column);
    }
  }
};

}  // namespace KERASLLM_ISA
}  // namespace kerasllm

#endif  // KERASLLM_LINEAR_CROSS_ENTROPY_LINEAR_CROSS_ENTROPY_CHUNK_H_
