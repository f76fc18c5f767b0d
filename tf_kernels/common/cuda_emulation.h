// CUDA's execution model on one CPU core, as much of it as our kernels use: each thread of a block
// is a fiber that runs until a barrier or a warp's exchange. So tests run the kernels' own code,
// and what is an error on a GPU (a barrier that a thread leaves out, an exchange that a lane leaves
// out) ends the program here.
//
// Blocks, and the threads between two barriers, run in an order that set_order() shuffles: a result
// that depends on it is a race.
#ifndef KERASLLM_COMMON_CUDA_EMULATION_H_
#define KERASLLM_COMMON_CUDA_EMULATION_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __shared__ static
#define __launch_bounds__(...)

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

namespace kerasllm::emulation {

// All threads of the block, or the 32 of the warp, wait for each other.
void block_barrier();
void warp_barrier();
// The calling thread's place in its warp, and the word of each lane in an exchange.
int lane();
uint64_t* exchange();

float* dynamic_shared();
void set_order(uint64_t seed);
int run(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& thread);

template <class T>
T shuffle(T value, int from) {
  static_assert(sizeof(T) <= 8, "a word");
  std::memcpy(exchange() + lane(), &value, sizeof(T));
  warp_barrier();
  T result;
  std::memcpy(&result, exchange() + from, sizeof(T));
  warp_barrier();
  return result;
}

template <class T>
struct SameType {
  using type = T;
};
template <class... Args>
int launch(void (*kernel)(Args...), dim3 grid, dim3 block, size_t shared_bytes, void*,
           typename SameType<Args>::type... args) {
  return run(grid, block, shared_bytes, [&] { kernel(args...); });
}

float half_to_float(uint16_t bits);
uint16_t float_to_half(float value);

// Bytes of shared memory that a block may have: an H100's, or what a test sets.
int64_t shared_limit();
void set_shared_limit(int64_t bytes);

// Ends the program where an access of so many bytes is not aligned to them.
void check_aligned(const void* address, size_t bytes);

// cp.async: the bytes arrive as late as they may, when they are waited for, or, under an odd order
// (set_order), as soon as they are asked for.
void copy_async(void* to, const void* from, int bytes, bool real);
void commit_copies();
void wait_for_copies(int unfinished);

// ldmatrix and mma.sync of common/cuda_mma.h. `bytes`: of an element, two or four; `decode`: its
// value from its bits.
void load_matrices(const void* row, bool transposed, uint32_t* words);
void multiply_add(float* c, const uint32_t* a, const uint32_t* b, int bytes,
                  float (*decode)(uint32_t));

}  // namespace kerasllm::emulation

inline void __syncthreads() { kerasllm::emulation::block_barrier(); }
inline void __syncwarp() { kerasllm::emulation::warp_barrier(); }
template <class T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  return kerasllm::emulation::shuffle(value, kerasllm::emulation::lane() ^ mask);
}
template <class T>
T __shfl_sync(unsigned, T value, int from) {
  return kerasllm::emulation::shuffle(value, from);
}
inline float atomicAdd(float* to, float value) {
  const float before = *to;
  *to = before + value;
  return before;
}

#endif  // KERASLLM_COMMON_CUDA_EMULATION_H_
