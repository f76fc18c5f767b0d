// Dropout as the kernels are asked for it; how its random bits are made: common/random.h.
#ifndef KERASLLM_COMMON_DROPOUT_H_
#define KERASLLM_COMMON_DROPOUT_H_

#include <cstdint>

namespace kerasllm {

struct Dropout {
  uint32_t seed[2];    // the same two words, the same mask
  uint32_t threshold;  // elements whose 16 random bits are below it are dropped; 0: none is
  float scale;         // what the kept ones are multiplied by, so that the expectation stays
  const int32_t* device_seed = nullptr;  // on a GPU: where the two words lie, instead of `seed`
};

// `rate` in [0, 1) is taken to the nearest 1/65536 below 1. `seed`: two words, what Keras's
// SeedGenerator gives. Static, as compute files must not share code that is compiled per
// instruction set.
static inline Dropout make_dropout(float rate, const int32_t* seed) {
  const float scaled = rate * 65536.0f + 0.5f;
  const uint32_t threshold = scaled < 65535.0f ? static_cast<uint32_t>(scaled) : 65535u;
  return {{static_cast<uint32_t>(seed[0]), static_cast<uint32_t>(seed[1])},
          threshold,
          65536.0f / (65536.0f - static_cast<float>(threshold))};
}

// For GPU kernels: the two words lie in the device's memory, where the host cannot read them.
static inline Dropout make_device_dropout(float rate, const int32_t* device_seed) {
  const int32_t unused[2] = {0, 0};
  Dropout dropout = make_dropout(rate, unused);
  dropout.device_seed = device_seed;
  return dropout;
}

}  // namespace kerasllm

#endif  // KERASLLM_COMMON_DROPOUT_H_
