// Layer normalisation, forward and backward, against float64.
#include "layer_norm/layer_norm.h"

#include "common/testing.h"
#include "dropout/dropout.h"

namespace kerasllm::testing {
namespace {

struct Case {
  int64_t rows, dim;
  bool rms, residual, affine;
  float rate;
  double mean = 0.0, scale = 1.0;
};

std::string text_of(Isa isa, const char* type, const Case& c) {
  return std::string("isa=") + isa_name(isa) + " " + type + " rows=" + std::to_string(c.rows) +
         " dim=" + std::to_string(c.dim) + " rms=" + std::to_string(c.rms) +
         " residual=" + std::to_string(c.residual) + " affine=" + std::to_string(c.affine) +
         " rate=" + std::to_string(c.rate) + " mean=" + std::to_string(c.mean);
}

template <class T>
struct Tensors {
  Case c;
  Dropout dropout;
  Buffer<T> inputs, residual, d_outputs, d_more;
  Buffer<float> gamma, beta;
  // Results.
  Buffer<T> outputs, sum, d_inputs, d_residual;
  Buffer<float> mean, reciprocal_deviation, d_gamma, d_beta;

  explicit Tensors(const Case& the_case)
      : c(the_case),
        inputs(c.rows * c.dim),
        residual(c.rows * c.dim),
        d_outputs(c.rows * c.dim),
        d_more(c.rows * c.dim),
        gamma(c.dim),
        beta(c.dim),
        outputs(c.rows * c.dim),
        sum(c.rows * c.dim),
        d_inputs(c.rows * c.dim),
        d_residual(c.rows * c.dim),
        mean(c.rows),
        reciprocal_deviation(c.rows),
        d_gamma(c.dim),
        d_beta(c.dim) {
    const int32_t seed[2] = {11, 22};
    dropout = make_dropout(c.rate, seed);
    std::mt19937 random(3);
    std::normal_distribution<double> normal(c.mean, c.scale);
    for (int64_t i = 0; i < inputs.size(); ++i) assign(inputs.get() + i, normal(random));
    residual.fill(random, c.scale);
    d_outputs.fill(random, 1.0);
    d_more.fill(random, 1.0);
    gamma.fill(random, 1.0);
    beta.fill(random, 1.0);
  }

  bool keeps_sum() const { return c.residual || c.rate > 0.0f; }

  void run(Parallel& parallel) {
    const LayerNormShape shape = {c.rows, c.dim, c.rms, dropout};
    layer_norm_forward(
        {shape, kEpsilon, inputs.get(), c.residual ? residual.get() : nullptr,
         c.affine ? gamma.get() : nullptr, c.affine ? beta.get() : nullptr, outputs.get(),
         keeps_sum() ? sum.get() : nullptr, mean.get(), reciprocal_deviation.get()},
        parallel);
    layer_norm_backward({shape, keeps_sum() ? sum.get() : inputs.get(),
                         c.affine ? gamma.get() : nullptr, mean.get(), reciprocal_deviation.get(),
                         d_outputs.get(), c.residual ? d_more.get() : nullptr, d_inputs.get(),
                         c.rate > 0.0f ? d_residual.get() : nullptr, d_gamma.get(), d_beta.get()},
                        parallel);
  }

  bool same_bits(const Tensors& other) const {
    return outputs.same_bits(other.outputs) && sum.same_bits(other.sum) &&
           mean.same_bits(other.mean) &&
           reciprocal_deviation.same_bits(other.reciprocal_deviation) &&
           d_inputs.same_bits(other.d_inputs) && d_residual.same_bits(other.d_residual) &&
           d_gamma.same_bits(other.d_gamma) && d_beta.same_bits(other.d_beta);
  }
  bool guards_intact() const {
    return outputs.guards_intact() && sum.guards_intact() && mean.guards_intact() &&
           reciprocal_deviation.guards_intact() && d_inputs.guards_intact() &&
           d_residual.guards_intact() && d_gamma.guards_intact() && d_beta.guards_intact();
  }

  static constexpr float kEpsilon = 1e-5f;
};

// What elements are multiplied by: the dropout op's kernel, tested against a scalar Philox, drops
// the same ones.
template <class T>
std::vector<double> factors_of(const Tensors<T>& t) {
  Buffer<float> ones(t.inputs.size()), factors(t.inputs.size());
  for (int64_t i = 0; i < ones.size(); ++i) ones.get()[i] = 1.0f;
  Serial serial;
  dropout({t.c.rows, t.c.dim, t.dropout, ones.get(), factors.get()}, serial);
  return factors.values();
}

struct Expected {
  std::vector<double> outputs, sum, d_inputs, d_residual, d_gamma, d_beta;
  double d_scale = 1e-30;  // the largest term of a gradient, where the terms may cancel out
};

template <class T>
Expected reference(const Tensors<T>& t) {
  const Case& c = t.c;
  const std::vector<double> factors = factors_of(t), zeros(c.rows * c.dim, 0.0);
  Expected e = {zeros, zeros, zeros, zeros, {}, {}, 1e-30};
  e.d_gamma.resize(c.dim);
  e.d_beta.resize(c.dim);
  for (int64_t row = 0; row < c.rows; ++row) {
    std::vector<double> values(c.dim), g(c.dim), x(c.dim);
    double mean = 0.0, variance = 0.0, mean_g = 0.0, mean_gx = 0.0;
    for (int64_t i = 0; i < c.dim; ++i) {
      const int64_t at = row * c.dim + i;
      e.sum[at] = t.inputs[at] * factors[at] + (c.residual ? t.residual[at] : 0.0);
      values[i] = t.keeps_sum() ? t.sum[at] : t.inputs[at];  // checked against e.sum
      if (!c.rms) mean += values[i] / c.dim;
    }
    for (const double v : values) variance += (v - mean) * (v - mean) / c.dim;
    const double reciprocal = 1.0 / std::sqrt(variance + double{Tensors<T>::kEpsilon});
    for (int64_t i = 0; i < c.dim; ++i) {
      const int64_t at = row * c.dim + i;
      const double gamma = c.affine ? t.gamma[i] : 1.0, beta = c.affine ? t.beta[i] : 0.0;
      x[i] = (values[i] - mean) * reciprocal;
      e.outputs[at] = x[i] * gamma + beta;
      g[i] = t.d_outputs[at] * gamma;
      if (!c.rms) mean_g += g[i] / c.dim;
      mean_gx += g[i] * x[i] / c.dim;
      e.d_gamma[i] += t.d_outputs[at] * x[i];
      e.d_beta[i] += t.d_outputs[at];
    }
    for (int64_t i = 0; i < c.dim; ++i) {
      const int64_t at = row * c.dim + i;
      const double more = c.residual ? t.d_more[at] : 0.0;
      e.d_residual[at] = (g[i] - mean_g - x[i] * mean_gx) * reciprocal + more;
      e.d_inputs[at] = e.d_residual[at] * factors[at];
      e.d_scale = std::max(e.d_scale, std::fabs(g[i]) * reciprocal + std::fabs(more));
    }
  }
  return e;
}

double largest(const std::vector<double>& values) {
  double result = 1e-30;
  for (const double v : values) result = std::max(result, std::fabs(v));
  return result;
}

template <class T>
void check(Isa isa, const char* type, const Case& c) {
  override_isa(isa);
  const std::string text = text_of(isa, type, c);
  Tensors<T> t(c), again(c);
  Serial serial;
  t.run(serial);
  Threads three(3);
  again.run(three);
  expect(t.same_bits(again), text + " differs by threads");
  expect(t.guards_intact(), text + " wrote outside a buffer");
  const Expected e = reference(t);
  // A mean far off makes the values coarse beside their deviation: that is in the input's rounding,
  // which the reference shares, and in that of the mean, which it does not.
  const double exact = 2e-6 + 1e-7 * c.mean / c.scale, storage = sizeof(T) == 4 ? exact : 4.5e-3;
  const auto near = [&](const auto& found, const std::vector<double>& expected, double tolerance,
                        double scale, const char* name) {
    const double error = found.error(expected) / scale;
    expect(error <= tolerance, text + " " + name + " error " + std::to_string(error));
  };
  near(t.outputs, e.outputs, storage, largest(e.outputs), "outputs");
  if (t.keeps_sum()) {
    near(t.sum, e.sum, sizeof(T) == 4 ? 2e-7 : 4.5e-3, largest(e.sum), "sum");
  }
  near(t.d_inputs, e.d_inputs, storage, e.d_scale * t.dropout.scale, "d_inputs");
  if (c.rate > 0.0f) near(t.d_residual, e.d_residual, storage, e.d_scale, "d_residual");
  near(t.d_gamma, e.d_gamma, 4 * exact, largest(e.d_gamma), "d_gamma");
  near(t.d_beta, e.d_beta, 4 * exact, largest(e.d_beta), "d_beta");
}

// Outputs in the place of inputs give the same bits.
template <class T>
void check_in_place(Isa isa, const char* type) {
  override_isa(isa);
  const Case c = {70, 131, false, true, true, 0.3f};
  const LayerNormShape no_dropout = {c.rows, c.dim, c.rms, {}};
  Tensors<T> t(c), apart(c);
  Threads three(3);
  apart.run(three);
  const LayerNormShape shape = {c.rows, c.dim, c.rms, t.dropout};
  layer_norm_forward(
      {shape, t.kEpsilon, t.inputs.get(), t.residual.get(), t.gamma.get(), t.beta.get(),
       t.inputs.get(), t.residual.get(), t.mean.get(), t.reciprocal_deviation.get()},
      three);
  expect(t.inputs.same_bits(apart.outputs) && t.residual.same_bits(apart.sum),
         text_of(isa, type, c) + " forward in place");
  layer_norm_backward({shape, t.residual.get(), t.gamma.get(), t.mean.get(),
                       t.reciprocal_deviation.get(), t.d_outputs.get(), t.d_more.get(),
                       t.d_outputs.get(), t.d_more.get(), t.d_gamma.get(), t.d_beta.get()},
                      three);
  expect(t.d_outputs.same_bits(apart.d_inputs) && t.d_more.same_bits(apart.d_residual) &&
             t.d_gamma.same_bits(apart.d_gamma),
         text_of(isa, type, c) + " backward in place");
  // Without dropout and residual, in place of the only input.
  Tensors<T> plain(c), plain_apart(c);
  for (Tensors<T>* const one : {&plain, &plain_apart}) {
    T* const to = one == &plain ? one->inputs.get() : one->outputs.get();
    layer_norm_forward({no_dropout, t.kEpsilon, one->inputs.get(), nullptr, nullptr, nullptr, to,
                        nullptr, one->mean.get(), one->reciprocal_deviation.get()},
                       three);
  }
  expect(plain.inputs.same_bits(plain_apart.outputs), text_of(isa, type, c) + " plain in place");
}

template <class T>
void check_repeats(Isa isa, const char* type) {
  override_isa(isa);
  const Case c = {97, 1025, false, true, true, 0.3f};
  Tensors<T> t(c);
  expect_repeatable(
      text_of(isa, type, c), [&](Parallel& parallel) { t.run(parallel); }, t.outputs, t.sum, t.mean,
      t.reciprocal_deviation, t.d_inputs, t.d_residual, t.d_gamma, t.d_beta);
}

void check_nan(Isa isa) {
  override_isa(isa);
  Tensors<float> t({3, 37, false, true, true, 0.0f});
  t.inputs.get()[37 + 36] = NAN;
  Serial serial;
  t.run(serial);
  for (int64_t i = 0; i < 3 * 37; ++i) {
    const bool in_row = i / 37 == 1;
    expect(std::isnan(t.outputs[i]) == in_row && std::isnan(t.d_inputs[i]) == in_row,
           std::string("isa=") + isa_name(isa) + " NaN at " + std::to_string(i));
  }
}

void check_no_rows(Isa isa) {
  override_isa(isa);
  Tensors<float> t({0, 5, false, true, true, 0.0f});
  Serial serial;
  t.run(serial);
  expect(t.d_gamma.error(std::vector<double>(5, 0.0)) == 0.0, "d_gamma of no rows is zero");
}

int run_all() {
  std::vector<Case> cases;
  for (const int64_t dim : {1, 7, 59, 64, 129, 768, 1025}) {
    for (const int64_t rows : {1, 70}) {
      for (const bool rms : {false, true}) {
        for (const bool residual : {false, true}) {
          for (const float rate : {0.0f, 0.25f}) {
            cases.push_back({rows, dim, rms, residual, dim != 59, rate});
          }
        }
      }
    }
  }
  cases.push_back({20000, 37, false, true, true, 0.1f});
  cases.push_back({9, 768, false, false, true, 0.0f, 1000.0});
  cases.push_back({9, 1025, false, false, true, 0.0f, 1000.0, 0.1});
  int count = 0;
  for_each_isa([&](Isa isa) {
    for (const Case& c : cases) {
      check<float>(isa, "float32", c);
      if (c.mean == 0.0) check<bfloat16>(isa, "bfloat16", c);
    }
    check_in_place<float>(isa, "float32");
    check_in_place<bfloat16>(isa, "bfloat16");
    check_nan(isa);
    check_no_rows(isa);
    check_repeats<float>(isa, "float32");
    check_repeats<bfloat16>(isa, "bfloat16");
    count += static_cast<int>(2 * cases.size()) + 4;
  });
  return finish("layer_norm_test", count);
}

}  // namespace
}  // namespace kerasllm::testing

int main() { return kerasllm::testing::run_all(); }
