// IEEE half precision storage, as bfloat16.h; only GPUs take it.
#ifndef KERASLLM_COMMON_FLOAT16_H_
#define KERASLLM_COMMON_FLOAT16_H_

#include <cstdint>

namespace kerasllm {

struct float16 {
  uint16_t bits;
};
static_assert(sizeof(float16) == 2, "float16 must match TensorFlow's layout");

}  // namespace kerasllm

#endif  // KERASLLM_COMMON_FLOAT16_H_
