// KerasllmDropout in programs that XLA compiles for the CPU.
#include "common/xla_kernel.h"
#include "dropout/dropout.h"

namespace kerasllm {
namespace {

namespace ffi = xla::ffi;
using tensorflow::OpKernelConstruction;
using tensorflow::XlaOpKernel;
using tensorflow::XlaOpKernelContext;

template <class T>
ffi::Error run(ffi::ThreadPool pool, float rate, ffi::RemainingArgs in, ffi::RemainingRets out) {
  const ffi::AnyBuffer inputs = *in.get<ffi::AnyBuffer>(0);
  if (inputs.element_count() == 0) return ffi::Error::Success();
  const int64_t columns = inputs.dimensions().back();
  const DropoutArgs<T> args = {static_cast<int64_t>(inputs.element_count()) / columns, columns,
                               make_dropout(rate, xla_input<int32_t>(in, 1)), xla_input<T>(in, 0),
                               xla_output<T>(out, 0)};
  XlaParallel parallel(std::move(pool));
  dropout(args, parallel);
  return ffi::Error::Success();
}

#define KERASLLM_DROPOUT_HANDLER(name, type)         \
  XLA_FFI_DEFINE_HANDLER(k##name, run<type>,         \
                         ffi::Ffi::Bind()            \
                             .Ctx<ffi::ThreadPool>() \
                             .Attr<float>("rate")    \
                             .RemainingArgs()        \
                             .RemainingRets());      \
  XLA_FFI_REGISTER_HANDLER(ffi::GetXlaFfiApi(), #name, "Host", k##name)

KERASLLM_DROPOUT_HANDLER(kerasllm_dropout_float32, float);
KERASLLM_DROPOUT_HANDLER(kerasllm_dropout_bfloat16, bfloat16);

class DropoutXlaOp : public XlaOpKernel {
 public:
  explicit DropoutXlaOp(OpKernelConstruction* context) : XlaOpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("T", &type_));
    OP_REQUIRES_OK(context, context->GetAttr("rate", &rate_));
  }
  void Compile(XlaOpKernelContext* context) override {
    emit_custom_call(context, typed_handler("kerasllm_dropout", type_),
                     {row_major_like(xla_type(type_), context->InputShape(0))},
                     XlaAttributes().set("rate", rate_).text());
  }

 private:
  tensorflow::DataType type_;
  float rate_;
};

REGISTER_KERNEL_BUILDER(Name("KerasllmDropout").Device("XLA_CPU_JIT"), DropoutXlaOp);

}  // namespace
}  // namespace kerasllm
