// Which keys the queries of one head see, and a row of scores made ready for the softmax.
#ifndef KERASLLM_ATTENTION_ATTENTION_ROWS_H_
#define KERASLLM_ATTENTION_ATTENTION_ROWS_H_

#include "attention/attention.h"
#include "common/random.h"
#include "common/vec_math.h"

namespace kerasllm {
namespace KERASLLM_ISA {

inline constexpr float kInfinity = __builtin_inff();

// The largest lane.
inline float max_across(Vec v) {
#pragma GCC unroll 4
  for (int width = kLanes / 2; width > 0; width /= 2) {
    IntVec turned = {};
    for (int lane = 0; lane < kLanes; ++lane) turned[lane] = (lane + width) % kLanes;
    v = max_vec(v, __builtin_shuffle(v, turned));
  }
  return v[0];
}

// Places in [begin, end) of the first true byte, and after the last; `end` and `begin` for none.
inline int64_t first_true(const bool* mask, int64_t begin, int64_t end) {
  while (begin < end && !mask[begin]) ++begin;
  return begin;
}
inline int64_t after_last_true(const bool* mask, int64_t begin, int64_t end) {
  while (end > begin && !mask[end - 1]) --end;
  return end;
}
inline bool all_true(const bool* mask, int64_t begin, int64_t end) {
  bool all = true;
  for (int64_t j = begin; j < end; ++j) all &= mask[j];
  return all;
}

// One head of one batch element.
class Head {
 public:
  Head(const AttentionShape& shape, const AttentionOptions& options, int64_t batch, int64_t head)
      : options_(options),
        query_length_(shape.query_length),
        key_length_(shape.key_length),
        first_random_row_((batch * shape.num_heads + head) * shape.query_length),
        end_(options.lengths == nullptr ? shape.key_length : options.lengths[batch]),
        offset_(options.query_offset == nullptr ? 0 : options.query_offset[batch]),
        query_mask_(options.query_mask == nullptr ? nullptr
                                                  : options.query_mask + batch * query_length_),
        mask_type_(options.mask_type),
        first_mask_(batch * options.mask_batch_stride + head * options.mask_head_stride) {
    // One row of bools for all queries is mostly padding: a range says it all then.
    if (mask_type_ == MaskType::kBool && options.mask_query_stride == 0) {
      const bool* const mask = bools(0);
      begin_ = first_true(mask, begin_, end_);
      end_ = after_last_true(mask, begin_, end_);
      if (all_true(mask, begin_, end_)) mask_type_ = MaskType::kNone;
    }
  }

  // Sets begin[i] and end[i] to the range of keys, outside of which query first + i sees none, or
  // to 0 and 0.
  void ranges(int64_t first, int64_t count, int32_t* begin, int32_t* end) const {
    for (int64_t i = 0; i < count; ++i) {
      const int64_t place = first + i + offset_;
      int64_t from = begin_, to = end_;
      if (options_.causal) to = min_of(to, place + 1);
      if (options_.window > 0) {
        from = max_of(from, place - options_.window + 1);
        to = min_of(to, place + options_.window);
      }
      if (query_mask_ != nullptr && !query_mask_[first + i]) to = from;
      if (mask_type_ == MaskType::kBool && options_.mask_query_stride != 0) {
        const bool* const mask = bools(first + i);
        from = first_true(mask, from, to);
        to = after_last_true(mask, from, to);
      }
      begin[i] = from < to ? static_cast<int32_t>(from) : 0;
      end[i] = from < to ? static_cast<int32_t>(to) : 0;
    }
  }

  // Whether finish_row() has work to do where a query sees every key.
  bool always_finish() const {
    return mask_type_ != MaskType::kNone || options_.soft_cap > 0.0f || !(options_.scale > 0.0f);
  }

  // Turns products with the keys tile + [from, to), whole vectors at scores + [from, to), into
  // scores: scaled, capped, masked, minus infinity outside of [begin, end). Where there is a cap
  // and `slopes` is not null, it gets the derivative by the scaled product.
  void finish_row(int64_t query, int64_t tile, int64_t from, int64_t to, int64_t begin, int64_t end,
                  float* scores, float* slopes) const {
    const float cap = options_.soft_cap, inverse_cap = cap > 0.0f ? 1.0f / cap : 0.0f;
    for (int64_t c = from; c < to; c += kLanes) {
      const int64_t key = tile + c;
      Vec x = load(scores + c) * options_.scale;
      if (cap > 0.0f) {
        const Vec t = tanh_vec(x * inverse_cap);
        if (slopes != nullptr) store(slopes + c, 1.0f - t * t);
        x = t * cap;
      }
      if (mask_type_ != MaskType::kNone) x = masked(x, query, key);
      const IntVec keys = lane_numbers() + static_cast<int32_t>(key);
      const IntVec seen =
          (keys >= static_cast<int32_t>(begin)) & (keys < static_cast<int32_t>(end));
      store(scores + c, seen ? x : broadcast(-kInfinity));
    }
  }

  // Makes products outside of [begin, end) minus infinity, where there is nothing else to finish.
  static void hide(int64_t tile, int64_t from, int64_t to, int64_t begin, int64_t end,
                   float* scores) {
    const auto hide_vec = [=](int64_t c) {
      const IntVec keys = lane_numbers() + static_cast<int32_t>(tile + c);
      const IntVec seen =
          (keys >= static_cast<int32_t>(begin)) & (keys < static_cast<int32_t>(end));
      store(scores + c, seen ? load(scores + c) : broadcast(-kInfinity));
    };
    int64_t c = from;
    for (; c < to && tile + c < begin; c += kLanes) hide_vec(c);
    c = max_of(c, min_of(to, max_of(tile, end) - tile) / kLanes * kLanes);
    for (; c < to; c += kLanes) hide_vec(c);
  }

  bool drops() const { return options_.dropout.threshold > 0; }
  // What the probabilities of the keys tile + [from, to) are multiplied by, at factors + [from,
  // to); `tile` is a multiple of kRandomColumns.
  void make_dropout_factors(int64_t query, int64_t tile, int64_t from, int64_t to,
                            float* factors) const {
    const uint64_t row = static_cast<uint64_t>(first_random_row_ + query);
    for (int64_t c = from / kRandomColumns * kRandomColumns; c < to; c += kRandomColumns) {
      uint16_t bits[kRandomColumns];
      random_bits(options_.dropout.seed, row, tile + c, bits);
      for (int64_t i = 0; i < kRandomColumns; i += kLanes) {
        store(factors + c + i, dropout_factors(bits + i, options_.dropout));
      }
    }
  }

 private:
  static IntVec lane_numbers() {
    int32_t numbers[kLanes];
    for (int i = 0; i < kLanes; ++i) numbers[i] = i;
    IntVec v;
    __builtin_memcpy(&v, numbers, sizeof(v));
    return v;
  }

  const bool* bools(int64_t query) const {
    return static_cast<const bool*>(options_.mask) + mask_row(query);
  }
  int64_t mask_row(int64_t query) const { return first_mask_ + query * options_.mask_query_stride; }

  Vec masked(Vec x, int64_t query, int64_t key) const {
    const int64_t count = key_length_ - key, place = mask_row(query) + key;
    if (count <= 0) return x;
    if (mask_type_ == MaskType::kFloat32) {
      return x + load_first(static_cast<const float*>(options_.mask) + place, count);
    }
    if (mask_type_ == MaskType::kBfloat16) {
      return x + load_first(static_cast<const bfloat16*>(options_.mask) + place, count);
    }
    typedef uint8_t ByteVec __attribute__((vector_size(kLanes)));
    ByteVec bytes = {};
    const bool* const from = static_cast<const bool*>(options_.mask) + place;
    if (count >= kLanes) {
      __builtin_memcpy(&bytes, from, kLanes);
    } else {
      for (int64_t i = 0; i < count; ++i) bytes[i] = from[i];
    }
    return __builtin_convertvector(bytes, IntVec) != 0 ? x : broadcast(-kInfinity);
  }

  const AttentionOptions& options_;
  int64_t query_length_, key_length_, first_random_row_;
  int64_t begin_ = 0, end_, offset_;
  const bool* query_mask_;
  MaskType mask_type_;
  int64_t first_mask_;
};

// What a block of rows sees together: keys in [begin, end), and every row all of [all_begin,
// all_end).
struct BlockRange {
  int64_t begin, end, all_begin, all_end;
};
inline BlockRange block_range(const int32_t* begin, const int32_t* end, int64_t rows) {
  BlockRange range = {INT32_MAX, 0, 0, INT32_MAX};
  for (int64_t r = 0; r < rows; ++r) {
    if (begin[r] < end[r]) {
      range.begin = min_of<int64_t>(range.begin, begin[r]);
      range.end = max_of<int64_t>(range.end, end[r]);
    }
    range.all_begin = max_of<int64_t>(range.all_begin, begin[r]);
    range.all_end = min_of<int64_t>(range.all_end, end[r]);
  }
  return range;
}

}  // namespace KERASLLM_ISA
}  // namespace kerasllm

#endif  // KERASLLM_ATTENTION_ATTENTION_ROWS_H_
