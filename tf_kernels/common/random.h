// Random bits for dropout that depend on the seed and on the element's place only, so that the
// backward pass makes them again, and any thread, vector width or device makes the same.
//
// Philox4x32-10 (Salmon, Moraes, Dror and Shaw, Parallel Random Numbers: As Easy as 1, 2, 3, 2011),
// keyed with the seed. The counter (column / 8, row's low word, row's high word, 0) gives 128 bits:
// 16 for each of 8 neighbouring columns, low half of word 0 first. An element is kept if its 16
// bits, as a number, are not below Dropout::threshold.
#ifndef KERASLLM_COMMON_RANDOM_H_
#define KERASLLM_COMMON_RANDOM_H_

#include <cstdint>

#include "common/dropout.h"
#include "common/vec.h"

namespace kerasllm {
namespace KERASLLM_ISA {

// Columns whose bits are made at once.
inline constexpr int64_t kRandomColumns = 128;

// 16 counters at a time whatever the instruction set: 128 columns.
typedef uint32_t Words __attribute__((vector_size(64)));
typedef uint64_t WideWords __attribute__((vector_size(128)));

// The low and high halves of the products of 16 words with a constant.
inline __attribute__((always_inline)) void multiply_wide(Words a, uint32_t by, Words* low,
                                                         Words* high) {
#ifdef __AVX512F__
  const __m512i x = reinterpret_cast<__m512i>(a), y = _mm512_set1_epi32(static_cast<int>(by));
  const __m512i even = _mm512_maskz_mul_epu32(0xff, x, y);
  const __m512i odd = _mm512_maskz_mul_epu32(0xff, _mm512_maskz_srli_epi64(0xff, x, 32), y);
  *low = a * by;
  *high = reinterpret_cast<Words>(
      _mm512_mask_blend_epi32(0xaaaa, _mm512_maskz_srli_epi64(0xff, even, 32), odd));
#else
  // Four 16-bit products: no instruction set below has wide products of all words.
  const Words a_low = a & 0xffffu, a_high = a >> 16;
  const uint32_t b_low = by & 0xffffu, b_high = by >> 16;
  const Words middle = a_high * b_low + ((a_low * b_low) >> 16);
  const Words other = a_low * b_high + (middle & 0xffffu);
  *low = a * by;
  *high = a_high * b_high + (middle >> 16) + (other >> 16);
#endif
}

// The 16 bits of columns [column, column + kRandomColumns) of a row; `column` is a multiple of
// kRandomColumns.
inline void random_bits(const uint32_t* seed, uint64_t row, int64_t column, uint16_t* bits) {
  // Counter of lane 4 q + i: so ordered, transposing 4 x 4 words within each 128 bits gives the
  // columns in their order.
  constexpr Words kLaneOrder = {0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15};
  const Words zero = {};
  Words c0 = kLaneOrder + static_cast<uint32_t>(column / 8);
  Words c1 = zero + static_cast<uint32_t>(row), c2 = zero + static_cast<uint32_t>(row >> 32);
  Words c3 = zero;
  uint32_t k0 = seed[0], k1 = seed[1];
  for (int round = 0; round < 10; ++round) {
    Words low0, high0, low2, high2;
    multiply_wide(c0, 0xD2511F53u, &low0, &high0);
    multiply_wide(c2, 0xCD9E8D57u, &low2, &high2);
    c0 = high2 ^ c1 ^ k0;
    c2 = high0 ^ c3 ^ k1;
    c1 = low2;
    c3 = low0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  // Row i of the transposed: words 0 to 3 of lanes i, 4 + i, 8 + i and 12 + i.
  const Words low01 =
      __builtin_shufflevector(c0, c1, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
  const Words high01 =
      __builtin_shufflevector(c0, c1, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
  const Words low23 =
      __builtin_shufflevector(c2, c3, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
  const Words high23 =
      __builtin_shufflevector(c2, c3, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
  const auto join_low = [](Words a, Words b) {
    return __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
  };
  const auto join_high = [](Words a, Words b) {
    return __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30,
                                   31);
  };
  const Words rows[4] = {join_low(low01, low23), join_high(low01, low23), join_low(high01, high23),
                         join_high(high01, high23)};
  __builtin_memcpy(bits, rows, sizeof(rows));
}

// What kLanes elements are multiplied by: `scale` or zero.
inline Vec dropout_factors(const uint16_t* bits, const Dropout& dropout) {
  const UintVec wide =
      __builtin_convertvector(*reinterpret_cast<const UnalignedHalfVec*>(bits), UintVec);
  return wide >= dropout.threshold ? broadcast(dropout.scale) : Vec{};
}

}  // namespace KERASLLM_ISA
}  // namespace kerasllm

#endif  // KERASLLM_COMMON_RANDOM_H_
