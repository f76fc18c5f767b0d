// What the GPU kernels (*_cuda.cu) share: element types, memory access of up to 16 bytes, sums over
// threads, and the launch (common/cuda_launch.h). Files that include it include no TensorFlow
// header.
//
// Compiled by nvcc, or by a C++ compiler with KERASLLM_CUDA_EMULATED: then every kernel runs on the
// CPU, thread by thread (common/cuda_emulation.h), which is how machines without a GPU test it.
//
// Pointers are never __restrict__: results may lie where inputs do.
#ifndef KERASLLM_COMMON_CUDA_H_
#define KERASLLM_COMMON_CUDA_H_

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "common/cuda_launch.h"

namespace kerasllm {

#define KERASLLM_DEVICE __device__ __forceinline__

inline constexpr int kWarp = 32;
inline constexpr unsigned kAllLanes = 0xffffffffu;

static inline __host__ __device__ int64_t cuda_ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
static inline __host__ __device__ int64_t cuda_min(int64_t a, int64_t b) { return a < b ? a : b; }
static inline __host__ __device__ int64_t cuda_max(int64_t a, int64_t b) { return a > b ? a : b; }

// Elements of T in 16 bytes.
template <class T>
inline constexpr int kVectorWidth = 16 / static_cast<int>(sizeof(T));

KERASLLM_DEVICE float bits_as_float(uint32_t bits) {
#ifdef __CUDACC__
  return __uint_as_float(bits);
#else
  float v;
  memcpy(&v, &bits, 4);
  return v;
#endif
}
KERASLLM_DEVICE uint32_t float_as_bits(float v) {
#ifdef __CUDACC__
  return __float_as_uint(v);
#else
  uint32_t bits;
  memcpy(&bits, &v, 4);
  return bits;
#endif
}

// v, of which the compiler does not know that it is the same in every turn of a loop: addresses
// made from it then take no registers from one turn to the next.
KERASLLM_DEVICE int made_anew(int v) {
#ifdef __CUDACC__
  asm volatile("" : "+r"(v));
#endif
  return v;
}

// 2^v to two units in the last place; results below 2^-126 are zeros.
KERASLLM_DEVICE float fast_exp2(float v) {
#ifdef __CUDACC__
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(v));
  return result;
#else
  return exp2f(v);
#endif
}

// An element from its bits in a word's low end, and back; rounding is to nearest, ties to even.
template <class T>
struct Element;
template <>
struct Element<float> {
  static KERASLLM_DEVICE float decode(uint32_t bits) { return bits_as_float(bits); }
  static KERASLLM_DEVICE uint32_t encode(float v) { return float_as_bits(v); }
};
template <>
struct Element<bfloat16> {
  static KERASLLM_DEVICE float decode(uint32_t bits) { return bits_as_float(bits << 16); }
  static KERASLLM_DEVICE uint32_t encode(float v) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    uint16_t bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(v));
    return bits;
#else
    const uint32_t bits = float_as_bits(v);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fffu;
    return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
#endif
  }
};
template <>
struct Element<float16> {
  static KERASLLM_DEVICE float decode(uint32_t bits) {
#ifdef __CUDACC__
    float v;
    asm("cvt.f32.f16 %0, %1;" : "=f"(v) : "h"(static_cast<uint16_t>(bits)));
    return v;
#else
    return emulation::half_to_float(static_cast<uint16_t>(bits));
#endif
  }
  static KERASLLM_DEVICE uint32_t encode(float v) {
#ifdef __CUDACC__
    uint16_t bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(v));
    return bits;
#else
    return emulation::float_to_half(v);
#endif
  }
};

// kWords words of 32 bits in one access.
template <int kWords>
struct Words;
template <>
struct Words<1> {
  uint32_t word[1];
};
template <>
struct alignas(8) Words<2> {
  uint32_t word[2];
};
template <>
struct alignas(16) Words<4> {
  uint32_t word[4];
};

// kWidth elements from memory that is aligned to all of them: 16 bytes at most.
template <int kWidth, class T>
KERASLLM_DEVICE void load(const T* from, float (&to)[kWidth]) {
  static_assert(kWidth * sizeof(T) <= 16, "at most 16 bytes");
  if constexpr (kWidth * sizeof(T) < 4) {
    to[0] = Element<T>::decode(from->bits);
  } else {
    constexpr int kWords = kWidth * static_cast<int>(sizeof(T)) / 4;
#ifndef __CUDACC__
    emulation::check_aligned(from, 4 * kWords);
#endif
    const Words<kWords> words = *reinterpret_cast<const Words<kWords>*>(from);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      if constexpr (sizeof(T) == 4) {
        to[i] = Element<T>::decode(words.word[i]);
      } else {
        to[i] = Element<T>::decode((words.word[i / 2] >> (i % 2 * 16)) & 0xffffu);
      }
    }
  }
}
template <int kWords>
KERASLLM_DEVICE void store_words(void* to, const Words<kWords>& words) {
#ifdef __CUDACC__
  // Left to nvcc, a store in a loop becomes one for each word.
  if constexpr (kWords == 4) {
    asm volatile("st.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(words.word[0]),
                 "r"(words.word[1]), "r"(words.word[2]), "r"(words.word[3])
                 : "memory");
  } else if constexpr (kWords == 2) {
    asm volatile("st.v2.b32 [%0], {%1, %2};" ::"l"(to), "r"(words.word[0]), "r"(words.word[1])
                 : "memory");
  } else {
    *static_cast<Words<kWords>*>(to) = words;
  }
#else
  emulation::check_aligned(to, 4 * kWords);
  *static_cast<Words<kWords>*>(to) = words;
#endif
}
// Words of one float or two half precision elements each.
template <class T, int kWidth>
KERASLLM_DEVICE auto encode_words(const float (&from)[kWidth]) {
  Words<kWidth* static_cast<int>(sizeof(T)) / 4> words;
#pragma unroll
  for (int i = 0; i < kWidth * static_cast<int>(sizeof(T)) / 4; ++i) {
    if constexpr (sizeof(T) == 4) {
      words.word[i] = Element<T>::encode(from[i]);
    } else {
      words.word[i] = Element<T>::encode(from[2 * i]) | (Element<T>::encode(from[2 * i + 1]) << 16);
    }
  }
  return words;
}
template <int kWidth, class T>
KERASLLM_DEVICE void store(T* to, const float (&from)[kWidth]) {
  static_assert(kWidth * sizeof(T) <= 16, "at most 16 bytes");
  if constexpr (kWidth * sizeof(T) < 4) {
    to->bits = static_cast<uint16_t>(Element<T>::encode(from[0]));
  } else {
    store_words(to, encode_words<T>(from));
  }
}
// The same where `to` is seen to be shared memory: then the access need not find that out.
template <int kWidth, class T>
KERASLLM_DEVICE void store_shared(T* to, const float (&from)[kWidth]) {
  const auto words = encode_words<T>(from);
#ifndef __CUDACC__
  emulation::check_aligned(to, sizeof(words));
#endif
  *reinterpret_cast<decltype(encode_words<T>(from))*>(to) = words;
}
// kWidth float32 numbers, four at a time where there are four.
template <int kWidth>
KERASLLM_DEVICE void load_floats(const float* from, float (&to)[kWidth]) {
  constexpr int kAtOnce = kWidth % 4 == 0 ? 4 : 1;
#pragma unroll
  for (int i = 0; i < kWidth; i += kAtOnce) {
    float part[kAtOnce];
    load(from + i, part);
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) to[i + k] = part[k];
  }
}
template <int kWidth>
KERASLLM_DEVICE void store_floats(float* to, const float (&from)[kWidth]) {
  constexpr int kAtOnce = kWidth % 4 == 0 ? 4 : 1;
#pragma unroll
  for (int i = 0; i < kWidth; i += kAtOnce) {
    float part[kAtOnce];
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) part[k] = from[i + k];
    store(to + i, part);
  }
}
template <class T>
KERASLLM_DEVICE float load_one(const T* from) {
  float v[1];
  load<1>(from, v);
  return v[0];
}
template <class T>
KERASLLM_DEVICE void store_one(T* to, float v) {
  const float values[1] = {v};
  store<1>(to, values);
}
// v as T keeps it.
template <class T>
KERASLLM_DEVICE float rounded(float v) {
  return Element<T>::decode(Element<T>::encode(v));
}

// Whether all these addresses are multiples of 16 (null is one).
template <class... Pointers>
inline bool aligned_to_16(Pointers... pointers) {
  return ((reinterpret_cast<uintptr_t>(pointers) % 16 == 0) && ...);
}

// The sum over a warp, the same bits in every lane.
KERASLLM_DEVICE float warp_sum(float v) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    v += __shfl_xor_sync(kAllLanes, v, offset);
  }
  return v;
}
KERASLLM_DEVICE float warp_max(float v) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    const float other = __shfl_xor_sync(kAllLanes, v, offset);
    v = v < other || other != other ? other : v;  // a NaN stays
  }
  return v;
}

inline constexpr int kMostWarps = 32;  // of a block

// The sum over the threads of the same threadIdx.y, of which there are blockDim.x, a multiple of
// kWarp. All threads of the block call it. `shared` has kMostWarps places.
KERASLLM_DEVICE float row_sum(float v, float* shared) {
  v = warp_sum(v);
  if (blockDim.x == kWarp) return v;
  const int warps = blockDim.x / kWarp;
  if (threadIdx.x % kWarp == 0) shared[threadIdx.y * warps + threadIdx.x / kWarp] = v;
  __syncthreads();
  float sum = 0.0f;
  for (int warp = 0; warp < warps; ++warp) sum += shared[threadIdx.y * warps + warp];
  __syncthreads();  // before the next sum writes there
  return sum;
}

}  // namespace kerasllm

#endif  // KERASLLM_COMMON_CUDA_H_
