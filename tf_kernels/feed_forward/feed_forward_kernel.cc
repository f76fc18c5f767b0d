// KerasllmFeedForward and its gradient on the CPU. Gradients of the kernels and of output_bias are
// made of its results by the dense family's ops.
#include "common/op_kernel.h"
#include "feed_forward/feed_forward.h"
#include "gelu/gelu_kinds.h"

namespace kerasllm {
namespace {

using absl::Status;
using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;

class FeedForwardBase : public OpKernel {
 public:
  explicit FeedForwardBase(OpKernelConstruction* context) : OpKernel(context) {
    std::string kind;
    OP_REQUIRES_OK(context, context->GetAttr("kind", &kind));
    OP_REQUIRES_OK(context, context->GetAttr("gated", &gated_));
    kind_ = gelu_kind(kind);
  }

 protected:
  // The sizes of both kernels, which fit each other then.
  Status read_kernels(const char* op, const Tensor& hidden_kernel, const Tensor& output_kernel,
                      FeedForwardShape* shape) const {
    const char* const columns = gated_ ? "(input_dim, 2 * dim)" : "(input_dim, dim)";
    TF_RETURN_IF_ERROR(expect_rank(op, "hidden_kernel", hidden_kernel, 2, columns));
    TF_RETURN_IF_ERROR(expect_rank(op, "output_kernel", output_kernel, 2, "(dim, output_dim)"));
    const int64_t width = hidden_kernel.dim_size(1), dim = output_kernel.dim_size(0);
    if (width != (gated_ ? 2 * dim : dim)) {
      return absl::InvalidArgumentError(
          absl::StrCat(op, ": hidden_kernel has shape ", hidden_kernel.shape().DebugString(),
                       " and output_kernel ", output_kernel.shape().DebugString(), ", expected ",
                       columns, " and (dim, output_dim)"));
    }
    *shape = {0, hidden_kernel.dim_size(0), dim, output_kernel.dim_size(1), kind_, gated_};
    return absl::OkStatus();
  }
  static Status expect_last(const char* op, const char* name, const Tensor& tensor, int64_t size) {
    TF_RETURN_IF_ERROR(expect_row(op, name, tensor));
    return expect_shape(op, name, tensor, with_last(tensor, size));
  }

  GeluKind kind_;
  bool gated_;
};

template <class T>
class FeedForwardOp : public FeedForwardBase {
 public:
  explicit FeedForwardOp(OpKernelConstruction* context) : FeedForwardBase(context) {
    OP_REQUIRES_OK(context, context->GetAttr("keep_hidden", &keep_hidden_));
  }

  void Compute(OpKernelContext* context) override {
    const char* const op = "KerasllmFeedForward";
    const Tensor &inputs = context->input(0), &hidden_bias = context->input(2);
    const Tensor& output_bias = context->input(4);
    FeedForwardShape shape;
    OP_REQUIRES_OK(context, read_kernels(op, context->input(1), context->input(3), &shape));
    const int64_t columns = feed_forward_columns(shape);
    OP_REQUIRES_OK(context, expect_last(op, "inputs", inputs, shape.input_dim));
    OP_REQUIRES_OK(context,
                   expect_shape_or_absent(op, "hidden_bias", hidden_bias, TensorShape({columns})));
    OP_REQUIRES_OK(context, expect_shape_or_absent(op, "output_bias", output_bias,
                                                   TensorShape({shape.output_dim})));
    shape.rows = rows_of(inputs);
    Tensor *outputs, *hidden;
    OP_REQUIRES_OK(context,
                   context->allocate_output(0, with_last(inputs, shape.output_dim), &outputs));
    OP_REQUIRES_OK(context,
                   context->allocate_output(
                       1, keep_hidden_ ? with_last(inputs, columns) : TensorShape({0}), &hidden));
    TensorflowParallel parallel(context);
    feed_forward_forward({shape, data_of<T>(inputs), data_of<T>(context->input(1)),
                          optional_data<float>(hidden_bias), data_of<T>(context->input(3)),
                          optional_data<float>(output_bias), optional_data<T>(hidden, keep_hidden_),
                          data_of<T>(outputs)},
                         parallel);
  }

 private:
  bool keep_hidden_;
};

template <class T>
class FeedForwardGradOp : public FeedForwardBase {
 public:
  using FeedForwardBase::FeedForwardBase;

  void Compute(OpKernelContext* context) override {
    const char* const op = "KerasllmFeedForwardGrad";
    const Tensor &hidden = context->input(2), &d_outputs = context->input(3);
    FeedForwardShape shape;
    OP_REQUIRES_OK(context, read_kernels(op, context->input(0), context->input(1), &shape));
    const int64_t columns = feed_forward_columns(shape);
    OP_REQUIRES_OK(context, expect_last(op, "hidden", hidden, columns));
    OP_REQUIRES_OK(context,
                   expect_shape(op, "d_outputs", d_outputs, with_last(hidden, shape.output_dim)));
    shape.rows = rows_of(hidden);
    Tensor *d_inputs, *d_hidden, *activated, *d_hidden_bias;
    OP_REQUIRES_OK(context,
                   context->allocate_output(0, with_last(hidden, shape.input_dim), &d_inputs));
    OP_REQUIRES_OK(context, context->allocate_output(1, hidden.shape(), &d_hidden));
    OP_REQUIRES_OK(context, context->allocate_output(2, with_last(hidden, shape.dim), &activated));
    OP_REQUIRES_OK(context, context->allocate_output(3, TensorShape({columns}), &d_hidden_bias));
    TensorflowParallel parallel(context);
    feed_forward_backward(
        {shape, data_of<T>(context->input(0)), data_of<T>(context->input(1)), data_of<T>(hidden),
         data_of<T>(d_outputs), data_of<T>(d_inputs), data_of<T>(d_hidden), data_of<T>(activated),
         data_of<float>(d_hidden_bias)},
        parallel);
  }
};

#define KERASLLM_REGISTER_OP(name, T) \
  REGISTER_KERNEL_BUILDER(            \
      Name("Kerasllm" #name).Device(tensorflow::DEVICE_CPU).TypeConstraint<T>("T"), name##Op<T>)
#define KERASLLM_REGISTER(T)            \
  KERASLLM_REGISTER_OP(FeedForward, T); \
  KERASLLM_REGISTER_OP(FeedForwardGrad, T)

KERASLLM_REGISTER(float);
KERASLLM_REGISTER(tensorflow::bfloat16);

}  // namespace
}  // namespace kerasllm
