// Layer normalisation on the GPU. A row belongs to a team of threads, one warp or several, and each
// thread keeps its part of the row in registers: memory is read and written once. Rows that 16-byte
// accesses do not cut evenly, or that are too long, go element by element and are read again from
// the cache for each pass.
//
// The gains' and biases' gradients are summed in two stages, see common/cuda_column_sums.h.
#include "common/cuda.h"
#include "common/cuda_column_sums.h"
#include "common/cuda_random.h"
#include "layer_norm/layer_norm_cuda.h"

namespace kerasllm {
namespace {

constexpr int kThreads = 256;    // of a block, at least
constexpr int kMostTeam = 512;   // threads of a row
constexpr int kPartFloats = 16;  // of a row, in a thread's registers

// A thread's part of a row of packs * kWidth elements: packs threadIdx.x, threadIdx.x + blockDim.x
// and so on. Kept in registers where kPacks > 0, and then there are at most kPacks of them; else
// read again for every pass.
template <int kWidth, int kPacks>
struct Part {
  float kept[kPacks > 0 ? kPacks : 1][kWidth];

  // read(column, values) fills in, use(p, column, values) takes. `again`: not the first pass.
  template <class Read, class Use>
  KERASLLM_DEVICE void pass(bool again, int64_t packs, const Read& read, const Use& use) {
    if constexpr (kPacks > 0) {
#pragma unroll
      for (int p = 0; p < kPacks; ++p) {
        const int64_t pack = static_cast<int64_t>(p) * blockDim.x + threadIdx.x;
        if (pack >= packs) continue;
        if (!again) read(pack * kWidth, kept[p]);
        use(p, pack * kWidth, kept[p]);
      }
    } else {
      for (int64_t pack = threadIdx.x; pack < packs; pack += blockDim.x) {
        read(pack * kWidth, kept[0]);
        use(0, pack * kWidth, kept[0]);
      }
    }
  }
};

template <class T, int kWidth, int kPacks>
__global__ void __launch_bounds__(kMostTeam) forward_kernel(LayerNormForward<T> args) {
  __shared__ float shared[kMostWarps];
  const int64_t rows = args.shape.rows, dim = args.shape.dim;
  const float scale = 1.0f / static_cast<float>(dim);
  const bool drops = args.shape.dropout.threshold != 0, rms = args.shape.rms;
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.y;
  // The same number of turns for all threads of a block, as sums need them all.
  for (int64_t first = static_cast<int64_t>(blockIdx.x) * blockDim.y; first < rows; first += step) {
    const int64_t row = first + threadIdx.y;
    const int64_t packs = row < rows ? dim / kWidth : 0;
    const int64_t offset = row * dim;
    Part<kWidth, kPacks> part;
    const auto make = [&](int64_t column, float (&v)[kWidth]) {
      load(args.inputs + offset + column, v);
      if (args.sum == nullptr) return;
      if (drops) drop(args.shape.dropout, row, column, v);
      if (args.residual != nullptr) {
        float added[kWidth];
        load(args.residual + offset + column, added);
#pragma unroll
        for (int k = 0; k < kWidth; ++k) v[k] += added[k];
      }
#pragma unroll
      for (int k = 0; k < kWidth; ++k) v[k] = rounded<T>(v[k]);
      store(args.sum + offset + column, v);
    };
    const auto reread = [&](int64_t column, float (&v)[kWidth]) {
      load((args.sum != nullptr ? args.sum : args.inputs) + offset + column, v);
    };
    float first_sum = 0.0f;
    part.pass(false, packs, make, [&](int, int64_t, const float (&v)[kWidth]) {
#pragma unroll
      for (int k = 0; k < kWidth; ++k) first_sum += rms ? v[k] * v[k] : v[k];
    });
    first_sum = row_sum(first_sum, shared);
    float mean = 0.0f, variance = first_sum * scale;
    if (!rms) {
      // The second pass corrects the first's rounding, as on the CPU.
      mean = variance;
      float distances = 0.0f, squares = 0.0f;
      part.pass(true, packs, reread, [&](int, int64_t, const float (&v)[kWidth]) {
#pragma unroll
        for (int k = 0; k < kWidth; ++k) {
          const float distance = v[k] - mean;
          distances += distance;
          squares += distance * distance;
        }
      });
      const float shift = row_sum(distances, shared) * scale;
      variance = row_sum(squares, shared) * scale - shift * shift;
      variance = variance < 0.0f ? 0.0f : variance;
      mean += shift;
    }
    const float reciprocal_deviation = 1.0f / sqrtf(variance + args.epsilon);
    if (threadIdx.x == 0 && row < rows) {
      args.mean[row] = mean;
      args.reciprocal_deviation[row] = reciprocal_deviation;
    }
    part.pass(true, packs, reread, [&](int, int64_t column, const float (&v)[kWidth]) {
      float y[kWidth], other[kWidth];
#pragma unroll
      for (int k = 0; k < kWidth; ++k) y[k] = (v[k] - mean) * reciprocal_deviation;
      if (args.gamma != nullptr) {
        load_floats(args.gamma + column, other);
#pragma unroll
        for (int k = 0; k < kWidth; ++k) y[k] *= other[k];
      }
      if (args.beta != nullptr) {
        load_floats(args.beta + column, other);
#pragma unroll
        for (int k = 0; k < kWidth; ++k) y[k] += other[k];
      }
      store(args.outputs + offset + column, y);
    });
  }
}

// Team `team` of all teams takes `team_rows` rows from team * team_rows on. Where kPacks > 0 the
// block also sums up d_gamma and d_beta over its teams' rows: partials (blocks, 2, dim). Dynamic
// shared memory: shared_bytes().
template <class T, int kWidth, int kPacks>
__global__ void __launch_bounds__(kMostTeam)
    backward_kernel(LayerNormBackward<T> args, int64_t team_rows, float* partials) {
  __shared__ float shared[kMostWarps];
  const int64_t rows = args.shape.rows, dim = args.shape.dim;
  const float scale = 1.0f / static_cast<float>(dim);
  const bool drops = args.shape.dropout.threshold != 0;
  const int64_t team = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  constexpr int kKept = kPacks > 0 ? kPacks : 1;
  float d_gamma[kKept][kWidth] = {}, d_beta[kKept][kWidth] = {};
  for (int64_t turn = 0; turn < team_rows; ++turn) {
    const int64_t row = team * team_rows + turn;
    const bool active = row < rows;
    const int64_t packs = active ? dim / kWidth : 0;
    const int64_t offset = row * dim;
    const float mean = active ? args.mean[row] : 0.0f;
    const float reciprocal_deviation = active ? args.reciprocal_deviation[row] : 0.0f;
    Part<kWidth, kPacks> x, d;
    const auto read_x = [&](int64_t column, float (&v)[kWidth]) {
      load(args.sum + offset + column, v);
#pragma unroll
      for (int k = 0; k < kWidth; ++k) v[k] = (v[k] - mean) * reciprocal_deviation;
    };
    const auto read_d = [&](int64_t column, float (&v)[kWidth]) {
      load(args.d_outputs + offset + column, v);
    };
    // d_outputs * gamma
    const auto gained = [&](int64_t column, const float (&v)[kWidth], float (&g)[kWidth]) {
      if (args.gamma != nullptr) load_floats(args.gamma + column, g);
#pragma unroll
      for (int k = 0; k < kWidth; ++k) g[k] = args.gamma != nullptr ? g[k] * v[k] : v[k];
    };
    float sum_g = 0.0f, sum_gx = 0.0f;
    x.pass(false, packs, read_x, [&](int p, int64_t column, const float (&xs)[kWidth]) {
      float g[kWidth];
      read_d(column, d.kept[p]);
      gained(column, d.kept[p], g);
#pragma unroll
      for (int k = 0; k < kWidth; ++k) {
        sum_g += g[k];
        sum_gx += g[k] * xs[k];
        if constexpr (kPacks > 0) {
          d_gamma[p][k] += d.kept[p][k] * xs[k];
          d_beta[p][k] += d.kept[p][k];
        }
      }
    });
    const float mean_g = row_sum(sum_g, shared) * (args.shape.rms ? 0.0f : scale);
    const float mean_gx = row_sum(sum_gx, shared) * scale;
    x.pass(true, packs, read_x, [&](int p, int64_t column, const float (&xs)[kWidth]) {
      if constexpr (kPacks == 0) read_d(column, d.kept[p]);
      float v[kWidth];
      gained(column, d.kept[p], v);
#pragma unroll
      for (int k = 0; k < kWidth; ++k) {
        v[k] = (v[k] - mean_g - xs[k] * mean_gx) * reciprocal_deviation;
      }
      if (args.d_sum != nullptr) {
        float more[kWidth];
        load(args.d_sum + offset + column, more);
#pragma unroll
        for (int k = 0; k < kWidth; ++k) v[k] += more[k];
      }
      if (drops) {
        store(args.d_residual + offset + column, v);
        drop(args.shape.dropout, row, column, v);
      }
      store(args.d_inputs + offset + column, v);
    });
  }
  if constexpr (kPacks > 0) {
    KERASLLM_DYNAMIC_SHARED(of_team);
    // for_each(body(sum, place in of_team)).
    const auto for_each = [&](const auto& body) {
#pragma unroll
      for (int p = 0; p < kPacks; ++p) {
#pragma unroll
        for (int k = 0; k < kWidth; ++k) {
          const int place = (p * kWidth + k) * 2 * blockDim.x + threadIdx.x;
          body(d_gamma[p][k], place);
          body(d_beta[p][k], place + blockDim.x);
        }
      }
    };
    for (unsigned other = 1; other < blockDim.y; ++other) {
      __syncthreads();  // the team before has been added
      if (threadIdx.y == other) for_each([&](float sum, int place) { of_team[place] = sum; });
      __syncthreads();
      if (threadIdx.y == 0) for_each([&](float& sum, int place) { sum += of_team[place]; });
    }
    if (threadIdx.y != 0) return;
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
      const int64_t column = (static_cast<int64_t>(p) * blockDim.x + threadIdx.x) * kWidth;
      if (column >= dim) continue;
      float* const to = partials + blockIdx.x * 2 * dim + column;
      store_floats(to, d_gamma[p]);
      store_floats(to + dim, d_beta[p]);
    }
  }
}

// The partial sums of backward_kernel on their own, a thread a column: for the rows that go element
// by element. To be run before that kernel, whose results may lie where its inputs do.
template <class T>
__global__ void __launch_bounds__(kThreads)
    column_sums_kernel(LayerNormBackward<T> args, int64_t block_rows, float* partials) {
  const int64_t dim = args.shape.dim;
  const int64_t column = static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x;
  if (column >= dim) return;
  const int64_t begin = blockIdx.x * block_rows;
  const int64_t end = cuda_min(args.shape.rows, begin + block_rows);
  float d_gamma = 0.0f, d_beta = 0.0f;
  for (int64_t row = begin; row < end; ++row) {
    const float x =
        (load_one(args.sum + row * dim + column) - args.mean[row]) * args.reciprocal_deviation[row];
    const float d = load_one(args.d_outputs + row * dim + column);
    d_gamma += d * x;
    d_beta += d;
  }
  float* const to = partials + blockIdx.x * 2 * dim + column;
  to[0] = d_gamma;
  to[dim] = d_beta;
}

// How the rows are shared out; it follows from the shape alone, so the bits do too.
struct Plan {
  int team;           // threads of a row
  int block_teams;    // rows that a block takes at a time
  int64_t blocks;     // of backward
  int64_t team_rows;  // of each of their teams
  bool in_registers;  // if the addresses are multiples of 16 too

  Plan(const LayerNormShape& shape, int width) {
    const int64_t packs = shape.dim / width, kept = kPartFloats / width;
    in_registers = shape.dim % width == 0 && packs <= kept * kMostTeam;
    team = kWarp;
    while (team < kMostTeam &&
           team * (in_registers ? kept : 4) < (in_registers ? packs : shape.dim))
      team *= 2;
    block_teams = team < kThreads ? kThreads / team : 1;
    // As many blocks as an H100 runs at a time, yet rows enough to be worth their partial sums.
    constexpr int64_t kMostBlocks = 2 * 132, kLeastRows = 16;
    team_rows = cuda_max(cuda_ceil_div(shape.rows, kMostBlocks * block_teams),
                         cuda_ceil_div(kLeastRows, block_teams));
    blocks = cuda_ceil_div(shape.rows, block_rows());
  }
  int64_t block_rows() const { return team_rows * block_teams; }
  size_t shared_bytes() const {
    return block_teams == 1 ? 0 : sizeof(float) * 2 * kPartFloats * static_cast<size_t>(team);
  }
  dim3 block() const {
    return dim3(static_cast<unsigned>(team), static_cast<unsigned>(block_teams));
  }
};

template <class T>
int forward(const LayerNormForward<T>& args, void* stream) {
  constexpr int kWidth = kVectorWidth<T>;
  if (args.shape.rows == 0) return 0;
  const Plan plan(args.shape, kWidth);
  const int64_t blocks = cuda_ceil_div(args.shape.rows, plan.block_teams);
  const dim3 grid(static_cast<unsigned>(cuda_min(blocks, 1 << 30)));
  const bool fast = plan.in_registers && aligned_to_16(args.inputs, args.residual, args.outputs,
                                                       args.sum, args.gamma, args.beta);
  return launch(fast ? &forward_kernel<T, kWidth, kPartFloats / kWidth> : &forward_kernel<T, 1, 0>,
                grid, plan.block(), 0, stream, args);
}

template <class T>
int backward(const LayerNormBackward<T>& args, void* scratch, void* stream) {
  constexpr int kWidth = kVectorWidth<T>;
  const int64_t dim = args.shape.dim;
  const Plan plan(args.shape, kWidth);
  float* const partials = static_cast<float*>(scratch);
  if (args.shape.rows == 0 || dim == 0) {  // sums of nothing
    return sum_partials(partials, 0, 2 * dim, dim, args.d_gamma, args.d_beta, stream);
  }
  const bool fast = plan.in_registers && aligned_to_16(args.sum, args.d_outputs, args.d_sum,
                                                       args.d_inputs, args.d_residual, args.gamma);
  if (!fast) {
    const dim3 grid(static_cast<unsigned>(plan.blocks),
                    static_cast<unsigned>(cuda_ceil_div(dim, kThreads)));
    KERASLLM_RETURN_IF_ERROR(launch(&column_sums_kernel<T>, grid, dim3(kThreads), 0, stream, args,
                                    plan.block_rows(), partials));
  }
  const dim3 grid(static_cast<unsigned>(plan.blocks));
  KERASLLM_RETURN_IF_ERROR(launch(
      fast ? &backward_kernel<T, kWidth, kPartFloats / kWidth> : &backward_kernel<T, 1, 0>, grid,
      plan.block(), fast ? plan.shared_bytes() : 0, stream, args, plan.team_rows, partials));
  return sum_partials(partials, plan.blocks, 2 * dim, dim, args.d_gamma, args.d_beta, stream);
}

}  // namespace
}  // namespace kerasllm

using kerasllm::CudaType;

int kerasllm_cuda_layer_norm_forward(int type, const void* args, void*, void* stream) {
  return kerasllm::for_type(static_cast<CudaType>(type), [&](auto t) {
    return kerasllm::forward(*static_cast<const kerasllm::LayerNormForward<decltype(t)>*>(args),
                             stream);
  });
}
int kerasllm_cuda_layer_norm_backward(int type, const void* args, void* scratch, void* stream) {
  return kerasllm::for_type(static_cast<CudaType>(type), [&](auto t) {
    return kerasllm::backward(*static_cast<const kerasllm::LayerNormBackward<decltype(t)>*>(args),
                              scratch, stream);
  });
}
int64_t kerasllm_cuda_layer_norm_backward_scratch(int type, const void* args) {
  int64_t bytes = 0;
  kerasllm::for_type(static_cast<CudaType>(type), [&](auto t) {
    using T = decltype(t);
    const auto& shape = static_cast<const kerasllm::LayerNormBackward<T>*>(args)->shape;
    const kerasllm::Plan plan(shape, kerasllm::kVectorWidth<T>);
    bytes = plan.blocks * 2 * shape.dim * static_cast<int64_t>(sizeof(float));
    return 0;
  });
  return bytes;
}

KERASLLM_CUDA_STRUCT(LayerNormForward, kerasllm::LayerNormForward<float>)
KERASLLM_CUDA_STRUCT(LayerNormBackward, kerasllm::LayerNormBackward<float>)
