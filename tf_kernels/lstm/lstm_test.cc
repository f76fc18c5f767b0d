// LSTM forward and backward against a float64 reference: every instruction set that this processor
// runs (AMX emulated where it is compiled so), odd sizes, masks, both directions, one and more
// threads bit-equal, buffers poisoned and guarded.
#include "lstm/lstm.h"

#include <algorithm>

#include "common/testing.h"
#include "lstm/lstm_reference.h"

namespace kerasllm::testing {
namespace {

enum class Mask { kNone, kRight, kLeft, kScattered, kNothing };
const char* const kMaskNames[] = {"none", "right", "left", "scattered", "nothing"};

struct Case {
  Isa isa;
  LstmShape shape;
  Mask mask;

  std::string text(const char* type) const {
    char line[256];
    std::snprintf(line, sizeof(line),
                  "isa=%s %s batch=%d time=%d input_dim=%d units=%d backwards=%d zero=%d "
                  "sequences=%d mask=%s",
                  isa_name(isa), type, static_cast<int>(shape.batch), static_cast<int>(shape.time),
                  static_cast<int>(shape.input_dim), static_cast<int>(shape.units),
                  shape.go_backwards, shape.zero_output_for_mask, shape.return_sequences,
                  kMaskNames[static_cast<int>(mask)]);
    return line;
  }
};

// A layer's tensors: what goes in, what is kept, what comes out.
template <class T>
struct Tensors {
  Buffer<T> inputs, initial_hidden, initial_cell, kernel, recurrent_kernel, bias;
  Buffer<T> outputs, final_hidden, final_cell, gates, hidden;
  Buffer<float> cells;
  Buffer<T> d_outputs, d_final_hidden, d_final_cell;
  Buffer<T> d_inputs, d_initial_hidden, d_initial_cell, d_kernel, d_recurrent_kernel, d_bias;
  std::vector<char> mask;

  Tensors(const LstmShape& s, Mask kind, unsigned seed)
      : inputs(s.batch * s.time * s.input_dim),
        initial_hidden(s.batch * s.units),
        initial_cell(s.batch * s.units),
        kernel(s.input_dim * 4 * s.units),
        recurrent_kernel(s.units * 4 * s.units),
        bias(4 * s.units),
        outputs(s.batch * (s.return_sequences ? s.time : 1) * s.units),
        final_hidden(s.batch * s.units),
        final_cell(s.batch * s.units),
        gates(s.time * s.batch * 4 * lstm_state_size(s.units)),
        hidden(s.time * s.batch * lstm_state_size(s.units)),
        cells(s.time * s.batch * lstm_state_size(s.units)),
        d_outputs(outputs.size()),
        d_final_hidden(s.batch * s.units),
        d_final_cell(s.batch * s.units),
        d_inputs(inputs.size()),
        d_initial_hidden(s.batch * s.units),
        d_initial_cell(s.batch * s.units),
        d_kernel(kernel.size()),
        d_recurrent_kernel(recurrent_kernel.size()),
        d_bias(bias.size()),
        mask(s.batch * s.time, 1) {
    std::mt19937 random(seed);
    for (Buffer<T>* b :
         {&inputs, &initial_hidden, &initial_cell, &d_outputs, &d_final_hidden, &d_final_cell}) {
      b->fill(random, 1.0);
    }
    kernel.fill(random, 1.0 / std::sqrt(s.input_dim));
    recurrent_kernel.fill(random, 1.0 / std::sqrt(s.units));
    bias.fill(random, 0.5);
    for (int64_t b = 0; b < s.batch; ++b) {
      const int64_t length = random() % (s.time + 1);
      for (int64_t t = 0; t < s.time; ++t) {
        char& on = mask[b * s.time + t];
        if (kind == Mask::kRight) on = t < length;
        if (kind == Mask::kLeft) on = t >= s.time - length;
        if (kind == Mask::kScattered) on = random() % 3 != 0;
        if (kind == Mask::kNothing) on = 0;
      }
    }
  }

  const bool* mask_or_null(Mask kind) const {
    return kind == Mask::kNone ? nullptr : reinterpret_cast<const bool*>(mask.data());
  }
  std::vector<Buffer<T>*> results() {
    return {&outputs,          &final_hidden,   &final_cell,         &d_inputs, &d_kernel,
            &d_initial_hidden, &d_initial_cell, &d_recurrent_kernel, &d_bias};
  }

  void run(const LstmShape& shape, Mask kind, Parallel& parallel) {
    lstm_forward(LstmForward<T>{shape, inputs.get(), initial_hidden.get(), initial_cell.get(),
                                kernel.get(), recurrent_kernel.get(), bias.get(),
                                mask_or_null(kind), outputs.get(), final_hidden.get(),
                                final_cell.get(), gates.get(), cells.get(), hidden.get()},
                 parallel);
    lstm_backward(
        LstmBackward<T>{shape, inputs.get(), initial_hidden.get(), initial_cell.get(), kernel.get(),
                        recurrent_kernel.get(), mask_or_null(kind), gates.get(), cells.get(),
                        hidden.get(), d_outputs.get(), d_final_hidden.get(), d_final_cell.get(),
                        d_inputs.get(), d_initial_hidden.get(), d_initial_cell.get(),
                        d_kernel.get(), d_recurrent_kernel.get(), d_bias.get()},
        parallel);
  }
};

const char* const kResultNames[] = {"outputs",        "final_hidden",       "final_cell",
                                    "d_inputs",       "d_kernel",           "d_initial_hidden",
                                    "d_initial_cell", "d_recurrent_kernel", "d_bias"};

template <class T>
void check(const Case& c, const Tensors<T>& start,
           const std::vector<std::vector<double>>& reference, const char* type, double tolerance) {
  override_isa(c.isa);
  Tensors<T> one = start, again = start;
  Serial serial;
  one.run(c.shape, c.mask, serial);
  Threads three(3);
  again.run(c.shape, c.mask, three);
  for (size_t i = 0; i < reference.size(); ++i) {
    const std::string what = std::string(kResultNames[i]) + " " + c.text(type);
    const double scale = largest(reference[i]);
    const double error = one.results()[i]->error(reference[i]);
    expect(error <= tolerance * std::max(1.0, scale), what + " error " + std::to_string(error));
    expect(one.results()[i]->guards_intact(), what + " wrote outside its buffer");
    expect(one.results()[i]->same_bits(*again.results()[i]), what + " differs by threads");
  }
}

template <class T>
void check(const std::vector<Isa>& isas, const LstmShape& shape, Mask mask, const char* type,
           double tolerance) {
  const Tensors<T> start(shape, mask, 1);
  const std::vector<std::vector<double>> reference = reference_lstm(
      shape, start.inputs.values(), start.initial_hidden.values(), start.initial_cell.values(),
      start.kernel.values(), start.recurrent_kernel.values(), start.bias.values(),
      mask == Mask::kNone ? nullptr : start.mask.data(), start.d_outputs.values(),
      start.d_final_hidden.values(), start.d_final_cell.values());
  for (const Isa isa : isas) check<T>({isa, shape, mask}, start, reference, type, tolerance);
}

template <class T>
void check_repeats(Isa isa, const char* type) {
  override_isa(isa);
  const Case c{isa, {5, 31, 5, 59, false, false, true}, Mask::kScattered};
  Tensors<T> t(c.shape, c.mask, 1);
  expect_repeatable(
      c.text(type), [&](Parallel& parallel) { t.run(c.shape, c.mask, parallel); }, t.outputs,
      t.final_hidden, t.final_cell, t.d_inputs, t.d_kernel, t.d_initial_hidden, t.d_initial_cell,
      t.d_recurrent_kernel, t.d_bias);
}

std::vector<LstmShape> shapes() {
  std::vector<LstmShape> all;
  const int64_t sizes[][4] = {{1, 1, 1, 1},    {3, 5, 4, 3},    {7, 9, 17, 33},
                              {13, 4, 64, 16}, {2, 31, 5, 100}, {33, 3, 128, 65}};
  for (const auto& size : sizes) {
    for (int flags = 0; flags < 8; ++flags) {
      all.push_back({size[0], size[1], size[2], size[3], (flags & 1) != 0, (flags & 2) != 0,
                     (flags & 4) != 0});
    }
  }
  // Long enough for backward to go in several chunks of time.
  all.push_back({9, 250, 3, 70, false, false, true});
  all.push_back({9, 250, 3, 70, true, false, false});
  all.push_back({2, 97, 7, 59, false, true, true});
  all.push_back({1, 1025, 3, 1, true, false, true});
  return all;
}

int run_all() {
  std::vector<Isa> isas;
  for_each_isa([&](Isa isa) { isas.push_back(isa); });
  int cases = 0;
  for (const LstmShape& shape : shapes()) {
    for (int mask = 0; mask < 5; ++mask) {
      check<float>(isas, shape, static_cast<Mask>(mask), "float32", 3e-6);
      check<bfloat16>(isas, shape, static_cast<Mask>(mask), "bfloat16", 4e-2);
      cases += 2 * static_cast<int>(isas.size());
    }
  }
  for (const Isa isa : isas) {
    check_repeats<float>(isa, "float32");
    check_repeats<bfloat16>(isa, "bfloat16");
    cases += 2;
  }
  return finish("lstm_test", cases);
}

}  // namespace
}  // namespace kerasllm::testing

int main() { return kerasllm::testing::run_all(); }
