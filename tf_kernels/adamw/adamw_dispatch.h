// The table through which adamw.cc reaches the compute code of the instruction set in use.
#ifndef KERASLLM_ADAMW_ADAMW_DISPATCH_H_
#define KERASLLM_ADAMW_ADAMW_DISPATCH_H_

#include "adamw/adamw.h"

namespace kerasllm {

struct AdamwKernels {
  void (*adamw)(const AdamwParameter*, int64_t, const AdamwStep&, Parallel&);
};

}  // namespace kerasllm

#endif  // KERASLLM_ADAMW_ADAMW_DISPATCH_H_
