// Embeddings on the GPU. Forward, a warp takes a token. Backward, the tokens' gradient is added up
// by atomics, or deterministically: the tokens are sorted by id, by counting those that come before
// each, and the gradient of a row is the sum of its run, long runs in pieces. The positions' and
// the segments' gradients are always summed in one order.
#include "common/cuda.h"
#include "common/cuda_column_sums.h"
#include "embedding/embedding_cuda.h"

namespace kerasllm {
namespace {

constexpr int kLanes = 32, kBlockRows = 8;
constexpr int kSortThreads = 256;
constexpr int64_t kPiece = 64;            // tokens
constexpr int64_t kMostBlocks = 1 << 20;  // of a grid; kernels go on with what is left
constexpr float kNan = __builtin_nanf("");

template <class T, class U>
inline constexpr int kTableWidth =
    16 / static_cast<int>(sizeof(T) > sizeof(U) ? sizeof(T) : sizeof(U));

KERASLLM_DEVICE bool is_row(int64_t id, int64_t rows) { return id >= 0 && id < rows; }

template <class T, class U, int kWidth>
__global__ void __launch_bounds__(kLanes* kBlockRows) forward_kernel(EmbeddingForward<T, U> args) {
  const EmbeddingLookup& lookup = args.lookup;
  const int64_t dim = lookup.dim, tokens = lookup.batch * lookup.time;
  const int64_t start = *lookup.device_start;
  const bool positions = args.position_embeddings != nullptr;
  const bool segments = args.segment_embeddings != nullptr;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kBlockRows;
  for (int64_t token = static_cast<int64_t>(blockIdx.x) * kBlockRows + threadIdx.y; token < tokens;
       token += step) {
    const int64_t id = lookup.token_ids[token];
    const int64_t position = start + token % lookup.time;
    const int64_t segment = segments ? lookup.segment_ids[token] : 0;
    const bool valid = is_row(id, lookup.vocabulary) &&
                       (!positions || is_row(position, lookup.max_length)) &&
                       (!segments || is_row(segment, lookup.num_segments));
    for (int64_t column = threadIdx.x * kWidth; column < dim; column += kLanes * kWidth) {
      float sum[kWidth], other[kWidth];
      if (valid) {
        load(args.token_embeddings + id * dim + column, sum);
        if (positions) {
          load(args.position_embeddings + position * dim + column, other);
#pragma unroll
          for (int k = 0; k < kWidth; ++k) sum[k] += other[k];
        }
        if (segments) {
          load(args.segment_embeddings + segment * dim + column, other);
#pragma unroll
          for (int k = 0; k < kWidth; ++k) sum[k] += other[k];
        }
      } else {
#pragma unroll
        for (int k = 0; k < kWidth; ++k) sum[k] = kNan;
      }
      store(args.outputs + token * dim + column, sum);
    }
  }
}

// gradient (rows, dim), zeros before: each token's output gradient is added to its row.
template <class U>
__global__ void __launch_bounds__(kLanes* kBlockRows)
    add_tokens_kernel(EmbeddingLookup lookup, const U* d_outputs, float* gradient) {
  const int64_t dim = lookup.dim, tokens = lookup.batch * lookup.time;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kBlockRows;
  for (int64_t token = static_cast<int64_t>(blockIdx.x) * kBlockRows + threadIdx.y; token < tokens;
       token += step) {
    const int64_t id = lookup.token_ids[token];
    if (!is_row(id, lookup.vocabulary)) continue;
    for (int64_t column = threadIdx.x; column < dim; column += kLanes) {
      atomicAdd(gradient + id * dim + column, load_one(d_outputs + token * dim + column));
    }
  }
}

// The tokens by id, those of one id in their order: keys (tokens) are the ids so ordered and order
// (tokens) the tokens. An id without a row counts as `vocabulary`, behind all others.
__global__ void __launch_bounds__(kSortThreads)
    sort_kernel(EmbeddingLookup lookup, int32_t* keys, int32_t* order) {
  __shared__ int32_t tile[kSortThreads];
  const int64_t tokens = lookup.batch * lookup.time;
  const auto key_of = [&](int64_t token) {
    const int32_t id = lookup.token_ids[token];
    return is_row(id, lookup.vocabulary) ? id : static_cast<int32_t>(lookup.vocabulary);
  };
  const int64_t token = static_cast<int64_t>(blockIdx.x) * kSortThreads + threadIdx.x;
  const int32_t key = token < tokens ? key_of(token) : 0;
  int64_t rank = 0;
  for (int64_t first = 0; first < tokens; first += kSortThreads) {
    const int64_t mine = first + threadIdx.x;
    __syncthreads();  // the tile before has been read
    if (mine < tokens) tile[threadIdx.x] = key_of(mine);
    __syncthreads();
    const int count = static_cast<int>(cuda_min(kSortThreads, tokens - first));
    const int before = static_cast<int>(cuda_min(kSortThreads, cuda_max(0, token - first)));
    for (int i = 0; i < count; ++i) {
      rank += tile[i] < key || (tile[i] == key && i < before) ? 1 : 0;
    }
  }
  if (token >= tokens) return;
  keys[rank] = key;
  order[rank] = static_cast<int32_t>(token);
}

struct SortedTokens {
  int64_t count, vocabulary, dim;
  const int32_t* keys;
  const int32_t* order;
  float* pieces;  // (count / kPiece, dim): the sums of pieces that are of one row

  // Whether the kPiece places from `begin` on, a multiple of it, are there and all of one row.
  KERASLLM_DEVICE bool is_piece(int64_t begin) const {
    return begin + kPiece <= count && keys[begin] == keys[begin + kPiece - 1] &&
           keys[begin] < vocabulary;
  }
};

template <class U, int kWidth>
__global__ void __launch_bounds__(kLanes* kBlockRows)
    pieces_kernel(SortedTokens tokens, const U* d_outputs) {
  const int64_t piece = static_cast<int64_t>(blockIdx.x) * kBlockRows + threadIdx.y;
  const int64_t begin = piece * kPiece;
  if (!tokens.is_piece(begin)) return;
  for (int64_t column = threadIdx.x * kWidth; column < tokens.dim; column += kLanes * kWidth) {
    float sum[kWidth] = {};
#pragma unroll 4
    for (int64_t i = begin; i < begin + kPiece; ++i) {
      float v[kWidth];
      load(d_outputs + tokens.order[i] * tokens.dim + column, v);
#pragma unroll
      for (int k = 0; k < kWidth; ++k) sum[k] += v[k];
    }
    store_floats(tokens.pieces + piece * tokens.dim + column, sum);
  }
}

// gradient (vocabulary, dim), zeros before: the warp at whose place a run of one row begins sums
// it.
template <class T, class U, int kWidth>
__global__ void __launch_bounds__(kLanes* kBlockRows)
    runs_kernel(SortedTokens tokens, const U* d_outputs, T* gradient) {
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * kBlockRows + threadIdx.y;
  if (begin >= tokens.count) return;
  const int32_t key = tokens.keys[begin];
  if (key >= tokens.vocabulary || (begin > 0 && tokens.keys[begin - 1] == key)) return;
  for (int64_t column = threadIdx.x * kWidth; column < tokens.dim; column += kLanes * kWidth) {
    float sum[kWidth] = {};
    for (int64_t i = begin; i < tokens.count && tokens.keys[i] == key;) {
      float v[kWidth];
      if (i % kPiece == 0 && tokens.is_piece(i)) {
        load_floats(tokens.pieces + i / kPiece * tokens.dim + column, v);
        i += kPiece;
      } else {
        load(d_outputs + tokens.order[i] * tokens.dim + column, v);
        ++i;
      }
#pragma unroll
      for (int k = 0; k < kWidth; ++k) sum[k] += v[k];
    }
    store(gradient + key * tokens.dim + column, sum);
  }
}

// gradient (max_length, dim): a thread a column of a position, summed over the batch.
template <class T, class U>
__global__ void __launch_bounds__(kLanes* kBlockRows)
    positions_kernel(EmbeddingLookup lookup, const U* d_outputs, T* gradient) {
  const int64_t dim = lookup.dim;
  const int64_t column = static_cast<int64_t>(blockIdx.y) * kLanes + threadIdx.x;
  if (column >= dim) return;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kBlockRows;
  for (int64_t position = static_cast<int64_t>(blockIdx.x) * kBlockRows + threadIdx.y;
       position < lookup.max_length; position += step) {
    const int64_t t = position - *lookup.device_start;
    float sum = 0.0f;
    if (is_row(t, lookup.time)) {
#pragma unroll 4
      for (int64_t b = 0; b < lookup.batch; ++b) {
        sum += load_one(d_outputs + (b * lookup.time + t) * dim + column);
      }
    }
    store_one(gradient + position * dim + column, sum);
  }
}

// partials (gridDim.y, num_segments, dim): block z sums the tokens of segment z among those that
// fall to block y.
template <class U>
__global__ void __launch_bounds__(kLanes* kBlockRows)
    segments_kernel(EmbeddingLookup lookup, const U* d_outputs, float* partials) {
  __shared__ float shared[kBlockRows][kLanes];
  const int64_t dim = lookup.dim, tokens = lookup.batch * lookup.time;
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kLanes + threadIdx.x;
  const int64_t step = static_cast<int64_t>(gridDim.y) * kBlockRows;
  for (int64_t segment = blockIdx.z; segment < lookup.num_segments; segment += gridDim.z) {
    float sum = 0.0f;
    if (column < dim) {
      for (int64_t token = static_cast<int64_t>(blockIdx.y) * kBlockRows + threadIdx.y;
           token < tokens; token += step) {
        if (lookup.segment_ids[token] != segment) continue;
        sum += load_one(d_outputs + token * dim + column);
      }
    }
    shared[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && column < dim) {
      for (int y = 1; y < kBlockRows; ++y) sum += shared[y][threadIdx.x];
      partials[(blockIdx.y * lookup.num_segments + segment) * dim + column] = sum;
    }
    __syncthreads();
  }
}

int64_t rounded_up(int64_t bytes) { return cuda_ceil_div(bytes, 256) * 256; }

// How backward divides its scratch memory. The tokens' part and the segments' are used one after
// the other, each with the whole of it.
struct Plan {
  int64_t tokens, keys_bytes, pieces_bytes, tokens_bytes, segment_blocks, segments_bytes;

  Plan(const EmbeddingLookup& lookup, bool sorts, bool has_segments) {
    tokens = lookup.batch * lookup.time;
    keys_bytes = rounded_up(tokens * 4);
    pieces_bytes = rounded_up(tokens / kPiece * lookup.dim * 4);
    tokens_bytes = sorts ? 2 * keys_bytes + pieces_bytes : 0;
    segment_blocks = cuda_min(256, cuda_ceil_div(tokens, 16 * kBlockRows));
    segments_bytes = has_segments ? segment_blocks * lookup.num_segments * lookup.dim * 4 : 0;
  }
  int64_t bytes() const { return cuda_max(tokens_bytes, segments_bytes); }
};

unsigned row_blocks(int64_t rows) {
  return static_cast<unsigned>(cuda_min(kMostBlocks, cuda_ceil_div(rows, kBlockRows)));
}

template <class T, class U>
int forward(const EmbeddingForward<T, U>& args, void* stream) {
  constexpr int kWidth = kTableWidth<T, U>;
  const EmbeddingLookup& lookup = args.lookup;
  if (lookup.batch * lookup.time * lookup.dim == 0) return 0;
  const bool fast =
      lookup.dim % kWidth == 0 && aligned_to_16(args.token_embeddings, args.position_embeddings,
                                                args.segment_embeddings, args.outputs);
  return launch(fast ? &forward_kernel<T, U, kWidth> : &forward_kernel<T, U, 1>,
                dim3(row_blocks(lookup.batch * lookup.time)), dim3(kLanes, kBlockRows), 0, stream,
                args);
}

template <class T, class U>
int sorted_tokens_gradient(const EmbeddingBackward<T, U>& args, const Plan& plan, void* scratch,
                           void* stream) {
  constexpr int kWidth = kTableWidth<T, U>;
  const EmbeddingLookup& lookup = args.lookup;
  char* const memory = static_cast<char*>(scratch);
  auto* const keys = reinterpret_cast<int32_t*>(memory);
  auto* const order = reinterpret_cast<int32_t*>(memory + plan.keys_bytes);
  const SortedTokens sorted = {plan.tokens, lookup.vocabulary,
                               lookup.dim,  keys,
                               order,       reinterpret_cast<float*>(memory + 2 * plan.keys_bytes)};
  const dim3 block(kLanes, kBlockRows);
  KERASLLM_RETURN_IF_ERROR(
      launch(&sort_kernel, dim3(static_cast<unsigned>(cuda_ceil_div(plan.tokens, kSortThreads))),
             dim3(kSortThreads), 0, stream, lookup, keys, order));
  const bool fast =
      lookup.dim % kWidth == 0 && aligned_to_16(args.d_outputs, args.d_token_embeddings);
  const int64_t pieces = plan.tokens / kPiece;
  if (pieces > 0) {
    KERASLLM_RETURN_IF_ERROR(launch(fast ? &pieces_kernel<U, kWidth> : &pieces_kernel<U, 1>,
                                    dim3(static_cast<unsigned>(cuda_ceil_div(pieces, kBlockRows))),
                                    block, 0, stream, sorted, args.d_outputs));
  }
  return launch(fast ? &runs_kernel<T, U, kWidth> : &runs_kernel<T, U, 1>,
                dim3(static_cast<unsigned>(cuda_ceil_div(plan.tokens, kBlockRows))), block, 0,
                stream, sorted, args.d_outputs, args.d_token_embeddings);
}

template <class T>
bool sorts(int deterministic) {
  return deterministic != 0 || sizeof(T) != sizeof(float);
}

template <class T, class U>
int backward(const EmbeddingBackward<T, U>& args, int deterministic, void* scratch, void* stream) {
  const EmbeddingLookup& lookup = args.lookup;
  if (lookup.dim == 0) return 0;
  const Plan plan(lookup, sorts<T>(deterministic), args.d_segment_embeddings != nullptr);
  const dim3 block(kLanes, kBlockRows);
  const unsigned column_blocks = static_cast<unsigned>(cuda_ceil_div(lookup.dim, kLanes));
  KERASLLM_RETURN_IF_ERROR(clear(args.d_token_embeddings,
                                 lookup.vocabulary * lookup.dim * static_cast<int64_t>(sizeof(T)),
                                 stream));
  if (plan.tokens == 0) {
    // Only the other tables' zeros are left to write.
  } else if (sorts<T>(deterministic)) {
    KERASLLM_RETURN_IF_ERROR(sorted_tokens_gradient(args, plan, scratch, stream));
  } else {
    KERASLLM_RETURN_IF_ERROR(launch(&add_tokens_kernel<U>, dim3(row_blocks(plan.tokens)), block, 0,
                                    stream, lookup, args.d_outputs,
                                    reinterpret_cast<float*>(args.d_token_embeddings)));
  }
  if (args.d_position_embeddings != nullptr) {
    KERASLLM_RETURN_IF_ERROR(launch(&positions_kernel<T, U>,
                                    dim3(row_blocks(lookup.max_length), column_blocks), block, 0,
                                    stream, lookup, args.d_outputs, args.d_position_embeddings));
  }
  if (args.d_segment_embeddings == nullptr) return 0;
  float* const partials = static_cast<float*>(scratch);
  if (plan.segment_blocks > 0) {
    const dim3 grid(column_blocks, static_cast<unsigned>(plan.segment_blocks),
                    static_cast<unsigned>(cuda_min(lookup.num_segments, 1024)));
    KERASLLM_RETURN_IF_ERROR(
        launch(&segments_kernel<U>, grid, block, 0, stream, lookup, args.d_outputs, partials));
  }
  const int64_t columns = lookup.num_segments * lookup.dim;
  return sum_partials(partials, plan.segment_blocks, columns, columns, args.d_segment_embeddings,
                      args.d_segment_embeddings, stream);
}

// Calls body(T(), U()) for the types of tables and outputs.
template <class Body>
int for_types(int type, const Body& body) {
  switch (type) {
    case embedding_cuda_type(kCudaFloat32, kCudaBfloat16):
      return body(float(), bfloat16());
    case embedding_cuda_type(kCudaFloat32, kCudaFloat16):
      return body(float(), float16());
    case embedding_cuda_type(kCudaBfloat16, kCudaFloat32):
      return body(bfloat16(), float());
    case embedding_cuda_type(kCudaBfloat16, kCudaBfloat16):
      return body(bfloat16(), bfloat16());
    case embedding_cuda_type(kCudaFloat16, kCudaFloat32):
      return body(float16(), float());
    case embedding_cuda_type(kCudaFloat16, kCudaFloat16):
      return body(float16(), float16());
    default:
      return body(float(), float());
  }
}

}  // namespace
}  // namespace kerasllm

int kerasllm_cuda_embedding_forward(int type, const void* args, void*, void* stream) {
  return kerasllm::for_types(type, [&](auto t, auto u) {
    using Args = kerasllm::EmbeddingForward<decltype(t), decltype(u)>;
    return kerasllm::forward(*static_cast<const Args*>(args), stream);
  });
}
int kerasllm_cuda_embedding_backward(int type, const void* args, int deterministic, void* scratch,
                                     void* stream) {
  return kerasllm::for_types(type, [&](auto t, auto u) {
    using Args = kerasllm::EmbeddingBackward<decltype(t), decltype(u)>;
    return kerasllm::backward(*static_cast<const Args*>(args), deterministic, scratch, stream);
  });
}
int64_t kerasllm_cuda_embedding_backward_scratch(int type, const void* args, int deterministic) {
  int64_t bytes = 0;
  kerasllm::for_types(type, [&](auto t, auto u) {
    using T = decltype(t);
    const auto& a = *static_cast<const kerasllm::EmbeddingBackward<T, decltype(u)>*>(args);
    bytes = kerasllm::Plan(a.lookup, kerasllm::sorts<T>(deterministic),
                           a.d_segment_embeddings != nullptr)
                .bytes();
    return 0;
  });
  return bytes;
}

KERASLLM_CUDA_STRUCT(EmbeddingForward, kerasllm::EmbeddingForward<float, float>)
KERASLLM_CUDA_STRUCT(EmbeddingBackward, kerasllm::EmbeddingBackward<float, float>)
