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
    OP_REQUIRES_OK(context, context->GetAttr("N", &count_));
    OP_REQUIRES(context, count_ <= kMaxProducts,
                absl::InvalidArgumentError(absl::StrCat(
                    kOp, ": there are ", count_, " kernels, expected up to ", kMaxProducts)));
  }

  void Compute(OpKernelContext* context) override {
    FewRowsProduct<Element> args[kMaxProducts];
    for (int i = 0; i < count_; ++i) OP_REQUIRES_OK(context, read(context, i, &args[i]));
    for (int i = 0; i < count_; ++i) {
      Tensor* outputs;
      const TensorShape shape({args[i].rows, args[i].columns});
      OP_REQUIRES_OK(context, context->allocate_output(i, shape, &outputs));
      if constexpr (std::is_same_v<T, U>) {
        args[i].outputs = data_of<T>(outputs);
      } else {
        args[i].wide_outputs = data_of<float>(outputs);
      }
    }
    TensorflowParallel parallel(context);
    few_rows_products(args, count_, parallel);
  }

 private:
  using Element = typename ComputeType<T>::type;

  absl::Status read(OpKernelContext* context, int i, FewRowsProduct<Element>* args) const {
    const Tensor &inputs = context->input(0), &kernel = context->input(1 + i),
                 &bias = context->input(1 + count_ + i);
    TF_RETURN_IF_ERROR(expect_rank(kOp, "inputs", inputs, 2, "(rows, depth)"));
    TF_RETURN_IF_ERROR(expect_rank(kOp, "kernel", kernel, 2, "a matrix"));
    const int64_t depth = inputs.dim_size(1), columns = kernel.dim_size(transposed_ ? 0 : 1);
    const TensorShape expected =
        transposed_ ? TensorShape({columns, depth}) : TensorShape({depth, columns});
    TF_RETURN_IF_ERROR(expect_shape(kOp, "kernel", kernel, expected));
    TF_RETURN_IF_ERROR(expect_shape_or_absent(kOp, "bias", bias, TensorShape({columns})));
    *args = {inputs.dim_size(0),
             depth,
             columns,
             transposed_,
             data_of<T>(inputs),
             data_of<T>(kernel),
             optional_data<T>(bias),
             nullptr,
             nullptr};
    return absl::OkStatus();
  }

  bool transposed_;
  int count_;
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
