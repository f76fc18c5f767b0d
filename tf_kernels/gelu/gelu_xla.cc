// KerasllmGelu and KerasllmGeluGrad in programs that XLA compiles for the CPU: calls of the same
// kernels, on the program's threads. Shapes were checked when the op's shape function ran.
#include "common/xla_kernel.h"
#include "gelu/gelu.h"
#include "gelu/gelu_kinds.h"

namespace kerasllm {
namespace {

namespace ffi = xla::ffi;
using tensorflow::OpKernelConstruction;
using tensorflow::XlaOpKernel;
using tensorflow::XlaOpKernelContext;

GeluShape shape_of(const ffi::RemainingArgs& arguments, int64_t kind, bool gated) {
  int64_t rows = 1;
  const auto sizes = arguments.get<ffi::AnyBuffer>(0)->dimensions();
  for (size_t i = 0; i + 1 < sizes.size(); ++i) rows *= sizes[i];
  return {rows, gated ? sizes.back() / 2 : sizes.back(), static_cast<GeluKind>(kind), gated};
}

template <class T>
ffi::Error forward(ffi::ThreadPool pool, int64_t kind, bool gated, ffi::RemainingArgs in,
                   ffi::RemainingRets out) {
  const GeluForward<T> args = {shape_of(in, kind, gated), xla_input<T>(in, 0),
                               optional_xla_input<float>(in, 1), xla_output<T>(out, 0)};
  XlaParallel parallel(std::move(pool));
  gelu_forward(args, parallel);
  return ffi::Error::Success();
}

template <class T>
ffi::Error backward(ffi::ThreadPool pool, int64_t kind, bool gated, ffi::RemainingArgs in,
                    ffi::RemainingRets out) {
  const GeluBackward<T> args = {
      shape_of(in, kind, gated), xla_input<T>(in, 0),   optional_xla_input<float>(in, 1),
      xla_input<T>(in, 2),       xla_output<T>(out, 0), optional_xla_output<float>(out, 1)};
  XlaParallel parallel(std::move(pool));
  gelu_backward(args, parallel);
  return ffi::Error::Success();
}

#define KERASLLM_GELU_HANDLER(name, function)        \
  XLA_FFI_DEFINE_HANDLER(k##name, function,          \
                         ffi::Ffi::Bind()            \
                             .Ctx<ffi::ThreadPool>() \
                             .Attr<int64_t>("kind")  \
                             .Attr<bool>("gated")    \
                             .RemainingArgs()        \
                             .RemainingRets());      \
  XLA_FFI_REGISTER_HANDLER(ffi::GetXlaFfiApi(), #name, "Host", k##name)

KERASLLM_GELU_HANDLER(kerasllm_gelu_float32, forward<float>);
KERASLLM_GELU_HANDLER(kerasllm_gelu_bfloat16, forward<bfloat16>);
KERASLLM_GELU_HANDLER(kerasllm_gelu_grad_float32, backward<float>);
KERASLLM_GELU_HANDLER(kerasllm_gelu_grad_bfloat16, backward<bfloat16>);

class GeluXlaBase : public XlaOpKernel {
 public:
  explicit GeluXlaBase(OpKernelConstruction* context) : XlaOpKernel(context) {
    std::string kind;
    OP_REQUIRES_OK(context, context->GetAttr("T", &type_));
    OP_REQUIRES_OK(context, context->GetAttr("kind", &kind));
    OP_REQUIRES_OK(context, context->GetAttr("gated", &gated_));
    attributes_.set("kind", static_cast<int64_t>(gelu_kind(kind))).set("gated", gated_);
  }

 protected:
  tensorflow::DataType type_;
  bool gated_;
  XlaAttributes attributes_;
};

class GeluXlaOp : public GeluXlaBase {
 public:
  using GeluXlaBase::GeluXlaBase;

  void Compile(XlaOpKernelContext* context) override {
    tensorflow::TensorShape shape = context->InputShape(0);
    const int last = shape.dims() - 1;
    if (gated_) shape.set_dim(last, shape.dim_size(last) / 2);
    emit_custom_call(context, typed_handler("kerasllm_gelu", type_),
                     {row_major_like(xla_type(type_), shape)}, attributes_.text());
  }
};

class GeluGradXlaOp : public GeluXlaBase {
 public:
  using GeluXlaBase::GeluXlaBase;

  void Compile(XlaOpKernelContext* context) override {
    emit_custom_call(context, typed_handler("kerasllm_gelu_grad", type_),
                     {row_major_like(xla_type(type_), context->InputShape(0)),
                      row_major_like(xla::F32, context->InputShape(1))},
                     attributes_.text());
  }
};

REGISTER_KERNEL_BUILDER(Name("KerasllmGelu").Device("XLA_CPU_JIT"), GeluXlaOp);
REGISTER_KERNEL_BUILDER(Name("KerasllmGeluGrad").Device("XLA_CPU_JIT"), GeluGradXlaOp);

}  // namespace
}  // namespace kerasllm
