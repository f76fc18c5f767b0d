// KerasllmGelu and KerasllmGeluGrad on the CPU and the GPU. Results take over the memory of inputs
// that nobody else needs: fresh memory costs more than the arithmetic.
#include "common/op_kernel.h"
#include "gelu/gelu.h"
#include "gelu/gelu_kinds.h"
#ifdef KERASLLM_HAS_CUDA
#include "gelu/gelu_cuda.h"
#endif

namespace kerasllm {
namespace {

using absl::Status;
using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;

template <class T>
void run(OnCpu, OpKernelContext* context, const GeluForward<T>& args) {
  TensorflowParallel parallel(context);
  gelu_forward(args, parallel);
}
template <class T>
void run(OnCpu, OpKernelContext* context, const GeluBackward<T>& args) {
  TensorflowParallel parallel(context);
  gelu_backward(args, parallel);
}
#ifdef KERASLLM_HAS_CUDA
template <class T>
void run(OnGpu, OpKernelContext* context, const GeluForward<T>& args) {
  launch_on_gpu(context, 0, [&](void* scratch, void* stream) {
    return kerasllm_cuda_gelu_forward(kCudaType<T>, &args, scratch, stream);
  });
}
template <class T>
void run(OnGpu, OpKernelContext* context, const GeluBackward<T>& args) {
  const int64_t bytes = kerasllm_cuda_gelu_backward_scratch(kCudaType<T>, &args);
  launch_on_gpu(context, bytes, [&](void* scratch, void* stream) {
    return kerasllm_cuda_gelu_backward(kCudaType<T>, &args, scratch, stream);
  });
}
#endif

class GeluBase : public OpKernel {
 public:
  explicit GeluBase(OpKernelConstruction* context) : OpKernel(context) {
    std::string kind;
    OP_REQUIRES_OK(context, context->GetAttr("kind", &kind));
    OP_REQUIRES_OK(context, context->GetAttr("gated", &gated_));
    kind_ = gelu_kind(kind);
  }

 protected:
  // Checks inputs and bias, the first two inputs of both ops.
  Status read_shape(OpKernelContext* context, const char* op, GeluShape* shape,
                    TensorShape* outputs) const {
    const Tensor& inputs = context->input(0);
    TF_RETURN_IF_ERROR(expect_row(op, "inputs", inputs));
    const int64_t columns = last_size(inputs);
    if (gated_ && columns % 2 != 0) {
      return absl::InvalidArgumentError(absl::StrCat(op, ": inputs has shape ",
                                                     inputs.shape().DebugString(),
                                                     ", expected (..., 2 * dim) as it is gated"));
    }
    TF_RETURN_IF_ERROR(
        expect_shape_or_absent(op, "bias", context->input(1), TensorShape({columns})));
    *shape = {rows_of(inputs), gated_ ? columns / 2 : columns, kind_, gated_};
    *outputs = with_last(inputs, shape->dim);
    return absl::OkStatus();
  }

  GeluKind kind_;
  bool gated_;
};

template <class T, class Device>
class GeluOp : public GeluBase {
 public:
  using GeluBase::GeluBase;

  void Compute(OpKernelContext* context) override {
    GeluShape shape;
    TensorShape whole;
    OP_REQUIRES_OK(context, read_shape(context, "KerasllmGelu", &shape, &whole));
    GeluForward<typename ComputeType<T>::type> args = {
        shape, data_of<T>(context->input(0)), optional_data<float>(context->input(1)), nullptr};
    Tensor* outputs;
    OP_REQUIRES_OK(context, context->forward_input_or_allocate_output({0}, 0, whole, &outputs));
    args.outputs = data_of<T>(outputs);
    run(Device(), context, args);
  }
};

template <class T, class Device>
class GeluGradOp : public GeluBase {
 public:
  using GeluBase::GeluBase;

  void Compute(OpKernelContext* context) override {
    const char* const op = "KerasllmGeluGrad";
    const Tensor &inputs = context->input(0), &bias = context->input(1);
    const Tensor& d_outputs = context->input(2);
    GeluShape shape;
    TensorShape whole;
    OP_REQUIRES_OK(context, read_shape(context, op, &shape, &whole));
    OP_REQUIRES_OK(context, expect_shape(op, "d_outputs", d_outputs, whole));
    GeluBackward<typename ComputeType<T>::type> args = {shape,
                                                        data_of<T>(inputs),
                                                        optional_data<float>(bias),
                                                        data_of<T>(d_outputs),
                                                        /*d_inputs=*/nullptr,
                                                        /*d_bias=*/nullptr};
    Tensor *d_inputs, *d_bias;
    OP_REQUIRES_OK(context,
                   context->forward_input_or_allocate_output({2, 0}, 0, inputs.shape(), &d_inputs));
    OP_REQUIRES_OK(context, context->allocate_output(1, bias.shape(), &d_bias));
    args.d_inputs = data_of<T>(d_inputs);
    args.d_bias = optional_data<float>(d_bias, !is_absent(bias));
    run(Device(), context, args);
  }
};

#define KERASLLM_REGISTER(device, Where, T)                                                       \
  REGISTER_KERNEL_BUILDER(Name("KerasllmGelu").Device(tensorflow::device).TypeConstraint<T>("T"), \
                          GeluOp<T, Where>);                                                      \
  REGISTER_KERNEL_BUILDER(                                                                        \
      Name("KerasllmGeluGrad").Device(tensorflow::device).TypeConstraint<T>("T"),                 \
      GeluGradOp<T, Where>)

KERASLLM_REGISTER(DEVICE_CPU, OnCpu, float);
KERASLLM_REGISTER(DEVICE_CPU, OnCpu, tensorflow::bfloat16);
#ifdef KERASLLM_HAS_CUDA
KERASLLM_REGISTER(DEVICE_GPU, OnGpu, float);
KERASLLM_REGISTER(DEVICE_GPU, OnGpu, tensorflow::bfloat16);
KERASLLM_REGISTER(DEVICE_GPU, OnGpu, Eigen::half);
#endif

}  // namespace
}  // namespace kerasllm
