// The activations on a vector: their values, and these with their slopes.
#ifndef KERASLLM_GELU_GELU_ACTIVATIONS_H_
#define KERASLLM_GELU_GELU_ACTIVATIONS_H_

#include "common/parallel.h"
#include "common/vec_math.h"
#include "gelu/gelu.h"

namespace kerasllm {
namespace KERASLLM_ISA {

struct Point {
  Vec value, slope;
};

// act(x) = x cdf(x), act'(x) = cdf(x) + x density(x).
struct Erf {
  static Vec value(Vec x) { return x * normal_vec(x).cdf; }
  static Point point(Vec x) {
    constexpr float kInverseSqrt2Pi = 0.398942280f;
    const Normal normal = normal_vec(x);
    return {x * normal.cdf, normal.cdf + x * kInverseSqrt2Pi * normal.exponential};
  }
};

// act(x) = x s(u) with s the logistic function: act'(x) = s(u) + x s(u) s(-u) u'.
struct Silu {
  static Vec value(Vec x) { return x * sigmoid_vec(x); }
  static Point point(Vec x) {
    const Logistic s = logistic_vec(x);
    return {x * s.value, s.value + x * s.value * s.complement};
  }
};

// (1 + tanh(v)) / 2 is s(2 v): u = 2 sqrt(2 / pi) (x + 0.044715 x^3).
struct Tanh {
  static constexpr float kLinear = 1.59576912f, kCubic = 0.0713548163f;
  static Vec value(Vec x) { return x * sigmoid_vec(x * (x * x * kCubic + kLinear)); }
  static Point point(Vec x) {
    const Vec square = x * x;
    const Logistic s = logistic_vec(x * (square * kCubic + kLinear));
    const Vec u_slope = square * (3.0f * kCubic) + kLinear;
    return {x * s.value, s.value + x * s.value * s.complement * u_slope};
  }
};

// A NaN stays one.
struct Relu {
  static Vec value(Vec x) { return x < 0.0f ? Vec{} : x; }
  static Point point(Vec x) {
    return {value(x), x > 0.0f ? broadcast(1.0f) : (x <= 0.0f ? Vec{} : x)};
  }
};

// Defines name(args, parallel): name_of<activation, gated, T> for what args.shape asks for.
#define KERASLLM_ACTIVATION_FORMS(name, Args)                                        \
  template <class T>                                                                 \
  void name(const Args<T>& args, Parallel& parallel) {                               \
    static constexpr void (*kForms[][2])(const Args<T>&, Parallel&) = {              \
        {&name##_of<Erf, false, T>, &name##_of<Erf, true, T>},                       \
        {&name##_of<Tanh, false, T>, &name##_of<Tanh, true, T>},                     \
        {&name##_of<Silu, false, T>, &name##_of<Silu, true, T>},                     \
        {&name##_of<Relu, false, T>, &name##_of<Relu, true, T>}};                    \
    static_assert(sizeof(kForms) / sizeof(kForms[0]) == kNumGeluKinds, "all kinds"); \
    kForms[static_cast<int>(args.shape.kind)][args.shape.gated](args, parallel);     \
  }

}  // namespace KERASLLM_ISA
}  // namespace kerasllm

#endif  // KERASLLM_GELU_GELU_ACTIVATIONS_H_
