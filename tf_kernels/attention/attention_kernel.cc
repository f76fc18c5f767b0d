// KerasllmAttention and KerasllmAttentionGrad on the CPU and the GPU.
#include "attention/attention.h"
#include "attention/attention_check.h"
#include "common/op_kernel.h"
#ifdef KERASLLM_HAS_CUDA
#include "attention/attention_cuda.h"
#include "tensorflow/core/util/determinism.h"
#endif

namespace kerasllm {
namespace {

using absl::Status;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;

MaskType mask_type_of(tensorflow::DataType type) {
  switch (type) {
    case tensorflow::DT_BOOL:
      return MaskType::kBool;
    case tensorflow::DT_FLOAT:
      return MaskType::kFloat32;
    case tensorflow::DT_HALF:
      return MaskType::kFloat16;
    default:
      return MaskType::kBfloat16;
  }
}

template <class T>
void run(OnCpu, OpKernelContext* context, const AttentionForward<T>& args) {
  TensorflowParallel parallel(context);
  attention_forward(args, parallel);
}
template <class T>
void run(OnCpu, OpKernelContext* context, const AttentionBackward<T>& args) {
  TensorflowParallel parallel(context);
  attention_backward(args, parallel);
}
#ifdef KERASLLM_HAS_CUDA
template <class T>
void run(OnGpu, OpKernelContext* context, const AttentionForward<T>& args) {
  const int64_t bytes = kerasllm_cuda_attention_forward_scratch(kCudaType<T>, &args);
  launch_on_gpu(context, bytes, [&](void* scratch, void* stream) {
    return kerasllm_cuda_attention_forward(kCudaType<T>, &args, scratch, stream);
  });
}
template <class T>
void run(OnGpu, OpKernelContext* context, const AttentionBackward<T>& args) {
  const bool deterministic = tensorflow::OpDeterminismRequired();
  const int64_t bytes =
      kerasllm_cuda_attention_backward_scratch(kCudaType<T>, &args, deterministic);
  launch_on_gpu(context, bytes, [&](void* scratch, void* stream) {
    return kerasllm_cuda_attention_backward(kCudaType<T>, &args, deterministic, scratch, stream);
  });
}
#endif

template <class Device>
class AttentionBase : public tensorflow::OpKernel {
 public:
  AttentionBase(OpKernelConstruction* context, const char* op) : OpKernel(context), op_(op) {
    OP_REQUIRES_OK(context, context->GetAttr("scale", &attributes_.scale));
    OP_REQUIRES_OK(context, context->GetAttr("causal", &attributes_.causal));
    OP_REQUIRES_OK(context, context->GetAttr("window", &attributes_.window));
    OP_REQUIRES_OK(context, context->GetAttr("soft_cap", &attributes_.soft_cap));
    OP_REQUIRES_OK(context, context->GetAttr("dropout_rate", &attributes_.dropout_rate));
    OP_REQUIRES_OK(context, check_attention_attributes(op, attributes_));
  }

 protected:
  Status read(OpKernelContext* context, AttentionShape* shape, AttentionOptions* options) const {
    std::vector<AttentionInput> inputs;
    for (int i = 0; i < kNumAttentionInputs; ++i) {
      const Tensor& tensor = context->input(i);
      const auto sizes = tensor.shape().dim_sizes();
      inputs.push_back({{sizes.begin(), sizes.end()}, tensor.tensor_data().data()});
    }
    const MaskType mask_type = mask_type_of(context->input_dtype(kMask));
    if (Device::kHostReads && mask_type == MaskType::kFloat16) {
      return absl::InvalidArgumentError(
          absl::StrCat(op_, ": mask is float16, which is for a GPU; expected bool or float32"));
    }
    return read_attention<Device>(op_, inputs.data(), mask_type, attributes_, shape, options);
  }

  const char* op_;

 private:
  AttentionAttributes attributes_;
};

TensorShape outputs_shape(const AttentionShape& s) {
  return TensorShape({s.batch, s.query_length, s.num_heads, s.value_dim});
}
TensorShape log_sum_exp_shape(const AttentionShape& s) {
  return TensorShape({s.batch, s.num_heads, s.query_length});
}

template <class T, class Device>
class AttentionOp : public AttentionBase<Device> {
  using AttentionBase<Device>::read;

 public:
  explicit AttentionOp(OpKernelConstruction* context)
      : AttentionBase<Device>(context, "KerasllmAttention") {}

  void Compute(OpKernelContext* context) override {
    AttentionShape shape;
    AttentionOptions options;
    OP_REQUIRES_OK(context, read(context, &shape, &options));
    Tensor *outputs, *log_sum_exp;
    OP_REQUIRES_OK(context, context->allocate_output(0, outputs_shape(shape), &outputs));
    OP_REQUIRES_OK(context, context->allocate_output(1, log_sum_exp_shape(shape), &log_sum_exp));
    const AttentionForward<typename ComputeType<T>::type> args = {
        shape,
        options,
        data_of<T>(context->input(kQuery)),
        data_of<T>(context->input(kKey)),
        data_of<T>(context->input(kValue)),
        data_of<T>(outputs),
        data_of<float>(log_sum_exp)};
    run(Device(), context, args);
  }
};

template <class T, class Device>
class AttentionGradOp : public AttentionBase<Device> {
  using AttentionBase<Device>::op_;
  using AttentionBase<Device>::read;

 public:
  explicit AttentionGradOp(OpKernelConstruction* context)
      : AttentionBase<Device>(context, "KerasllmAttentionGrad") {}

  void Compute(OpKernelContext* context) override {
    AttentionShape shape;
    AttentionOptions options;
    OP_REQUIRES_OK(context, read(context, &shape, &options));
    const Tensor& outputs = context->input(kNumAttentionInputs);
    const Tensor& log_sum_exp = context->input(kNumAttentionInputs + 1);
    const Tensor& d_outputs = context->input(kNumAttentionInputs + 2);
    OP_REQUIRES_OK(context, expect_shape(op_, "outputs", outputs, outputs_shape(shape)));
    OP_REQUIRES_OK(context,
                   expect_shape(op_, "log_sum_exp", log_sum_exp, log_sum_exp_shape(shape)));
    OP_REQUIRES_OK(context, expect_shape(op_, "d_outputs", d_outputs, outputs_shape(shape)));
    Tensor* results[3];
    for (int i = 0; i < 3; ++i) {
      OP_REQUIRES_OK(context, context->allocate_output(i, context->input(i).shape(), &results[i]));
    }
    const AttentionBackward<typename ComputeType<T>::type> args = {
        shape,
        options,
        data_of<T>(context->input(kQuery)),
        data_of<T>(context->input(kKey)),
        data_of<T>(context->input(kValue)),
        data_of<T>(outputs),
        data_of<float>(log_sum_exp),
        data_of<T>(d_outputs),
        data_of<T>(results[0]),
        data_of<T>(results[1]),
        data_of<T>(results[2])};
    run(Device(), context, args);
  }
};

#define KERASLLM_REGISTER(device, Where, T)                                            \
  REGISTER_KERNEL_BUILDER(                                                             \
      Name("KerasllmAttention").Device(tensorflow::device).TypeConstraint<T>("T"),     \
      AttentionOp<T, Where>);                                                          \
  REGISTER_KERNEL_BUILDER(                                                             \
      Name("KerasllmAttentionGrad").Device(tensorflow::device).TypeConstraint<T>("T"), \
      AttentionGradOp<T, Where>)

KERASLLM_REGISTER(DEVICE_CPU, OnCpu, float);
KERASLLM_REGISTER(DEVICE_CPU, OnCpu, tensorflow::bfloat16);
#ifdef KERASLLM_HAS_CUDA
KERASLLM_REGISTER(DEVICE_GPU, OnGpu, float);
KERASLLM_REGISTER(DEVICE_GPU, OnGpu, tensorflow::bfloat16);
KERASLLM_REGISTER(DEVICE_GPU, OnGpu, Eigen::half);
#endif

}  // namespace
}  // namespace kerasllm
