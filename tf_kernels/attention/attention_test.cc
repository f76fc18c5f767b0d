// Attention forward and backward against a float64 reference: every instruction set that this
// processor runs (AMX emulated where it is compiled so), odd sizes, grouped heads, every option,
// one and more threads bit-equal, buffers poisoned and guarded.
#include "attention/attention.h"

#include <algorithm>

#include "attention/attention_reference.h"
#include "common/testing.h"
#include "dropout/dropout.h"

namespace kerasllm::testing {
namespace {

enum class Mask { kNone, kPadding, kScattered, kRows, kAdded };
const char* const kMaskNames[] = {"none", "padding", "scattered", "rows", "added"};

struct Case {
  AttentionShape shape;
  bool causal = false;
  int64_t window = 0;
  bool lengths = false, offsets = false, query_mask = false;
  Mask mask = Mask::kNone;
  float soft_cap = 0.0f, rate = 0.0f;

  std::string text(Isa isa, const char* type) const {
    char line[320];
    std::snprintf(
        line, sizeof(line),
        "isa=%s %s batch=%d queries=%d keys=%d heads=%d/%d dims=%d/%d causal=%d window=%d "
        "lengths=%d offsets=%d query_mask=%d mask=%s soft_cap=%g rate=%g",
        isa_name(isa), type, static_cast<int>(shape.batch), static_cast<int>(shape.query_length),
        static_cast<int>(shape.key_length), static_cast<int>(shape.num_heads),
        static_cast<int>(shape.num_key_value_heads), static_cast<int>(shape.head_dim),
        static_cast<int>(shape.value_dim), causal, static_cast<int>(window), lengths, offsets,
        query_mask, kMaskNames[static_cast<int>(mask)], soft_cap, rate);
    return line;
  }
};

double largest(const std::vector<double>& values) {
  double most = 0.0;
  for (const double v : values) {
    if (std::isfinite(v)) most = std::max(most, std::fabs(v));
  }
  return most;
}

template <class T>
struct Tensors {
  Buffer<T> query, key, value, d_outputs, outputs, d_query, d_key, d_value;
  Buffer<float> log_sum_exp;
  std::vector<int32_t> lengths, offsets;
  std::vector<char> query_mask, bools;
  std::vector<float> added;
  AttentionOptions options = {};

  explicit Tensors(const Case& c)
      : query(c.shape.batch * c.shape.query_length * c.shape.num_heads * c.shape.head_dim),
        key(c.shape.batch * c.shape.key_length * c.shape.num_key_value_heads * c.shape.head_dim),
        value(c.shape.batch * c.shape.key_length * c.shape.num_key_value_heads * c.shape.value_dim),
        d_outputs(c.shape.batch * c.shape.query_length * c.shape.num_heads * c.shape.value_dim),
        outputs(d_outputs.size()),
        d_query(query.size()),
        d_key(key.size()),
        d_value(value.size()),
        log_sum_exp(c.shape.batch * c.shape.num_heads * c.shape.query_length) {
    const AttentionShape& s = c.shape;
    std::mt19937 random(1);
    for (Buffer<T>* b : {&query, &key, &value, &d_outputs}) b->fill(random, 1.0);
    options.scale = 1.0f / std::sqrt(static_cast<float>(s.head_dim));
    options.causal = c.causal;
    options.window = c.window;
    options.soft_cap = c.soft_cap;
    for (int64_t b = 0; b < s.batch; ++b) {
      lengths.push_back(static_cast<int32_t>(random() % (s.key_length + 1)));
      offsets.push_back(static_cast<int32_t>(random() % (s.key_length + 1)));
    }
    if (c.lengths) options.lengths = lengths.data();
    if (c.offsets) options.query_offset = offsets.data();
    for (int64_t i = 0; i < s.batch * s.query_length; ++i) query_mask.push_back(random() % 3 != 0);
    if (c.query_mask) options.query_mask = reinterpret_cast<const bool*>(query_mask.data());
    if (c.mask == Mask::kPadding || c.mask == Mask::kScattered) {  // (batch, 1, 1, key_length)
      options.mask_batch_stride = s.key_length;
      for (int64_t b = 0; b < s.batch; ++b) {
        for (int64_t j = 0; j < s.key_length; ++j) {
          const bool left = b % 2 == 1;
          const int64_t length = lengths[b];
          bools.push_back(c.mask == Mask::kScattered ? random() % 4 != 0
                          : left                     ? j >= s.key_length - length
                                                     : j < length);
        }
      }
    } else if (c.mask != Mask::kNone) {  // (1, num_heads, query_length, key_length)
      options.mask_query_stride = s.key_length;
      options.mask_head_stride = s.query_length * s.key_length;
      std::normal_distribution<float> normal;
      for (int64_t i = 0; i < s.num_heads * s.query_length * s.key_length; ++i) {
        bools.push_back(random() % 2);
        added.push_back(random() % 8 ? normal(random) : -INFINITY);
      }
    }
    options.mask_type = c.mask == Mask::kNone    ? MaskType::kNone
                        : c.mask == Mask::kAdded ? MaskType::kFloat32
                                                 : MaskType::kBool;
    options.mask = c.mask == Mask::kAdded ? static_cast<const void*>(added.data()) : bools.data();
    const int32_t seed[2] = {123, -456};
    options.dropout = make_dropout(c.rate, seed);
  }

  void run(const AttentionShape& shape, Parallel& parallel) {
    attention_forward(AttentionForward<T>{shape, options, query.get(), key.get(), value.get(),
                                          outputs.get(), log_sum_exp.get()},
                      parallel);
    attention_backward(AttentionBackward<T>{shape, options, query.get(), key.get(), value.get(),
                                            outputs.get(), log_sum_exp.get(), d_outputs.get(),
                                            d_query.get(), d_key.get(), d_value.get()},
                       parallel);
  }

  double mask_value(int64_t b, int64_t h, int64_t i, int64_t j) const {
    if (options.mask_type == MaskType::kNone) return 0.0;
    const int64_t place = b * options.mask_batch_stride + h * options.mask_head_stride +
                          i * options.mask_query_stride + j;
    if (options.mask_type == MaskType::kFloat32) return added[place];
    return bools[place] ? 0.0 : -INFINITY;
  }
};

// Dropout's factors of the whole matrix of probabilities, by the op that is tested by itself.
std::vector<float> dropout_factors(const AttentionShape& s, const Dropout& rate) {
  const int64_t rows = s.batch * s.num_heads * s.query_length;
  std::vector<float> ones(rows * s.key_length, 1.0f), factors(ones.size());
  Serial serial;
  dropout(DropoutArgs<float>{rows, s.key_length, rate, ones.data(), factors.data()}, serial);
  return factors;
}

template <class T>
AttentionReference reference_of(const Case& c) {
  const AttentionShape& s = c.shape;
  const Tensors<T> t(c);
  const std::vector<float> factors = dropout_factors(s, t.options.dropout);
  return reference_attention(
      s, t.options, t.query.values(), t.key.values(), t.value.values(), t.d_outputs.values(),
      [&](int64_t b, int64_t h, int64_t i, int64_t j) { return t.mask_value(b, h, i, j); },
      [&](int64_t row, int64_t column) { return factors[row * s.key_length + column]; });
}

template <class T>
void check(Isa isa, const Case& c, const AttentionReference& reference, const char* type,
           double tolerance) {
  override_isa(isa);
  Tensors<T> one(c), again(c);
  Serial serial;
  one.run(c.shape, serial);
  Threads three(3);
  again.run(c.shape, three);
  const auto compare = [&](const char* name, auto& mine, auto& other,
                           const std::vector<double>& expected) {
    const std::string what = std::string(name) + " " + c.text(isa, type);
    const double error = mine.error(expected);
    expect(error <= tolerance * std::max(1.0, largest(expected)),
           what + " error " + std::to_string(error));
    expect(mine.guards_intact(), what + " wrote outside its buffer");
    expect(mine.same_bits(other), what + " differs by threads");
  };
  compare("outputs", one.outputs, again.outputs, reference.outputs);
  compare("d_query", one.d_query, again.d_query, reference.d_query);
  compare("d_key", one.d_key, again.d_key, reference.d_key);
  compare("d_value", one.d_value, again.d_value, reference.d_value);
  for (int64_t i = 0; i < one.log_sum_exp.size(); ++i) {
    const double mine = one.log_sum_exp[i], expected = reference.log_sum_exp[i];
    expect(mine == expected || std::fabs(mine - expected) <= 1e-5 * (1.0 + std::fabs(expected)),
           "log_sum_exp " + c.text(isa, type));
  }
}

template <class T>
void check_repeats(Isa isa, const char* type) {
  override_isa(isa);
  Case c{{2, 97, 97, 2, 1, 59, 59}};
  c.causal = true;
  c.rate = 0.3f;
  Tensors<T> t(c);
  expect_repeatable(
      c.text(isa, type), [&](Parallel& parallel) { t.run(c.shape, parallel); }, t.outputs,
      t.log_sum_exp, t.d_query, t.d_key, t.d_value);
}

std::vector<Case> cases() {
  std::vector<Case> all;
  const AttentionShape shapes[] = {{1, 1, 1, 1, 1, 1, 1},
                                   {2, 3, 5, 2, 1, 4, 7},
                                   {1, 97, 97, 2, 2, 59, 59},
                                   {1, 70, 300, 2, 1, 64, 64},
                                   {2, 17, 129, 2, 1, 33, 130}};
  for (const AttentionShape& shape : shapes) {
    for (const bool causal : {false, true}) {
      Case c{shape};
      c.causal = causal;
      all.push_back(c);
      c.lengths = true;
      all.push_back(c);
      c.offsets = true;
      all.push_back(c);
      c.window = 9;
      all.push_back(c);
      c.soft_cap = 2.0f;
      all.push_back(c);
      c.rate = 0.3f;
      all.push_back(c);
      c = Case{shape};
      c.causal = causal;
      for (int mask = 1; mask < 5; ++mask) {
        c.mask = static_cast<Mask>(mask);
        all.push_back(c);
        c.query_mask = true;
        all.push_back(c);
      }
      c.rate = 0.1f;
      c.soft_cap = 5.0f;
      all.push_back(c);
    }
  }
  Case longer{{1, 1025, 1025, 1, 1, 59, 59}};
  longer.causal = true;
  all.push_back(longer);
  all.push_back({{1, 1, 1025, 2, 2, 59, 59}});
  Case wide{{1, 70, 90, 2, 2, 256, 200}};
  all.push_back(wide);
  Case sparse{{1, 300, 600, 1, 1, 8, 8}};
  sparse.window = 3;
  all.push_back(sparse);
  sparse.causal = true;
  sparse.rate = 0.5f;
  all.push_back(sparse);
  return all;
}

int run_all() {
  const std::vector<Case> all = cases();
  std::vector<AttentionReference> float32, bfloat16s;
  for (const Case& c : all) {
    float32.push_back(reference_of<float>(c));
    bfloat16s.push_back(reference_of<bfloat16>(c));
  }
  int number = 0;
  for_each_isa([&](Isa isa) {
    for (size_t i = 0; i < all.size(); ++i) {
      check<float>(isa, all[i], float32[i], "float32", 1e-5);
      check<bfloat16>(isa, all[i], bfloat16s[i], "bfloat16", 3e-2);
      number += 2;
    }
    check_repeats<float>(isa, "float32");
    check_repeats<bfloat16>(isa, "bfloat16");
    number += 2;
  });
  return finish("attention_test", number);
}

}  // namespace
}  // namespace kerasllm::testing

int main() { return kerasllm::testing::run_all(); }
