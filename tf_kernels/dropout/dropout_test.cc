// Dropout against a scalar Philox written from the paper, which in turn is held against the known
// answers of its authors' Random123 library.
#include "dropout/dropout.h"

#include <array>

#include "common/testing.h"

namespace kerasllm::testing {
namespace {

using Block = std::array<uint32_t, 4>;

Block philox(Block counter, uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * counter[0], b = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key0, static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key1, static_cast<uint32_t>(a)};
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  return counter;
}

void check_known_answers() {
  expect(philox({0, 0, 0, 0}, 0, 0) == Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
         "philox of zeros");
  expect(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0xa4093822, 0x299f31d0) ==
             Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1},
         "philox of the digits of pi");
}

template <class T>
void check(Isa isa, const char* type, int64_t rows, int64_t columns, float rate) {
  override_isa(isa);
  const std::string text = std::string("isa=") + isa_name(isa) + " " + type +
                           " rows=" + std::to_string(rows) + " columns=" + std::to_string(columns) +
                           " rate=" + std::to_string(rate);
  const int32_t seed[2] = {static_cast<int32_t>(0xdeadbeef), 12345};
  const Dropout dropout_of_rate = make_dropout(rate, seed);
  std::mt19937 random(1);
  Buffer<T> inputs(rows * columns), outputs(rows * columns), again(rows * columns);
  inputs.fill(random, 1.0);
  Serial serial;
  dropout({rows, columns, dropout_of_rate, inputs.get(), outputs.get()}, serial);
  Threads three(3);
  dropout({rows, columns, dropout_of_rate, inputs.get(), again.get()}, three);
  std::vector<double> expected(rows * columns);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < columns; ++column) {
      const Block block = philox(
          {static_cast<uint32_t>(column / 8), static_cast<uint32_t>(row), 0, 0}, 0xdeadbeef, 12345);
      const uint32_t bits = block[column % 8 / 2] >> (16 * (column % 2)) & 0xffff;
      const double factor = bits >= std::lround(rate * 65536)
                                ? 1.0 / (1.0 - std::lround(rate * 65536) / 65536.0)
                                : 0.0;
      expected[row * columns + column] = factor * inputs[row * columns + column];
    }
  }
  const double error = outputs.error(expected);
  expect(error * (1.0 - rate) <= (sizeof(T) == 4 ? 1e-6 : 0.02),
         text + " error " + std::to_string(error));
  expect(outputs.guards_intact(), text + " wrote outside its buffer");
  expect(outputs.same_bits(again), text + " differs by threads");
  if (columns == 97) {
    expect_repeatable(
        text,
        [&](Parallel& parallel) {
          dropout({rows, columns, dropout_of_rate, inputs.get(), again.get()}, parallel);
        },
        again);
  }
}

int run_all() {
  check_known_answers();
  int cases = 2;
  for_each_isa([&](Isa isa) {
    for (const int64_t columns : {1, 7, 59, 97, 128, 129, 768, 1025}) {
      for (const float rate : {0.0f, 0.1f, 0.5f, 0.9f}) {
        for (const int64_t rows : {1, 513}) {
          check<float>(isa, "float32", rows, columns, rate);
          check<bfloat16>(isa, "bfloat16", rows, columns, rate);
          cases += 2;
        }
      }
    }
  });
  return finish("dropout_test", cases);
}

}  // namespace
}  // namespace kerasllm::testing

int main() { return kerasllm::testing::run_all(); }
