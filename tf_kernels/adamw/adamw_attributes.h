// The attributes of KerasllmAdamw, read alike by its kernel and its XLA kernel.
#ifndef KERASLLM_ADAMW_ADAMW_ATTRIBUTES_H_
#define KERASLLM_ADAMW_ADAMW_ATTRIBUTES_H_

#include <algorithm>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "adamw/adamw.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace kerasllm {

struct AdamwAttributes {
  int num_parameters;
  AdamwStep step;  // but learning_rate and alpha, which are inputs
  std::vector<bool> decays;
  std::vector<float> multipliers;
  std::vector<int64_t> masters;  // for each rounded variable the index of its parameter
  tensorflow::DataTypeVector gradient_types;
  bool has_half;  // whether a gradient is float16, which only GPUs take

  // The index of the op's inputs: kind 0 is parameters, 1 momentums, 2 velocities, 3 gradients.
  int input(int kind, int parameter) const { return kind * num_parameters + parameter; }
  int learning_rate_input() const { return 4 * num_parameters; }
  int alpha_input() const { return 4 * num_parameters + 1; }
  int rounded_input(int index) const { return 4 * num_parameters + 2 + index; }
  int num_rounded() const { return static_cast<int>(masters.size()); }

  absl::Status read(tensorflow::OpKernelConstruction* context) {
    TF_RETURN_IF_ERROR(context->GetAttr("N", &num_parameters));
    TF_RETURN_IF_ERROR(context->GetAttr("G", &gradient_types));
    TF_RETURN_IF_ERROR(context->GetAttr("momentum_rate", &step.momentum_rate));
    TF_RETURN_IF_ERROR(context->GetAttr("velocity_rate", &step.velocity_rate));
    TF_RETURN_IF_ERROR(context->GetAttr("epsilon", &step.epsilon));
    TF_RETURN_IF_ERROR(context->GetAttr("weight_decay", &step.weight_decay));
    TF_RETURN_IF_ERROR(context->GetAttr("global_clipnorm", &step.global_clipnorm));
    TF_RETURN_IF_ERROR(context->GetAttr("decays", &decays));
    TF_RETURN_IF_ERROR(context->GetAttr("multipliers", &multipliers));
    int num_rounded_inputs;
    TF_RETURN_IF_ERROR(context->GetAttr("M", &num_rounded_inputs));
    std::vector<tensorflow::int64> indices;
    TF_RETURN_IF_ERROR(context->GetAttr("masters", &indices));
    masters.assign(indices.begin(), indices.end());
    const size_t expected = static_cast<size_t>(num_parameters);
    if (multipliers.empty()) multipliers.assign(expected, 1.0f);
    if (decays.size() != expected || gradient_types.size() != expected ||
        multipliers.size() != expected) {
      return absl::InvalidArgumentError(
          absl::StrCat("KerasllmAdamw: ", gradient_types.size(), " gradients, ", decays.size(),
                       " values of decays and ", multipliers.size(), " multipliers for ",
                       num_parameters, " parameters, expected as many"));
    }
    const auto has = [this](tensorflow::DataType type) {
      return std::find(gradient_types.begin(), gradient_types.end(), type) != gradient_types.end();
    };
    has_half = has(tensorflow::DT_HALF);
    const bool on_gpu = context->device_type().type_string().find("GPU") != std::string::npos;
    if (has_half && (!on_gpu || has(tensorflow::DT_BFLOAT16))) {
      return absl::InvalidArgumentError(
          "KerasllmAdamw: float16 gradients are for a GPU, and not beside bfloat16 ones");
    }
    if (num_rounded() != num_rounded_inputs) {
      return absl::InvalidArgumentError(absl::StrCat("KerasllmAdamw: ", num_rounded(),
                                                     " masters for ", num_rounded_inputs,
                                                     " rounded variables, expected as many"));
    }
    std::vector<bool> is_master(num_parameters);
    for (const int64_t index : masters) {
      if (index < 0 || index >= num_parameters || is_master[index]) {
        return absl::InvalidArgumentError(absl::StrCat("KerasllmAdamw: masters has ", index,
                                                       ", expected different indices of ",
                                                       num_parameters, " parameters"));
      }
      is_master[index] = true;
    }
    return absl::OkStatus();
  }
};

// kind: 1 momentums, 2 velocities, 3 gradients, 4 rounded. `owner` is the parameter's index where
// it is another one.
inline absl::Status check_adamw_shape(int kind, int index, const tensorflow::TensorShape& shape,
                                      const tensorflow::TensorShape& parameter,
                                      int64_t owner = -1) {
  if (shape == parameter) return absl::OkStatus();
  static const char* const names[] = {"parameters", "momentums", "velocities", "gradients",
                                      "rounded"};
  return absl::InvalidArgumentError(absl::StrCat("KerasllmAdamw: ", names[kind], "[", index,
                                                 "] has shape ", shape.DebugString(), ", expected ",
                                                 parameter.DebugString(), ", that of parameters[",
                                                 owner < 0 ? index : owner, "]"));
}

}  // namespace kerasllm

#endif  // KERASLLM_ADAMW_ADAMW_ATTRIBUTES_H_
