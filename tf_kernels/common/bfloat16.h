// bfloat16 storage: the upper half of a float32. Arithmetic is always done in float32.
#ifndef KERASLLM_COMMON_BFLOAT16_H_
#define KERASLLM_COMMON_BFLOAT16_H_

#include <cstdint>

namespace kerasllm {

struct bfloat16 {
  uint16_t bits;
};
static_assert(sizeof(bfloat16) == 2, "bfloat16 must match TensorFlow's layout");

}  // namespace kerasllm

#endif  // KERASLLM_COMMON_BFLOAT16_H_
