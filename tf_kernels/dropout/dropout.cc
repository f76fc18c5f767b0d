#include "dropout/dropout.h"

#include "common/isa.h"
#include "dropout/dropout_dispatch.h"

namespace kerasllm {

KERASLLM_DISPATCH(DropoutKernels, dropout_kernels)

void dropout(const DropoutArgs<float>& args, Parallel& parallel) {
  dropout_kernels().float32(args, parallel);
}
void dropout(const DropoutArgs<bfloat16>& args, Parallel& parallel) {
  dropout_kernels().bfloat16(args, parallel);
}

}  // namespace kerasllm
