// Matrix products of a warp on tensor cores (mma.sync), their operands from shared memory
// (ldmatrix) and copies into it that run beside the arithmetic (cp.async).
//
// Which lane holds which element (PTX ISA, "Matrix Fragments for mma.m16n8k16"), with g = lane / 4
// and t = lane % 4; a word holds two neighbours, the first in its low half:
//
//   A (16 x 16)  word 0: row g, columns 2t and 2t + 1      word 1: the same of row g + 8
//                word 2: row g, columns 2t + 8, 2t + 9     word 3: the same of row g + 8
//   B (16 x 8)   word 0: rows 2t and 2t + 1 of column g    word 1: rows 2t + 8, 2t + 9
//   C (16 x 8)   0, 1: row g, columns 2t and 2t + 1        2, 3: the same of row g + 8
//
// So C, packed in pairs, is half an A: products can be chained in registers.
//
// tf32 (m16n8k8), a number a word: A: (g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4); B: (t, g),
// (t + 4, g); C as above.
//
// sm_75 has neither mma.sync for bfloat16 and tf32 nor cp.async: shuffles and plain copies stand in
// for them, right but slow.
#ifndef KERASLLM_COMMON_CUDA_MMA_H_
#define KERASLLM_COMMON_CUDA_MMA_H_

#include "common/cuda.h"

namespace kerasllm {

// Copies kBytes (4, 8 or 16, of addresses that are multiples of it) from global to shared memory,
// or zeros where `real` is false; `from` is an address of global memory even then. They are there
// for the thread that asked after wait_for_copies, for others after a barrier behind it.
template <int kBytes>
KERASLLM_DEVICE void copy_async(void* to, const void* from, bool real = true) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16, "what cp.async takes");
#ifndef __CUDACC__
  emulation::copy_async(to, from, kBytes, real);
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(to));
  const int bytes = real ? kBytes : 0;
  if constexpr (kBytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from),
                 "r"(bytes)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(address), "l"(from),
                 "n"(kBytes), "r"(bytes)
                 : "memory");
  }
#else
  Words<kBytes / 4> words = {};
  if (real) words = *static_cast<const Words<kBytes / 4>*>(from);
  *static_cast<Words<kBytes / 4>*>(to) = words;
#endif
}

// Ends a group of this thread's copies.
KERASLLM_DEVICE void commit_copies() {
#ifndef __CUDACC__
  emulation::commit_copies();
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until at most kUnfinished of this thread's groups, the latest ones, are under way.
template <int kUnfinished>
KERASLLM_DEVICE void wait_for_copies() {
#ifndef __CUDACC__
  emulation::wait_for_copies(kUnfinished);
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(kUnfinished) : "memory");
#endif
}

// Four matrices of 8 rows of 16 bytes in shared memory: lane 8m + r gives the address of row r of
// matrix m. Word m of a lane: row g, elements 2t and 2t + 1 of matrix m.
KERASLLM_DEVICE void load_matrices(const void* row, uint32_t (&words)[4]) {
#ifdef __CUDACC__
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "r"(address));
#else
  emulation::load_matrices(row, false, words);
#endif
}
// The same of each matrix transposed: rows 2t and 2t + 1, element g.
KERASLLM_DEVICE void load_matrices_transposed(const void* row, uint32_t (&words)[4]) {
#ifdef __CUDACC__
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "r"(address));
#else
  emulation::load_matrices(row, true, words);
#endif
}

// Two numbers as T keeps them, the first in the low half.
template <class T>
KERASLLM_DEVICE uint32_t pack(float low, float high) {
  static_assert(sizeof(T) == 2, "two in a word");
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  uint32_t word;
  if constexpr (std::is_same_v<T, bfloat16>) {
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  } else {
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  }
  return word;
#else
  return Element<T>::encode(low) | (Element<T>::encode(high) << 16);
#endif
}

// The nearest number with tf32's 10 bits of fraction, ties away from zero.
KERASLLM_DEVICE uint32_t to_tf32(float v) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  uint32_t word;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(word) : "f"(v));
  return word;
#else
  const uint32_t bits = float_as_bits(v);
  if ((bits & 0x7f800000u) == 0x7f800000u) return bits;
  return (bits + 0x1000u) & 0xffffe000u;
#endif
}

// c += a * b by shuffles, kPairs elements of T in a word. Each lane's results need rows g and g + 8
// of a, which its neighbours of the same g hold, and columns 2t and 2t + 1 of b.
template <class T>
KERASLLM_DEVICE void multiply_add_by_shuffles(float (&c)[4], const uint32_t (&a)[4],
                                              const uint32_t (&b)[2]) {
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#pragma unroll
    for (int s = 0; s < 4; ++s) {
      const uint32_t top = __shfl_sync(kAllLanes, a[2 * half], 4 * g + s);
      const uint32_t bottom = __shfl_sync(kAllLanes, a[2 * half + 1], 4 * g + s);
      const uint32_t left = __shfl_sync(kAllLanes, b[half], 8 * t + s);
      const uint32_t right = __shfl_sync(kAllLanes, b[half], 8 * t + 4 + s);
#pragma unroll
      for (int shift = 0; shift < 32; shift += 8 * static_cast<int>(sizeof(T))) {
        constexpr uint32_t kBits = sizeof(T) == 2 ? 0xffffu : 0xffffffffu;
        const auto at = [&](uint32_t word) { return Element<T>::decode((word >> shift) & kBits); };
        c[0] += at(top) * at(left);
        c[1] += at(top) * at(right);
        c[2] += at(bottom) * at(left);
        c[3] += at(bottom) * at(right);
      }
    }
  }
}

#if defined(__CUDACC__) && (!defined(__CUDA_ARCH__) || __CUDA_ARCH__ < 800)
struct Sums4 {
  float v[4];
};
// A call, as the compiler would need minutes for hundreds of these in line.
template <class T>
__device__ __noinline__ Sums4 multiply_add_called(Sums4 c, uint32_t a0, uint32_t a1, uint32_t a2,
                                                  uint32_t a3, uint32_t b0, uint32_t b1) {
  multiply_add_by_shuffles<T>(c.v, {a0, a1, a2, a3}, {b0, b1});
  return c;
}
#endif

// c += a * b, 16 x 8 by 16 of T, sums in float32. All lanes of the warp call it; warps are of
// neighbouring threadIdx.x.
template <class T>
KERASLLM_DEVICE void multiply_add(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  static_assert(sizeof(T) == 2, "bfloat16 or float16");
#ifndef __CUDACC__
  emulation::multiply_add(c, a, b, 2, &Element<T>::decode);
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  if constexpr (std::is_same_v<T, bfloat16>) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
#else
  if constexpr (std::is_same_v<T, bfloat16>) {
    const Sums4 sums =
        multiply_add_called<T>({{c[0], c[1], c[2], c[3]}}, a[0], a[1], a[2], a[3], b[0], b[1]);
#pragma unroll
    for (int i = 0; i < 4; ++i) c[i] = sums.v[i];
  } else {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      asm volatile(
          "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, "
          "{%0, %1, %2, %3};"
          : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
          : "r"(a[2 * half]), "r"(a[2 * half + 1]), "r"(b[half]));
    }
  }
#endif
}

// c += a * b, 16 x 8 by 8 numbers of to_tf32().
KERASLLM_DEVICE void multiply_add_tf32(float (&c)[4], const uint32_t (&a)[4],
                                       const uint32_t (&b)[2]) {
#ifndef __CUDACC__
  emulation::multiply_add(c, a, b, 4, &Element<float>::decode);
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  multiply_add_by_shuffles<float>(c, a, b);
#endif
}

}  // namespace kerasllm

#endif  // KERASLLM_COMMON_CUDA_MMA_H_
