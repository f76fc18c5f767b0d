// The GPU's kernel of adamw.h, the same bits as the CPU's where there is no clipping.
#ifndef KERASLLM_ADAMW_ADAMW_CUDA_H_
#define KERASLLM_ADAMW_ADAMW_CUDA_H_

#include "adamw/adamw.h"
#include "common/cuda_call.h"

namespace kerasllm {

// The scalars lie in the device's memory, where the host cannot read them; the array of parameters
// lies in the host's, its pointers lead into the device's.
struct AdamwCuda {
  const AdamwParameter* parameters;
  int64_t num_parameters;
  AdamwStep step;              // but learning_rate and alpha
  const float* learning_rate;  // a scalar
  const float* alpha;          // a scalar
};

}  // namespace kerasllm

// `args` is an AdamwCuda; `type` is that of half precision gradients, bfloat16 or float16, which
// AdamwParameter::gradient_bfloat16 points to either way.
KERASLLM_CUDA_EXPORT int kerasllm_cuda_adamw(int type, const void* args, void* scratch,
                                             void* stream);
KERASLLM_CUDA_EXPORT int64_t kerasllm_cuda_adamw_scratch(int type, const void* args);

#endif  // KERASLLM_ADAMW_ADAMW_CUDA_H_
