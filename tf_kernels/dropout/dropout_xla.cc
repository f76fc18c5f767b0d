// KerasllmDropout in programs that XLA compiles for the CPU or a GPU.
#include "common/xla_kernel.h"
#include "dropout/dropout.h"
#ifdef KERASLLM_HAS_CUDA
#include "dropout/dropout_cuda.h"
#endif

namespace kerasllm {
namespace {

namespace ffi = xla::ffi;
using tensorflow::OpKernelConstruction;
using tensorflow::XlaOpKernel;
using tensorflow::XlaOpKernelContext;

template <class T>
ffi::Error run(XlaOnCpu& where, const DropoutArgs<T>& args) {
  XlaParallel parallel(std::move(where.pool));
  dropout(args, parallel);
  return ffi::Error::Success();
}
#ifdef KERASLLM_HAS_CUDA
template <class T>
ffi::Error run(XlaOnGpu& where, const DropoutArgs<T>& args) {
  return launch_on_gpu(where, 0, [&](void* scratch, void* stream) {
    return kerasllm_cuda_dropout(kCudaType<T>, &args, scratch, stream);
  });
}
#endif

template <class Where, class T>
ffi::Error forward(Where where, float rate, ffi::RemainingArgs in, ffi::RemainingRets out) {
  const ffi::AnyBuffer inputs = *in.get<ffi::AnyBuffer>(0);
  if (inputs.element_count() == 0) return ffi::Error::Success();
  const int64_t columns = inputs.dimensions().back();
  const DropoutArgs<T> args = {static_cast<int64_t>(inputs.element_count()) / columns, columns,
                               Where::dropout(rate, xla_input<int32_t>(in, 1)), xla_input<T>(in, 0),
                               xla_output<T>(out, 0)};
  return run(where, args);
}

KERASLLM_XLA_HANDLERS(kerasllm_dropout, forward,
                      .Attr<float>("rate").RemainingArgs().RemainingRets());

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

KERASLLM_REGISTER_XLA("KerasllmDropout", DropoutXlaOp);

}  // namespace
}  // namespace kerasllm
