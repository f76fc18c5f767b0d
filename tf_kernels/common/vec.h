// A vector of float32 as wide as the instruction set allows, on the compiler's vector extensions:
// one source serves SSE2, AVX2 and AVX-512, and a + b * c becomes a fused multiply-add by
// -ffp-contract=fast. Intrinsics stay for the few things that the extensions cannot say.
//
// google/highway would do the same; its headers come with TensorFlow, but its run-time dispatch
// does not link from there, and a kernel here needs a dozen operations, not a library.
#ifndef KERASLLM_COMMON_VEC_H_
#define KERASLLM_COMMON_VEC_H_

#ifdef __SSE2__
#include <immintrin.h>
#endif

#include <cstdint>

#include "common/bfloat16.h"

// On a function that works through a row: everything it calls is compiled into it. Left to itself
// the compiler calls small functions, vectors passing through memory, once a file has grown.
#define KERASLLM_FLATTEN __attribute__((flatten))
// On what is to be compiled into its caller, such as the body of for_each_vec.
#define KERASLLM_INLINE __attribute__((always_inline))

namespace kerasllm {
namespace KERASLLM_ISA {

#if defined(__AVX512F__) || defined(KERASLLM_AMX)
inline constexpr int kVecBytes = 64;
inline constexpr int kMaxRows = 6;  // 6 rows of 4 vectors fill 24 of 32 registers
#elif defined(__AVX2__)
inline constexpr int kVecBytes = 32;
inline constexpr int kMaxRows = 3;  // 12 of 16 registers
#else
inline constexpr int kVecBytes = 16;
inline constexpr int kMaxRows = 2;
#endif
inline constexpr int kLanes = kVecBytes / 4;

typedef float Vec __attribute__((vector_size(kVecBytes)));
typedef int32_t IntVec __attribute__((vector_size(kVecBytes)));
typedef uint32_t UintVec __attribute__((vector_size(kVecBytes)));
typedef uint16_t HalfVec __attribute__((vector_size(kVecBytes / 2)));
typedef Vec UnalignedVec __attribute__((aligned(4), may_alias));
typedef HalfVec UnalignedHalfVec __attribute__((aligned(2), may_alias));

inline Vec broadcast(float value) { return Vec{} + value; }
inline IntVec bits_of(Vec v) { return reinterpret_cast<IntVec>(v); }
inline Vec from_bits(IntVec v) { return reinterpret_cast<Vec>(v); }

inline Vec load(const float* p) { return *reinterpret_cast<const UnalignedVec*>(p); }
inline void store(float* p, Vec v) { *reinterpret_cast<UnalignedVec*>(p) = v; }

inline float to_float(float value) { return value; }
inline float to_float(bfloat16 value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float result;
  __builtin_memcpy(&result, &bits, 4);
  return result;
}

inline Vec load(const bfloat16* p) {
  const HalfVec half = *reinterpret_cast<const UnalignedHalfVec*>(p);
  return reinterpret_cast<Vec>(__builtin_convertvector(half, UintVec) << 16);
}

// Rounds to the nearest, ties to even; a NaN stays a NaN. With AVX512-BF16 what is below the
// smallest normal number becomes zero.
inline HalfVec to_bfloat16(Vec v) {
#if defined(__AVX512BF16__)
  return reinterpret_cast<HalfVec>(_mm512_cvtneps_pbh(reinterpret_cast<__m512>(v)));
#else
  const UintVec bits = reinterpret_cast<UintVec>(v);
  const UintVec rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const UintVec quiet = (bits >> 16) | 0x40u;
  const UintVec result = (v == v) ? rounded : quiet;
  return __builtin_convertvector(result, HalfVec);
#endif
}
inline void store(bfloat16* p, Vec v) { *reinterpret_cast<UnalignedHalfVec*>(p) = to_bfloat16(v); }

// The first `count` elements, the others zero; `count` may be kLanes or more.
template <class T>
inline Vec load_first(const T* p, int64_t count) {
  if (count >= kLanes) return load(p);
  float lanes[kLanes] = {};
  for (int64_t i = 0; i < count; ++i) lanes[i] = to_float(p[i]);
  return load(lanes);
}

template <class T>
inline void store_first(T* p, Vec v, int64_t count) {
  if (count >= kLanes) return store(p, v);
  T lanes[kLanes];
  store(lanes, v);
  for (int64_t i = 0; i < count; ++i) p[i] = lanes[i];
}

// kLanes rows of kLanes 32-bit words become columns: halves of rows i and i + h change places
// across the diagonal, for h = kLanes / 2, ..., 1 (Eklundh, 1972).
template <int kStep = kLanes / 2>
inline KERASLLM_INLINE void transpose(Vec* rows) {
  if constexpr (kStep > 0) {
    IntVec upper = {}, lower = {};
    for (int lane = 0; lane < kLanes; ++lane) {
      upper[lane] = lane & kStep ? kLanes + lane - kStep : lane;
      lower[lane] = lane & kStep ? kLanes + lane : lane + kStep;
    }
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) {
      if (i & kStep) continue;
      const Vec first = rows[i], second = rows[i + kStep];
      rows[i] = __builtin_shuffle(first, second, upper);
      rows[i + kStep] = __builtin_shuffle(first, second, lower);
    }
    transpose<kStep / 2>(rows);
  }
}

// Calls body(i, count) for each vector of a row of n elements: count is kLanes but for the last
// one, which may have fewer. The body should be always_inline, so that its full vectors are
// compiled without the checks that load_first and store_first make.
template <class Body>
inline void for_each_vec(int64_t n, const Body& body) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) body(i, int64_t{kLanes});
  if (i < n) body(i, n - i);
}

// 1 / v. On AVX-512 the estimate (14 bits) and one Newton step give all but the last bit at a
// third of a division's time.
inline Vec reciprocal(Vec v) {
#ifdef __AVX512F__
  const Vec estimate =
      reinterpret_cast<Vec>(_mm512_maskz_rcp14_ps(0xffff, reinterpret_cast<__m512>(v)));
  return estimate + estimate * (1.0f - v * estimate);
#else
  return 1.0f / v;
#endif
}

// The lesser and the greater; a NaN in `v` stays a NaN, as the instructions return their second
// operand then.
inline Vec min_vec(Vec v, Vec bound) {
#if defined(__AVX512F__)
  return reinterpret_cast<Vec>(
      _mm512_maskz_min_ps(0xffff, reinterpret_cast<__m512>(bound), reinterpret_cast<__m512>(v)));
#elif defined(__AVX2__) && !defined(KERASLLM_AMX)
  return reinterpret_cast<Vec>(
      _mm256_min_ps(reinterpret_cast<__m256>(bound), reinterpret_cast<__m256>(v)));
#else
  return v > bound ? bound : v;
#endif
}
inline Vec max_vec(Vec v, Vec bound) {
#if defined(__AVX512F__)
  return reinterpret_cast<Vec>(
      _mm512_maskz_max_ps(0xffff, reinterpret_cast<__m512>(bound), reinterpret_cast<__m512>(v)));
#elif defined(__AVX2__) && !defined(KERASLLM_AMX)
  return reinterpret_cast<Vec>(
      _mm256_max_ps(reinterpret_cast<__m256>(bound), reinterpret_cast<__m256>(v)));
#else
  return v < bound ? bound : v;
#endif
}

// Correctly rounded.
inline Vec square_root(Vec v) {
#if defined(__AVX512F__)
  return reinterpret_cast<Vec>(_mm512_maskz_sqrt_ps(0xffff, reinterpret_cast<__m512>(v)));
#elif defined(__AVX2__) && !defined(KERASLLM_AMX)
  return reinterpret_cast<Vec>(_mm256_sqrt_ps(reinterpret_cast<__m256>(v)));
#else
  float lanes[kLanes];
  store(lanes, v);
  for (int i = 0; i < kLanes; i += 4)
    _mm_storeu_ps(lanes + i, _mm_sqrt_ps(_mm_loadu_ps(lanes + i)));
  return load(lanes);
#endif
}

// Lane i gets what lane i + width holds, the last ones what the first do.
template <int width>
inline __attribute__((always_inline)) Vec turned(Vec v) {
  IntVec from = {};
  for (int lane = 0; lane < kLanes; ++lane) from[lane] = (lane + width) % kLanes;
  return __builtin_shuffle(v, from);
}

// Over the lanes, in halves: the sum of lane i and lane i + kLanes / 2 first.
template <int width = kLanes / 2>
inline __attribute__((always_inline)) float sum_of_lanes(Vec v) {
  v += turned<width>(v);
  if constexpr (width > 1) {
    return sum_of_lanes<width / 2>(v);
  } else {
    return v[0];
  }
}
// A NaN in any lane gives a NaN.
template <int width = kLanes / 2>
inline __attribute__((always_inline)) float max_of_lanes(Vec v) {
  const Vec other = turned<width>(v);
  v = (v > other || v != v) ? v : other;
  if constexpr (width > 1) {
    return max_of_lanes<width / 2>(v);
  } else {
    return v[0];
  }
}

template <class T>
inline T min_of(T a, T b) {
  return a < b ? a : b;
}
template <class T>
inline T max_of(T a, T b) {
  return a > b ? a : b;
}
inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

}  // namespace KERASLLM_ISA
}  // namespace kerasllm

#endif  // KERASLLM_COMMON_VEC_H_
