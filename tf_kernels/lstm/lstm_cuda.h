// The GPU's kernels of lstm.h: `args` is the struct of that element type, with pointers into the
// device's memory. What forward keeps for backward is theirs alone: gates (time, batch, 4, state),
// cells and hidden (time, batch, state), the places from units on left as they were.
#ifndef KERASLLM_LSTM_LSTM_CUDA_H_
#define KERASLLM_LSTM_LSTM_CUDA_H_

#include "common/cuda_call.h"
#include "lstm/lstm.h"

KERASLLM_CUDA_EXPORT int kerasllm_cuda_lstm_forward(int type, const void* args, void* scratch,
                                                    void* stream);
KERASLLM_CUDA_EXPORT int kerasllm_cuda_lstm_backward(int type, const void* args, void* scratch,
                                                     void* stream);
KERASLLM_CUDA_EXPORT int64_t kerasllm_cuda_lstm_forward_scratch(int type, const void* args);
KERASLLM_CUDA_EXPORT int64_t kerasllm_cuda_lstm_backward_scratch(int type, const void* args);

#endif  // KERASLLM_LSTM_LSTM_CUDA_H_
