// KerasllmFewRowsProduct on the CPU.
#include <type_traits>

#include "common/op_kernel.h"
#include "few_rows_product/few_rows_product.h"

namespace kerasllm {
namespace {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;

constexpr char kOp[] = "KerasllmFewRowsProduct";

template <class T, class U>
class FewRowsProductOp : public tensorflow::OpKernel {
 public:
  explicit FewRowsProductOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("transposed", &transposed_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &inputs = context->input(0), &kernel = context->input(1),
                 &bias = context->input(2);
    OP_REQUIRES_OK(context, expect_rank(kOp, "inputs", inputs, 2, "(rows, depth)"));
    OP_REQUIRES_OK(context, expect_rank(kOp, "kernel", kernel, 2, "a matrix"));
    FewRowsProduct<typename ComputeType<T>::type> args;
    args.rows = inputs.dim_size(0);
    args.depth = inputs.dim_size(1);
    args.columns = kernel.dim_size(transposed_ ? 0 : 1);
    args.transposed = transposed_;
    const TensorShape expected = transposed_ ? TensorShape({args.columns, args.depth})
                                             : TensorShape({args.depth, args.columns});
    OP_REQUIRES_OK(context, expect_shape(kOp, "kernel", kernel, expected));
    OP_REQUIRES_OK(context, expect_shape_or_absent(kOp, "bias", bias, TensorShape({args.columns})));
    Tensor* outputs;
    OP_REQUIRES_OK(context,
                   context->allocate_output(0, TensorShape({args.rows, args.columns}), &outputs));
    args.inputs = data_of<T>(inputs);
    args.kernel = data_of<T>(kernel);
    args.bias = optional_data<T>(bias);
    if constexpr (std::is_same_v<T, U>) {
      args.outputs = data_of<T>(outputs);
      args.wide_outputs = nullptr;
    } else {
      args.outputs = nullptr;
      args.wide_outputs = data_of<float>(outputs);
    }
    TensorflowParallel parallel(context);
    few_rows_product(args, parallel);
  }

 private:
  bool transposed_;
};

#define KERASLLM_REGISTER(T, U)                               \
  REGISTER_KERNEL_BUILDER(Name("KerasllmFewRowsProduct")      \
                              .Device(tensorflow::DEVICE_CPU) \
                              .TypeConstraint<T>("T")         \
                              .TypeConstraint<U>("U"),        \
                          FewRowsProductOp<T, U>)

KERASLLM_REGISTER(float, float);
KERASLLM_REGISTER(tensorflow::bfloat16, tensorflow::bfloat16);
KERASLLM_REGISTER(tensorflow::bfloat16, float);

}  // namespace
}  // namespace kerasllm
