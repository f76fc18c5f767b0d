// The product of a few rows against float64.
#include "few_rows_product/few_rows_product.h"

#include <memory>

#include "common/testing.h"

namespace kerasllm::testing {
namespace {

template <class T>
void check(Isa isa, const char* type, int64_t rows, int64_t depth, int64_t columns, bool transposed,
           bool wide) {
  override_isa(isa);
  const std::string text =
      std::string("isa=") + isa_name(isa) + " " + type + " rows=" + std::to_string(rows) +
      " depth=" + std::to_string(depth) + " columns=" + std::to_string(columns) +
      " transposed=" + std::to_string(transposed) + " wide=" + std::to_string(wide);
  std::mt19937 random(1);
  Buffer<T> inputs(rows * depth), kernel(depth * columns), bias(columns);
  inputs.fill(random, 1.0), kernel.fill(random, 1.0), bias.fill(random, 1.0);
  std::vector<double> expected(rows * columns);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t j = 0; j < columns; ++j) {
      double sum = wide ? 0.0 : bias[j];
      for (int64_t k = 0; k < depth; ++k) {
        sum += inputs[r * depth + k] * kernel[transposed ? j * depth + k : k * columns + j];
      }
      expected[r * columns + j] = sum;
    }
  }
  const auto run = [&](Buffer<T>& outputs, Buffer<float>& wide_outputs, Parallel& parallel) {
    const FewRowsProduct<T> args = {rows,
                                    depth,
                                    columns,
                                    transposed,
                                    inputs.get(),
                                    kernel.get(),
                                    wide ? nullptr : bias.get(),
                                    wide ? nullptr : outputs.get(),
                                    wide ? wide_outputs.get() : nullptr};
    few_rows_products(&args, 1, parallel);
  };
  Buffer<T> outputs(rows * columns), again(rows * columns);
  Buffer<float> wide_outputs(rows * columns), wide_again(rows * columns);
  Serial serial;
  run(outputs, wide_outputs, serial);
  const double error = wide ? wide_outputs.error(expected) : outputs.error(expected);
  const double scale = std::sqrt(static_cast<double>(depth)) + 1.0;
  const double rounding = sizeof(T) == 4 || wide ? 2e-6 : 1.6e-2;  // of the result to bfloat16
  expect(error <= rounding * scale, text + " error " + std::to_string(error));
  expect(outputs.guards_intact() && wide_outputs.guards_intact(), text + " wrote outside");
  for (const int threads : {2, 3, 4}) {
    Threads several(threads);
    run(again, wide_again, several);
    expect(outputs.same_bits(again) && wide_outputs.same_bits(wide_again),
           text + " differs by threads");
  }
  if (depth == 59 && columns == 1025 && rows <= 2) {
    expect_repeatable(
        text, [&](Parallel& parallel) { run(again, wide_again, parallel); }, again, wide_again);
  }
}

// Several products in one call have the bits of each alone.
template <class T>
void check_several(Isa isa, const char* type, bool transposed) {
  override_isa(isa);
  constexpr int64_t kRows = 3, kDepth = 131, kColumns[] = {97, 0, 1025};
  std::mt19937 random(1);
  Buffer<T> inputs(kRows * kDepth);
  inputs.fill(random, 1.0);
  std::vector<std::unique_ptr<Buffer<T>>> kernels, together, alone;
  std::vector<FewRowsProduct<T>> args;
  for (const int64_t columns : kColumns) {
    kernels.push_back(std::make_unique<Buffer<T>>(kDepth * columns));
    kernels.back()->fill(random, 1.0);
    for (auto* outputs : {&together, &alone}) {
      outputs->push_back(std::make_unique<Buffer<T>>(kRows * columns));
    }
    args.push_back({kRows, kDepth, columns, transposed, inputs.get(), kernels.back()->get(),
                    nullptr, together.back()->get(), nullptr});
  }
  Threads parallel(3);
  few_rows_products(args.data(), 3, parallel);
  for (int i = 0; i < 3; ++i) {
    args[i].outputs = alone[i]->get();
    few_rows_products(&args[i], 1, parallel);
    expect(together[i]->same_bits(*alone[i]) && together[i]->guards_intact(),
           std::string("isa=") + isa_name(isa) + " " + type +
               " transposed=" + std::to_string(transposed) + " product " + std::to_string(i));
  }
}

int run_all() {
  int cases = 0;
  for_each_isa([&](Isa isa) {
    for (const bool transposed : {false, true}) {
      for (const int64_t rows : {1, 2, 3, 4, 7, 8, 16}) {
        for (const int64_t depth : {1, 3, 59, 128, 131}) {
          for (const int64_t columns : {1, 15, 64, 97, 1025, 2100}) {
            if (depth * columns > 140000 && rows > 4) continue;
            check<float>(isa, "float32", rows, depth, columns, transposed, false);
            check<bfloat16>(isa, "bfloat16", rows, depth, columns, transposed, rows % 2 == 0);
            cases += 2;
          }
        }
      }
    }
    for (const bool transposed : {false, true}) {
      check_several<float>(isa, "float32", transposed);
      check_several<bfloat16>(isa, "bfloat16", transposed);
      cases += 2;
    }
    check<float>(isa, "float32", 0, 5, 7, false, false);
    check<float>(isa, "float32", 2, 0, 7, true, false);
    cases += 2;
  });
  return finish("few_rows_product_test", cases);
}

}  // namespace
}  // namespace kerasllm::testing

int main() { return kerasllm::testing::run_all(); }
