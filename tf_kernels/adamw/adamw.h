// One step of Adam (Kingma and Ba, Adam: A Method for Stochastic Optimization, 2015) with decoupled
// weight decay (Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019) over all
// parameters of a model, the rounding of each operation that of keras.optimizers.AdamW:
//
//   gradient *= clipping by the global norm
//   learning_rate, alpha *= the parameter's multiplier
//   parameter -= parameter * weight_decay * learning_rate
//   momentum += (gradient - momentum) * (1 - beta_1)
//   velocity += (gradient^2 - velocity) * (1 - beta_2)
//   parameter -= momentum * alpha / (sqrt(velocity) + epsilon)
//
// A parameter may be the float32 master weights of a bfloat16 variable (Micikevicius et al., Mixed
// Precision Training, 2018), which then gets the rounded result. Where the variable is not its
// master's rounded value, somebody else has assigned it, and the master takes its value first.
#ifndef KERASLLM_ADAMW_ADAMW_H_
#define KERASLLM_ADAMW_ADAMW_H_

#include <cstdint>

#include "common/bfloat16.h"
#include "common/parallel.h"

namespace kerasllm {

// A parameter and its state: `size` elements each. New values may lie where the old ones do.
struct AdamwParameter {
  int64_t size;
  const float *parameter, *momentum, *velocity;
  float *new_parameter, *new_momentum, *new_velocity;
  const float* gradient;              // or null, and then
  const bfloat16* gradient_bfloat16;  // this one
  bool decays;
  float multiplier = 1.0f;  // of the learning rate
  // Of master weights: the bfloat16 variable, before and after; else null.
  const bfloat16* rounded = nullptr;
  bfloat16* new_rounded = nullptr;
};

struct AdamwStep {
  float learning_rate;
  float alpha;          // learning_rate * sqrt(1 - beta_2^step) / (1 - beta_1^step)
  float momentum_rate;  // 1 - beta_1
  float velocity_rate;  // 1 - beta_2
  float epsilon;
  float weight_decay;     // 0: none
  float global_clipnorm;  // 0: no clipping
};

void adamw(const AdamwParameter* parameters, int64_t num_parameters, const AdamwStep& step,
           Parallel& parallel);

}  // namespace kerasllm

#endif  // KERASLLM_ADAMW_ADAMW_H_
