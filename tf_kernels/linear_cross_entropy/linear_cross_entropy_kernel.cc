// KerasllmLinearCrossEntropy and KerasllmLinearCrossEntropyGrad on the CPU and the GPU.
#include <limits>
#include <string>

#include "common/op_kernel.h"
#include "linear_cross_entropy/linear_cross_entropy.h"
#include "linear_cross_entropy/linear_cross_entropy_options.h"
#ifdef KERASLLM_HAS_CUDA
#include "linear_cross_entropy/linear_cross_entropy_cuda.h"
#endif

namespace kerasllm {
namespace {

using absl::Status;
using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;

const float* data_or_null(const Tensor& tensor) {
  return tensor.NumElements() == 0 ? nullptr : tensor.flat<float>().data();
}
float* data_or_null(Tensor* tensor) {
  return tensor->NumElements() == 0 ? nullptr : tensor->flat<float>().data();
}

template <class T>
void run(OnCpu, OpKernelContext* context, const LinearCrossEntropyForward<T>& args) {
  TensorflowParallel parallel(context);
  linear_cross_entropy_forward(args, parallel);
}
template <class T>
void run(OnCpu, OpKernelContext* context, const LinearCrossEntropyBackward<T>& args) {
  TensorflowParallel parallel(context);
  linear_cross_entropy_backward(args, parallel);
}
#ifdef KERASLLM_HAS_CUDA
template <class T>
void run(OnGpu, OpKernelContext* context, const LinearCrossEntropyForward<T>& args) {
  const int64_t bytes = kerasllm_cuda_linear_cross_entropy_forward_scratch(kCudaType<T>, &args);
  launch_on_gpu(context, bytes, [&](void* scratch, void* stream) {
    return kerasllm_cuda_linear_cross_entropy_forward(kCudaType<T>, &args, scratch, stream);
  });
}
template <class T>
void run(OnGpu, OpKernelContext* context, const LinearCrossEntropyBackward<T>& args) {
  const int64_t bytes = kerasllm_cuda_linear_cross_entropy_backward_scratch(kCudaType<T>, &args);
  launch_on_gpu(context, bytes, [&](void* scratch, void* stream) {
    return kerasllm_cuda_linear_cross_entropy_backward(kCudaType<T>, &args, scratch, stream);
  });
}
#endif

// The first four inputs, which forward and backward share, checked. The labels' values are checked
// where the host can read them; on the GPU the kernels see to it (linear_cross_entropy_cuda.h).
template <class T, class Device>
Status read_inputs(OpKernelContext* context, const char* op,
                   const LinearCrossEntropyOptions& options,
                   LinearCrossEntropyInputs<typename ComputeType<T>::type>* inputs) {
  const Tensor &hidden_states = context->input(0), &kernel = context->input(1);
  const Tensor &bias = context->input(2), &labels = context->input(3);
  TF_RETURN_IF_ERROR(expect_rank(op, "hidden_states", hidden_states, 2, "(rows, dim)"));
  TF_RETURN_IF_ERROR(expect_rank(op, "kernel", kernel, 2, "(vocabulary, dim)"));
  const int64_t rows = hidden_states.dim_size(0), dim = hidden_states.dim_size(1);
  const int64_t vocabulary = kernel.dim_size(0);
  TF_RETURN_IF_ERROR(expect_shape(op, "kernel", kernel, TensorShape({vocabulary, dim})));
  if (bias.dims() != 1 || bias.dim_size(0) != 0) {
    TF_RETURN_IF_ERROR(expect_shape(op, "bias", bias, TensorShape({vocabulary})));
  }
  TF_RETURN_IF_ERROR(expect_shape(op, "labels", labels, TensorShape({rows})));
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  if (rows > kMost || vocabulary > kMost) {
    return absl::InvalidArgumentError(
        absl::StrCat(op, ": ", rows, " rows and ", vocabulary, " classes, at most ", kMost));
  }
  const int32_t* const ids = labels.flat<int32_t>().data();
  if constexpr (Device::kHostReads) {
    const std::string wrong = wrong_label(ids, rows, vocabulary, options.ignore_index);
    if (!wrong.empty()) return absl::InvalidArgumentError(absl::StrCat(op, ": ", wrong));
  } else if (reinterpret_cast<uintptr_t>(kernel.tensor_data().data()) % 16 != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(op, ": kernel's address is not a multiple of 16 bytes; copy it first"));
  }
  *inputs = {rows,
             vocabulary,
             dim,
             options,
             data_of<T>(hidden_states),
             data_of<T>(kernel),
             data_or_null(bias),
             ids};
  return absl::OkStatus();
}

template <class T, class Device>
class LinearCrossEntropyOp : public OpKernel {
 public:
  explicit LinearCrossEntropyOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, read_options(context, &options_));
    OP_REQUIRES_OK(context, context->GetAttr("save_gradients", &save_gradients_));
  }

  void Compute(OpKernelContext* context) override {
    LinearCrossEntropyForward<typename ComputeType<T>::type> args = {};
    OP_REQUIRES_OK(context, read_inputs<T, Device>(context, "KerasllmLinearCrossEntropy", options_,
                                                   &args.inputs));
    const TensorShape rows({args.inputs.rows}), no_matrix({0, 0}), no_vector({0});
    const TensorShape shapes[6] = {rows,
                                   rows,
                                   rows,
                                   save_gradients_ ? context->input(0).shape() : no_matrix,
                                   save_gradients_ ? context->input(1).shape() : no_matrix,
                                   save_gradients_ ? context->input(2).shape() : no_vector};
    Tensor* results[6];
    for (int i = 0; i < 6; ++i) {
      OP_REQUIRES_OK(context, context->allocate_output(i, shapes[i], &results[i]));
    }
    args.losses = data_of<float>(results[0]);
    args.correct = results[1]->flat<bool>().data();
    args.log_sum_exp = data_of<float>(results[2]);
    args.d_hidden_states = data_or_null(results[3]);
    args.d_kernel = data_or_null(results[4]);
    args.d_bias = data_or_null(results[5]);
    run(Device(), context, args);
  }

 private:
  LinearCrossEntropyOptions options_;
  bool save_gradients_;
};

template <class T, class Device>
class LinearCrossEntropyGradOp : public OpKernel {
 public:
  explicit LinearCrossEntropyGradOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, read_options(context, &options_));
    OP_REQUIRES_OK(context, context->GetAttr("saved", &saved_));
  }

  void Compute(OpKernelContext* context) override {
    const char* const op = "KerasllmLinearCrossEntropyGrad";
    LinearCrossEntropyBackward<typename ComputeType<T>::type> args = {};
    OP_REQUIRES_OK(context, read_inputs<T, Device>(context, op, options_, &args.inputs));
    const Tensor& d_losses = context->input(4);
    OP_REQUIRES_OK(context,
                   expect_shape(op, "d_losses", d_losses, TensorShape({args.inputs.rows})));
    const char* const names[3] = {"saved_d_hidden_states", "saved_d_kernel", "saved_d_bias"};
    Tensor* results[3];
    for (int i = 0; i < 3; ++i) {
      const TensorShape shape = context->input(i).shape();
      if (saved_) OP_REQUIRES_OK(context, expect_shape(op, names[i], context->input(5 + i), shape));
      // Scaled where they lie, if nobody else needs them.
      OP_REQUIRES_OK(context,
                     context->forward_input_or_allocate_output({5 + i}, i, shape, &results[i]));
    }
    args.d_losses = data_of<float>(d_losses);
    args.saved = saved_;
    args.saved_d_hidden_states = data_or_null(context->input(5));
    args.saved_d_kernel = data_or_null(context->input(6));
    args.saved_d_bias = data_or_null(context->input(7));
    args.d_hidden_states = data_of<T>(results[0]);
    args.d_kernel = data_of<T>(results[1]);
    args.d_bias = data_or_null(results[2]);
    run(Device(), context, args);
  }

 private:
  LinearCrossEntropyOptions options_;
  bool saved_;
};

#define KERASLLM_REGISTER(device, Where, T)                                                     \
  REGISTER_KERNEL_BUILDER(                                                                      \
      Name("KerasllmLinearCrossEntropy").Device(tensorflow::device).TypeConstraint<T>("T"),     \
      LinearCrossEntropyOp<T, Where>);                                                          \
  REGISTER_KERNEL_BUILDER(                                                                      \
      Name("KerasllmLinearCrossEntropyGrad").Device(tensorflow::device).TypeConstraint<T>("T"), \
      LinearCrossEntropyGradOp<T, Where>)

KERASLLM_REGISTER(DEVICE_CPU, OnCpu, float);
KERASLLM_REGISTER(DEVICE_CPU, OnCpu, tensorflow::bfloat16);
#ifdef KERASLLM_HAS_CUDA
KERASLLM_REGISTER(DEVICE_GPU, OnGpu, float);
KERASLLM_REGISTER(DEVICE_GPU, OnGpu, tensorflow::bfloat16);
KERASLLM_REGISTER(DEVICE_GPU, OnGpu, Eigen::half);
#endif

}  // namespace
}  // namespace kerasllm
