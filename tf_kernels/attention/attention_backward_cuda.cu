// Attention backward on the GPU: what attention_cuda_backward.h's kernels need, and their launch.
#include "attention/attention_cuda.h"
#include "attention/attention_cuda_backward.h"

namespace kerasllm {
namespace {

// The sums of outputs * d_outputs: deltas (batch, num_heads, query_length), a warp a row.
template <class T>
__global__ void __launch_bounds__(256)
    attention_deltas_kernel(AttentionBackward<T> args, bool aligned, float* deltas) {
  const AttentionShape& shape = args.shape;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * (blockDim.x / kWarp) +
                        threadIdx.x / kWarp;  // of (batch, query_length, num_heads)
  if (index >= shape.batch * shape.query_length * shape.num_heads) return;
  const T* const outputs = args.outputs + index * shape.value_dim;
  const T* const d_outputs = args.d_outputs + index * shape.value_dim;
  constexpr int kWidth = kVectorWidth<T>;
  const int lane = threadIdx.x % kWarp, dim = static_cast<int>(shape.value_dim);
  float sum = 0.0f;
  if (aligned) {
    for (int k = lane * kWidth; k < dim; k += kWarp * kWidth) {
      float a[kWidth], b[kWidth];
      load(outputs + k, a);
      load(d_outputs + k, b);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) sum += a[i] * b[i];
    }
  } else {
    for (int k = lane; k < dim; k += kWarp) sum += load_one(outputs + k) * load_one(d_outputs + k);
  }
  sum = warp_sum(sum);
  if (lane == 0) {
    const int64_t head = index % shape.num_heads, row = index / shape.num_heads;
    const int64_t batch = row / shape.query_length, query = row % shape.query_length;
    deltas[(batch * shape.num_heads + head) * shape.query_length + query] = sum;
  }
}

template <class T, int kDim, Makes kMakes>
int backward_kernel_of(const AttentionBackward<T>& args, const float* deltas,
                       const Padding* padding, float* query_sums, void* stream) {
  using Sizes = BackwardSizes<T, kDim, kMakes>;
  constexpr bool kKeysStay = Sizes::kKeysStay;
  const AttentionShape& shape = args.shape;
  constexpr int kChunk = Tile<T, kDim>::kChunk;
  const bool drops = args.options.dropout.threshold != 0;
  const int64_t limit = shared_memory_limit();
  int warps = Sizes::kWarps, stages = 2;
  while (Sizes::shared_bytes(warps, stages, drops) > limit) {
    if (Sizes::kAll) return kCudaNotSupported;
    if (stages == 2) {
      stages = 1;
    } else if (warps > 1) {
      warps /= 2;
      stages = 2;
    } else {
      return kCudaNotSupported;
    }
  }
  const int64_t staying = kKeysStay ? shape.key_length : shape.query_length;
  const int64_t heads = kKeysStay ? shape.num_key_value_heads : shape.num_heads;
  const int64_t blocks = cuda_ceil_div(staying, Sizes::rows(warps)) * heads;
  if (blocks == 0) return 0;
  if (blocks > kMostBlocks / shape.batch) return kCudaNotSupported;
  const bool aligned = shape.head_dim % kChunk == 0 && shape.value_dim % kChunk == 0 &&
                       aligned_to_16(args.query, args.key, args.value, args.d_outputs);
  const bool pairs = shape.head_dim % 2 == 0 && shape.value_dim % 2 == 0 &&
                     aligned_to_16(args.d_query, args.d_key, args.d_value);
  return launch(&attention_backward_kernel<T, kDim, kMakes>,
                dim3(static_cast<unsigned>(blocks * shape.batch), Sizes::kParts),
                dim3(static_cast<unsigned>(warps * kWarp)),
                static_cast<size_t>(Sizes::shared_bytes(warps, stages, drops)), stream, args,
                deltas, padding, stages, aligned, pairs, query_sums);
}

// Whether one kernel makes all gradients: where as many of its blocks fit into a multiprocessor's
// shared memory as into its registers, of which 8 warps take all.
template <class T, int kDim>
bool makes_all(const AttentionBackward<T>& args, bool deterministic) {
  if constexpr (sizeof(T) == 2 && kDim <= 128) {
    using Sizes = BackwardSizes<T, kDim, Makes::kAll>;
    const bool drops = args.options.dropout.threshold != 0;
    constexpr int kBlocks = 8 / Sizes::kWarps;
    return !deterministic &&
           kBlocks * Sizes::shared_bytes(Sizes::kWarps, 2, drops) <= shared_memory_limit();
  }
  return false;
}

// The parts of the scratch memory.
template <class T, int kDim>
struct Scratch {
  bool makes_all;
  int64_t sums, deltas;  // floats

  Scratch(const AttentionBackward<T>& args, bool deterministic)
      : makes_all(kerasllm::makes_all<T, kDim>(args, deterministic)),
        sums(makes_all ? query_sums_size(args.shape, kDim) : 0),
        deltas(args.shape.batch * args.shape.num_heads * args.shape.query_length) {}
};

template <class T, int kDim>
int backward_of(const AttentionBackward<T>& args, bool deterministic, float* scratch,
                void* stream) {
  const AttentionShape& shape = args.shape;
  const Scratch<T, kDim> parts(args, deterministic);
  float* const query_sums = scratch;
  float* const deltas = query_sums + parts.sums;
  constexpr int kRows = 256 / kWarp;
  const int64_t tiles = parts.sums / (kSumsQueries * kDim);
  if (cuda_max(cuda_ceil_div(parts.deltas, kRows), tiles) > kMostBlocks) return kCudaNotSupported;
  if (parts.deltas > 0) {
    const bool aligned =
        shape.value_dim % kVectorWidth<T> == 0 && aligned_to_16(args.outputs, args.d_outputs);
    KERASLLM_RETURN_IF_ERROR(launch(&attention_deltas_kernel<T>,
                                    dim3(static_cast<unsigned>(cuda_ceil_div(parts.deltas, kRows))),
                                    dim3(256), 0, stream, args, aligned, deltas));
  }
  const Padding* padding;
  KERASLLM_RETURN_IF_ERROR(
      look_at_padding(shape, args.options, deltas + parts.deltas, &padding, stream));
  if constexpr (sizeof(T) == 2 && kDim <= 128) {
    if (parts.makes_all) {
      KERASLLM_RETURN_IF_ERROR(
          clear(query_sums, parts.sums * static_cast<int64_t>(sizeof(float)), stream));
      KERASLLM_RETURN_IF_ERROR(
          (backward_kernel_of<T, kDim, Makes::kAll>(args, deltas, padding, query_sums, stream)));
      const bool pairs = shape.head_dim % 2 == 0 && aligned_to_16(args.d_query);
      if (tiles == 0) return 0;
      return launch(&attention_query_sums_kernel<T, kDim>, dim3(static_cast<unsigned>(tiles)),
                    dim3(256), 0, stream, args, query_sums, pairs);
    }
  }
  KERASLLM_RETURN_IF_ERROR(
      (backward_kernel_of<T, kDim, Makes::kKeysAndValues>(args, deltas, padding, nullptr, stream)));
  return backward_kernel_of<T, kDim, Makes::kQueries>(args, deltas, padding, nullptr, stream);
}

// body(head size) with the sizes that there are kernels for.
template <class Body>
auto for_dim(const AttentionShape& shape, const Body& body) {
  const int64_t dim = cuda_max(shape.head_dim, shape.value_dim);
  if (dim <= 64) return body(std::integral_constant<int, 64>());
  if (dim <= 128) return body(std::integral_constant<int, 128>());
  return body(std::integral_constant<int, 256>());
}

template <class T>
int backward(const AttentionBackward<T>& args, bool deterministic, void* scratch, void* stream) {
  if (!serves(args.shape)) return kCudaNotSupported;
  if (args.shape.batch == 0) return 0;
  return for_dim(args.shape, [&](auto dim) {
    return backward_of<T, dim()>(args, deterministic, static_cast<float*>(scratch), stream);
  });
}

template <class T>
int64_t backward_scratch(const AttentionBackward<T>& args, bool deterministic) {
  return for_dim(args.shape, [&](auto dim) {
    const Scratch<T, dim()> parts(args, deterministic);
    return (parts.sums + parts.deltas) * static_cast<int64_t>(sizeof(float)) +
           padding_bytes(args.shape, args.options);
  });
}

}  // namespace
}  // namespace kerasllm

int64_t kerasllm_cuda_attention_backward_scratch(int type, const void* args, int deterministic) {
  int64_t bytes = 0;
  kerasllm::for_type(static_cast<kerasllm::CudaType>(type), [&](auto t) {
    using Args = kerasllm::AttentionBackward<decltype(t)>;
    bytes = kerasllm::backward_scratch(*static_cast<const Args*>(args), deterministic != 0);
    return 0;
  });
  return bytes;
}
int kerasllm_cuda_attention_backward(int type, const void* args, int deterministic, void* scratch,
                                     void* stream) {
  return kerasllm::for_type(static_cast<kerasllm::CudaType>(type), [&](auto t) {
    using Args = kerasllm::AttentionBackward<decltype(t)>;
    return kerasllm::backward(*static_cast<const Args*>(args), deterministic != 0, scratch, stream);
  });
}
