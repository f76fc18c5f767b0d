// Adam over many parameters at a time: kGroup of them come as arguments of one launch, each cut
// into blocks of kBlockElements. Compiled without contraction of products and sums
// (CMakeLists.txt), so that each element has the bits that the CPU gives.
#include "adamw/adamw_cuda.h"
#include "common/cuda.h"

namespace kerasllm {
namespace {

constexpr int kThreads = 256, kWidth = 4, kTurns = 4;
constexpr int64_t kBlockElements = kThreads * kWidth * kTurns;
constexpr int kGroup = 32;  // kernel arguments have 4096 bytes

struct Group {
  AdamwParameter parameters[kGroup];
  int count;
  unsigned starts[kGroup + 1];  // the first block of each, and the end of the last
};
static_assert(sizeof(Group) + sizeof(AdamwStep) + 64 <= 4096, "kernel arguments");

KERASLLM_DEVICE int parameter_of_block(const Group& group) {
  int index = 0;
  while (blockIdx.x >= group.starts[index + 1]) ++index;
  return index;
}

template <class Half, int kCount>
KERASLLM_DEVICE void load_gradient(const AdamwParameter& p, int64_t i, float (&to)[kCount]) {
  if (p.gradient != nullptr) {
    load(p.gradient + i, to);
  } else {
    load(reinterpret_cast<const Half*>(p.gradient_bfloat16) + i, to);
  }
}

// Master weights, or the variable's own values where they are not what the master rounds to.
template <int kCount>
KERASLLM_DEVICE void take_assigned(const bfloat16* variable, float (&master)[kCount]) {
  float found[kCount];
  load(variable, found);
#pragma unroll
  for (int k = 0; k < kCount; ++k) {
    const bool same = float_as_bits(rounded<bfloat16>(master[k])) == float_as_bits(found[k]);
    if (!same) master[k] = found[k];
  }
}

// Calls body(i, std::integral_constant<int, elements>) for this thread's elements of its block.
template <class Body>
KERASLLM_DEVICE void for_each_element(const AdamwParameter& p, unsigned block, bool vectors,
                                      const Body& body) {
  const int64_t begin = block * kBlockElements;
  const int64_t end = cuda_min(p.size, begin + kBlockElements);
  const int64_t cut = vectors ? begin + (end - begin) / kWidth * kWidth : begin;
#pragma unroll
  for (int turn = 0; turn < kTurns; ++turn) {
    const int64_t i = begin + (static_cast<int64_t>(turn) * kThreads + threadIdx.x) * kWidth;
    if (i < cut) body(i, std::integral_constant<int, kWidth>());
  }
  for (int64_t i = cut + threadIdx.x; i < end; i += kThreads) {
    body(i, std::integral_constant<int, 1>());
  }
}

// Whether all of a parameter's memory is aligned for vectors.
KERASLLM_DEVICE bool is_aligned(const AdamwParameter& p) {
  const uintptr_t all =
      reinterpret_cast<uintptr_t>(p.parameter) | reinterpret_cast<uintptr_t>(p.momentum) |
      reinterpret_cast<uintptr_t>(p.velocity) | reinterpret_cast<uintptr_t>(p.new_parameter) |
      reinterpret_cast<uintptr_t>(p.new_momentum) | reinterpret_cast<uintptr_t>(p.new_velocity) |
      reinterpret_cast<uintptr_t>(p.gradient) | reinterpret_cast<uintptr_t>(p.gradient_bfloat16) |
      reinterpret_cast<uintptr_t>(p.rounded) | reinterpret_cast<uintptr_t>(p.new_rounded);
  return all % 16 == 0;
}

// sums[block]: the sum of squares of the block's gradients, one order whatever the device.
template <class Half>
__global__ void __launch_bounds__(kThreads) squares_kernel(Group group, double* sums) {
  __shared__ double shared[kThreads / kWarp];
  const int index = parameter_of_block(group);
  const AdamwParameter& p = group.parameters[index];
  float squares = 0.0f;  // of at most kWidth * kTurns elements
  for_each_element(p, blockIdx.x - group.starts[index], is_aligned(p), [&](int64_t i, auto count) {
    float gradient[decltype(count)::value];
    load_gradient<Half>(p, i, gradient);
#pragma unroll
    for (int k = 0; k < decltype(count)::value; ++k) squares += gradient[k] * gradient[k];
  });
  double sum = static_cast<double>(squares);
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    sum += __shfl_xor_sync(kAllLanes, sum, offset);
  }
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int warp = 1; warp < kThreads / kWarp; ++warp) sum += shared[warp];
  sums[blockIdx.x] = sum;
}

// factor: what gradients are multiplied by so that their norm is at most `clipnorm`; a NaN where
// the norm is no finite number, as in Keras. One block.
__global__ void __launch_bounds__(kThreads)
    factor_kernel(const double* sums, int64_t count, float clipnorm, float* factor) {
  __shared__ double shared[kThreads];
  double sum = 0.0;
  for (int64_t i = threadIdx.x; i < count; i += kThreads) sum += sums[i];
  shared[threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int i = 1; i < kThreads; ++i) sum += shared[i];
  const float norm = static_cast<float>(sqrt(sum));
  const float inverse = 1.0f / norm, largest = 1.0f / clipnorm;
  *factor = clipnorm * (inverse < largest ? inverse : largest) + (norm - norm);
}

template <class Half>
__global__ void __launch_bounds__(kThreads)
    update_kernel(Group group, AdamwStep step, const float* learning_rates, const float* alphas,
                  const float* factors) {
  const int index = parameter_of_block(group);
  const AdamwParameter& p = group.parameters[index];
  const bool decays = p.decays && step.weight_decay != 0.0f;
  const float learning_rate = *learning_rates * p.multiplier, alpha = *alphas * p.multiplier;
  const bool clips = factors != nullptr;
  const float factor = clips ? *factors : 1.0f;
  for_each_element(p, blockIdx.x - group.starts[index], is_aligned(p), [&](int64_t i, auto count) {
    constexpr int kCount = decltype(count)::value;
    float gradient[kCount], parameter[kCount], momentum[kCount], velocity[kCount];
    load_gradient<Half>(p, i, gradient);
    load(p.parameter + i, parameter);
    load(p.momentum + i, momentum);
    load(p.velocity + i, velocity);
    if (p.rounded != nullptr) take_assigned(p.rounded + i, parameter);
#pragma unroll
    for (int k = 0; k < kCount; ++k) {
      float g = gradient[k];
      if (clips) g *= factor;
      if (decays) parameter[k] -= parameter[k] * step.weight_decay * learning_rate;
      momentum[k] += (g - momentum[k]) * step.momentum_rate;
      velocity[k] += (g * g - velocity[k]) * step.velocity_rate;
      parameter[k] -= momentum[k] * alpha / (sqrtf(velocity[k]) + step.epsilon);
    }
    store(p.new_momentum + i, momentum);
    store(p.new_velocity + i, velocity);
    store(p.new_parameter + i, parameter);
    if (p.rounded != nullptr) store(p.new_rounded + i, parameter);
  });
}

int64_t blocks_of(const AdamwParameter& p) { return cuda_ceil_div(p.size, kBlockElements); }

// Calls body(group, blocks before it) for groups of the parameters that have elements.
template <class Body>
int for_each_group(const AdamwCuda& args, const Body& body) {
  int64_t before = 0;
  Group group;
  group.count = 0;
  group.starts[0] = 0;
  const auto flush = [&]() {
    if (group.count == 0) return 0;
    for (int i = group.count; i < kGroup; ++i) group.starts[i + 1] = group.starts[i];
    KERASLLM_RETURN_IF_ERROR(body(group, before));
    before += group.starts[group.count];
    group.count = 0;
    return 0;
  };
  constexpr int64_t kMostBlocks = int64_t{1} << 30;
  for (int64_t i = 0; i < args.num_parameters; ++i) {
    const AdamwParameter& p = args.parameters[i];
    if (p.size == 0) continue;
    const int64_t blocks = blocks_of(p);
    if (group.count == kGroup || group.starts[group.count] + blocks > kMostBlocks) {
      KERASLLM_RETURN_IF_ERROR(flush());
    }
    group.parameters[group.count] = p;
    group.starts[group.count + 1] = group.starts[group.count] + static_cast<unsigned>(blocks);
    ++group.count;
  }
  return flush();
}

int64_t all_blocks(const AdamwCuda& args) {
  int64_t blocks = 0;
  for (int64_t i = 0; i < args.num_parameters; ++i) blocks += blocks_of(args.parameters[i]);
  return blocks;
}

template <class Half>
int run(const AdamwCuda& args, void* scratch, void* stream) {
  const int64_t blocks = all_blocks(args);
  double* const sums = static_cast<double*>(scratch);
  float* factor = nullptr;
  if (args.step.global_clipnorm > 0.0f) {
    factor = reinterpret_cast<float*>(sums + blocks);
    KERASLLM_RETURN_IF_ERROR(for_each_group(args, [&](const Group& group, int64_t before) {
      return launch(&squares_kernel<Half>, dim3(group.starts[kGroup]), dim3(kThreads), 0, stream,
                    group, sums + before);
    }));
    KERASLLM_RETURN_IF_ERROR(launch(&factor_kernel, dim3(1), dim3(kThreads), 0, stream, sums,
                                    blocks, args.step.global_clipnorm, factor));
  }
  return for_each_group(args, [&](const Group& group, int64_t) {
    return launch(&update_kernel<Half>, dim3(group.starts[kGroup]), dim3(kThreads), 0, stream,
                  group, args.step, args.learning_rate, args.alpha, factor);
  });
}

}  // namespace
}  // namespace kerasllm

int kerasllm_cuda_adamw(int type, const void* args, void* scratch, void* stream) {
  const auto& a = *static_cast<const kerasllm::AdamwCuda*>(args);
  return type == kerasllm::kCudaFloat16 ? kerasllm::run<kerasllm::float16>(a, scratch, stream)
                                        : kerasllm::run<kerasllm::bfloat16>(a, scratch, stream);
}
int64_t kerasllm_cuda_adamw_scratch(int, const void* args) {
  const auto& a = *static_cast<const kerasllm::AdamwCuda*>(args);
  return a.step.global_clipnorm > 0.0f ? kerasllm::all_blocks(a) * 8 + 8 : 0;
}

KERASLLM_CUDA_STRUCT(AdamwParameter, kerasllm::AdamwParameter)
KERASLLM_CUDA_STRUCT(AdamwCuda, kerasllm::AdamwCuda)
