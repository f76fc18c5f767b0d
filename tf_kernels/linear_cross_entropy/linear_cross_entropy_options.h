// The options of KerasllmLinearCrossEntropy as attributes of a kernel, on the CPU and under XLA.
#ifndef KERASLLM_LINEAR_CROSS_ENTROPY_LINEAR_CROSS_ENTROPY_OPTIONS_H_
#define KERASLLM_LINEAR_CROSS_ENTROPY_LINEAR_CROSS_ENTROPY_OPTIONS_H_

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "linear_cross_entropy/linear_cross_entropy.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace kerasllm {

inline absl::Status read_options(tensorflow::OpKernelConstruction* context,
                                 LinearCrossEntropyOptions* options) {
  TF_RETURN_IF_ERROR(context->GetAttr("ignore_index", &options->ignore_index));
  TF_RETURN_IF_ERROR(context->GetAttr("label_smoothing", &options->label_smoothing));
  TF_RETURN_IF_ERROR(context->GetAttr("z_loss", &options->z_loss));
  if (!(options->label_smoothing >= 0.0f && options->label_smoothing <= 1.0f)) {
    return absl::InvalidArgumentError(
        absl::StrCat("KerasllmLinearCrossEntropy: label_smoothing is ", options->label_smoothing,
                     ", expected at least 0 and at most 1"));
  }
  if (!(options->z_loss >= 0.0f)) {
    return absl::InvalidArgumentError(absl::StrCat("KerasllmLinearCrossEntropy: z_loss is ",
                                                   options->z_loss, ", expected at least 0"));
  }
  return absl::OkStatus();
}

}  // namespace kerasllm

#endif  // KERASLLM_LINEAR_CROSS_ENTROPY_LINEAR_CROSS_ENTROPY_OPTIONS_H_
