// The embedding's sums and gradients against float64, over every instruction set.
#include "embedding/embedding.h"

#include "common/testing.h"

namespace kerasllm::testing {
namespace {

struct Case {
  int64_t batch, time, dim, vocabulary, max_length, num_segments, start;
  bool skewed;  // most tokens are id 0, as with padding
};

std::string describe(Isa isa, const char* types, const Case& c) {
  return std::string("isa=") + isa_name(isa) + " " + types + " batch=" + std::to_string(c.batch) +
         " time=" + std::to_string(c.time) + " dim=" + std::to_string(c.dim) +
         " vocabulary=" + std::to_string(c.vocabulary) +
         " max_length=" + std::to_string(c.max_length) +
         " num_segments=" + std::to_string(c.num_segments) + " start=" + std::to_string(c.start) +
         (c.skewed ? " skewed" : "");
}

// Error of the type's rounding at magnitude `scale`.
template <class T>
double rounding(double scale) {
  return scale * (sizeof(T) == 4 ? 1e-6 : 1.0 / 256);
}

double largest(const std::vector<double>& values) {
  double result = 1.0;
  for (const double value : values) result = std::max(result, std::fabs(value));
  return result;
}

template <class T, class U>
void check(Isa isa, const char* types, const Case& c) {
  override_isa(isa);
  const std::string text = describe(isa, types, c);
  std::mt19937 random(7);
  const int64_t tokens = c.batch * c.time, dim = c.dim;
  std::vector<int32_t> ids(tokens), segments(tokens);
  for (int64_t i = 0; i < tokens; ++i) {
    ids[i] = c.skewed && random() % 8 != 0 ? 0 : static_cast<int32_t>(random() % c.vocabulary);
    if (c.num_segments > 0) segments[i] = static_cast<int32_t>(random() % c.num_segments);
  }
  Buffer<T> token_table(c.vocabulary * dim), position_table(c.max_length * dim),
      segment_table(c.num_segments * dim);
  token_table.fill(random, 1.0);
  position_table.fill(random, 1.0);
  segment_table.fill(random, 1.0);
  Buffer<U> d_outputs(tokens * dim);
  d_outputs.fill(random, 1.0);

  std::vector<double> outputs(tokens * dim), d_tokens(c.vocabulary * dim),
      d_positions(c.max_length * dim), d_segments(c.num_segments * dim);
  for (int64_t token = 0; token < tokens; ++token) {
    for (int64_t i = 0; i < dim; ++i) {
      const int64_t at = token * dim + i, position = c.start + token % c.time;
      outputs[at] = token_table[ids[token] * dim + i];
      d_tokens[ids[token] * dim + i] += d_outputs[at];
      if (c.max_length > 0) {
        outputs[at] += position_table[position * dim + i];
        d_positions[position * dim + i] += d_outputs[at];
      }
      if (c.num_segments > 0) {
        outputs[at] += segment_table[segments[token] * dim + i];
        d_segments[segments[token] * dim + i] += d_outputs[at];
      }
    }
  }

  const EmbeddingLookup lookup = {
      c.batch,      c.time,       dim,
      c.vocabulary, c.max_length, c.num_segments,
      c.start,      ids.data(),   c.num_segments > 0 ? segments.data() : nullptr};
  expect(embedding_error(lookup, c.max_length > 0).empty(), text + " refused");
  std::vector<std::vector<Buffer<T>>> gradients;
  std::vector<Buffer<U>> results;
  for (int threads = 1; threads <= 4; ++threads) {
    Threads parallel(threads);
    results.emplace_back(tokens * dim);
    embedding_forward(EmbeddingForward<T, U>{lookup, token_table.get(),
                                             c.max_length > 0 ? position_table.get() : nullptr,
                                             c.num_segments > 0 ? segment_table.get() : nullptr,
                                             results.back().get()},
                      parallel);
    gradients.push_back({Buffer<T>(c.vocabulary * dim), Buffer<T>(c.max_length * dim),
                         Buffer<T>(c.num_segments * dim)});
    std::vector<Buffer<T>>& found = gradients.back();
    embedding_backward(EmbeddingBackward<T, U>{lookup, d_outputs.get(), found[0].get(),
                                               c.max_length > 0 ? found[1].get() : nullptr,
                                               c.num_segments > 0 ? found[2].get() : nullptr},
                       parallel);
    expect(results.back().same_bits(results[0]), text + " outputs differ by threads");
    for (int i = 0; i < 3; ++i) {
      expect(found[i].same_bits(gradients[0][i]), text + " gradients differ by threads");
      expect(found[i].guards_intact(), text + " wrote outside a gradient");
    }
  }
  expect(results[0].guards_intact(), text + " wrote outside the outputs");
  if (c.dim == 59 && c.num_segments > 0) {
    std::vector<Buffer<T>>& found = gradients[0];
    expect_repeatable(
        text,
        [&](Parallel& parallel) {
          embedding_forward(EmbeddingForward<T, U>{lookup, token_table.get(), position_table.get(),
                                                   segment_table.get(), results[0].get()},
                            parallel);
          embedding_backward(EmbeddingBackward<T, U>{lookup, d_outputs.get(), found[0].get(),
                                                     found[1].get(), found[2].get()},
                             parallel);
        },
        results[0], found[0], found[1], found[2]);
  }
  const auto near = [&](const char* what, double error, double limit) {
    expect(error <= limit, text + " " + what + " error " + std::to_string(error));
  };
  near("outputs", results[0].error(outputs), rounding<U>(largest(outputs)));
  near("tokens", gradients[0][0].error(d_tokens), 8 * rounding<T>(largest(d_tokens)));
  near("positions", gradients[0][1].error(d_positions), 8 * rounding<T>(largest(d_positions)));
  near("segments", gradients[0][2].error(d_segments), 8 * rounding<T>(largest(d_segments)));
}

int check_errors() {
  const int32_t good[4] = {0, 1, 2, 3}, bad[4] = {0, 1, 4, -1};
  const auto error = [&](const int32_t* ids, const int32_t* segments, int64_t start,
                         bool positions) {
    return embedding_error({2, 2, 8, 4, 5, 4, start, ids, segments}, positions);
  };
  expect(error(good, good, 3, true).empty(), "good ids are refused");
  expect(error(bad, nullptr, 0, false) ==
             "token_ids[1, 0] is 4, expected at least 0 and below 4, the rows of token_embeddings",
         "message for a token: " + error(bad, nullptr, 0, false));
  expect(error(good, bad, 0, false) ==
             "segment_ids[1, 0] is 4, expected at least 0 and below 4, the rows of "
             "segment_embeddings",
         "message for a segment: " + error(good, bad, 0, false));
  expect(error(good, nullptr, 4, true) ==
             "positions 4 to 5 are asked for, but position_embeddings has 5 rows",
         "message for a position: " + error(good, nullptr, 4, true));
  expect(error(good, nullptr, -1, true) == "start is -1, expected at least 0",
         "message for start: " + error(good, nullptr, -1, true));
  return 5;
}

int run_all() {
  int cases = check_errors();
  const Case all[] = {
      {2, 97, 59, 11, 97, 2, 0, true},      {2, 7, 59, 11, 0, 0, 0, false},
      {3, 97, 128, 500, 97, 0, 0, false},   {1, 1025, 16, 40, 1030, 2, 5, true},
      {8, 128, 130, 1000, 128, 2, 0, true}, {1, 1, 1, 1, 1, 1, 0, false},
      {2, 64, 257, 50, 64, 3, 0, false},    {16, 129, 64, 3, 200, 2, 40, true},
      {0, 5, 8, 4, 5, 2, 0, false},         {3, 5, 0, 4, 5, 2, 0, false},
  };
  for_each_isa([&](Isa isa) {
    for (const Case& c : all) {
      check<float, float>(isa, "float32", c);
      check<float, bfloat16>(isa, "float32 to bfloat16", c);
      check<bfloat16, float>(isa, "bfloat16 to float32", c);
      check<bfloat16, bfloat16>(isa, "bfloat16", c);
      cases += 4;
    }
  });
  return finish("embedding_test", cases);
}

}  // namespace
}  // namespace kerasllm::testing

int main() { return kerasllm::testing::run_all(); }
