// KerasllmAdamw on the CPU and the GPU: the variables are locked, checked and updated where they
// lie.
#include <algorithm>
#include <memory>
#include <numeric>
#include <vector>

#include "adamw/adamw.h"
#include "adamw/adamw_attributes.h"
#include "common/op_kernel.h"
#ifdef KERASLLM_HAS_CUDA
#include "adamw/adamw_cuda.h"
#endif
#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/framework/resource_var.h"

namespace kerasllm {
namespace {

using absl::Status;
using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::Var;
using VarPointer = tensorflow::core::RefCountPtr<Var>;

// Holds variables for one update. A variable whose buffer somebody else still reads gets a new one
// when the update is done, as with TensorFlow's own assignments.
class LockedVariables {
 public:
  Status lock(OpKernelContext* context, const std::vector<int>& inputs) {
    for (const int input : inputs) {
      tensorflow::ResourceHandle handle;
      TF_RETURN_IF_ERROR(tensorflow::HandleFromInput(context, input, &handle));
      VarPointer variable;
      TF_RETURN_IF_ERROR(tensorflow::LookupResource(context, handle, &variable));
      variables_.push_back(std::move(variable));
    }
    // In the order of addresses, so that two updates cannot wait for each other.
    std::vector<tensorflow::mutex*> mutexes;
    for (const VarPointer& variable : variables_) mutexes.push_back(variable->mu());
    std::sort(mutexes.begin(), mutexes.end());
    if (std::adjacent_find(mutexes.begin(), mutexes.end()) != mutexes.end()) {
      return absl::InvalidArgumentError("KerasllmAdamw: a variable is given twice");
    }
    for (tensorflow::mutex* const mutex : mutexes) {
      locks_.push_back(std::make_unique<tensorflow::mutex_lock>(*mutex));
    }
    return absl::OkStatus();
  }

  const Tensor& value(int index) const { return *variables_[index]->tensor(); }

  Status check(int index, tensorflow::DataType expected) const {
    if (!variables_[index]->is_initialized) {
      return absl::FailedPreconditionError(
          absl::StrCat("KerasllmAdamw: variable ", index, " is not initialized"));
    }
    if (value(index).dtype() == expected) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("KerasllmAdamw: variable ", index, " has dtype ",
                                                   tensorflow::DataTypeString(value(index).dtype()),
                                                   ", expected ",
                                                   tensorflow::DataTypeString(expected)));
  }

  // Allocates buffers for the new values where the old ones are read elsewhere.
  Status prepare(OpKernelContext* context) {
    new_values_.resize(variables_.size());
    is_shared_.resize(variables_.size());
    for (size_t i = 0; i < variables_.size(); ++i) {
      Tensor* const tensor = variables_[i]->tensor();
      is_shared_[i] = !tensor->RefCountIsOne();
      if (!is_shared_[i]) continue;
      TF_RETURN_IF_ERROR(context->allocate_temp(tensor->dtype(), tensor->shape(), &new_values_[i]));
    }
    return absl::OkStatus();
  }
  Tensor* new_value(int index) {
    return is_shared_[index] ? &new_values_[index] : variables_[index]->tensor();
  }
  void commit() {
    for (size_t i = 0; i < variables_.size(); ++i) {
      if (is_shared_[i]) *variables_[i]->tensor() = new_values_[i];
    }
  }

 private:
  // Locks go before the variables that own them.
  std::vector<VarPointer> variables_;
  std::vector<std::unique_ptr<tensorflow::mutex_lock>> locks_;
  std::vector<bool> is_shared_;
  std::vector<Tensor> new_values_;
};

// learning_rate and alpha are scalars where the op runs.
void run(OnCpu, OpKernelContext* context, const std::vector<AdamwParameter>& parameters,
         AdamwStep step, const Tensor& learning_rate, const Tensor& alpha, bool) {
  step.learning_rate = learning_rate.scalar<float>()();
  step.alpha = alpha.scalar<float>()();
  TensorflowParallel parallel(context);
  adamw(parameters.data(), static_cast<int64_t>(parameters.size()), step, parallel);
}
#ifdef KERASLLM_HAS_CUDA
void run(OnGpu, OpKernelContext* context, const std::vector<AdamwParameter>& parameters,
         const AdamwStep& step, const Tensor& learning_rate, const Tensor& alpha, bool has_half) {
  const AdamwCuda args = {parameters.data(), static_cast<int64_t>(parameters.size()), step,
                          data_of<float>(learning_rate), data_of<float>(alpha)};
  const int type = has_half ? kCudaFloat16 : kCudaBfloat16;
  launch_on_gpu(context, kerasllm_cuda_adamw_scratch(type, &args),
                [&](void* scratch, void* stream) {
                  return kerasllm_cuda_adamw(type, &args, scratch, stream);
                });
}
#endif

template <class Device>
class AdamwOp : public OpKernel {
 public:
  explicit AdamwOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, attributes_.read(context));
  }

  void Compute(OpKernelContext* context) override {
    const int count = attributes_.num_parameters;
    std::vector<int> inputs(3 * count);
    std::iota(inputs.begin(), inputs.end(), 0);
    for (int i = 0; i < attributes_.num_rounded(); ++i) {
      inputs.push_back(attributes_.rounded_input(i));
    }
    LockedVariables variables;
    OP_REQUIRES_OK(context, variables.lock(context, inputs));
    OP_REQUIRES_OK(context, check(context, variables));
    OP_REQUIRES_OK(context, variables.prepare(context));
    std::vector<AdamwParameter> parameters(count);
    for (int i = 0; i < count; ++i) {
      AdamwParameter& p = parameters[i];
      const int at = attributes_.input(0, i), momentum = attributes_.input(1, i);
      const int velocity = attributes_.input(2, i);
      p.size = variables.value(at).NumElements();
      p.parameter = data_of<float>(variables.value(at));
      p.momentum = data_of<float>(variables.value(momentum));
      p.velocity = data_of<float>(variables.value(velocity));
      p.new_parameter = data_of<float>(variables.new_value(at));
      p.new_momentum = data_of<float>(variables.new_value(momentum));
      p.new_velocity = data_of<float>(variables.new_value(velocity));
      const Tensor& gradient = context->input(attributes_.input(3, i));
      const bool is_float = gradient.dtype() == tensorflow::DT_FLOAT;
      p.gradient = is_float ? data_of<float>(gradient) : nullptr;
      // float16 on a GPU lies behind the same pointer (adamw_cuda.h).
      p.gradient_bfloat16 =
          is_float ? nullptr : reinterpret_cast<const bfloat16*>(gradient.tensor_data().data());
      p.decays = attributes_.decays[i];
      p.multiplier = attributes_.multipliers[i];
    }
    for (int i = 0; i < attributes_.num_rounded(); ++i) {
      AdamwParameter& p = parameters[attributes_.masters[i]];
      p.rounded = data_of<tensorflow::bfloat16>(variables.value(3 * count + i));
      p.new_rounded = data_of<tensorflow::bfloat16>(variables.new_value(3 * count + i));
    }
    run(Device(), context, parameters, attributes_.step,
        context->input(attributes_.learning_rate_input()),
        context->input(attributes_.alpha_input()), attributes_.has_half);
    if (context->status().ok()) variables.commit();
  }

 private:
  Status check(OpKernelContext* context, const LockedVariables& variables) const {
    for (int i = 0; i < 3 * attributes_.num_parameters; ++i) {
      TF_RETURN_IF_ERROR(variables.check(i, tensorflow::DT_FLOAT));
    }
    for (int i = 0; i < attributes_.num_rounded(); ++i) {
      const int index = 3 * attributes_.num_parameters + i;
      TF_RETURN_IF_ERROR(variables.check(index, tensorflow::DT_BFLOAT16));
      const int64_t master = attributes_.masters[i];
      const TensorShape& shape = variables.value(static_cast<int>(master)).shape();
      TF_RETURN_IF_ERROR(check_adamw_shape(4, i, variables.value(index).shape(), shape, master));
    }
    for (int i = 0; i < attributes_.num_parameters; ++i) {
      const TensorShape& shape = variables.value(i).shape();
      for (int kind = 1; kind < 3; ++kind) {
        TF_RETURN_IF_ERROR(
            check_adamw_shape(kind, i, variables.value(attributes_.input(kind, i)).shape(), shape));
      }
      const TensorShape& gradient = context->input(attributes_.input(3, i)).shape();
      TF_RETURN_IF_ERROR(check_adamw_shape(3, i, gradient, shape));
    }
    TF_RETURN_IF_ERROR(expect_shape("KerasllmAdamw", "learning_rate",
                                    context->input(attributes_.learning_rate_input()), {}));
    return expect_shape("KerasllmAdamw", "alpha", context->input(attributes_.alpha_input()), {});
  }

  AdamwAttributes attributes_;
};

REGISTER_KERNEL_BUILDER(Name("KerasllmAdamw").Device(tensorflow::DEVICE_CPU), AdamwOp<OnCpu>);
#ifdef KERASLLM_HAS_CUDA
// Handles lie in the host's memory, whatever they lead to.
REGISTER_KERNEL_BUILDER(Name("KerasllmAdamw")
                            .Device(tensorflow::DEVICE_GPU)
                            .HostMemory("parameters")
                            .HostMemory("momentums")
                            .HostMemory("velocities")
                            .HostMemory("rounded"),
                        AdamwOp<OnGpu>);
#endif

}  // namespace
}  // namespace kerasllm
