// What Python asks the loaded library, by ctypes.
#include "common/isa.h"

#define KERASLLM_EXPORT __attribute__((visibility("default")))

extern "C" {

// The instruction set in use, and why it is not the one that KERASLLM_ISA names ("" if it is).
KERASLLM_EXPORT const char* kerasllm_active_isa() {
  return kerasllm::isa_name(kerasllm::active_isa());
}
KERASLLM_EXPORT const char* kerasllm_isa_error() { return kerasllm::isa_error(); }

// The name of instruction set `index`, or null behind the last one; whether it can run here.
KERASLLM_EXPORT const char* kerasllm_isa_name(int index) {
  return index < kerasllm::kNumIsas ? kerasllm::isa_name(static_cast<kerasllm::Isa>(index))
                                    : nullptr;
}
KERASLLM_EXPORT int kerasllm_isa_supported(int index) {
  return kerasllm::isa_supported(static_cast<kerasllm::Isa>(index));
}

}  // extern "C"
