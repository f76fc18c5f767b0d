// exp, sigmoid and tanh on a vector, each within 2 units in the last place of the exact value, and
// the normal distribution.
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

// exp(x) = 2^n (1 + tail): what scaled_exp begins with.
struct ReducedExp {
  Vec shifted, n, tail;  // the low bits of `shifted` hold n
};

// Takes x within [-125, 88] (NaN passes through). x = n ln 2 + r with |r| <= ln(2)/2; ln 2 is split
// in two so that n ln 2 is exact (Cody and Waite, Software Manual for the Elementary Functions,
// 1980). (exp(r) - 1 - r) / r^2 is a polynomial of degree 4, fitted for the least largest error
// relative to exp(r): 4e-9.
inline ReducedExp reduced_exp(Vec x) {
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
  return {shifted, n, (p * r) * r + r};
}

// Takes x within [-87, 88] (NaN passes through).
inline ScaledExp scaled_exp(Vec x) {
  const ReducedExp e = reduced_exp(x);
  const IntVec exponent = (bits_of(e.shifted) + 127) << 23;  // 127 is float32's exponent bias
  return {from_bits(exponent), e.tail};
}

// exp(x) for x <= 88; zero below -87, so that what a mask set to minus infinity adds nothing.
inline Vec exp_vec(Vec x) {
  const ScaledExp e = scaled_exp(max_vec(min_vec(x, broadcast(88.0f)), broadcast(-87.0f)));
  return x < -87.0f ? Vec{} : e.scale * e.tail + e.scale;
}

// exp(x) for x <= 88, in fewer steps where an instruction multiplies by 2^n and goes down to zero
// by itself: below -87 either zero or the tiny number that it is.
inline Vec softmax_exp_vec(Vec x) {
#ifdef __AVX512F__
  const ReducedExp e = reduced_exp(max_vec(x, broadcast(-105.0f)));
  return reinterpret_cast<Vec>(_mm512_maskz_scalef_ps(
      0xffff, reinterpret_cast<__m512>(e.tail + 1.0f), reinterpret_cast<__m512>(e.n)));
#else
  return exp_vec(x);
#endif
}

// 1 / (1 + exp(-x)).
inline Vec sigmoid_vec(Vec x) {
  const Vec y = max_vec(min_vec(-x, broadcast(87.0f)), broadcast(-87.0f));
  const ScaledExp e = scaled_exp(y);
  return reciprocal(e.scale * e.tail + (e.scale + 1.0f));
}

// The logistic function at x and at -x, both to their last places: for its derivative, where
// 1 - sigmoid(x) would round early.
struct Logistic {
  Vec value, complement;
};
inline Logistic logistic_vec(Vec x) {
  const Vec y = max_vec(min_vec(-x, broadcast(87.0f)), broadcast(-87.0f));
  const ScaledExp e = scaled_exp(y);
  const Vec value = reciprocal(e.scale * e.tail + (e.scale + 1.0f));
  return {value, (e.scale * e.tail + e.scale) * value};
}

// (exp(2x) - 1) / (exp(2x) + 1), the numerator by exp's tail, so that small x keep their precision.
inline Vec tanh_vec(Vec x) {
  const Vec y = max_vec(min_vec(x + x, broadcast(20.0f)), broadcast(-20.0f));
  const ScaledExp e = scaled_exp(y);
  const Vec minus_one = e.scale * e.tail + (e.scale - 1.0f);
  return minus_one * reciprocal(minus_one + 2.0f);
}

// The normal distribution at x: cdf = (1 + erf(x / sqrt(2))) / 2, and exp(-x^2 / 2), its density
// times sqrt(2 pi).
struct Normal {
  Vec cdf, exponential;
};

// For z = |x|, cdf(-z) = exp(-z^2 / 2) R(z) with a smooth R, so that the lower tail keeps its
// precision, which (1 + erf) / 2 loses. R is 1/2 + a polynomial in u = p z / (1 + p z), the
// variable of Hastings (Approximations for Digital Computers, 1955), fitted here for the least
// largest relative error up to z = 13: 6e-8. In float32 cdf is within 2 units in the last place for
// x > 0, 4 for x > -1 and 8 for x > -2; further out its size falls faster than its precision.
inline Normal normal_vec(Vec x) {
  const Vec z = min_vec(x < 0.0f ? -x : x, broadcast(14.0f));
  const Vec scaled = z * 0.3f;
  const Vec u = scaled * reciprocal(scaled + 1.0f);
  Vec r = u * 3.799122944e-02f - 1.365049332e-01f;
  r = r * u + 1.171209365e-01f;
  r = r * u + 1.093809381e-01f;
  r = r * u - 4.511491954e-02f;
  r = r * u - 7.011560202e-01f;
  r = r * u + 1.448099613e+00f;
  r = r * u - 1.329811096e+00f;
  r = r * u + 0.5f;
  const Vec exponential = exp_vec(z * z * -0.5f);
  const Vec tail = exponential * r;
  return {x < 0.0f ? tail : 1.0f - tail, exponential};
}

}  // namespace KERASLLM_ISA
}  // namespace kerasllm

#endif  // KERASLLM_COMMON_VEC_MATH_H_
