// KerasllmGelu and KerasllmGeluGrad in programs that XLA compiles for the CPU or a GPU: calls of
// the same kernels, on the program's threads. Shapes are checked as the program is compiled.
#include "common/xla_kernel.h"
#include "gelu/gelu.h"
#ifdef KERASLLM_HAS_CUDA
#include "gelu/gelu_cuda.h"
#endif
#include "gelu/gelu_kinds.h"

namespace kerasllm {
namespace {

namespace ffi = xla::ffi;
using tensorflow::OpKernelConstruction;
using tensorflow::XlaOpKernel;
using tensorflow::XlaOpKernelContext;

GeluShape shape_of(const ffi::RemainingArgs& arguments, int64_t kind, bool gated) {
  const XlaRows rows = xla_rows(arguments, 0);
  return {rows.count, gated ? rows.size / 2 : rows.size, static_cast<GeluKind>(kind), gated};
}

template <class T>
ffi::Error run(XlaOnCpu& where, const GeluForward<T>& args) {
  XlaParallel parallel(std::move(where.pool));
  gelu_forward(args, parallel);
  return ffi::Error::Success();
}
template <class T>
ffi::Error run(XlaOnCpu& where, const GeluBackward<T>& args) {
  XlaParallel parallel(std::move(where.pool));
  gelu_backward(args, parallel);
  return ffi::Error::Success();
}
#ifdef KERASLLM_HAS_CUDA
template <class T>
ffi::Error run(XlaOnGpu& where, const GeluForward<T>& args) {
  return launch_on_gpu(where, 0, [&](void* scratch, void* stream) {
    return kerasllm_cuda_gelu_forward(kCudaType<T>, &args, scratch, stream);
  });
}
template <class T>
ffi::Error run(XlaOnGpu& where, const GeluBackward<T>& args) {
  const int64_t bytes = kerasllm_cuda_gelu_backward_scratch(kCudaType<T>, &args);
  return launch_on_gpu(where, bytes, [&](void* scratch, void* stream) {
    return kerasllm_cuda_gelu_backward(kCudaType<T>, &args, scratch, stream);
  });
}
#endif

template <class Where, class T>
ffi::Error forward(Where where, int64_t kind, bool gated, ffi::RemainingArgs in,
                   ffi::RemainingRets out) {
  const GeluForward<T> args = {shape_of(in, kind, gated), xla_input<T>(in, 0),
                               optional_xla_input<float>(in, 1), xla_output<T>(out, 0)};
  return run(where, args);
}

template <class Where, class T>
ffi::Error backward(Where where, int64_t kind, bool gated, ffi::RemainingArgs in,
                    ffi::RemainingRets out) {
  const GeluBackward<T> args = {
      shape_of(in, kind, gated), xla_input<T>(in, 0),   optional_xla_input<float>(in, 1),
      xla_input<T>(in, 2),       xla_output<T>(out, 0), optional_xla_output<float>(out, 1)};
  return run(where, args);
}

#define KERASLLM_BINDING .Attr<int64_t>("kind").Attr<bool>("gated").RemainingArgs().RemainingRets()
KERASLLM_XLA_HANDLERS(kerasllm_gelu, forward, KERASLLM_BINDING);
KERASLLM_XLA_HANDLERS(kerasllm_gelu_grad, backward, KERASLLM_BINDING);

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
    const tensorflow::TensorShape inputs = context->InputShape(0);
    const int64_t columns = last_size(inputs);
    const auto shape = with_last(inputs, gated_ ? columns / 2 : columns);
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

KERASLLM_REGISTER_XLA("KerasllmGelu", GeluXlaOp);
KERASLLM_REGISTER_XLA("KerasllmGeluGrad", GeluGradXlaOp);

}  // namespace
}  // namespace kerasllm
