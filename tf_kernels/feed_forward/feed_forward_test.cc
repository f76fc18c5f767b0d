// Two dense layers with an activation between them, forward and backward, against float64.
#include "feed_forward/feed_forward.h"

#include <cstdlib>
#include <memory>

#include "common/testing.h"

namespace kerasllm::testing {
namespace {

struct Case {
  int64_t rows, input_dim, dim, output_dim;
  GeluKind kind;
  bool gated, bias;
};

struct Activation {
  double value, slope;
};
Activation activation_at(GeluKind kind, double x) {
  switch (kind) {
    case GeluKind::kErf: {
      const double cdf = 0.5 * std::erfc(-x / std::sqrt(2.0));
      return {x * cdf, cdf + x * std::exp(-x * x / 2) / std::sqrt(2 * M_PI)};
    }
    case GeluKind::kTanh: {
      const double scale = std::sqrt(2.0 / M_PI), t = std::tanh(scale * (x + 0.044715 * x * x * x));
      const double slope = (1 - t * t) * scale * (1 + 3 * 0.044715 * x * x);
      return {0.5 * x * (1 + t), 0.5 * (1 + t) + 0.5 * x * slope};
    }
    case GeluKind::kSilu: {
      const double s = 1 / (1 + std::exp(-x));
      return {x * s, s + x * s * (1 - s)};
    }
    default:
      return {x > 0 ? x : 0.0, x > 0 ? 1.0 : 0.0};
  }
}

template <class T>
struct Tensors {
  FeedForwardShape shape;
  bool with_bias;
  int64_t columns;
  Buffer<T> inputs, hidden_kernel, output_kernel, d_outputs;
  Buffer<T> hidden, outputs, outputs_alone, d_inputs, d_hidden, activated;
  Buffer<float> hidden_bias, output_bias, d_hidden_bias;

  explicit Tensors(const Case& c)
      : shape{c.rows, c.input_dim, c.dim, c.output_dim, c.kind, c.gated},
        with_bias(c.bias),
        columns(feed_forward_columns(shape)),
        inputs(c.rows * c.input_dim),
        hidden_kernel(c.input_dim * columns),
        output_kernel(c.dim * c.output_dim),
        d_outputs(c.rows * c.output_dim),
        hidden(c.rows * columns),
        outputs(c.rows * c.output_dim),
        outputs_alone(c.rows * c.output_dim),
        d_inputs(c.rows * c.input_dim),
        d_hidden(c.rows * columns),
        activated(c.rows * c.dim),
        hidden_bias(columns),
        output_bias(c.output_dim),
        d_hidden_bias(columns) {
    std::mt19937 random(3);
    inputs.fill(random, 1.0);
    hidden_kernel.fill(random, 1.0 / std::sqrt(c.input_dim + 1.0));
    output_kernel.fill(random, 1.0 / std::sqrt(c.dim + 1.0));
    d_outputs.fill(random, 1.0);
    hidden_bias.fill(random, 0.5);
    output_bias.fill(random, 0.5);
  }

  void run(Parallel& parallel) {
    FeedForwardForward<T> forward = {shape,
                                     inputs.get(),
                                     hidden_kernel.get(),
                                     with_bias ? hidden_bias.get() : nullptr,
                                     output_kernel.get(),
                                     with_bias ? output_bias.get() : nullptr,
                                     hidden.get(),
                                     outputs.get()};
    feed_forward_forward(forward, parallel);
    forward.hidden = nullptr;
    forward.outputs = outputs_alone.get();
    feed_forward_forward(forward, parallel);
    feed_forward_backward(
        {shape, hidden_kernel.get(), output_kernel.get(), hidden.get(), d_outputs.get(),
         d_inputs.get(), d_hidden.get(), activated.get(), d_hidden_bias.get()},
        parallel);
  }
  bool same_bits(const Tensors& other) const {
    return hidden.same_bits(other.hidden) && outputs.same_bits(other.outputs) &&
           d_inputs.same_bits(other.d_inputs) && d_hidden.same_bits(other.d_hidden) &&
           activated.same_bits(other.activated) && d_hidden_bias.same_bits(other.d_hidden_bias);
  }
  bool guards_intact() const {
    return hidden.guards_intact() && outputs.guards_intact() && d_inputs.guards_intact() &&
           d_hidden.guards_intact() && activated.guards_intact() && d_hidden_bias.guards_intact();
  }
};

// Everything in float64, the backward pass from the stored `hidden`, whose rounding is no error of
// its own.
struct Reference {
  std::vector<double> hidden, outputs, d_inputs, d_hidden, activated, d_hidden_bias;

  template <class T>
  explicit Reference(const Tensors<T>& t)
      : hidden(t.hidden.size()),
        outputs(t.outputs.size()),
        d_inputs(t.d_inputs.size()),
        d_hidden(t.hidden.size()),
        activated(t.activated.size()),
        d_hidden_bias(t.columns) {
    const FeedForwardShape& s = t.shape;
    for (int64_t row = 0; row < s.rows; ++row) {
      double* const h = hidden.data() + row * t.columns;
      double* const d_h = d_hidden.data() + row * t.columns;
      for (int64_t j = 0; j < t.columns; ++j) {
        h[j] = t.with_bias ? t.hidden_bias[j] : 0.0;
        for (int64_t k = 0; k < s.input_dim; ++k) {
          h[j] += t.inputs[row * s.input_dim + k] * t.hidden_kernel[k * t.columns + j];
        }
      }
      std::vector<double> d_act(s.dim);
      for (int64_t o = 0; o < s.output_dim; ++o) {
        double sum = t.with_bias ? t.output_bias[o] : 0.0;
        const double d = t.d_outputs[row * s.output_dim + o];
        for (int64_t j = 0; j < s.dim; ++j) {
          const double w = t.output_kernel[j * s.output_dim + o];
          sum += activation_at(s.kind, h[j]).value * (s.gated ? h[s.dim + j] : 1.0) * w;
          d_act[j] += d * w;
        }
        outputs[row * s.output_dim + o] = sum;
      }
      for (int64_t j = 0; j < s.dim; ++j) {
        const Activation act = activation_at(s.kind, t.hidden[row * t.columns + j]);
        d_h[j] = d_act[j] * act.slope;
        activated[row * s.dim + j] = act.value;
        if (!s.gated) continue;
        d_h[j] *= t.hidden[row * t.columns + s.dim + j];
        activated[row * s.dim + j] *= t.hidden[row * t.columns + s.dim + j];
        d_h[s.dim + j] = d_act[j] * act.value;
      }
      for (int64_t j = 0; j < t.columns; ++j) {
        d_hidden_bias[j] += d_h[j];
        for (int64_t k = 0; k < s.input_dim; ++k) {
          d_inputs[row * s.input_dim + k] += d_h[j] * t.hidden_kernel[k * t.columns + j];
        }
      }
    }
  }
};

// Numbers of this test are of size 1, and those that are sums over rows of that of their root: half
// a rounding of five standard deviations where they are stored, that of what a product takes in,
// and two of each partial sum.
template <class Found>
void check_near(const Found& found, const std::vector<double>& expected, bool is_float32,
                int64_t terms, double size, const std::string& text) {
  const double storage = is_float32 ? 6e-8 : 4e-3, count = static_cast<double>(terms);
  const double tolerance = size * (storage * 10.0 + 2.4e-7 * std::sqrt(count + 1.0) * 4.0);
  const double error = found.error(expected);
  expect(error <= tolerance,
         text + " error " + std::to_string(error) + ", at most " + std::to_string(tolerance));
}

template <class T>
void check(Isa isa, const char* type, const Case& c) {
  override_isa(isa);
  const std::string text =
      std::string("isa=") + isa_name(isa) + " " + type + " rows=" + std::to_string(c.rows) +
      " input_dim=" + std::to_string(c.input_dim) + " dim=" + std::to_string(c.dim) +
      " output_dim=" + std::to_string(c.output_dim) +
      " kind=" + std::to_string(static_cast<int>(c.kind)) + " gated=" + std::to_string(c.gated) +
      " bias=" + std::to_string(c.bias);
  Tensors<T> t(c);
  Serial serial;
  t.run(serial);
  for (const int threads : {2, 4}) {
    Tensors<T> again(c);
    Threads several(threads);
    again.run(several);
    expect(t.same_bits(again), text + " differs on " + std::to_string(threads) + " threads");
  }
  expect(t.guards_intact(), text + " wrote outside a buffer");
  expect(t.outputs.values() == t.outputs_alone.values(),
         text + " gives other outputs without hidden");
  const Reference exact(t);
  const bool wide = sizeof(T) == 4;
  const double rows_size = std::sqrt(static_cast<double>(c.rows) + 1.0);
  const double gate = c.gated ? 4.0 : 1.0;  // products of two normal numbers reach further out
  check_near(t.hidden, exact.hidden, wide, c.input_dim, 1, text + " hidden");
  check_near(t.outputs, exact.outputs, wide, c.dim, gate, text + " outputs");
  check_near(t.d_hidden, exact.d_hidden, wide, c.output_dim, 2 * gate, text + " d_hidden");
  check_near(t.d_inputs, exact.d_inputs, wide, c.dim, 2 * gate, text + " d_inputs");
  check_near(t.activated, exact.activated, wide, 1, gate, text + " activated");
  check_near(t.d_hidden_bias, exact.d_hidden_bias, true, c.rows, rows_size * 2 * gate,
             text + " d_hidden_bias");
}

template <class T>
void check_repeats(Isa isa, const char* type) {
  override_isa(isa);
  Tensors<T> t({97, 59, 130, 70, GeluKind::kSilu, true, true});
  expect_repeatable(
      std::string("isa=") + isa_name(isa) + " " + type,
      [&](Parallel& parallel) { t.run(parallel); }, t.hidden, t.outputs, t.d_inputs, t.d_hidden,
      t.activated, t.d_hidden_bias);
}

// Tensors that lie at whole vectors and are larger than the caches are written past those, with the
// same bits. 360 is no multiple of all vectors, though twice 360 is.
template <class T>
void check_streamed(Isa isa, const char* type, int64_t rows, int64_t dim) {
  override_isa(isa);
  Tensors<T> t({rows, 2, dim, 1, GeluKind::kSilu, true, true});
  Threads threads(2);
  t.run(threads);
  const auto aligned = [](int64_t size) {
    const size_t bytes = (static_cast<size_t>(size) * sizeof(T) + 63) / 64 * 64;
    return std::unique_ptr<T, decltype(&std::free)>(static_cast<T*>(std::aligned_alloc(64, bytes)),
                                                    &std::free);
  };
  const auto hidden = aligned(t.hidden.size()), d_hidden = aligned(t.hidden.size());
  const auto activated = aligned(t.activated.size());
  feed_forward_forward({t.shape, t.inputs.get(), t.hidden_kernel.get(), t.hidden_bias.get(),
                        t.output_kernel.get(), t.output_bias.get(), hidden.get(), t.outputs.get()},
                       threads);
  feed_forward_backward(
      {t.shape, t.hidden_kernel.get(), t.output_kernel.get(), hidden.get(), t.d_outputs.get(),
       t.d_inputs.get(), d_hidden.get(), activated.get(), t.d_hidden_bias.get()},
      threads);
  const auto same = [](Buffer<T>& found, const T* other) {
    return std::memcmp(found.get(), other, static_cast<size_t>(found.size()) * sizeof(T)) == 0;
  };
  expect(same(t.hidden, hidden.get()) && same(t.d_hidden, d_hidden.get()) &&
             same(t.activated, activated.get()),
         std::string("isa=") + isa_name(isa) + " " + type + " dim=" + std::to_string(dim) +
             " other bits past the caches");
}

// Matrices larger than the caches, and more rows than go through them at a time: the same bits as
// rows by themselves.
void check_parts(Isa isa) {
  override_isa(isa);
  constexpr int64_t kRows = 400, kHalf = kRows / 2, kInput = 250, kDim = 4300, kOutput = 500;
  Tensors<float> whole({kRows, kInput, kDim, kOutput, GeluKind::kErf, false, true}), part(whole);
  Threads threads(2);
  whole.run(threads);
  part.shape.rows = kHalf;
  for (const int64_t first : {int64_t{0}, kHalf}) {
    const auto copy = [&](Buffer<float>& to, Buffer<float>& from, int64_t width) {
      std::memcpy(to.get(), from.get() + first * width, kHalf * width * sizeof(float));
    };
    copy(part.inputs, whole.inputs, kInput);
    copy(part.d_outputs, whole.d_outputs, kOutput);
    part.run(threads);
    const auto same = [&](Buffer<float>& found, Buffer<float>& expected, int64_t width) {
      return std::memcmp(found.get(), expected.get() + first * width,
                         kHalf * width * sizeof(float)) == 0;
    };
    expect(same(part.outputs, whole.outputs, kOutput) && same(part.hidden, whole.hidden, kDim) &&
               same(part.d_inputs, whole.d_inputs, kInput) &&
               same(part.d_hidden, whole.d_hidden, kDim) &&
               same(part.activated, whole.activated, kDim),
           std::string("isa=") + isa_name(isa) + " other bits for rows by themselves");
  }
}

void check_nan(Isa isa) {
  override_isa(isa);
  Tensors<float> t({3, 5, 70, 4, GeluKind::kErf, false, true});
  t.inputs.get()[1 * 5 + 2] = NAN;
  Serial serial;
  t.run(serial);
  const auto place = std::string("isa=") + isa_name(isa);
  for (int64_t i = 0; i < 12; ++i) {
    expect(std::isnan(t.outputs[i]) == (i / 4 == 1), place + " NaN of a row");
  }
  for (int64_t i = 0; i < 15; ++i) {
    expect(std::isnan(t.d_inputs[i]) == (i / 5 == 1), place + " NaN of a row's gradient");
  }
}

int run_all() {
  int cases = 0;
  for_each_isa([&](Isa isa) {
    constexpr GeluKind kErf = GeluKind::kErf, kSilu = GeluKind::kSilu;
    for (const Case& c :
         {Case{1, 1, 1, 1, kErf, false, true}, Case{0, 5, 6, 7, kErf, true, true},
          Case{7, 0, 6, 5, kErf, false, true}, Case{7, 5, 0, 6, kErf, true, true},
          Case{7, 5, 6, 0, kSilu, true, false}, Case{2, 59, 97, 33, kErf, false, false},
          Case{100, 64, 64, 64, GeluKind::kTanh, false, true},
          Case{97, 49, 130, 65, kSilu, true, true}, Case{61, 33, 1100, 17, kErf, false, true},
          Case{13, 17, 600, 130, kSilu, true, false}, Case{37, 200, 2100, 300, kSilu, true, true},
          Case{5, 2100, 33, 8, kErf, false, true}, Case{9, 64, 6000, 130, kErf, false, false},
          Case{1100, 16, 40, 24, GeluKind::kRelu, false, true}}) {
      check<float>(isa, "float32", c);
      check<bfloat16>(isa, "bfloat16", c);
      cases += 2;
    }
    check_nan(isa);
    check_parts(isa);
    check_repeats<float>(isa, "float32");
    check_repeats<bfloat16>(isa, "bfloat16");
    for (const int64_t dim : {352, 360}) {
      check_streamed<float>(isa, "float32", 12000, dim);
      check_streamed<bfloat16>(isa, "bfloat16", 24000, dim);
    }
    cases += 8;
  });
  return finish("feed_forward_test", cases);
}

}  // namespace
}  // namespace kerasllm::testing

int main() { return kerasllm::testing::run_all(); }
