// A 16 x 8 product through shared memory for tests/cuda/test_mma.py: in the libraries for tests
// only.
#include "common/cuda_mma.h"

namespace kerasllm {
namespace {

// a (16, 16), b (16, 8) row-major; bt (8, 16) is b transposed. c (2, 16, 8): by ldmatrix of bt, and
// by the transposing ldmatrix of b.
template <class T>
__global__ void product_test_kernel(const T* a, const T* b, const T* bt, float* c) {
  alignas(16) __shared__ T a_rows[16][16], b_rows[16][8], bt_rows[8][16];
  const int lane = threadIdx.x;
  copy_async<16>(&a_rows[lane / 2][lane % 2 * 8], a + lane * 8);
  if (lane < 16) copy_async<16>(&b_rows[lane][0], b + lane * 8);
  commit_copies();
  if (lane < 16) copy_async<16>(&bt_rows[lane / 2][lane % 2 * 8], bt + lane * 8);
  commit_copies();
  wait_for_copies<0>();
  __syncwarp();
  uint32_t left[4], right[4], transposed[4];
  load_matrices(&a_rows[lane % 16][lane / 16 * 8], left);
  // Two matrices of b are enough: the other two are the same again.
  load_matrices(&bt_rows[lane % 8][lane / 8 % 2 * 8], right);
  load_matrices_transposed(&b_rows[lane % 16][0], transposed);
  float sums[2][4] = {};
  multiply_add<T>(sums[0], left, {right[0], right[1]});
  multiply_add<T>(sums[1], left, {transposed[0], transposed[1]});
  for (int which = 0; which < 2; ++which) {
    for (int i = 0; i < 4; ++i) {
      c[which * 128 + (lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = sums[which][i];
    }
  }
}

// a (16, 8), b (8, 8); c (2, 16, 8): by mma and by shuffles.
__global__ void tf32_test_kernel(const float* a, const float* b, float* c) {
  const int lane = threadIdx.x, g = lane / 4, t = lane % 4;
  const uint32_t left[4] = {to_tf32(a[g * 8 + t]), to_tf32(a[(g + 8) * 8 + t]),
                            to_tf32(a[g * 8 + t + 4]), to_tf32(a[(g + 8) * 8 + t + 4])};
  const uint32_t right[2] = {to_tf32(b[t * 8 + g]), to_tf32(b[(t + 4) * 8 + g])};
  float sums[2][4] = {};
  multiply_add_tf32(sums[0], left, right);
  multiply_add_by_shuffles<float>(sums[1], left, right);
  for (int which = 0; which < 2; ++which) {
    for (int i = 0; i < 4; ++i) {
      c[which * 128 + (g + i / 2 * 8) * 8 + 2 * t + i % 2] = sums[which][i];
    }
  }
}

// c (16, 8): by shuffles, the fragments straight from memory.
template <class T>
__global__ void shuffles_test_kernel(const T* a, const T* bt, float* c) {
  const int lane = threadIdx.x, g = lane / 4, t = lane % 4;
  uint32_t left[4], right[2];
  for (int i = 0; i < 4; ++i) {
    memcpy(&left[i], a + (g + i % 2 * 8) * 16 + 2 * t + i / 2 * 8, 4);
  }
  for (int i = 0; i < 2; ++i) memcpy(&right[i], bt + g * 16 + 2 * t + i * 8, 4);
  float sums[4] = {};
  multiply_add_by_shuffles<T>(sums, left, right);
  for (int i = 0; i < 4; ++i) c[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = sums[i];
}

}  // namespace
}  // namespace kerasllm

// c: (3, 16, 8) for bfloat16 and float16, (2, 16, 8) for float32, which has no bt.
KERASLLM_CUDA_EXPORT int kerasllm_cuda_mma_test(int type, const void* a, const void* b,
                                                const void* bt, float* c, void* stream) {
  using namespace kerasllm;
  return for_type(static_cast<CudaType>(type), [&](auto t) {
    using T = decltype(t);
    const T *left = static_cast<const T*>(a), *right = static_cast<const T*>(b);
    const T* const turned = static_cast<const T*>(bt);
    if constexpr (sizeof(T) == 2) {
      KERASLLM_RETURN_IF_ERROR(
          launch(&product_test_kernel<T>, 1, 32, 0, stream, left, right, turned, c));
      return launch(&shuffles_test_kernel<T>, 1, 32, 0, stream, left, turned, c + 256);
    } else {
      return launch(&tf32_test_kernel, 1, 32, 0, stream, left, right, c);
    }
  });
}
