// All parameters are one row of elements, cut into tasks of equal length: threads are balanced
// whatever the sizes of the parameters. This file is compiled without contraction of products and
// sums (CMakeLists.txt), so that each element has the bits that Keras's own operations give, on
// every instruction set.
#include "adamw/adamw_dispatch.h"
#include "common/vec.h"

namespace kerasllm {
namespace KERASLLM_ISA {
namespace {

constexpr int64_t kTaskElements = 32 * 1024;
constexpr int64_t kExactElements = 2048;  // of a sum of squares in float32; then float64

struct Task {
  const AdamwParameter* parameters;
  int64_t num_parameters;
  const int64_t* starts;  // of each parameter in the row, and the end of the last
  int64_t index;

  // Calls body(parameter, begin, end) for each part of a parameter that lies in the task.
  template <class Body>
  void for_each_part(const Body& body) const {
    const int64_t begin = index * kTaskElements;
    const int64_t end = min_of(begin + kTaskElements, starts[num_parameters]);
    int64_t low = 0, high = num_parameters;  // the last parameter that starts at or before begin
    while (high - low > 1) {
      const int64_t middle = (low + high) / 2;
      (starts[middle] <= begin ? low : high) = middle;
    }
    for (int64_t i = low; i < num_parameters && starts[i] < end; ++i) {
      const int64_t from = max_of(begin, starts[i]), to = min_of(end, starts[i + 1]);
      if (from < to) body(parameters[i], from - starts[i], to - starts[i]);
    }
  }
};

Vec gradient_at(const AdamwParameter& p, int64_t i, int64_t count) {
  return p.gradient != nullptr ? load_first(p.gradient + i, count)
                               : load_first(p.gradient_bfloat16 + i, count);
}

// Master weights, or the variable's own value where it is not what they round to.
Vec current_master(Vec master, const bfloat16* rounded, int64_t count) {
  bfloat16 lanes[kLanes];
  store(lanes, master);
  const Vec expected = load(lanes), found = load_first(rounded, count);
  return bits_of(expected) == bits_of(found) ? master : found;
}

double sum_of_squares(const AdamwParameter& p, int64_t begin, int64_t end) {
  double sum = 0.0;
  for (; begin < end; begin += kExactElements) {
    const int64_t stop = min_of(end, begin + kExactElements);
    Vec squares = {};
    for (int64_t i = begin; i < stop; i += kLanes) {
      const Vec gradient = gradient_at(p, i, stop - i);
      squares += gradient * gradient;
    }
    sum += static_cast<double>(sum_of_lanes(squares));
  }
  return sum;
}

// What gradients are multiplied by so that their norm is at most `clipnorm`; a NaN where the norm
// is no finite number, as in Keras.
float clip_factor(double sum, float clipnorm) {
  const float norm = static_cast<float>(__builtin_sqrt(sum));
  const float inverse = 1.0f / norm, largest = 1.0f / clipnorm;
  return clipnorm * (inverse < largest ? inverse : largest) + (norm - norm);
}

void update(const AdamwParameter& p, int64_t begin, int64_t end, const AdamwStep& step,
            float factor) {
  const bool clips = step.global_clipnorm > 0.0f;
  const bool decays = p.decays && step.weight_decay != 0.0f;
  const float learning_rate = step.learning_rate * p.multiplier;
  const float alpha = step.alpha * p.multiplier;
  for (int64_t i = begin; i < end; i += kLanes) {
    const int64_t count = end - i;
    Vec gradient = gradient_at(p, i, count);
    if (clips) gradient *= factor;
    Vec parameter = load_first(p.parameter + i, count);
    if (p.rounded != nullptr) parameter = current_master(parameter, p.rounded + i, count);
    if (decays) parameter -= parameter * step.weight_decay * learning_rate;
    Vec momentum = load_first(p.momentum + i, count);
    momentum += (gradient - momentum) * step.momentum_rate;
    Vec velocity = load_first(p.velocity + i, count);
    velocity += (gradient * gradient - velocity) * step.velocity_rate;
    parameter -= momentum * alpha / (square_root(velocity) + step.epsilon);
    store_first(p.new_momentum + i, momentum, count);
    store_first(p.new_velocity + i, velocity, count);
    store_first(p.new_parameter + i, parameter, count);
    if (p.rounded != nullptr) store_first(p.new_rounded + i, parameter, count);
  }
}

void run_step(const AdamwParameter* parameters, int64_t num_parameters, const AdamwStep& step,
              Parallel& parallel) {
  Scratch starts_memory((num_parameters + 1) * 8);
  int64_t* const starts = static_cast<int64_t*>(starts_memory.take((num_parameters + 1) * 8));
  starts[0] = 0;
  for (int64_t i = 0; i < num_parameters; ++i) starts[i + 1] = starts[i] + parameters[i].size;
  const int64_t num_tasks = ceil_div(starts[num_parameters], kTaskElements);
  float factor = 1.0f;
  if (step.global_clipnorm > 0.0f) {
    Scratch sums_memory(num_tasks * 8);
    double* const sums = static_cast<double*>(sums_memory.take(num_tasks * 8));
    parallel.for_each(num_tasks, [&](int64_t index) {
      double sum = 0.0;
      Task{parameters, num_parameters, starts, index}.for_each_part(
          [&](const AdamwParameter& p, int64_t begin, int64_t end) {
            sum += sum_of_squares(p, begin, end);
          });
      sums[index] = sum;
    });
    double sum = 0.0;
    for (int64_t index = 0; index < num_tasks; ++index) sum += sums[index];
    factor = clip_factor(sum, step.global_clipnorm);
  }
  parallel.for_each(num_tasks, [&](int64_t index) {
    Task{parameters, num_parameters, starts, index}.for_each_part(
        [&](const AdamwParameter& p, int64_t begin, int64_t end) {
          update(p, begin, end, step, factor);
        });
  });
}

}  // namespace

extern const AdamwKernels adamw_kernels = {&run_step};

}  // namespace KERASLLM_ISA
}  // namespace kerasllm
