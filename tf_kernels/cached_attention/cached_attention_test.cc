// Attention over caches against float64.
#include "cached_attention/cached_attention.h"

#include "common/testing.h"

namespace kerasllm::testing {
namespace {

struct Case {
  CachedAttentionShape shape;
  int64_t start, window;
  bool padded, repeats = false;
};

template <class T>
void check(Isa isa, const char* type, const Case& c) {
  override_isa(isa);
  const CachedAttentionShape& s = c.shape;
  const std::string text =
      std::string("isa=") + isa_name(isa) + " " + type + " batch=" + std::to_string(s.batch) +
      " queries=" + std::to_string(s.query_length) + " heads=" + std::to_string(s.num_heads) + "/" +
      std::to_string(s.num_key_value_heads) + " dim=" + std::to_string(s.head_dim) +
      " start=" + std::to_string(c.start) + " window=" + std::to_string(c.window) +
      " padded=" + std::to_string(c.padded);
  std::mt19937 random(1);
  const int64_t cache_size = s.batch * s.num_key_value_heads * s.max_length * s.head_dim;
  const int64_t new_size = s.batch * s.query_length * s.num_key_value_heads * s.head_dim;
  const int64_t query_size = s.batch * s.query_length * s.num_heads * s.head_dim;
  Buffer<T> keys(cache_size), values(cache_size), new_keys(new_size), new_values(new_size);
  Buffer<T> query(query_size), outputs(query_size), again(query_size);
  query.fill(random, 1.0), new_keys.fill(random, 1.0), new_values.fill(random, 1.0);
  // What is behind the last place stays NaN: it must not be read.
  std::normal_distribution<double> normal;
  for (int64_t head = 0; head < s.batch * s.num_key_value_heads; ++head) {
    for (int64_t i = 0; i < c.start * s.head_dim; ++i) {
      const int64_t place = head * s.max_length * s.head_dim + i;
      assign(keys.get() + place, normal(random)), assign(values.get() + place, normal(random));
    }
  }
  update_cache({s, c.start, new_keys.get(), keys.get()});
  update_cache({s, c.start, new_values.get(), values.get()});
  std::vector<int32_t> first_key(s.batch);
  for (int64_t b = 0; b < s.batch; ++b) first_key[b] = static_cast<int32_t>(3 * b);
  const float scale = 0.3f;
  const auto run = [&](Buffer<T>& to, Parallel& parallel) {
    cached_attention({s, scale, c.window, c.start, c.padded ? first_key.data() : nullptr,
                      query.get(), keys.get(), values.get(), to.get()},
                     parallel);
  };
  Serial serial;
  run(outputs, serial);

  std::vector<double> expected(query_size);
  const int64_t group = s.num_heads / s.num_key_value_heads;
  for (int64_t b = 0; b < s.batch; ++b) {
    for (int64_t i = 0; i < s.query_length; ++i) {
      for (int64_t h = 0; h < s.num_heads; ++h) {
        const int64_t place = c.start + i;
        const int64_t row = ((b * s.query_length + i) * s.num_heads + h) * s.head_dim;
        int64_t first = c.padded ? first_key[b] : 0;
        if (c.window > 0) first = std::max(first, place - c.window + 1);
        const int64_t head = (b * s.num_key_value_heads + h / group) * s.max_length;
        std::vector<double> scores;
        double top = -INFINITY, total = 0.0;
        for (int64_t j = first; j <= place; ++j) {
          double score = 0.0;
          for (int64_t d = 0; d < s.head_dim; ++d) {
            // New keys come from where they came from: the caches must hold them.
            const int64_t at =
                j < c.start
                    ? -1
                    : ((b * s.query_length + j - c.start) * s.num_key_value_heads + h / group) *
                              s.head_dim +
                          d;
            const double key = at < 0 ? keys[(head + j) * s.head_dim + d] : new_keys[at];
            score += query[row + d] * key;
          }
          scores.push_back(scale * score);
          top = std::max(top, scores.back());
        }
        for (double& score : scores) total += score = std::exp(score - top);
        for (int64_t d = 0; d < s.head_dim; ++d) {
          double sum = 0.0;
          for (int64_t j = first; j <= place; ++j) {
            sum += scores[j - first] * values[(head + j) * s.head_dim + d];
          }
          expected[row + d] = scores.empty() ? 0.0 : sum / total;
        }
      }
    }
  }
  const double error = outputs.error(expected);
  expect(error <= (sizeof(T) == 4 ? 3e-6 : 2e-2), text + " error " + std::to_string(error));
  expect(outputs.guards_intact() && keys.guards_intact() && values.guards_intact(),
         text + " wrote outside its buffer");
  for (const int threads : {2, 3, 4}) {
    Threads several(threads);
    run(again, several);
    expect(outputs.same_bits(again), text + " differs by threads");
  }
  if (c.repeats) {
    expect_repeatable(text, [&](Parallel& parallel) { run(again, parallel); }, again);
  }
}

int run_all() {
  // batch, query_length, max_length, num_heads, num_key_value_heads, head_dim
  const Case cases[] = {
      {{1, 1, 1, 1, 1, 1}, 0, 0, false},
      {{1, 1, 16, 4, 4, 64}, 7, 0, false},
      {{2, 1, 130, 4, 2, 59}, 129, 0, true},
      {{3, 1, 97, 6, 1, 16}, 64, 0, true},
      {{2, 1, 1100, 3, 3, 64}, 1024, 0, false, true},
      {{1, 1, 1100, 14, 2, 64}, 1000, 0, false},
      {{2, 3, 40, 5, 1, 128}, 20, 0, true},
      {{2, 1, 40, 8, 2, 256}, 33, 5, false},
      {{2, 4, 40, 2, 2, 33}, 3, 3, true, true},
      {{2, 5, 5, 2, 1, 17}, 0, 0, true},
      {{0, 1, 4, 2, 1, 8}, 1, 0, false},
  };
  int count = 0;
  for_each_isa([&](Isa isa) {
    for (const Case& c : cases) {
      check<float>(isa, "float32", c);
      check<bfloat16>(isa, "bfloat16", c);
      count += 2;
    }
  });
  return finish("cached_attention_test", count);
}

}  // namespace
}  // namespace kerasllm::testing

int main() { return kerasllm::testing::run_all(); }
