// KerasllmDropout on the CPU.
#include "common/op_kernel.h"
#include "dropout/dropout.h"

namespace kerasllm {
namespace {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;

template <class T>
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
        inputs.NumElements() / columns, columns, make_dropout(rate_, seed.flat<int32_t>().data()),
        data_of<T>(inputs), data_of<T>(outputs)};
    TensorflowParallel parallel(context);
    dropout(args, parallel);
  }

 private:
  float rate_;
};

#define KERASLLM_REGISTER(T) \
  REGISTER_KERNEL_BUILDER(   \
      Name("KerasllmDropout").Device(tensorflow::DEVICE_CPU).TypeConstraint<T>("T"), DropoutOp<T>)

KERASLLM_REGISTER(float);
KERASLLM_REGISTER(tensorflow::bfloat16);

}  // namespace
}  // namespace kerasllm
