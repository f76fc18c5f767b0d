// KerasllmAttention and KerasllmAttentionGrad in programs that XLA compiles for the CPU or a GPU:
// calls of the same kernels, on the program's threads.
#include "attention/attention.h"
#include "attention/attention_check.h"
#include "common/xla_kernel.h"
#ifdef KERASLLM_HAS_CUDA
#include "attention/attention_cuda.h"
#include "tensorflow/core/util/determinism.h"
#endif

namespace kerasllm {
namespace {

namespace ffi = xla::ffi;
using tensorflow::OpKernelConstruction;
using tensorflow::XlaOpKernel;
using tensorflow::XlaOpKernelContext;

template <class Where>
ffi::Error read(const char* op, const ffi::RemainingArgs& in, const AttentionAttributes& attributes,
                AttentionShape* shape, AttentionOptions* options) {
  std::vector<AttentionInput> inputs;
  for (int i = 0; i < kNumAttentionInputs; ++i) {
    const ffi::AnyBuffer buffer = *in.get<ffi::AnyBuffer>(i);
    const auto sizes = buffer.dimensions();
    inputs.push_back({{sizes.begin(), sizes.end()}, buffer.untyped_data()});
  }
  const ffi::DataType type = in.get<ffi::AnyBuffer>(kMask)->element_type();
  const MaskType mask_type = type == ffi::PRED  ? MaskType::kBool
                             : type == ffi::F32 ? MaskType::kFloat32
                             : type == ffi::F16 ? MaskType::kFloat16
                                                : MaskType::kBfloat16;
  if (Where::kHostReads && mask_type == MaskType::kFloat16) {
    return ffi::Error(ffi::ErrorCode::kInvalidArgument,
                      std::string(op) + ": mask is float16, which is for a GPU");
  }
  const absl::Status status =
      read_attention<Where>(op, inputs.data(), mask_type, attributes, shape, options);
  if (status.ok()) return ffi::Error::Success();
  return ffi::Error(ffi::ErrorCode::kInvalidArgument, std::string(status.message()));
}

template <class T>
ffi::Error run(XlaOnCpu& where, const AttentionForward<T>& args) {
  XlaParallel parallel(std::move(where.pool));
  attention_forward(args, parallel);
  return ffi::Error::Success();
}
template <class T>
ffi::Error run(XlaOnCpu& where, const AttentionBackward<T>& args) {
  XlaParallel parallel(std::move(where.pool));
  attention_backward(args, parallel);
  return ffi::Error::Success();
}
#ifdef KERASLLM_HAS_CUDA
template <class T>
ffi::Error run(XlaOnGpu& where, const AttentionForward<T>& args) {
  const int64_t bytes = kerasllm_cuda_attention_forward_scratch(kCudaType<T>, &args);
  return launch_on_gpu(where, bytes, [&](void* scratch, void* stream) {
    return kerasllm_cuda_attention_forward(kCudaType<T>, &args, scratch, stream);
  });
}
template <class T>
ffi::Error run(XlaOnGpu& where, const AttentionBackward<T>& args) {
  const bool deterministic = tensorflow::OpDeterminismRequired();
  const int64_t bytes =
      kerasllm_cuda_attention_backward_scratch(kCudaType<T>, &args, deterministic);
  return launch_on_gpu(where, bytes, [&](void* scratch, void* stream) {
    return kerasllm_cuda_attention_backward(kCudaType<T>, &args, deterministic, scratch, stream);
  });
}
#endif

template <class Where, class T>
ffi::Error forward(Where where, float scale, float soft_cap, float dropout_rate, bool causal,
                   int64_t window, ffi::RemainingArgs in, ffi::RemainingRets out) {
  AttentionForward<T> args = {};
  ffi::Error error =
      read<Where>("KerasllmAttention", in, {scale, soft_cap, dropout_rate, causal, window},
                  &args.shape, &args.options);
  if (error.failure()) return error;
  args.query = xla_input<T>(in, kQuery);
  args.key = xla_input<T>(in, kKey);
  args.value = xla_input<T>(in, kValue);
  args.outputs = xla_output<T>(out, 0);
  args.log_sum_exp = xla_output<float>(out, 1);
  return run(where, args);
}

template <class Where, class T>
ffi::Error backward(Where where, float scale, float soft_cap, float dropout_rate, bool causal,
                    int64_t window, ffi::RemainingArgs in, ffi::RemainingRets out) {
  AttentionBackward<T> args = {};
  ffi::Error error =
      read<Where>("KerasllmAttentionGrad", in, {scale, soft_cap, dropout_rate, causal, window},
                  &args.shape, &args.options);
  if (error.failure()) return error;
  args.query = xla_input<T>(in, kQuery);
  args.key = xla_input<T>(in, kKey);
  args.value = xla_input<T>(in, kValue);
  args.outputs = xla_input<T>(in, kNumAttentionInputs);
  args.log_sum_exp = xla_input<float>(in, kNumAttentionInputs + 1);
  args.d_outputs = xla_input<T>(in, kNumAttentionInputs + 2);
  args.d_query = xla_output<T>(out, 0);
  args.d_key = xla_output<T>(out, 1);
  args.d_value = xla_output<T>(out, 2);
  return run(where, args);
}

#define KERASLLM_BINDING           \
  .Attr<float>("scale")            \
      .Attr<float>("soft_cap")     \
      .Attr<float>("dropout_rate") \
      .Attr<bool>("causal")        \
      .Attr<int64_t>("window")     \
      .RemainingArgs()             \
      .RemainingRets()
KERASLLM_XLA_HANDLERS(kerasllm_attention, forward, KERASLLM_BINDING);
KERASLLM_XLA_HANDLERS(kerasllm_attention_grad, backward, KERASLLM_BINDING);

class AttentionXlaBase : public XlaOpKernel {
 public:
  AttentionXlaBase(OpKernelConstruction* context, const char* op) : XlaOpKernel(context) {
    AttentionAttributes a;
    OP_REQUIRES_OK(context, context->GetAttr("T", &type_));
    OP_REQUIRES_OK(context, context->GetAttr("scale", &a.scale));
    OP_REQUIRES_OK(context, context->GetAttr("causal", &a.causal));
    OP_REQUIRES_OK(context, context->GetAttr("window", &a.window));
    OP_REQUIRES_OK(context, context->GetAttr("soft_cap", &a.soft_cap));
    OP_REQUIRES_OK(context, context->GetAttr("dropout_rate", &a.dropout_rate));
    OP_REQUIRES_OK(context, check_attention_attributes(op, a));
    attributes_.set("scale", a.scale)
        .set("soft_cap", a.soft_cap)
        .set("dropout_rate", a.dropout_rate)
        .set("causal", a.causal)
        .set("window", a.window);
  }

 protected:
  tensorflow::DataType type_;
  XlaAttributes attributes_;
};

class AttentionXlaOp : public AttentionXlaBase {
 public:
  explicit AttentionXlaOp(OpKernelConstruction* context)
      : AttentionXlaBase(context, "KerasllmAttention") {}

  void Compile(XlaOpKernelContext* context) override {
    const auto query = context->InputShape(kQuery).dim_sizes();
    const int64_t value_dim = context->InputShape(kValue).dim_size(3);
    emit_custom_call(context, typed_handler("kerasllm_attention", type_),
                     {row_major(xla_type(type_), {query[0], query[1], query[2], value_dim}),
                      row_major(xla::F32, {query[0], query[2], query[1]})},
                     attributes_.text());
  }
};

class AttentionGradXlaOp : public AttentionXlaBase {
 public:
  explicit AttentionGradXlaOp(OpKernelConstruction* context)
      : AttentionXlaBase(context, "KerasllmAttentionGrad") {}

  void Compile(XlaOpKernelContext* context) override {
    std::vector<xla::Shape> results;
    for (int i = 0; i < 3; ++i) {
      results.push_back(row_major_like(xla_type(type_), context->InputShape(i)));
    }
    emit_custom_call(context, typed_handler("kerasllm_attention_grad", type_), results,
                     attributes_.text());
  }
};

KERASLLM_REGISTER_XLA("KerasllmAttention", AttentionXlaOp);
KERASLLM_REGISTER_XLA("KerasllmAttentionGrad", AttentionGradXlaOp);

}  // namespace
}  // namespace kerasllm
