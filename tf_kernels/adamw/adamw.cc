#include "adamw/adamw.h"

#include "adamw/adamw_dispatch.h"
#include "common/isa.h"

namespace kerasllm {

KERASLLM_DISPATCH(AdamwKernels, adamw_kernels)

void adamw(const AdamwParameter* parameters, int64_t num_parameters, const AdamwStep& step,
           Parallel& parallel) {
  adamw_kernels().adamw(parameters, num_parameters, step, parallel);
}

}  // namespace kerasllm
