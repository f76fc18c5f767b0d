// The GPU's kernel of dropout.h: `args` is DropoutArgs of that element type, with pointers into the
// device's memory and Dropout::device_seed set.
#ifndef KERASLLM_DROPOUT_DROPOUT_CUDA_H_
#define KERASLLM_DROPOUT_DROPOUT_CUDA_H_

#include "common/cuda_call.h"
#include "dropout/dropout.h"

KERASLLM_CUDA_EXPORT int kerasllm_cuda_dropout(int type, const void* args, void* scratch,
                                               void* stream);

#endif  // KERASLLM_DROPOUT_DROPOUT_CUDA_H_
