// KerasllmLayerNorm and KerasllmLayerNormGrad in programs that XLA compiles for the CPU or a GPU:
// calls of the same kernels, on the program's threads. Shapes are checked as the program is
// compiled.
#include "common/xla_kernel.h"
#include "layer_norm/layer_norm.h"
#ifdef KERASLLM_HAS_CUDA
#include "layer_norm/layer_norm_cuda.h"
#endif

namespace kerasllm {
namespace {

namespace ffi = xla::ffi;
using tensorflow::OpKernelConstruction;
using tensorflow::XlaOpKernel;
using tensorflow::XlaOpKernelContext;

// `seed` is the index of that operand.
template <class Where>
LayerNormShape shape_of(const ffi::RemainingArgs& arguments, size_t seed, bool rms, float rate) {
  const XlaRows rows = xla_rows(arguments, 0);
  return {rows.count, rows.size, rms, Where::dropout(rate, xla_input<int32_t>(arguments, seed))};
}

template <class T>
ffi::Error run(XlaOnCpu& where, const LayerNormForward<T>& args) {
  XlaParallel parallel(std::move(where.pool));
  layer_norm_forward(args, parallel);
  return ffi::Error::Success();
}
template <class T>
ffi::Error run(XlaOnCpu& where, const LayerNormBackward<T>& args) {
  XlaParallel parallel(std::move(where.pool));
  layer_norm_backward(args, parallel);
  return ffi::Error::Success();
}
#ifdef KERASLLM_HAS_CUDA
template <class T>
ffi::Error run(XlaOnGpu& where, const LayerNormForward<T>& args) {
  return launch_on_gpu(where, 0, [&](void* scratch, void* stream) {
    return kerasllm_cuda_layer_norm_forward(kCudaType<T>, &args, scratch, stream);
  });
}
template <class T>
ffi::Error run(XlaOnGpu& where, const LayerNormBackward<T>& args) {
  const int64_t bytes = kerasllm_cuda_layer_norm_backward_scratch(kCudaType<T>, &args);
  return launch_on_gpu(where, bytes, [&](void* scratch, void* stream) {
    return kerasllm_cuda_layer_norm_backward(kCudaType<T>, &args, scratch, stream);
  });
}
#endif

template <class Where, class T>
ffi::Error forward(Where where, float epsilon, bool rms, float rate, ffi::RemainingArgs in,
                   ffi::RemainingRets out) {
  const LayerNormForward<T> args = {shape_of<Where>(in, 4, rms, rate),
                                    epsilon,
                                    xla_input<T>(in, 0),
                                    optional_xla_input<T>(in, 1),
                                    optional_xla_input<float>(in, 2),
                                    optional_xla_input<float>(in, 3),
                                    xla_output<T>(out, 0),
                                    optional_xla_output<T>(out, 1),
                                    xla_output<float>(out, 2),
                                    xla_output<float>(out, 3)};
  return run(where, args);
}

template <class Where, class T>
ffi::Error backward(Where where, bool rms, float rate, ffi::RemainingArgs in,
                    ffi::RemainingRets out) {
  const LayerNormBackward<T> args = {
      shape_of<Where>(in, 6, rms, rate), xla_input<T>(in, 0),      optional_xla_input<float>(in, 1),
      xla_input<float>(in, 2),           xla_input<float>(in, 3),  xla_input<T>(in, 4),
      optional_xla_input<T>(in, 5),      xla_output<T>(out, 0),    optional_xla_output<T>(out, 1),
      xla_output<float>(out, 2),         xla_output<float>(out, 3)};
  return run(where, args);
}

#define KERASLLM_BINDING \
  .Attr<bool>("rms").Attr<float>("dropout_rate").RemainingArgs().RemainingRets()
KERASLLM_XLA_HANDLERS(kerasllm_layer_norm, forward, .Attr<float>("epsilon") KERASLLM_BINDING);
KERASLLM_XLA_HANDLERS(kerasllm_layer_norm_grad, backward, KERASLLM_BINDING);

class LayerNormXlaBase : public XlaOpKernel {
 public:
  explicit LayerNormXlaBase(OpKernelConstruction* context) : XlaOpKernel(context) {
    bool rms;
    OP_REQUIRES_OK(context, context->GetAttr("T", &type_));
    OP_REQUIRES_OK(context, context->GetAttr("rms", &rms));
    OP_REQUIRES_OK(context, context->GetAttr("dropout_rate", &rate_));
    OP_REQUIRES(
        context, rate_ >= 0.0f && rate_ < 1.0f,
        absl::InvalidArgumentError(absl::StrCat("KerasllmLayerNorm: dropout rate is ", rate_,
                                                ", expected at least 0 and below 1")));
    attributes_.set("rms", rms).set("dropout_rate", rate_);
  }

 protected:
  // A tensor of this shape, or (0,), which stands for one that is not there.
  xla::Shape shape_if(bool present, const tensorflow::TensorShape& shape) const {
    const xla::PrimitiveType type = xla_type(type_);
    return present ? row_major_like(type, shape) : row_major(type, {0});
  }

  tensorflow::DataType type_;
  float rate_;
  XlaAttributes attributes_;
};

class LayerNormXlaOp : public LayerNormXlaBase {
 public:
  explicit LayerNormXlaOp(OpKernelConstruction* context) : LayerNormXlaBase(context) {
    float epsilon;
    OP_REQUIRES_OK(context, context->GetAttr("epsilon", &epsilon));
    attributes_.set("epsilon", epsilon);
  }

  void Compile(XlaOpKernelContext* context) override {
    const tensorflow::TensorShape whole = context->InputShape(0), added = context->InputShape(1);
    tensorflow::TensorShape rows = whole;
    rows.RemoveLastDims(1);
    const bool alone = added.dims() == 1 && added.dim_size(0) == 0;
    emit_custom_call(context, typed_handler("kerasllm_layer_norm", type_),
                     {row_major_like(xla_type(type_), whole), shape_if(!alone || rate_ > 0, whole),
                      row_major_like(xla::F32, rows), row_major_like(xla::F32, rows)},
                     attributes_.text());
  }
};

class LayerNormGradXlaOp : public LayerNormXlaBase {
 public:
  using LayerNormXlaBase::LayerNormXlaBase;

  void Compile(XlaOpKernelContext* context) override {
    const tensorflow::TensorShape whole = context->InputShape(0);
    const xla::Shape row = row_major(xla::F32, {last_size(whole)});
    emit_custom_call(context, typed_handler("kerasllm_layer_norm_grad", type_),
                     {row_major_like(xla_type(type_), whole), shape_if(rate_ > 0, whole), row, row},
                     attributes_.text());
  }
};

KERASLLM_REGISTER_XLA("KerasllmLayerNorm", LayerNormXlaOp);
KERASLLM_REGISTER_XLA("KerasllmLayerNormGrad", LayerNormGradXlaOp);

}  // namespace
}  // namespace kerasllm
