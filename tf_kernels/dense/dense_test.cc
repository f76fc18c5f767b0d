// A dense layer's products, forward and backward, against float64.
#include "dense/dense.h"

#include "common/testing.h"

namespace kerasllm::testing {
namespace {

struct Case {
  int64_t rows, input_dim, units;
  bool bias;
};

template <class T>
struct Tensors {
  DenseShape shape;
  bool with_bias;
  Buffer<T> inputs, kernel, d_outputs, outputs, d_inputs, d_kernel;
  Buffer<float> bias, d_bias;

  explicit Tensors(const Case& c)
      : shape{c.rows, c.input_dim, c.units},
        with_bias(c.bias),
        inputs(c.rows * c.input_dim),
        kernel(c.input_dim * c.units),
        d_outputs(c.rows * c.units),
        outputs(c.rows * c.units),
        d_inputs(c.rows * c.input_dim),
        d_kernel(c.input_dim * c.units),
        bias(c.units),
        d_bias(c.units) {
    std::mt19937 random(3);
    inputs.fill(random, 1.0);
    kernel.fill(random, 1.0);
    d_outputs.fill(random, 1.0);
    bias.fill(random, 1.0);
  }

  void run(Parallel& parallel) {
    dense_forward(
        {shape, inputs.get(), kernel.get(), with_bias ? bias.get() : nullptr, outputs.get()},
        parallel);
    dense_backward({shape, inputs.get(), kernel.get(), d_outputs.get(), d_inputs.get(),
                    d_kernel.get(), d_bias.get()},
                   parallel);
  }
  bool same_bits(const Tensors& other) const {
    return outputs.same_bits(other.outputs) && d_inputs.same_bits(other.d_inputs) &&
           d_kernel.same_bits(other.d_kernel) && d_bias.same_bits(other.d_bias);
  }
};

// `expected` are sums of `terms` products of normal numbers: half a rounding of a number of five
// standard deviations where they are stored, and two of each partial sum.
template <class T>
void check_near(const Buffer<T>& found, const std::vector<double>& expected, int64_t terms,
                const std::string& text) {
  const double storage = sizeof(T) == 4 ? 6e-8 : 4e-3;
  const double count = static_cast<double>(terms);
  const double tolerance = storage * 5.0 * std::sqrt(count + 1.0) + 2.4e-7 * count;
  const double error = found.error(expected);
  expect(error <= tolerance,
         text + " error " + std::to_string(error) + ", at most " + std::to_string(tolerance));
}

template <class T>
void check(Isa isa, const char* type, const Case& c) {
  override_isa(isa);
  const std::string text = std::string("isa=") + isa_name(isa) + " " + type +
                           " rows=" + std::to_string(c.rows) +
                           " input_dim=" + std::to_string(c.input_dim) +
                           " units=" + std::to_string(c.units) + " bias=" + std::to_string(c.bias);
  Tensors<T> t(c);
  Serial serial;
  t.run(serial);
  for (const int threads : {2, 4}) {
    Tensors<T> again(c);
    Threads several(threads);
    again.run(several);
    expect(t.same_bits(again), text + " differs on " + std::to_string(threads) + " threads");
  }
  expect(t.outputs.guards_intact() && t.d_inputs.guards_intact() && t.d_kernel.guards_intact() &&
             t.d_bias.guards_intact(),
         text + " wrote outside a buffer");

  std::vector<double> outputs(c.rows * c.units), d_inputs(c.rows * c.input_dim);
  std::vector<double> d_kernel(c.input_dim * c.units), d_bias(c.units);
  for (int64_t row = 0; row < c.rows; ++row) {
    for (int64_t j = 0; j < c.units; ++j) {
      const double d = t.d_outputs[row * c.units + j];
      double sum = c.bias ? t.bias[j] : 0.0;
      for (int64_t k = 0; k < c.input_dim; ++k) {
        const double x = t.inputs[row * c.input_dim + k], w = t.kernel[k * c.units + j];
        sum += x * w;
        d_inputs[row * c.input_dim + k] += d * w;
        d_kernel[k * c.units + j] += x * d;
      }
      outputs[row * c.units + j] = sum;
      d_bias[j] += d;
    }
  }
  check_near(t.outputs, outputs, c.input_dim, text + " outputs");
  check_near(t.d_inputs, d_inputs, c.units, text + " d_inputs");
  check_near(t.d_kernel, d_kernel, c.rows, text + " d_kernel");
  check_near(t.d_bias, d_bias, c.rows, text + " d_bias");
}

template <class T>
void check_repeats(Isa isa, const char* type) {
  override_isa(isa);
  Tensors<T> t({1100, 59, 130, true});
  expect_repeatable(
      std::string("isa=") + isa_name(isa) + " " + type,
      [&](Parallel& parallel) { t.run(parallel); }, t.outputs, t.d_inputs, t.d_kernel, t.d_bias);
}

// A kernel larger than the caches, and more rows than go through it at a time: the same bits as
// rows by themselves.
template <class T>
void check_parts(Isa isa, const char* type) {
  override_isa(isa);
  constexpr int64_t kRows = 386, kInput = 1025, kUnits = 1027;
  Tensors<T> whole({kRows, kInput, kUnits, true});
  Threads threads(2);
  whole.run(threads);
  for (const int64_t row : {int64_t{0}, kRows / 2 - 1, kRows / 2, kRows - 1}) {
    Tensors<T> alone({1, kInput, kUnits, true});
    std::memcpy(alone.inputs.get(), whole.inputs.get() + row * kInput, kInput * sizeof(T));
    std::memcpy(alone.kernel.get(), whole.kernel.get(), kInput * kUnits * sizeof(T));
    std::memcpy(alone.d_outputs.get(), whole.d_outputs.get() + row * kUnits, kUnits * sizeof(T));
    std::memcpy(alone.bias.get(), whole.bias.get(), kUnits * sizeof(float));
    alone.run(threads);
    expect(std::memcmp(alone.outputs.get(), whole.outputs.get() + row * kUnits,
                       kUnits * sizeof(T)) == 0 &&
               std::memcmp(alone.d_inputs.get(), whole.d_inputs.get() + row * kInput,
                           kInput * sizeof(T)) == 0,
           std::string("isa=") + isa_name(isa) + " " + type + " other bits for row " +
               std::to_string(row) + " by itself");
  }
}

// The gradient of a wide kernel, whose rows come in other chunks, has the bits of its columns by
// themselves.
template <class T>
void check_wide(Isa isa, const char* type) {
  override_isa(isa);
  constexpr int64_t kRows = 1100, kInput = 300, kUnits = 310, kPart = 40;
  Tensors<T> wide({kRows, kInput, kUnits, true}), part({kRows, kInput, kPart, true});
  Threads threads(2);
  wide.run(threads);
  std::memcpy(part.inputs.get(), wide.inputs.get(), kRows * kInput * sizeof(T));
  for (int64_t row = 0; row < kRows; ++row) {
    std::memcpy(part.d_outputs.get() + row * kPart, wide.d_outputs.get() + row * kUnits,
                kPart * sizeof(T));
  }
  part.run(threads);
  bool same = true;
  for (int64_t k = 0; k < kInput; ++k) {
    same = same && std::memcmp(part.d_kernel.get() + k * kPart, wide.d_kernel.get() + k * kUnits,
                               kPart * sizeof(T)) == 0;
  }
  expect(same, std::string("isa=") + isa_name(isa) + " " + type + " other bits for columns alone");
}

// A gradient that is not asked for is not written, and does not change the others.
void check_gradients_alone(Isa isa) {
  override_isa(isa);
  Tensors<float> all({33, 20, 70, true}), alone({33, 20, 70, true});
  Serial serial;
  all.run(serial);
  DenseBackward<float> args = {
      alone.shape, alone.inputs.get(), alone.kernel.get(), alone.d_outputs.get(), nullptr, nullptr,
      nullptr};
  args.d_inputs = alone.d_inputs.get();
  dense_backward(args, serial);
  args.d_inputs = nullptr;
  args.d_kernel = alone.d_kernel.get();
  dense_backward(args, serial);
  args.d_kernel = nullptr;
  args.d_bias = alone.d_bias.get();
  dense_backward(args, serial);
  expect(alone.d_inputs.same_bits(all.d_inputs) && alone.d_kernel.same_bits(all.d_kernel) &&
             alone.d_bias.same_bits(all.d_bias),
         std::string("isa=") + isa_name(isa) + " gradients one by one");
}

void check_nan(Isa isa) {
  override_isa(isa);
  Tensors<float> t({3, 5, 4, true});
  t.inputs.get()[1 * 5 + 2] = NAN;
  Serial serial;
  t.run(serial);
  for (int64_t i = 0; i < 12; ++i) {
    expect(std::isnan(t.outputs[i]) == (i / 4 == 1),
           std::string("isa=") + isa_name(isa) + " NaN of a row");
  }
  for (int64_t i = 0; i < 20; ++i) {
    expect(std::isnan(t.d_kernel[i]) == (i / 4 == 2),
           std::string("isa=") + isa_name(isa) + " NaN of a column");
  }
}

int run_all() {
  int cases = 0;
  for_each_isa([&](Isa isa) {
    for (const Case c :
         {Case{1, 1, 1, true}, Case{0, 5, 6, true}, Case{7, 0, 6, true}, Case{7, 5, 0, false},
          Case{2, 59, 97, false}, Case{97, 64, 64, true}, Case{100, 49, 130, true},
          Case{129, 1025, 17, false}, Case{1100, 33, 65, true}, Case{2100, 8, 3, true},
          Case{3, 1025, 1027, true}}) {
      check<float>(isa, "float32", c);
      check<bfloat16>(isa, "bfloat16", c);
      cases += 2;
    }
    check_gradients_alone(isa);
    check_nan(isa);
    check_wide<float>(isa, "float32");
    check_wide<bfloat16>(isa, "bfloat16");
    check_parts<float>(isa, "float32");
    check_parts<bfloat16>(isa, "bfloat16");
    check_repeats<float>(isa, "float32");
    check_repeats<bfloat16>(isa, "bfloat16");
    cases += 8;
  });
  return finish("dense_test", cases);
}

}  // namespace
}  // namespace kerasllm::testing

int main() { return kerasllm::testing::run_all(); }
