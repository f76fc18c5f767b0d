// The names of the op's attribute `kind`.
#ifndef KERASLLM_GELU_GELU_KINDS_H_
#define KERASLLM_GELU_GELU_KINDS_H_

#include <string>

#include "gelu/gelu.h"

namespace kerasllm {

// Of a name that the op's registration lets through.
inline GeluKind gelu_kind(const std::string& name) {
  if (name == "tanh") return GeluKind::kTanh;
  if (name == "silu") return GeluKind::kSilu;
  return name == "relu" ? GeluKind::kRelu : GeluKind::kErf;
}

}  // namespace kerasllm

#endif  // KERASLLM_GELU_GELU_KINDS_H_
