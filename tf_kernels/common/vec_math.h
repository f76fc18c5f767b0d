// exp, sigmoid and tanh on a vector, each within 2 units in the last place of the exact value.
#ifndef KERASLLM_COMMON_VEC_MATH_H_
#define KERASLLM_COMMON_VEC_MATH_H_

#include "common/vec.h"

namespace kerasllm {
namespace KERASLLM_ISA {

// exp(x) = scale * (1 + tail), scale a power of two and |tail| < 0.42: the form from which exp,
// exp - 1 and the logistic functions follow without loss.
struct ScaledExp {
  Vec scale, tail;
};

// Takes x within [-87, 88] (NaN passes through). x = n ln 2 + r with |r| <= ln(2)/2; ln 2 is split
// in two so that n ln 2 is exact (Cody and Waite, Software Manual for the Elementary Functions,
// 1980). (exp(r) - 1 - r) / r^2 is a polynomial of degree 4, fitted for the least largest error
// relative to exp(r): 4e-9.
inline ScaledExp scaled_exp(Vec x) {
  constexpr float kLog2E = 1.44269504088896341f;
  constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  constexpr float kRounder = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const Vec shifted = x * kLog2E + kRounder;
  const Vec n = shifted - kRounder;
  const Vec r = (x - n * kLn2High) - n * kLn2Low;
  Vec p = r * 1.38145988e-3f + 8.36871658e-3f;
  p = p * r + 4.16683890e-2f;
  p = p * r + 1.66665211e-1f;
  p = p * r + 4.99999940e-1f;
  const Vec tail = (p * r) * r + r;
  // The low bits of `shifted` hold n; 127 is float32's exponent bias.
  const IntVec exponent = (bits_of(shifted) + 127) << 23;
  return {from_bits(exponent), tail};
}

// exp(x) for x <= 88; zero below -87, so that what a mask set to minus infinity adds nothing.
inline Vec exp_vec(Vec x) {
  const ScaledExp e = scaled_exp(max_vec(min_vec(x, broadcast(88.0f)), broadcast(-87.0f)));
  return x < -87.0f ? Vec{} : e.scale * e.tail + e.scale;
}

// 1 / (1 + exp(-x)).
inline Vec sigmoid_vec(Vec x) {
  const Vec y = max_vec(min_vec(-x, broadcast(87.0f)), broadcast(-87.0f));
  const ScaledExp e = scaled_exp(y);
  return reciprocal(e.scale * e.tail + (e.scale + 1.0f));
}

// (exp(2x) - 1) / (exp(2x) + 1), the numerator by exp's tail, so that small x keep their precision.
inline Vec tanh_vec(Vec x) {
  const Vec y = max_vec(min_vec(x + x, broadcast(20.0f)), broadcast(-20.0f));
  const ScaledExp e = scaled_exp(y);
  const Vec minus_one = e.scale * e.tail + (e.scale - 1.0f);
  return minus_one * reciprocal(minus_one + 2.0f);
}

}  // namespace KERASLLM_ISA
}  // namespace kerasllm

#endif  // KERASLLM_COMMON_VEC_MATH_H_
