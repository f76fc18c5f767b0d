// KerasllmLstm and KerasllmLstmGrad in programs that XLA compiles for the CPU or a GPU: calls of
// the same kernels, on the program's threads. Shapes are checked as the program is compiled.
#include "common/xla_kernel.h"
#include "lstm/lstm.h"
#ifdef KERASLLM_HAS_CUDA
#include "lstm/lstm_cuda.h"
#endif

namespace kerasllm {
namespace {

namespace ffi = xla::ffi;
using tensorflow::OpKernelConstruction;
using tensorflow::XlaOpKernel;
using tensorflow::XlaOpKernelContext;

LstmShape shape_of(const ffi::RemainingArgs& arguments, bool go_backwards,
                   bool zero_output_for_mask, bool return_sequences) {
  const auto inputs = arguments.get<ffi::AnyBuffer>(0)->dimensions();
  const auto recurrent_kernel = arguments.get<ffi::AnyBuffer>(4)->dimensions();
  return {inputs[0],           inputs[1],    inputs[2],
          recurrent_kernel[0], go_backwards, zero_output_for_mask,
          return_sequences};
}

template <class T>
ffi::Error run(XlaOnCpu& where, const LstmForward<T>& args) {
  XlaParallel parallel(std::move(where.pool));
  lstm_forward(args, parallel);
  return ffi::Error::Success();
}
template <class T>
ffi::Error run(XlaOnCpu& where, const LstmBackward<T>& args) {
  XlaParallel parallel(std::move(where.pool));
  lstm_backward(args, parallel);
  return ffi::Error::Success();
}
#ifdef KERASLLM_HAS_CUDA
template <class T>
ffi::Error run(XlaOnGpu& where, const LstmForward<T>& args) {
  const int64_t bytes = kerasllm_cuda_lstm_forward_scratch(kCudaType<T>, &args);
  return launch_on_gpu(where, bytes, [&](void* scratch, void* stream) {
    return kerasllm_cuda_lstm_forward(kCudaType<T>, &args, scratch, stream);
  });
}
template <class T>
ffi::Error run(XlaOnGpu& where, const LstmBackward<T>& args) {
  const int64_t bytes = kerasllm_cuda_lstm_backward_scratch(kCudaType<T>, &args);
  return launch_on_gpu(where, bytes, [&](void* scratch, void* stream) {
    return kerasllm_cuda_lstm_backward(kCudaType<T>, &args, scratch, stream);
  });
}
#endif

template <class Where, class T>
ffi::Error forward(Where where, bool go_backwards, bool zero_output_for_mask, bool return_sequences,
                   ffi::RemainingArgs in, ffi::RemainingRets out) {
  LstmForward<T> args = {shape_of(in, go_backwards, zero_output_for_mask, return_sequences),
                         xla_input<T>(in, 0),
                         xla_input<T>(in, 1),
                         xla_input<T>(in, 2),
                         xla_input<T>(in, 3),
                         xla_input<T>(in, 4),
                         xla_input<T>(in, 5),
                         optional_xla_input<bool>(in, 6),
                         xla_output<T>(out, 0),
                         xla_output<T>(out, 1),
                         xla_output<T>(out, 2),
                         optional_xla_output<T>(out, 3),
                         optional_xla_output<float>(out, 4),
                         optional_xla_output<T>(out, 5)};
  return run(where, args);
}

template <class Where, class T>
ffi::Error backward(Where where, bool go_backwards, bool zero_output_for_mask,
                    bool return_sequences, ffi::RemainingArgs in, ffi::RemainingRets out) {
  LstmBackward<T> args = {shape_of(in, go_backwards, zero_output_for_mask, return_sequences),
                          xla_input<T>(in, 0),
                          xla_input<T>(in, 1),
                          xla_input<T>(in, 2),
                          xla_input<T>(in, 3),
                          xla_input<T>(in, 4),
                          optional_xla_input<bool>(in, 5),
                          xla_input<T>(in, 6),
                          xla_input<float>(in, 7),
                          xla_input<T>(in, 8),
                          xla_input<T>(in, 9),
                          xla_input<T>(in, 10),
                          xla_input<T>(in, 11),
                          xla_output<T>(out, 0),
                          xla_output<T>(out, 1),
                          xla_output<T>(out, 2),
                          xla_output<T>(out, 3),
                          xla_output<T>(out, 4),
                          xla_output<T>(out, 5)};
  return run(where, args);
}

#define KERASLLM_BINDING                  \
  .Attr<bool>("go_backwards")             \
      .Attr<bool>("zero_output_for_mask") \
      .Attr<bool>("return_sequences")     \
      .RemainingArgs()                    \
      .RemainingRets()
KERASLLM_XLA_HANDLERS(kerasllm_lstm, forward, KERASLLM_BINDING);
KERASLLM_XLA_HANDLERS(kerasllm_lstm_grad, backward, KERASLLM_BINDING);

class LstmXlaBase : public XlaOpKernel {
 public:
  explicit LstmXlaBase(OpKernelConstruction* context) : XlaOpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("T", &type_));
    OP_REQUIRES_OK(context, context->GetAttr("return_sequences", &return_sequences_));
    bool go_backwards, zero_output_for_mask;
    OP_REQUIRES_OK(context, context->GetAttr("go_backwards", &go_backwards));
    OP_REQUIRES_OK(context, context->GetAttr("zero_output_for_mask", &zero_output_for_mask));
    attributes_.set("go_backwards", go_backwards)
        .set("zero_output_for_mask", zero_output_for_mask)
        .set("return_sequences", return_sequences_);
  }

 protected:
  tensorflow::DataType type_;
  bool return_sequences_;
  XlaAttributes attributes_;
};

class LstmXlaOp : public LstmXlaBase {
 public:
  explicit LstmXlaOp(OpKernelConstruction* context) : LstmXlaBase(context) {
    OP_REQUIRES_OK(context, context->GetAttr("save_activations", &save_activations_));
  }

  void Compile(XlaOpKernelContext* context) override {
    const int64_t batch = context->InputShape(0).dim_size(0);
    const int64_t time = context->InputShape(0).dim_size(1);
    const int64_t units = context->InputShape(4).dim_size(0);
    const int64_t state = lstm_state_size(units);
    const auto saved = [&](xla::PrimitiveType type, int64_t width) {
      return save_activations_ ? row_major(type, {time, batch, width}) : row_major(type, {0, 0, 0});
    };
    const xla::PrimitiveType type = xla_type(type_);
    emit_custom_call(context, typed_handler("kerasllm_lstm", type_),
                     {row_major(type, {batch, return_sequences_ ? time : 1, units}),
                      row_major(type, {batch, units}), row_major(type, {batch, units}),
                      saved(type, 4 * state), saved(xla::F32, state), saved(type, state)},
                     attributes_.text());
  }

 private:
  bool save_activations_;
};

class LstmGradXlaOp : public LstmXlaBase {
 public:
  using LstmXlaBase::LstmXlaBase;

  void Compile(XlaOpKernelContext* context) override {
    std::vector<xla::Shape> results;
    for (int i = 0; i < 5; ++i) {
      results.push_back(row_major_like(xla_type(type_), context->InputShape(i)));
    }
    results.push_back(row_major(xla_type(type_), {context->InputShape(3).dim_size(1)}));
    emit_custom_call(context, typed_handler("kerasllm_lstm_grad", type_), results,
                     attributes_.text());
  }
};

// REGISTER_XLA_OP works only before the first op has run; a kernel of the compiler's device always.
KERASLLM_REGISTER_XLA("KerasllmLstm", LstmXlaOp);
KERASLLM_REGISTER_XLA("KerasllmLstmGrad", LstmGradXlaOp);

}  // namespace
}  // namespace kerasllm
