// The product of one step of the GPU's LSTM: 16 rows by some columns, over the whole depth, by a
// block of 256 threads. Teams of threads share out the depth, so that there are enough of them for
// the few results of a step; each thread keeps 4 x 4 sums, so that two accesses to shared memory
// serve 16 products. The next part of the operands is on its way while this one is multiplied.
#ifndef KERASLLM_LSTM_LSTM_CUDA_STEP_H_
#define KERASLLM_LSTM_LSTM_CUDA_STEP_H_

#include "common/cuda.h"

namespace kerasllm {
namespace {

constexpr int kBlock = 16;  // rows of a block, and units
constexpr int kStepThreads = kBlock * kBlock;

// Four neighbours, of which the first `there` are there; `wide`: all or none are, and aligned.
template <class T>
KERASLLM_DEVICE void load_four(const T* from, int64_t there, bool wide, float (&to)[4]) {
  if (wide && there > 0) {
    load(from, to);
    return;
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) to[i] = !wide && i < there ? load_one(from + i) : 0.0f;
}

// kDepth: of a part of the operands in shared memory.
template <int kColumns, int kDepth>
struct StepProduct {
  static constexpr int kTeam = kBlock * kColumns / 16, kTeams = kStepThreads / kTeam;
  static constexpr int kEach = kColumns / kBlock;  // results of a thread
  // Rows of shared memory: 16 bytes wider, so that neighbours along the depth lie in other banks.
  static constexpr int kLeftSize = kBlock + 4, kRightSize = kColumns + 4;
  static constexpr int kLefts = kDepth * kBlock / 4 / kStepThreads;
  static constexpr int kRights = kDepth * kColumns / 4 / kStepThreads;
  static constexpr int kShared = kDepth * (kLeftSize + kRightSize);  // floats
  static_assert(kShared >= kTeams * kBlock * kColumns, "the teams' sums lie there too");
  static_assert(kDepth % (4 * kTeams) == 0 && kRights > 0 && kLefts > 0, "whole parts");

  // left(row, k, values): four of a row of the block, from k on. right(index, k, values): with
  // kAlongDepth four of column `index`, from k on; else of depth k, index in [0, kColumns / 4), and
  // column_of(index, i) is the i-th one's column. What is not there is zero. All of the block's
  // threads call it; `results` are of row threadIdx.x / 16, columns kEach * (threadIdx.x % 16) on.
  template <bool kAlongDepth, class Left, class Right, class ColumnOf>
  static KERASLLM_DEVICE void run(int64_t depth, const Left& left, const Right& right,
                                  const ColumnOf& column_of, float* shared,
                                  float (&results)[kEach]) {
    float* const left_tile = shared;
    float* const right_tile = shared + kDepth * kLeftSize;
    const int thread = static_cast<int>(threadIdx.x), team = thread / kTeam;
    const int x = thread % kTeam % (kColumns / 4) * 4, y = thread % kTeam / (kColumns / 4) * 4;
    float lefts[kLefts][4], rights[kRights][4];
    constexpr int kAcross = kAlongDepth ? kColumns : kColumns / 4;
    const auto read = [&](int64_t first) {
#pragma unroll
      for (int e = 0; e < kLefts; ++e) {
        const int at = e * kStepThreads + thread;
        left(at % kBlock, first + at / kBlock * 4, lefts[e]);
      }
#pragma unroll
      for (int e = 0; e < kRights; ++e) {
        const int at = e * kStepThreads + thread;
        right(at % kAcross, first + at / kAcross * (kAlongDepth ? 4 : 1), rights[e]);
      }
    };
    const auto write = [&] {
#pragma unroll
      for (int e = 0; e < kLefts; ++e) {
        const int at = e * kStepThreads + thread;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          left_tile[(at / kBlock * 4 + i) * kLeftSize + at % kBlock] = lefts[e][i];
        }
      }
#pragma unroll
      for (int e = 0; e < kRights; ++e) {
        const int at = e * kStepThreads + thread;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int k = kAlongDepth ? at / kAcross * 4 + i : at / kAcross;
          const int column = kAlongDepth ? at % kAcross : column_of(at % kAcross, i);
          right_tile[k * kRightSize + column] = rights[e][i];
        }
      }
    };
    float sums[4][4] = {};
    read(0);
    for (int64_t first = 0; first < depth; first += kDepth) {
      write();
      __syncthreads();
      if (first + kDepth < depth) read(first + kDepth);
#pragma unroll
      for (int k = team * (kDepth / kTeams), n = 0; n < kDepth / kTeams; ++k, ++n) {
        float a[4], b[4];
        load(left_tile + k * kLeftSize + y, a);
        load(right_tile + k * kRightSize + x, b);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
#pragma unroll
          for (int j = 0; j < 4; ++j) sums[i][j] += a[i] * b[j];
        }
      }
      __syncthreads();
    }
    // The teams' sums, one after the other.
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      store_shared(shared + (team * kBlock + y + i) * kColumns + x, sums[i]);
    }
    __syncthreads();
#pragma unroll
    for (int j = 0; j < kEach; ++j) results[j] = 0.0f;
    const float* const from = shared + thread / kBlock * kColumns + thread % kBlock * kEach;
#pragma unroll
    for (int t = 0; t < kTeams; ++t) {
#pragma unroll
      for (int j = 0; j < kEach; ++j) results[j] += from[t * kBlock * kColumns + j];
    }
  }
};

}  // namespace
}  // namespace kerasllm

#endif  // KERASLLM_LSTM_LSTM_CUDA_STEP_H_
