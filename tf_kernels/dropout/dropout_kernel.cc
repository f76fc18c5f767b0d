// KerasllmDropout on the CPU and the GPU.
#include "common/op_kernel.h"
#include "dropout/dropout.h"
#ifdef KERASLLM_HAS_CUDA
#include "dropout/dropout_cuda.h"
#endif

namespace kerasllm {
namespace {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;

template <class T>
void run(OnCpu, OpKernelContext* context, const DropoutArgs<T>& args) {
  TensorflowParallel parallel(context);
  dropout(args, parallel);
}
#ifdef KERASLLM_HAS_CUDA
template <class T>
void run(OnGpu, OpKernelContext* context, const DropoutArgs<T>& args) {
  launch_on_gpu(context, 0, [&](void* scratch, void* stream) {
    return kerasllm_cuda_dropout(kCudaType<T>, &args, scratch, stream);
  });
}
#endif

template <class T, class Device>
class DropoutOp : public tensorflow::OpKernel {
 public:
  explicit DropoutOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("rate", &rate_));
    OP_REQUIRES_OK(context, expect_rate("KerasllmDropout", rate_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &inputs = context->input(0), &seed = context->input(1);
    OP_REQUIRES(
        context, inputs.dims() >= 1,
        absl::InvalidArgumentError("KerasllmDropout: inputs is a scalar, expected (..., dim)"));
    OP_REQUIRES_OK(context, expect_shape("KerasllmDropout", "seed", seed, TensorShape({2})));
    Tensor* outputs;
    OP_REQUIRES_OK(context, context->allocate_output(0, inputs.shape(), &outputs));
    if (inputs.NumElements() == 0) return;
    const int64_t columns = inputs.dim_size(inputs.dims() - 1);
    const DropoutArgs<typename ComputeType<T>::type> args = {
        inputs.NumElements() / columns, columns, Device::dropout(rate_, data_of<int32_t>(seed)),
        data_of<T>(inputs), data_of<T>(outputs)};
    run(Device(), context, args);
  }

 private:
  float rate_;
};

#define KERASLLM_REGISTER(device, Where, T)                                      \
  REGISTER_KERNEL_BUILDER(                                                       \
      Name("KerasllmDropout").Device(tensorflow::device).TypeConstraint<T>("T"), \
      DropoutOp<T, Where>)

KERASLLM_REGISTER(DEVICE_CPU, OnCpu, float);
KERASLLM_REGISTER(DEVICE_CPU, OnCpu, tensorflow::bfloat16);
#ifdef KERASLLM_HAS_CUDA
KERASLLM_REGISTER(DEVICE_GPU, OnGpu, float);
KERASLLM_REGISTER(DEVICE_GPU, OnGpu, tensorflow::bfloat16);
KERASLLM_REGISTER(DEVICE_GPU, OnGpu, Eigen::half);
#endif

}  // namespace
}  // namespace kerasllm
