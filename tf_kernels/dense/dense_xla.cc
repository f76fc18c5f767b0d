// KerasllmDense and its gradients in programs that XLA compiles for the CPU: calls of the same
// kernels, on the program's threads. XLA's own bfloat16 products are no faster than float32 ones.
// Shapes are checked as the program is compiled.
#include "common/xla_kernel.h"
#include "dense/dense.h"

namespace kerasllm {
namespace {

namespace ffi = xla::ffi;
using tensorflow::OpKernelConstruction;
using tensorflow::TensorShape;
using tensorflow::XlaOpKernel;
using tensorflow::XlaOpKernelContext;

template <class T>
ffi::Error forward(ffi::ThreadPool pool, ffi::RemainingArgs in, ffi::RemainingRets out) {
  const XlaRows inputs = xla_rows(in, 0);
  XlaParallel parallel(std::move(pool));
  dense_forward({{inputs.count, inputs.size, xla_rows(in, 1).size},
                 xla_input<T>(in, 0),
                 xla_input<T>(in, 1),
                 optional_xla_input<float>(in, 2),
                 xla_output<T>(out, 0)},
                parallel);
  return ffi::Error::Success();
}

template <class T>
ffi::Error inputs_gradient(ffi::ThreadPool pool, ffi::RemainingArgs in, ffi::RemainingRets out) {
  const XlaRows d_outputs = xla_rows(in, 1);
  DenseBackward<T> args = {};
  args.shape = {d_outputs.count, xla_rows(in, 0).count, d_outputs.size};
  args.kernel = xla_input<T>(in, 0);
  args.d_outputs = xla_input<T>(in, 1);
  args.d_inputs = xla_output<T>(out, 0);
  XlaParallel parallel(std::move(pool));
  dense_backward(args, parallel);
  return ffi::Error::Success();
}

template <class T>
ffi::Error kernel_gradient(ffi::ThreadPool pool, ffi::RemainingArgs in, ffi::RemainingRets out) {
  const XlaRows inputs = xla_rows(in, 0);
  DenseBackward<T> args = {};
  args.shape = {inputs.count, inputs.size, xla_rows(in, 1).size};
  args.inputs = xla_input<T>(in, 0);
  args.d_outputs = xla_input<T>(in, 1);
  args.d_kernel = xla_output<T>(out, 0);
  XlaParallel parallel(std::move(pool));
  dense_backward(args, parallel);
  return ffi::Error::Success();
}

template <class T>
ffi::Error bias_gradient(ffi::ThreadPool pool, ffi::RemainingArgs in, ffi::RemainingRets out) {
  const XlaRows d_outputs = xla_rows(in, 0);
  DenseBackward<T> args = {};
  args.shape = {d_outputs.count, 0, d_outputs.size};
  args.d_outputs = xla_input<T>(in, 0);
  args.d_bias = xla_output<float>(out, 0);
  XlaParallel parallel(std::move(pool));
  dense_backward(args, parallel);
  return ffi::Error::Success();
}

#define KERASLLM_DENSE_HANDLER(name, function)                                                     \
  XLA_FFI_DEFINE_HANDLER(k##name, function,                                                        \
                         ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().RemainingArgs().RemainingRets()); \
  XLA_FFI_REGISTER_HANDLER(ffi::GetXlaFfiApi(), #name, "Host", k##name)
#define KERASLLM_DENSE_HANDLERS(name, function)            \
  KERASLLM_DENSE_HANDLER(name##_float32, function<float>); \
  KERASLLM_DENSE_HANDLER(name##_bfloat16, function<kerasllm::bfloat16>)

KERASLLM_DENSE_HANDLERS(kerasllm_dense, forward);
KERASLLM_DENSE_HANDLERS(kerasllm_dense_inputs_grad, inputs_gradient);
KERASLLM_DENSE_HANDLERS(kerasllm_dense_kernel_grad, kernel_gradient);
KERASLLM_DENSE_HANDLERS(kerasllm_dense_bias_grad, bias_gradient);

class DenseXlaBase : public XlaOpKernel {
 public:
  explicit DenseXlaBase(OpKernelConstruction* context) : XlaOpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("T", &type_));
  }

 protected:
  void emit(XlaOpKernelContext* context, const char* handler, const TensorShape& shape) {
    emit_custom_call(context, typed_handler(handler, type_),
                     {row_major_like(xla_type(type_), shape)}, XlaAttributes().text());
  }

  tensorflow::DataType type_;
};

class DenseXlaOp : public DenseXlaBase {
 public:
  using DenseXlaBase::DenseXlaBase;
  void Compile(XlaOpKernelContext* context) override {
    emit(context, "kerasllm_dense",
         with_last(context->InputShape(0), context->InputShape(1).dim_size(1)));
  }
};

class DenseInputsGradXlaOp : public DenseXlaBase {
 public:
  using DenseXlaBase::DenseXlaBase;
  void Compile(XlaOpKernelContext* context) override {
    emit(context, "kerasllm_dense_inputs_grad",
         with_last(context->InputShape(1), context->InputShape(0).dim_size(0)));
  }
};

class DenseKernelGradXlaOp : public DenseXlaBase {
 public:
  using DenseXlaBase::DenseXlaBase;
  void Compile(XlaOpKernelContext* context) override {
    const TensorShape inputs = context->InputShape(0), d_outputs = context->InputShape(1);
    emit(context, "kerasllm_dense_kernel_grad",
         TensorShape({last_size(inputs), last_size(d_outputs)}));
  }
};

class DenseBiasGradXlaOp : public DenseXlaBase {
 public:
  using DenseXlaBase::DenseXlaBase;
  void Compile(XlaOpKernelContext* context) override {
    const TensorShape shape({last_size(context->InputShape(0))});
    emit_custom_call(context, typed_handler("kerasllm_dense_bias_grad", type_),
                     {row_major_like(xla::F32, shape)}, XlaAttributes().text());
  }
};

KERASLLM_REGISTER_XLA_CPU("KerasllmDense", DenseXlaOp);
KERASLLM_REGISTER_XLA_CPU("KerasllmDenseInputsGrad", DenseInputsGradXlaOp);
KERASLLM_REGISTER_XLA_CPU("KerasllmDenseKernelGrad", DenseKernelGradXlaOp);
KERASLLM_REGISTER_XLA_CPU("KerasllmDenseBiasGrad", DenseBiasGradXlaOp);

}  // namespace
}  // namespace kerasllm
