// KerasllmAttention and KerasllmAttentionGrad in programs that XLA compiles for the CPU: calls of
// the same kernels, on the program's threads.
#include "attention/attention.h"
#include "attention/attention_check.h"
#include "common/xla_kernel.h"

namespace kerasllm {
namespace {

namespace ffi = xla::ffi;
using tensorflow::OpKernelConstruction;
using tensorflow::XlaOpKernel;
using tensorflow::XlaOpKernelContext;

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
                                                : MaskType::kBfloat16;
  const absl::Status status =
      read_attention(op, inputs.data(), mask_type, attributes, shape, options);
  if (status.ok()) return ffi::Error::Success();
  return ffi::Error(ffi::ErrorCode::kInvalidArgument, std::string(status.message()));
}

template <class T>
ffi::Error forward(ffi::ThreadPool pool, float scale, float soft_cap, float dropout_rate,
                   bool causal, int64_t window, ffi::RemainingArgs in, ffi::RemainingRets out) {
  AttentionForward<T> args = {};
  ffi::Error error = read("KerasllmAttention", in, {scale, soft_cap, dropout_rate, causal, window},
                          &args.shape, &args.options);
  if (error.failure()) return error;
  args.query = xla_input<T>(in, kQuery);
  args.key = xla_input<T>(in, kKey);
  args.value = xla_input<T>(in, kValue);
  args.outputs = xla_output<T>(out, 0);
  args.log_sum_exp = xla_output<float>(out, 1);
  XlaParallel parallel(std::move(pool));
  attention_forward(args, parallel);
  return ffi::Error::Success();
}

template <class T>
ffi::Error backward(ffi::ThreadPool pool, float scale, float soft_cap, float dropout_rate,
                    bool causal, int64_t window, ffi::RemainingArgs in, ffi::RemainingRets out) {
  AttentionBackward<T> args = {};
  ffi::Error error =
      read("KerasllmAttentionGrad", in, {scale, soft_cap, dropout_rate, causal, window},
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
  XlaParallel parallel(std::move(pool));
  attention_backward(args, parallel);
  return ffi::Error::Success();
}

#define KERASLLM_ATTENTION_HANDLER(name, function)        \
  XLA_FFI_DEFINE_HANDLER(k##name, function,               \
                         ffi::Ffi::Bind()                 \
                             .Ctx<ffi::ThreadPool>()      \
                             .Attr<float>("scale")        \
                             .Attr<float>("soft_cap")     \
                             .Attr<float>("dropout_rate") \
                             .Attr<bool>("causal")        \
                             .Attr<int64_t>("window")     \
                             .RemainingArgs()             \
                             .RemainingRets());           \
  XLA_FFI_REGISTER_HANDLER(ffi::GetXlaFfiApi(), #name, "Host", k##name)

KERASLLM_ATTENTION_HANDLER(kerasllm_attention_float32, forward<float>);
KERASLLM_ATTENTION_HANDLER(kerasllm_attention_bfloat16, forward<bfloat16>);
KERASLLM_ATTENTION_HANDLER(kerasllm_attention_grad_float32, backward<float>);
KERASLLM_ATTENTION_HANDLER(kerasllm_attention_grad_bfloat16, backward<bfloat16>);

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

REGISTER_KERNEL_BUILDER(Name("KerasllmAttention").Device("XLA_CPU_JIT"), AttentionXlaOp);
REGISTER_KERNEL_BUILDER(Name("KerasllmAttentionGrad").Device("XLA_CPU_JIT"), AttentionGradXlaOp);

}  // namespace
}  // namespace kerasllm
