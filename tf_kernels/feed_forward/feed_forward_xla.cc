// KerasllmFeedForward and its gradient in programs that XLA compiles for the CPU: calls of the
// same kernels, on the program's threads. Shapes are checked as the program is compiled.
#include "common/xla_kernel.h"
#include "feed_forward/feed_forward.h"
#include "gelu/gelu_kinds.h"

namespace kerasllm {
namespace {

namespace ffi = xla::ffi;
using tensorflow::OpKernelConstruction;
using tensorflow::TensorShape;
using tensorflow::XlaOpKernel;
using tensorflow::XlaOpKernelContext;

template <class Where, class T>
ffi::Error forward(Where where, int64_t kind, bool gated, bool keep_hidden, ffi::RemainingArgs in,
                   ffi::RemainingRets out) {
  const XlaRows inputs = xla_rows(in, 0), output_kernel = xla_rows(in, 3);
  XlaParallel parallel(std::move(where.pool));
  feed_forward_forward({{inputs.count, inputs.size, output_kernel.count, output_kernel.size,
                         static_cast<GeluKind>(kind), gated},
                        xla_input<T>(in, 0),
                        xla_input<T>(in, 1),
                        optional_xla_input<float>(in, 2),
                        xla_input<T>(in, 3),
                        optional_xla_input<float>(in, 4),
                        keep_hidden ? xla_output<T>(out, 1) : nullptr,
                        xla_output<T>(out, 0)},
                       parallel);
  return ffi::Error::Success();
}

template <class Where, class T>
ffi::Error backward(Where where, int64_t kind, bool gated, ffi::RemainingArgs in,
                    ffi::RemainingRets out) {
  const XlaRows output_kernel = xla_rows(in, 1);
  XlaParallel parallel(std::move(where.pool));
  feed_forward_backward({{xla_rows(in, 2).count, xla_rows(in, 0).count, output_kernel.count,
                          output_kernel.size, static_cast<GeluKind>(kind), gated},
                         xla_input<T>(in, 0),
                         xla_input<T>(in, 1),
                         xla_input<T>(in, 2),
                         xla_input<T>(in, 3),
                         xla_output<T>(out, 0),
                         xla_output<T>(out, 1),
                         xla_output<T>(out, 2),
                         xla_output<float>(out, 3)},
                        parallel);
  return ffi::Error::Success();
}

#define KERASLLM_ACTIVATION .Attr<int64_t>("kind").Attr<bool>("gated")
#define KERASLLM_TENSORS .RemainingArgs().RemainingRets()
KERASLLM_XLA_CPU_HANDLERS(kerasllm_feed_forward, forward,
                          KERASLLM_ACTIVATION.Attr<bool>("keep_hidden") KERASLLM_TENSORS);
KERASLLM_XLA_CPU_HANDLERS(kerasllm_feed_forward_grad, backward,
                          KERASLLM_ACTIVATION KERASLLM_TENSORS);

class FeedForwardXlaBase : public XlaOpKernel {
 public:
  explicit FeedForwardXlaBase(OpKernelConstruction* context) : XlaOpKernel(context) {
    std::string kind;
    OP_REQUIRES_OK(context, context->GetAttr("T", &type_));
    OP_REQUIRES_OK(context, context->GetAttr("kind", &kind));
    OP_REQUIRES_OK(context, context->GetAttr("gated", &gated_));
    attributes_.set("kind", static_cast<int64_t>(gelu_kind(kind))).set("gated", gated_);
  }

 protected:
  void emit(XlaOpKernelContext* context, const char* handler,
            const std::vector<xla::Shape>& results) const {
    emit_custom_call(context, typed_handler(handler, type_), results, attributes_.text());
  }
  xla::Shape in_type(const TensorShape& shape) const {
    return row_major_like(xla_type(type_), shape);
  }

  tensorflow::DataType type_;
  bool gated_;
  XlaAttributes attributes_;
};

class FeedForwardXlaOp : public FeedForwardXlaBase {
 public:
  explicit FeedForwardXlaOp(OpKernelConstruction* context) : FeedForwardXlaBase(context) {
    OP_REQUIRES_OK(context, context->GetAttr("keep_hidden", &keep_hidden_));
    attributes_.set("keep_hidden", keep_hidden_);
  }
  void Compile(XlaOpKernelContext* context) override {
    const TensorShape inputs = context->InputShape(0);
    const TensorShape hidden = with_last(inputs, last_size(context->InputShape(1)));
    emit(context, "kerasllm_feed_forward",
         {in_type(with_last(inputs, last_size(context->InputShape(3)))),
          in_type(keep_hidden_ ? hidden : TensorShape({0}))});
  }

 private:
  bool keep_hidden_;
};

class FeedForwardGradXlaOp : public FeedForwardXlaBase {
 public:
  using FeedForwardXlaBase::FeedForwardXlaBase;
  void Compile(XlaOpKernelContext* context) override {
    const TensorShape hidden = context->InputShape(2);
    emit(context, "kerasllm_feed_forward_grad",
         {in_type(with_last(hidden, context->InputShape(0).dim_size(0))), in_type(hidden),
          in_type(with_last(hidden, context->InputShape(1).dim_size(0))),
          row_major(xla::F32, {last_size(hidden)})});
  }
};

KERASLLM_REGISTER_XLA_CPU("KerasllmFeedForward", FeedForwardXlaOp);
KERASLLM_REGISTER_XLA_CPU("KerasllmFeedForwardGrad", FeedForwardGradXlaOp);

}  // namespace
}  // namespace kerasllm
