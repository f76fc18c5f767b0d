// KerasllmDense and its gradients on the CPU. Each gradient is an op of its own, so that one that
// nobody asks for (of a frozen kernel, of the first layer's inputs) is not computed.
#include "common/op_kernel.h"
#include "dense/dense.h"

namespace kerasllm {
namespace {

using absl::Status;
using tensorflow::OpKernel;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;

template <class T>
using Element = typename ComputeType<T>::type;

// `rows` has as many elements in a row as the kernel has on this axis.
Status check_kernel(const char* op, const Tensor& kernel, int axis, const char* name,
                    const Tensor& rows) {
  TF_RETURN_IF_ERROR(expect_rank(op, "kernel", kernel, 2, "(input_dim, units)"));
  TF_RETURN_IF_ERROR(expect_row(op, name, rows));
  return expect_shape(op, name, rows, with_last(rows, kernel.dim_size(axis)));
}

template <class T>
class DenseOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const char* const op = "KerasllmDense";
    const Tensor &inputs = context->input(0), &kernel = context->input(1);
    OP_REQUIRES_OK(context, check_kernel(op, kernel, 0, "inputs", inputs));
    const int64_t units = kernel.dim_size(1);
    OP_REQUIRES_OK(context,
                   expect_shape_or_absent(op, "bias", context->input(2), TensorShape({units})));
    Tensor* outputs;
    OP_REQUIRES_OK(context, context->allocate_output(0, with_last(inputs, units), &outputs));
    TensorflowParallel parallel(context);
    dense_forward({{rows_of(inputs), last_size(inputs), units},
                   data_of<T>(inputs),
                   data_of<T>(kernel),
                   optional_data<float>(context->input(2)),
                   data_of<T>(outputs)},
                  parallel);
  }
};

template <class T>
class DenseInputsGradOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor &kernel = context->input(0), &d_outputs = context->input(1);
    OP_REQUIRES_OK(context,
                   check_kernel("KerasllmDenseInputsGrad", kernel, 1, "d_outputs", d_outputs));
    const int64_t input_dim = kernel.dim_size(0);
    Tensor* d_inputs;
    OP_REQUIRES_OK(context,
                   context->allocate_output(0, with_last(d_outputs, input_dim), &d_inputs));
    DenseBackward<Element<T>> args = {};
    args.shape = {rows_of(d_outputs), input_dim, last_size(d_outputs)};
    args.kernel = data_of<T>(kernel);
    args.d_outputs = data_of<T>(d_outputs);
    args.d_inputs = data_of<T>(d_inputs);
    TensorflowParallel parallel(context);
    dense_backward(args, parallel);
  }
};

template <class T>
class DenseKernelGradOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const char* const op = "KerasllmDenseKernelGrad";
    const Tensor &inputs = context->input(0), &d_outputs = context->input(1);
    OP_REQUIRES_OK(context, expect_row(op, "inputs", inputs));
    OP_REQUIRES_OK(context, expect_row(op, "d_outputs", d_outputs));
    const int64_t input_dim = last_size(inputs), units = last_size(d_outputs);
    OP_REQUIRES_OK(context, expect_shape(op, "d_outputs", d_outputs, with_last(inputs, units)));
    Tensor* d_kernel;
    OP_REQUIRES_OK(context,
                   context->allocate_output(0, TensorShape({input_dim, units}), &d_kernel));
    DenseBackward<Element<T>> args = {};
    args.shape = {rows_of(inputs), input_dim, units};
    args.inputs = data_of<T>(inputs);
    args.d_outputs = data_of<T>(d_outputs);
    args.d_kernel = data_of<T>(d_kernel);
    TensorflowParallel parallel(context);
    dense_backward(args, parallel);
  }
};

template <class T>
class DenseBiasGradOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& d_outputs = context->input(0);
    OP_REQUIRES_OK(context, expect_row("KerasllmDenseBiasGrad", "d_outputs", d_outputs));
    const int64_t units = last_size(d_outputs);
    Tensor* d_bias;
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({units}), &d_bias));
    DenseBackward<Element<T>> args = {};
    args.shape = {rows_of(d_outputs), 0, units};
    args.d_outputs = data_of<T>(d_outputs);
    args.d_bias = data_of<float>(d_bias);
    TensorflowParallel parallel(context);
    dense_backward(args, parallel);
  }
};

#define KERASLLM_REGISTER_OP(name, T) \
  REGISTER_KERNEL_BUILDER(            \
      Name("Kerasllm" #name).Device(tensorflow::DEVICE_CPU).TypeConstraint<T>("T"), name##Op<T>)
#define KERASLLM_REGISTER(T)                \
  KERASLLM_REGISTER_OP(Dense, T);           \
  KERASLLM_REGISTER_OP(DenseInputsGrad, T); \
  KERASLLM_REGISTER_OP(DenseKernelGrad, T); \
  KERASLLM_REGISTER_OP(DenseBiasGrad, T)

KERASLLM_REGISTER(float);
KERASLLM_REGISTER(tensorflow::bfloat16);

}  // namespace
}  // namespace kerasllm
