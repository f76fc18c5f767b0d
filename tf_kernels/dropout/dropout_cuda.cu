// Dropout on the GPU: a thread takes 8 columns of a row, as many as its random numbers come in.
#include "common/cuda.h"
#include "common/cuda_random.h"
#include "dropout/dropout_cuda.h"

namespace kerasllm {
namespace {

constexpr int kThreads = 256, kColumns = 8;
constexpr int64_t kMostBlocks = 1 << 20;  // of a grid; threads go on with what is left

// kVectors: rows begin at multiples of 16 bytes and are of whole groups of columns.
template <class T, bool kVectors>
__global__ void __launch_bounds__(kThreads) dropout_kernel(DropoutArgs<T> args) {
  const int64_t groups = cuda_ceil_div(args.columns, kColumns), all = args.rows * groups;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t group = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; group < all;
       group += step) {
    const int64_t row = group / groups, column = group % groups * kColumns;
    const T* const from = args.inputs + row * args.columns + column;
    T* const to = args.outputs + row * args.columns + column;
    float v[kColumns];
    if constexpr (!kVectors) {
#pragma unroll
      for (int i = 0; i < kColumns; ++i) v[i] = column + i < args.columns ? load_one(from + i) : 0;
    } else if constexpr (sizeof(T) == sizeof(float)) {
      load_floats(from, v);
    } else {
      load(from, v);
    }
    drop(args.dropout, static_cast<uint64_t>(row), column, v);
    if constexpr (!kVectors) {
#pragma unroll
      for (int i = 0; i < kColumns; ++i) {
        if (column + i < args.columns) store_one(to + i, v[i]);
      }
    } else if constexpr (sizeof(T) == sizeof(float)) {
      store_floats(to, v);
    } else {
      store(to, v);
    }
  }
}

template <class T>
int run(const DropoutArgs<T>& args, void* stream) {
  if (args.rows * args.columns == 0) return 0;
  const bool vectors = args.columns % kColumns == 0 && aligned_to_16(args.inputs, args.outputs);
  const int64_t threads = args.rows * cuda_ceil_div(args.columns, kColumns);
  const int64_t blocks = cuda_min(kMostBlocks, cuda_ceil_div(threads, kThreads));
  return launch(vectors ? &dropout_kernel<T, true> : &dropout_kernel<T, false>,
                dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 0, stream, args);
}

}  // namespace
}  // namespace kerasllm

int kerasllm_cuda_dropout(int type, const void* args, void*, void* stream) {
  return kerasllm::for_type(static_cast<kerasllm::CudaType>(type), [&](auto t) {
    return kerasllm::run(*static_cast<const kerasllm::DropoutArgs<decltype(t)>*>(args), stream);
  });
}

KERASLLM_CUDA_STRUCT(DropoutArgs, kerasllm::DropoutArgs<float>)
