// The tables through which lstm.cc reaches the compute code of the instruction set in use.
#ifndef KERASLLM_LSTM_LSTM_DISPATCH_H_
#define KERASLLM_LSTM_LSTM_DISPATCH_H_

#include "lstm/lstm.h"

namespace kerasllm {

struct LstmForwardKernels {
  void (*float32)(const LstmForward<float>&, Parallel&);
  void (*bfloat16)(const LstmForward<kerasllm::bfloat16>&, Parallel&);
};

struct LstmBackwardKernels {
  void (*float32)(const LstmBackward<float>&, Parallel&);
  void (*bfloat16)(const LstmBackward<kerasllm::bfloat16>&, Parallel&);
};

}  // namespace kerasllm

#endif  // KERASLLM_LSTM_LSTM_DISPATCH_H_
