// The softmax over keys that pass by in tiles (Milakov and Gimelshein, Online Normalizer
// Calculation for Softmax, 2018), for the rows of a warp as common/cuda_mma.h's results lie.
#ifndef KERASLLM_ATTENTION_ATTENTION_CUDA_SOFTMAX_H_
#define KERASLLM_ATTENTION_ATTENTION_CUDA_SOFTMAX_H_

#include "common/cuda.h"

namespace kerasllm {
namespace {

constexpr float kLog2E = 1.4426950408889634f;

KERASLLM_DEVICE float infinity() { return bits_as_float(0x7f800000u); }

// Scores of half precision products are in powers of two, those of float32 as they are: a rounding
// less where they are near the largest.
template <class T>
constexpr float kUnit = sizeof(T) == 4 ? 1.0f : kLog2E;

// The exponential of multiplier * score - base, all in kUnit.
template <class T>
KERASLLM_DEVICE float exponential(float score, float multiplier, float base) {
  const float difference = fmaf(score, multiplier, -base);
  return fast_exp2(sizeof(T) == 4 ? difference * kLog2E : difference);
}

template <class T, int kBlocks>
struct OnlineSoftmax {
  // Of rows 16 i + g and 16 i + g + 8: the largest score so far, and the sum of the exponentials
  // relative to it, of this lane's columns until finish().
  float top[kBlocks][2], total[kBlocks][2];

  KERASLLM_DEVICE OnlineSoftmax() {
#pragma unroll
    for (int i = 0; i < kBlocks; ++i) {
      top[i][0] = top[i][1] = -infinity();
      total[i][0] = total[i][1] = 0.0f;
    }
  }

  // Makes exponentials of a tile's scores, relative to the largest of their row, and brings what
  // was summed before to it.
  template <int kPanels, int kSums>
  KERASLLM_DEVICE void pass(float (&scores)[kBlocks][kPanels][4], float multiplier,
                            float (&sums)[kBlocks][kSums][4]) {
#pragma unroll
    for (int i = 0; i < kBlocks; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float largest = top[i][half];
#pragma unroll
        for (int j = 0; j < kPanels; ++j) {
          largest = fmaxf(largest, fmaxf(scores[i][j][2 * half], scores[i][j][2 * half + 1]));
        }
        largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, 1));
        largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, 2));
        // A row that has seen nothing yet keeps zeros.
        const float base = largest == -infinity() ? 0.0f : largest * multiplier;
        const float correction = exponential<T>(top[i][half], multiplier, base);
        top[i][half] = largest;
        float sum = 0.0f;
#pragma unroll
        for (int j = 0; j < kPanels; ++j) {
#pragma unroll
          for (int e = 2 * half; e < 2 * half + 2; ++e) {
            scores[i][j][e] = exponential<T>(scores[i][j][e], multiplier, base);
            sum += scores[i][j][e];
          }
        }
        total[i][half] = total[i][half] * correction + sum;
#pragma unroll
        for (int j = 0; j < kSums; ++j) {
          sums[i][j][2 * half] *= correction;
          sums[i][j][2 * half + 1] *= correction;
        }
      }
    }
  }

  // Adds the lanes' parts of the totals.
  KERASLLM_DEVICE void finish() {
#pragma unroll
    for (int i = 0; i < kBlocks; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        total[i][half] += __shfl_xor_sync(kAllLanes, total[i][half], 1);
        total[i][half] += __shfl_xor_sync(kAllLanes, total[i][half], 2);
      }
    }
  }
};

}  // namespace
}  // namespace kerasllm

#endif  // KERASLLM_ATTENTION_ATTENTION_CUDA_SOFTMAX_H_
