// Dropout on the GPU: the random bits of common/random.h, made where they are used.
#ifndef KERASLLM_COMMON_CUDA_RANDOM_H_
#define KERASLLM_COMMON_CUDA_RANDOM_H_

#include "common/cuda.h"
#include "common/dropout.h"

namespace kerasllm {

// Philox4x32-10 of the counter (column / 8, row): the bits of common/random.h for the 8 columns
// around `column`, two of them in a word, the lower column in the low half.
struct RandomWords {
  uint32_t word[4];
};
KERASLLM_DEVICE RandomWords random_words(uint32_t k0, uint32_t k1, uint64_t row, int64_t column) {
  uint32_t c0 = static_cast<uint32_t>(column / 8);
  uint32_t c1 = static_cast<uint32_t>(row), c2 = static_cast<uint32_t>(row >> 32), c3 = 0;
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = static_cast<uint64_t>(c0) * 0xD2511F53u;
    const uint64_t product2 = static_cast<uint64_t>(c2) * 0xCD9E8D57u;
    c0 = static_cast<uint32_t>(product2 >> 32) ^ c1 ^ k0;
    c2 = static_cast<uint32_t>(product0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(product2);
    c3 = static_cast<uint32_t>(product0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// Multiplies kWidth neighbours of a row from `column` on, a multiple of kWidth, by dropout's scale
// or by zero. kWidth is 8 or a divisor of it.
template <int kWidth>
KERASLLM_DEVICE void drop(const Dropout& dropout, uint64_t row, int64_t column,
                          float (&v)[kWidth]) {
  static_assert(8 % kWidth == 0, "the bits come for 8 columns");
  const RandomWords bits = random_words(static_cast<uint32_t>(dropout.device_seed[0]),
                                        static_cast<uint32_t>(dropout.device_seed[1]), row, column);
  const int first = static_cast<int>(column % 8);
#pragma unroll
  for (int i = 0; i < 8; ++i) {  // constant indices keep `bits` in registers
    if (i < first || i >= first + kWidth) continue;
    const uint32_t half = (bits.word[i / 2] >> (i % 2 * 16)) & 0xffffu;
    const float factor = half >= dropout.threshold ? dropout.scale : 0.0f;
    if constexpr (kWidth == 8) {
      v[i] *= factor;
    } else {
#pragma unroll
      for (int k = 0; k < kWidth; ++k) {
        if (first + k == i) v[k] *= factor;
      }
    }
  }
}

}  // namespace kerasllm

#endif  // KERASLLM_COMMON_CUDA_RANDOM_H_
