// Linear cross-entropy forward and backward against a float64 reference: every instruction set that
// this processor runs (AMX emulated where it is compiled so), odd sizes, all options, one and more
// threads bit-equal, buffers poisoned and guarded.
#include "linear_cross_entropy/linear_cross_entropy.h"

#include <algorithm>
#include <memory>

#include "common/testing.h"

namespace kerasllm::testing {
namespace {

enum class Labels { kAll, kSome, kNone };
const char* const kLabelsNames[] = {"all", "some", "none"};

struct Case {
  Isa isa;
  int64_t rows, vocabulary, dim;
  Labels labels;
  bool bias, same_weights, saved;
  float smoothing, z_loss;
  double spread = 1.0;  // of the logits

  std::string text(const char* type) const {
    char line[256];
    std::snprintf(line, sizeof(line),
                  "isa=%s %s rows=%d vocabulary=%d dim=%d labels=%s bias=%d same_weights=%d "
                  "saved=%d smoothing=%g z_loss=%g spread=%g",
                  isa_name(isa), type, static_cast<int>(rows), static_cast<int>(vocabulary),
                  static_cast<int>(dim), kLabelsNames[static_cast<int>(labels)], bias, same_weights,
                  saved, smoothing, z_loss, spread);
    return line;
  }
};

constexpr int32_t kIgnored = -100;

template <class T>
struct Tensors {
  Buffer<T> hidden_states, kernel;
  Buffer<float> bias, d_losses;
  std::vector<int32_t> labels;
  Buffer<float> losses, log_sum_exp, saved_hidden, saved_kernel, saved_bias;
  Buffer<uint8_t> correct;
  Buffer<T> d_hidden_states, d_kernel;
  Buffer<float> d_bias;

  explicit Tensors(const Case& c)
      : hidden_states(c.rows * c.dim),
        kernel(c.vocabulary * c.dim),
        bias(c.vocabulary),
        d_losses(c.rows),
        labels(c.rows),
        losses(c.rows),
        log_sum_exp(c.rows),
        saved_hidden(c.rows * c.dim),
        saved_kernel(c.vocabulary * c.dim),
        saved_bias(c.vocabulary),
        correct(c.rows),
        d_hidden_states(c.rows * c.dim),
        d_kernel(c.vocabulary * c.dim),
        d_bias(c.vocabulary) {
    std::mt19937 random(1);
    hidden_states.fill(random, 1.0);
    kernel.fill(random, c.spread / std::sqrt(std::max<double>(1, c.dim)));
    bias.fill(random, 0.5);
    d_losses.fill(random, 1.0);
    for (int64_t row = 0; row < c.rows; ++row) {
      const bool counts =
          c.labels == Labels::kAll || (c.labels == Labels::kSome && random() % 3 == 0);
      labels[row] = counts ? static_cast<int32_t>(random() % c.vocabulary) : kIgnored;
      if (c.same_weights) d_losses.get()[row] = counts ? 0.25f : NAN;
    }
  }

  void run(const Case& c, Parallel& parallel) {
    const LinearCrossEntropyInputs<T> inputs = {c.rows,
                                                c.vocabulary,
                                                c.dim,
                                                {kIgnored, c.smoothing, c.z_loss},
                                                hidden_states.get(),
                                                kernel.get(),
                                                c.bias ? bias.get() : nullptr,
                                                labels.data()};
    linear_cross_entropy_forward(
        LinearCrossEntropyForward<T>{inputs, losses.get(), reinterpret_cast<bool*>(correct.get()),
                                     log_sum_exp.get(), c.saved ? saved_hidden.get() : nullptr,
                                     c.saved ? saved_kernel.get() : nullptr,
                                     c.saved && c.bias ? saved_bias.get() : nullptr},
        parallel);
    linear_cross_entropy_backward(
        LinearCrossEntropyBackward<T>{
            inputs, d_losses.get(), c.saved, c.saved ? saved_hidden.get() : nullptr,
            c.saved ? saved_kernel.get() : nullptr, c.saved ? saved_bias.get() : nullptr,
            d_hidden_states.get(), d_kernel.get(), c.bias ? d_bias.get() : nullptr},
        parallel);
  }
};

// In the order losses, log_sum_exp, correct, d_hidden_states, d_kernel, d_bias.
template <class T>
std::vector<std::vector<double>> reference(const Case& c, const Tensors<T>& t) {
  const int64_t rows = c.rows, classes = c.vocabulary, dim = c.dim;
  std::vector<double> losses(rows), log_sum_exp(rows), correct(rows);
  std::vector<double> d_hidden(rows * dim), d_kernel(classes * dim), d_bias(classes);
  std::vector<double> logits(classes);
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t label = t.labels[row];
    if (label == kIgnored) continue;
    double largest = -INFINITY, sum = 0, total = 0;
    for (int64_t v = 0; v < classes; ++v) {
      logits[v] = c.bias ? t.bias[v] : 0.0;
      for (int64_t k = 0; k < dim; ++k) {
        logits[v] += t.hidden_states[row * dim + k] * t.kernel[v * dim + k];
      }
      largest = std::max(largest, logits[v]);
      total += logits[v];
    }
    for (const double logit : logits) sum += std::exp(logit - largest);
    const double lse = largest + std::log(sum), s = c.smoothing;
    log_sum_exp[row] = lse;
    losses[row] =
        (1 - s) * (lse - logits[label]) + s * (lse - total / classes) + c.z_loss * lse * lse;
    correct[row] = std::max_element(logits.begin(), logits.end()) - logits.begin() == label;
    for (int64_t v = 0; v < classes; ++v) {
      const double d_logit =
          t.d_losses[row] * (std::exp(logits[v] - lse) * (1 + 2 * c.z_loss * lse) - s / classes -
                             (v == label ? 1 - s : 0.0));
      d_bias[v] += d_logit;
      for (int64_t k = 0; k < dim; ++k) {
        d_hidden[row * dim + k] += d_logit * t.kernel[v * dim + k];
        d_kernel[v * dim + k] += d_logit * t.hidden_states[row * dim + k];
      }
    }
  }
  return {losses, log_sum_exp, correct, d_hidden, d_kernel, d_bias};
}

template <class Buffer>
void compare(const std::string& what, Buffer& one, Buffer& again,
             const std::vector<double>& expected, double tolerance) {
  double scale = 1e-3;
  for (const double value : expected) scale = std::max(scale, std::fabs(value));
  const double error = one.error(expected) / scale;
  expect(error <= tolerance, what + " error " + std::to_string(error));
  expect(one.guards_intact(), what + " wrote outside its buffer");
  expect(one.same_bits(again), what + " differs by threads");
}

template <class T>
void check(const Case& c, const char* type) {
  override_isa(c.isa);
  auto one = std::make_unique<Tensors<T>>(c), again = std::make_unique<Tensors<T>>(c);
  Serial serial;
  one->run(c, serial);
  Threads three(3);
  again->run(c, three);
  const auto expected = reference(c, *one);
  const std::string text = c.text(type);
  // bfloat16 tensors are exact in the reference; what differs is the logits' gradient as an operand
  // and the rounding of results.
  const double result = sizeof(T) == 4 ? 2e-5 : 2e-2;
  compare("losses " + text, one->losses, again->losses, expected[0], 1e-5);
  compare("log_sum_exp " + text, one->log_sum_exp, again->log_sum_exp, expected[1], 1e-5);
  for (int64_t row = 0; row < c.rows; ++row) {
    expect(one->correct.get()[row] == expected[2][row], "correct " + text);
  }
  expect(one->correct.guards_intact(), "correct wrote outside its buffer " + text);
  compare("d_hidden_states " + text, one->d_hidden_states, again->d_hidden_states, expected[3],
          result);
  compare("d_kernel " + text, one->d_kernel, again->d_kernel, expected[4], result);
  if (c.bias) compare("d_bias " + text, one->d_bias, again->d_bias, expected[5], result);
}

template <class T>
void check_repeats(const Case& c, const char* type) {
  override_isa(c.isa);
  Tensors<T> t(c);
  expect_repeatable(
      c.text(type), [&](Parallel& parallel) { t.run(c, parallel); }, t.losses, t.log_sum_exp,
      t.correct, t.d_hidden_states, t.d_kernel, t.d_bias);
}

// Ties go to the smaller id, within a group of classes and across groups.
void check_ties(Isa isa) {
  override_isa(isa);
  const int64_t rows = 4, vocabulary = 300;
  const std::vector<float> hidden_states(rows, 1.0f);
  std::vector<float> kernel(vocabulary, 0.0f);
  for (const int64_t v : {20, 30, 200}) kernel[v] = 2.0f;
  const std::vector<int32_t> labels = {20, 30, 200, 5};
  std::vector<float> losses(rows), log_sum_exp(rows);
  bool correct[4];
  Serial serial;
  linear_cross_entropy_forward(LinearCrossEntropyForward<float>{{rows,
                                                                 vocabulary,
                                                                 1,
                                                                 {kIgnored, 0.0f, 0.0f},
                                                                 hidden_states.data(),
                                                                 kernel.data(),
                                                                 nullptr,
                                                                 labels.data()},
                                                                losses.data(),
                                                                correct,
                                                                log_sum_exp.data(),
                                                                nullptr,
                                                                nullptr,
                                                                nullptr},
                               serial);
  expect(correct[0] && !correct[1] && !correct[2] && !correct[3],
         std::string("ties isa=") + isa_name(isa));
}

void check_wrong_labels() {
  const int32_t labels[4] = {3, kIgnored, 7, -1};
  expect(wrong_label(labels, 2, 7, kIgnored).empty(), "labels in range");
  expect(wrong_label(labels, 4, 7, kIgnored).find("row 2 is 7") != std::string::npos,
         "a label that is too large");
  expect(wrong_label(labels + 3, 1, 7, kIgnored).find("row 0 is -1") != std::string::npos,
         "a negative label");
}

int run_all() {
  int cases = 3;
  check_wrong_labels();
  const int64_t sizes[][3] = {{1, 1, 1},    {3, 17, 5},    {97, 1000, 59}, {97, 129, 64},
                              {65, 128, 1}, {20, 300, 65}, {300, 40, 33}};
  for_each_isa([&](Isa isa) {
    check_ties(isa);
    const auto both = [&](const Case& c) {
      check<float>(c, "float32");
      check<bfloat16>(c, "bfloat16");
      cases += 2;
    };
    for (const auto& size : sizes) {
      for (int flags = 0; flags < 8; ++flags) {
        const bool options = (flags & 1) != 0;
        both({isa, size[0], size[1], size[2], options ? Labels::kSome : Labels::kAll, options,
              (flags & 2) != 0, (flags & 4) != 0, options ? 0.1f : 0.0f, options ? 0.01f : 0.0f});
      }
      both({isa, size[0], size[1], size[2], Labels::kNone, true, true, true, 0.0f, 0.0f});
    }
    both({isa, 0, 17, 5, Labels::kAll, true, false, true, 0.0f, 0.0f});
    both({isa, 3, 17, 0, Labels::kAll, true, false, true, 0.0f, 0.0f});
    both({isa, 70, 300, 64, Labels::kAll, true, true, true, 0.0f, 0.0f, 100.0});
    // More rows than a chunk has, so that sums over rows go on from chunk to chunk.
    both({isa, 1100, 140, 70, Labels::kAll, true, true, true, 0.0f, 0.0f});
    both({isa, 1100, 140, 70, Labels::kAll, false, false, true, 0.1f, 0.0f});
    both({isa, 1, 1025, 59, Labels::kAll, true, false, false, 0.0f, 0.0f});
    for (const bool saved : {false, true}) {
      const Case c = {isa, 97, 1025, 59, Labels::kSome, true, saved, saved, 0.1f, 0.01f};
      check_repeats<float>(c, "float32");
      check_repeats<bfloat16>(c, "bfloat16");
      cases += 2;
    }
    cases += 1;
  });
  return finish("linear_cross_entropy_test", cases);
}

}  // namespace
}  // namespace kerasllm::testing

int main() { return kerasllm::testing::run_all(); }
