// KerasllmLinearCrossEntropy and KerasllmLinearCrossEntropyGrad in programs that XLA compiles for
// the CPU or a GPU: calls of the same kernels. Shapes are checked as the program is
// compiled.
#include "common/xla_kernel.h"
#include "linear_cross_entropy/linear_cross_entropy.h"
#include "linear_cross_entropy/linear_cross_entropy_options.h"
#ifdef KERASLLM_HAS_CUDA
#include "linear_cross_entropy/linear_cross_entropy_cuda.h"
#endif

namespace kerasllm {
namespace {

namespace ffi = xla::ffi;
using tensorflow::OpKernelConstruction;
using tensorflow::XlaOpKernel;
using tensorflow::XlaOpKernelContext;

template <class T>
LinearCrossEntropyInputs<T> inputs_of(const ffi::RemainingArgs& in,
                                      const LinearCrossEntropyOptions& options) {
  const auto hidden_states = in.get<ffi::AnyBuffer>(0)->dimensions();
  return {hidden_states[0],
          in.get<ffi::AnyBuffer>(1)->dimensions()[0],
          hidden_states[1],
          options,
          xla_input<T>(in, 0),
          xla_input<T>(in, 1),
          optional_xla_input<float>(in, 2),
          xla_input<int32_t>(in, 3)};
}

template <class Where, class T>
ffi::Error check_labels(const LinearCrossEntropyInputs<T>& in) {
  if constexpr (!Where::kHostReads) return ffi::Error::Success();
  const std::string wrong = wrong_label(in.labels, in.rows, in.vocabulary, in.options.ignore_index);
  if (wrong.empty()) return ffi::Error::Success();
  return ffi::Error::InvalidArgument("KerasllmLinearCrossEntropy: " + wrong);
}

template <class T>
ffi::Error run(XlaOnCpu& where, const LinearCrossEntropyForward<T>& args) {
  XlaParallel parallel(std::move(where.pool));
  linear_cross_entropy_forward(args, parallel);
  return ffi::Error::Success();
}
template <class T>
ffi::Error run(XlaOnCpu& where, const LinearCrossEntropyBackward<T>& args) {
  XlaParallel parallel(std::move(where.pool));
  linear_cross_entropy_backward(args, parallel);
  return ffi::Error::Success();
}
#ifdef KERASLLM_HAS_CUDA
template <class T>
ffi::Error run(XlaOnGpu& where, const LinearCrossEntropyForward<T>& args) {
  const int64_t bytes = kerasllm_cuda_linear_cross_entropy_forward_scratch(kCudaType<T>, &args);
  return launch_on_gpu(where, bytes, [&](void* scratch, void* stream) {
    return kerasllm_cuda_linear_cross_entropy_forward(kCudaType<T>, &args, scratch, stream);
  });
}
template <class T>
ffi::Error run(XlaOnGpu& where, const LinearCrossEntropyBackward<T>& args) {
  const int64_t bytes = kerasllm_cuda_linear_cross_entropy_backward_scratch(kCudaType<T>, &args);
  return launch_on_gpu(where, bytes, [&](void* scratch, void* stream) {
    return kerasllm_cuda_linear_cross_entropy_backward(kCudaType<T>, &args, scratch, stream);
  });
}
#endif

template <class Where, class T>
ffi::Error forward(Where where, int64_t ignore_index, float label_smoothing, float z_loss,
                   ffi::RemainingArgs in, ffi::RemainingRets out) {
  const LinearCrossEntropyForward<T> args = {
      inputs_of<T>(in, {ignore_index, label_smoothing, z_loss}),
      xla_output<float>(out, 0),
      xla_output<bool>(out, 1),
      xla_output<float>(out, 2),
      optional_xla_output<float>(out, 3),
      optional_xla_output<float>(out, 4),
      optional_xla_output<float>(out, 5)};
  if (ffi::Error error = check_labels<Where>(args.inputs); error.failure()) return error;
  return run(where, args);
}

template <class Where, class T>
ffi::Error backward(Where where, int64_t ignore_index, float label_smoothing, float z_loss,
                    bool saved, ffi::RemainingArgs in, ffi::RemainingRets out) {
  const LinearCrossEntropyBackward<T> args = {
      inputs_of<T>(in, {ignore_index, label_smoothing, z_loss}),
      xla_input<float>(in, 4),
      saved,
      optional_xla_input<float>(in, 5),
      optional_xla_input<float>(in, 6),
      optional_xla_input<float>(in, 7),
      xla_output<T>(out, 0),
      xla_output<T>(out, 1),
      optional_xla_output<float>(out, 2)};
  if (ffi::Error error = check_labels<Where>(args.inputs); error.failure()) return error;
  return run(where, args);
}

#define KERASLLM_BINDING \
  .Attr<int64_t>("ignore_index").Attr<float>("label_smoothing").Attr<float>("z_loss")
KERASLLM_XLA_HANDLERS(kerasllm_linear_cross_entropy, forward,
                      KERASLLM_BINDING.RemainingArgs().RemainingRets());
KERASLLM_XLA_HANDLERS(kerasllm_linear_cross_entropy_grad, backward,
                      KERASLLM_BINDING.Attr<bool>("saved").RemainingArgs().RemainingRets());

class LinearCrossEntropyXlaBase : public XlaOpKernel {
 public:
  explicit LinearCrossEntropyXlaBase(OpKernelConstruction* context) : XlaOpKernel(context) {
    LinearCrossEntropyOptions options;
    OP_REQUIRES_OK(context, read_options(context, &options));
    OP_REQUIRES_OK(context, context->GetAttr("T", &type_));
    attributes_.set("ignore_index", options.ignore_index)
        .set("label_smoothing", options.label_smoothing)
        .set("z_loss", options.z_loss);
  }

 protected:
  tensorflow::DataType type_;
  XlaAttributes attributes_;
};

class LinearCrossEntropyXlaOp : public LinearCrossEntropyXlaBase {
 public:
  explicit LinearCrossEntropyXlaOp(OpKernelConstruction* context)
      : LinearCrossEntropyXlaBase(context) {
    OP_REQUIRES_OK(context, context->GetAttr("save_gradients", &save_gradients_));
  }

  void Compile(XlaOpKernelContext* context) override {
    const int64_t rows = context->InputShape(0).dim_size(0);
    std::vector<xla::Shape> results = {row_major(xla::F32, {rows}), row_major(xla::PRED, {rows}),
                                       row_major(xla::F32, {rows})};
    for (int i = 0; i < 3; ++i) {
      results.push_back(save_gradients_ ? row_major_like(xla::F32, context->InputShape(i))
                        : i < 2         ? row_major(xla::F32, {0, 0})
                                        : row_major(xla::F32, {0}));
    }
    emit_custom_call(context, typed_handler("kerasllm_linear_cross_entropy", type_), results,
                     attributes_.text());
  }

 private:
  bool save_gradients_;
};

class LinearCrossEntropyGradXlaOp : public LinearCrossEntropyXlaBase {
 public:
  explicit LinearCrossEntropyGradXlaOp(OpKernelConstruction* context)
      : LinearCrossEntropyXlaBase(context) {
    bool saved;
    OP_REQUIRES_OK(context, context->GetAttr("saved", &saved));
    attributes_.set("saved", saved);
  }

  void Compile(XlaOpKernelContext* context) override {
    emit_custom_call(context, typed_handler("kerasllm_linear_cross_entropy_grad", type_),
                     {row_major_like(xla_type(type_), context->InputShape(0)),
                      row_major_like(xla_type(type_), context->InputShape(1)),
                      row_major_like(xla::F32, context->InputShape(2))},
                     attributes_.text());
  }
};

KERASLLM_REGISTER_XLA("KerasllmLinearCrossEntropy", LinearCrossEntropyXlaOp);
KERASLLM_REGISTER_XLA("KerasllmLinearCrossEntropyGrad", LinearCrossEntropyGradXlaOp);

}  // namespace
}  // namespace kerasllm
