// Bias and activation on the GPU, element by element in registers. A thread goes down some
// neighbouring columns, so that it reads their bias once and sums up their gradient on the way; a
// warp's columns are 512 bytes side by side.
#include "common/cuda.h"
#include "common/cuda_column_sums.h"
#include "gelu/gelu_cuda.h"

namespace kerasllm {
namespace {

constexpr int kLanes = 32, kBlockRows = 8;

struct Point {
  float value, slope;
};

KERASLLM_DEVICE float reciprocal(float x) {
#ifdef __CUDACC__
  return __fdividef(1.0f, x);  // within 2 units in the last place up to 2^126
#else
  return 1.0f / x;
#endif
}

// The logistic function at x and at -x; common/vec_math.h says why both.
struct Logistic {
  float value, complement;
};
KERASLLM_DEVICE Logistic logistic(float x) {
  float y = -x;
  y = y > 87.0f ? 87.0f : (y < -87.0f ? -87.0f : y);  // a NaN stays
  const float e = expf(y);
  const float value = reciprocal(1.0f + e);
  return {value, e * value};
}

// The same fit as normal_vec of common/vec_math.h, where it is explained.
struct Normal {
  float cdf, exponential;
};
KERASLLM_DEVICE Normal normal(float x) {
  float z = x < 0.0f ? -x : x;
  z = z > 14.0f ? 14.0f : z;
  const float scaled = z * 0.3f;
  const float u = scaled * reciprocal(scaled + 1.0f);
  float r = u * 3.799122944e-02f - 1.365049332e-01f;
  r = r * u + 1.171209365e-01f;
  r = r * u + 1.093809381e-01f;
  r = r * u - 4.511491954e-02f;
  r = r * u - 7.011560202e-01f;
  r = r * u + 1.448099613e+00f;
  r = r * u - 1.329811096e+00f;
  r = r * u + 0.5f;
  const float exponential = expf(z * z * -0.5f);
  const float tail = exponential * r;
  return {x < 0.0f ? tail : 1.0f - tail, exponential};
}

// The activations of gelu_cpu.cc.
struct Erf {
  static KERASLLM_DEVICE float value(float x) { return x * normal(x).cdf; }
  static KERASLLM_DEVICE Point point(float x) {
    const Normal n = normal(x);
    return {x * n.cdf, n.cdf + x * 0.398942280f * n.exponential};
  }
};
struct Silu {
  static KERASLLM_DEVICE float value(float x) { return x * logistic(x).value; }
  static KERASLLM_DEVICE Point point(float x) {
    const Logistic s = logistic(x);
    return {x * s.value, s.value + x * s.value * s.complement};
  }
};
struct Tanh {
  static constexpr float kLinear = 1.59576912f, kCubic = 0.0713548163f;
  static KERASLLM_DEVICE float value(float x) {
    return x * logistic(x * (x * x * kCubic + kLinear)).value;
  }
  static KERASLLM_DEVICE Point point(float x) {
    const float square = x * x;
    const Logistic s = logistic(x * (square * kCubic + kLinear));
    const float u_slope = square * (3.0f * kCubic) + kLinear;
    return {x * s.value, s.value + x * s.value * s.complement * u_slope};
  }
};
struct Relu {
  static KERASLLM_DEVICE float value(float x) { return x < 0.0f ? 0.0f : x; }
  static KERASLLM_DEVICE Point point(float x) {
    return {value(x), x > 0.0f ? 1.0f : (x <= 0.0f ? 0.0f : x)};
  }
};

// The bias of the columns from `column` on, zeros without one.
template <int kWidth>
KERASLLM_DEVICE void load_bias(const float* bias, int64_t column, float (&to)[kWidth]) {
#pragma unroll
  for (int k = 0; k < kWidth; ++k) to[k] = 0.0f;
  if (bias != nullptr) load_floats(bias + column, to);
}
template <int kWidth>
KERASLLM_DEVICE void add(const float (&terms)[kWidth], float (&to)[kWidth]) {
#pragma unroll
  for (int k = 0; k < kWidth; ++k) to[k] += terms[k];
}

template <class T, class Act, bool kGated, int kWidth>
__global__ void __launch_bounds__(kLanes* kBlockRows) forward_kernel(GeluForward<T> args) {
  const int64_t dim = args.shape.dim, columns = kGated ? 2 * dim : dim;
  const int64_t column = (static_cast<int64_t>(blockIdx.x) * kLanes + threadIdx.x) * kWidth;
  if (column >= dim) return;
  float bias[kWidth], value_bias[kWidth];
  load_bias(args.bias, column, bias);
  if constexpr (kGated) load_bias(args.bias, dim + column, value_bias);
  const int64_t step = static_cast<int64_t>(gridDim.y) * kBlockRows;
  for (int64_t row = static_cast<int64_t>(blockIdx.y) * kBlockRows + threadIdx.y;
       row < args.shape.rows; row += step) {
    const T* const inputs = args.inputs + row * columns + column;
    float x[kWidth], value[kWidth];
    load(inputs, x);
    if constexpr (kGated) load(inputs + dim, value);
    add(bias, x);
#pragma unroll
    for (int k = 0; k < kWidth; ++k) {
      x[k] = Act::value(x[k]);
      if constexpr (kGated) x[k] *= value[k] + value_bias[k];
    }
    store(args.outputs + row * dim + column, x);
  }
}

// partials (gridDim.y, columns): the sums of d_inputs over the block's rows, where they are wanted.
template <class T, class Act, bool kGated, int kWidth>
__global__ void __launch_bounds__(kLanes* kBlockRows)
    backward_kernel(GeluBackward<T> args, float* partials) {
  __shared__ float shared[kBlockRows][kLanes];
  const int64_t dim = args.shape.dim, columns = kGated ? 2 * dim : dim;
  const int64_t column = (static_cast<int64_t>(blockIdx.x) * kLanes + threadIdx.x) * kWidth;
  const bool inside = column < dim;
  float d_bias[kWidth] = {}, d_value_bias[kWidth] = {};
  float bias[kWidth], value_bias[kWidth];
  if (inside) {
    load_bias(args.bias, column, bias);
    if constexpr (kGated) load_bias(args.bias, dim + column, value_bias);
    const int64_t step = static_cast<int64_t>(gridDim.y) * kBlockRows;
    for (int64_t row = static_cast<int64_t>(blockIdx.y) * kBlockRows + threadIdx.y;
         row < args.shape.rows; row += step) {
      const T* const inputs = args.inputs + row * columns + column;
      T* const d_inputs = args.d_inputs + row * columns + column;
      float x[kWidth], value[kWidth], d[kWidth];
      load(inputs, x);
      if constexpr (kGated) load(inputs + dim, value);
      load(args.d_outputs + row * dim + column, d);
      add(bias, x);
#pragma unroll
      for (int k = 0; k < kWidth; ++k) {
        const Point act = Act::point(x[k]);
        x[k] = d[k] * act.slope;
        if constexpr (kGated) {
          x[k] *= value[k] + value_bias[k];
          value[k] = d[k] * act.value;
        }
      }
      store(d_inputs, x);
      add(x, d_bias);
      if constexpr (kGated) {
        store(d_inputs + dim, value);
        add(value, d_value_bias);
      }
    }
  }
  if (partials == nullptr) return;
  // The block's rows together, a column of each thread's at a time.
  const auto sum_rows = [&](float sum, int64_t to) {
    shared[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && inside) {
      for (int y = 1; y < kBlockRows; ++y) sum += shared[y][threadIdx.x];
      partials[blockIdx.y * columns + to] = sum;
    }
    __syncthreads();
  };
#pragma unroll
  for (int k = 0; k < kWidth; ++k) {
    sum_rows(d_bias[k], column + k);
    if constexpr (kGated) sum_rows(d_value_bias[k], dim + column + k);
  }
}

// The grid, which follows from the shape alone. Row blocks are few where there are many columns.
dim3 grid_of(const GeluShape& shape, int width, int64_t block_rows) {
  const int64_t across = cuda_max(1, cuda_ceil_div(shape.dim, kLanes * width));
  const int64_t most = cuda_max(1, 4096 / across);
  const int64_t down = cuda_min(most, cuda_ceil_div(shape.rows, block_rows));
  return dim3(static_cast<unsigned>(across), static_cast<unsigned>(down));
}
constexpr int64_t kBackwardRows = 16 * kBlockRows;  // of a block, at least, so partials are few

// Calls body(Act(), whether gated as a type).
template <class Body>
int for_form(const GeluShape& shape, const Body& body) {
  const auto with = [&](auto act) {
    return shape.gated ? body(act, std::true_type()) : body(act, std::false_type());
  };
  switch (shape.kind) {
    case GeluKind::kErf:
      return with(Erf());
    case GeluKind::kTanh:
      return with(Tanh());
    case GeluKind::kSilu:
      return with(Silu());
    default:
      return with(Relu());
  }
}

template <class T>
int forward(const GeluForward<T>& args, void* stream) {
  constexpr int kWidth = kVectorWidth<T>;
  if (args.shape.rows == 0 || args.shape.dim == 0) return 0;
  const bool fast =
      args.shape.dim % kWidth == 0 && aligned_to_16(args.inputs, args.bias, args.outputs);
  const dim3 grid = grid_of(args.shape, fast ? kWidth : 1, kBlockRows);
  return for_form(args.shape, [&](auto act, auto gated) {
    using Act = decltype(act);
    constexpr bool kGated = decltype(gated)::value;
    return launch(
        fast ? &forward_kernel<T, Act, kGated, kWidth> : &forward_kernel<T, Act, kGated, 1>, grid,
        dim3(kLanes, kBlockRows), 0, stream, args);
  });
}

template <class T>
bool is_fast(const GeluBackward<T>& args) {
  return args.shape.dim % kVectorWidth<T> == 0 &&
         aligned_to_16(args.inputs, args.bias, args.d_outputs, args.d_inputs);
}

template <class T>
int backward(const GeluBackward<T>& args, void* scratch, void* stream) {
  constexpr int kWidth = kVectorWidth<T>;
  const bool fast = is_fast(args);
  const dim3 grid = grid_of(args.shape, fast ? kWidth : 1, kBackwardRows);
  float* const partials = args.d_bias == nullptr ? nullptr : static_cast<float*>(scratch);
  if (args.shape.rows > 0 && args.shape.dim > 0) {
    KERASLLM_RETURN_IF_ERROR(for_form(args.shape, [&](auto act, auto gated) {
      using Act = decltype(act);
      constexpr bool kGated = decltype(gated)::value;
      return launch(
          fast ? &backward_kernel<T, Act, kGated, kWidth> : &backward_kernel<T, Act, kGated, 1>,
          grid, dim3(kLanes, kBlockRows), 0, stream, args, partials);
    }));
  }
  if (partials == nullptr) return 0;
  const int64_t columns = gelu_columns(args.shape);
  return sum_partials(partials, grid.y, columns, columns, args.d_bias, args.d_bias, stream);
}

}  // namespace
}  // namespace kerasllm

using kerasllm::CudaType;

int kerasllm_cuda_gelu_forward(int type, const void* args, void*, void* stream) {
  return kerasllm::for_type(static_cast<CudaType>(type), [&](auto t) {
    return kerasllm::forward(*static_cast<const kerasllm::GeluForward<decltype(t)>*>(args), stream);
  });
}
int kerasllm_cuda_gelu_backward(int type, const void* args, void* scratch, void* stream) {
  return kerasllm::for_type(static_cast<CudaType>(type), [&](auto t) {
    return kerasllm::backward(*static_cast<const kerasllm::GeluBackward<decltype(t)>*>(args),
                              scratch, stream);
  });
}
int64_t kerasllm_cuda_gelu_backward_scratch(int type, const void* args) {
  int64_t bytes = 0;
  kerasllm::for_type(static_cast<CudaType>(type), [&](auto t) {
    using T = decltype(t);
    const auto& a = *static_cast<const kerasllm::GeluBackward<T>*>(args);
    // Enough for either path: element by element there are more columns of blocks, so fewer rows.
    const dim3 grid =
        kerasllm::grid_of(a.shape, kerasllm::kVectorWidth<T>, kerasllm::kBackwardRows);
    bytes = int64_t{grid.y} * kerasllm::gelu_columns(a.shape) * static_cast<int64_t>(sizeof(float));
    return 0;
  });
  return bytes;
}

KERASLLM_CUDA_STRUCT(GeluForward, kerasllm::GeluForward<float>)
KERASLLM_CUDA_STRUCT(GeluBackward, kerasllm::GeluBackward<float>)
