// Bias and activation, forward and backward, against float64.
#include "gelu/gelu.h"

#include "common/testing.h"

namespace kerasllm::testing {
namespace {

double value_at(GeluKind kind, double x) {
  switch (kind) {
    case GeluKind::kErf:
      return x * 0.5 * std::erfc(-x / std::sqrt(2.0));
    case GeluKind::kTanh:
      return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x)));
    case GeluKind::kSilu:
      return x / (1.0 + std::exp(-x));
    default:
      return x > 0.0 ? x : 0.0;
  }
}

double slope_at(GeluKind kind, double x) {
  if (kind == GeluKind::kRelu) return x > 0.0 ? 1.0 : 0.0;
  if (kind == GeluKind::kErf) {
    return 0.5 * std::erfc(-x / std::sqrt(2.0)) + x * std::exp(-x * x / 2) / std::sqrt(2 * M_PI);
  }
  const double h = 1e-5;  // central difference: an error of 1e-10
  return (value_at(kind, x + h) - value_at(kind, x - h)) / (2 * h);
}

struct Case {
  int64_t rows, dim;
  GeluKind kind;
  bool gated, bias;
};

template <class T>
struct Tensors {
  GeluShape shape;
  bool with_bias;
  Buffer<T> inputs, d_outputs, outputs, d_inputs;
  Buffer<float> bias, d_bias;

  explicit Tensors(const Case& c)
      : shape{c.rows, c.dim, c.kind, c.gated},
        with_bias(c.bias),
        inputs(c.rows * gelu_columns(shape)),
        d_outputs(c.rows * c.dim),
        outputs(c.rows * c.dim),
        d_inputs(c.rows * gelu_columns(shape)),
        bias(gelu_columns(shape)),
        d_bias(gelu_columns(shape)) {
    std::mt19937 random(5);
    inputs.fill(random, 2.0);
    d_outputs.fill(random, 1.0);
    bias.fill(random, 0.5);
  }

  void run(Parallel& parallel) { run(parallel, outputs.get(), d_inputs.get()); }
  void run(Parallel& parallel, T* to, T* d_to) {
    const float* const b = with_bias ? bias.get() : nullptr;
    gelu_backward(
        {shape, inputs.get(), b, d_outputs.get(), d_to, with_bias ? d_bias.get() : nullptr},
        parallel);
    gelu_forward({shape, inputs.get(), b, to}, parallel);
  }
};

template <class T>
void check(Isa isa, const char* type, const Case& c) {
  override_isa(isa);
  const std::string text = std::string("isa=") + isa_name(isa) + " " + type +
                           " rows=" + std::to_string(c.rows) + " dim=" + std::to_string(c.dim) +
                           " kind=" + std::to_string(static_cast<int>(c.kind)) +
                           " gated=" + std::to_string(c.gated) + " bias=" + std::to_string(c.bias);
  Tensors<T> t(c), again(c), in_place(c);
  Serial serial;
  t.run(serial);
  Threads three(3);
  again.run(three);
  expect(t.outputs.same_bits(again.outputs) && t.d_inputs.same_bits(again.d_inputs) &&
             t.d_bias.same_bits(again.d_bias),
         text + " differs by threads");
  expect(t.outputs.guards_intact() && t.d_inputs.guards_intact() && t.d_bias.guards_intact(),
         text + " wrote outside a buffer");
  if (!c.gated) {
    in_place.run(three, in_place.inputs.get(), in_place.d_outputs.get());
    expect(in_place.inputs.same_bits(t.outputs) && in_place.d_outputs.same_bits(t.d_inputs),
           text + " in place");
  }
  const int64_t columns = gelu_columns(t.shape);
  std::vector<double> outputs(c.rows * c.dim), d_inputs(c.rows * columns), d_bias(columns);
  for (int64_t row = 0; row < c.rows; ++row) {
    for (int64_t i = 0; i < c.dim; ++i) {
      const int64_t at = row * columns + i, out = row * c.dim + i;
      const double x = t.inputs[at] + (c.bias ? t.bias[i] : 0.0), act = value_at(c.kind, x);
      const double value =
          c.gated ? t.inputs[at + c.dim] + (c.bias ? t.bias[i + c.dim] : 0.0) : 1.0;
      const double d = t.d_outputs[out];
      outputs[out] = act * value;
      d_inputs[at] = d * slope_at(c.kind, x) * value;
      d_bias[i] += d_inputs[at];
      if (c.gated) {
        d_inputs[at + c.dim] = d * act;
        d_bias[i + c.dim] += d_inputs[at + c.dim];
      }
    }
  }
  // Values are at most about 10, and 40 where gated.
  const double storage = sizeof(T) == 4 ? 6e-6 : 0.14;
  const auto near = [&](const auto& found, const std::vector<double>& expected, double tolerance,
                        const char* name) {
    const double error = found.error(expected);
    expect(error <= tolerance, text + " " + name + " error " + std::to_string(error));
  };
  near(t.outputs, outputs, storage, "outputs");
  near(t.d_inputs, d_inputs, storage, "d_inputs");
  if (c.bias) near(t.d_bias, d_bias, 1e-5 * std::sqrt(static_cast<double>(c.rows)), "d_bias");
}

template <class T>
void check_repeats(Isa isa, const char* type) {
  override_isa(isa);
  Tensors<T> t({97, 1025, GeluKind::kErf, true, true});
  expect_repeatable(
      std::string("isa=") + isa_name(isa) + " " + type,
      [&](Parallel& parallel) { t.run(parallel); }, t.outputs, t.d_inputs, t.d_bias);
}

// Every kind at 200,001 points from -20 to 20, by its relative error and that of its slope.
void check_accuracy(Isa isa) {
  override_isa(isa);
  const int64_t count = 200001;
  for (int kind = 0; kind < kNumGeluKinds; ++kind) {
    const GeluShape shape = {1, count, static_cast<GeluKind>(kind), false};
    Buffer<float> x(count), y(count), ones(count), slope(count);
    for (int64_t i = 0; i < count; ++i) {
      x.get()[i] = static_cast<float>(i - count / 2) * 1e-4f * 2.0f;
      ones.get()[i] = 1.0f;
    }
    Serial serial;
    gelu_forward({shape, x.get(), nullptr, y.get()}, serial);
    gelu_backward({shape, x.get(), nullptr, ones.get(), slope.get(), nullptr}, serial);
    double above = 0.0, near = 0.0, slopes = 0.0;
    for (int64_t i = 0; i < count; ++i) {
      const double exact = value_at(shape.kind, x[i]);
      const double relative = exact == 0.0 ? std::fabs(y[i]) : std::fabs(y[i] / exact - 1.0);
      if (x[i] >= 0.0) above = std::fmax(above, relative);
      if (x[i] < 0.0 && x[i] > -2.0) near = std::fmax(near, relative);
      slopes = std::fmax(slopes, std::fabs(slope[i] - slope_at(shape.kind, x[i])));
    }
    const std::string text = std::string("isa=") + isa_name(isa) + " kind=" + std::to_string(kind) +
                             " relative error " + std::to_string(above * 1e7) + "e-7, below zero " +
                             std::to_string(near * 1e7) + "e-7, of slopes " +
                             std::to_string(slopes * 1e7) + "e-7";
    expect(above < 3e-7 && near < 8e-7 && slopes < 6e-7, text);
  }
}

void check_nan_and_no_rows(Isa isa) {
  override_isa(isa);
  Serial serial;
  for (int kind = 0; kind < kNumGeluKinds; ++kind) {
    Tensors<float> t({2, 9, static_cast<GeluKind>(kind), false, true});
    t.inputs.get()[12] = NAN;
    t.run(serial);
    for (int64_t i = 0; i < 18; ++i) {
      expect(std::isnan(t.outputs[i]) == (i == 12) && std::isnan(t.d_inputs[i]) == (i == 12),
             std::string("isa=") + isa_name(isa) + " NaN, kind=" + std::to_string(kind));
    }
    Tensors<float> none({0, 9, static_cast<GeluKind>(kind), true, true});
    none.run(serial);
    expect(none.d_bias.error(std::vector<double>(18, 0.0)) == 0.0, "d_bias of no rows is zero");
  }
}

int run_all() {
  int cases = 0;
  for_each_isa([&](Isa isa) {
    for (int kind = 0; kind < kNumGeluKinds; ++kind) {
      for (const int64_t dim : {1, 7, 59, 64, 129, 1025}) {
        for (const int64_t rows : {1, 70}) {
          for (const bool gated : {false, true}) {
            for (const bool bias : {false, true}) {
              const Case c = {rows, dim, static_cast<GeluKind>(kind), gated, bias};
              check<float>(isa, "float32", c);
              check<bfloat16>(isa, "bfloat16", c);
              cases += 2;
            }
          }
        }
      }
    }
    check<float>(isa, "float32", {20000, 19, GeluKind::kErf, false, true});
    check_accuracy(isa);
    check_nan_and_no_rows(isa);
    check_repeats<float>(isa, "float32");
    check_repeats<bfloat16>(isa, "bfloat16");
    cases += 5;
  });
  return finish("gelu_test", cases);
}

}  // namespace
}  // namespace kerasllm::testing

int main() { return kerasllm::testing::run_all(); }
