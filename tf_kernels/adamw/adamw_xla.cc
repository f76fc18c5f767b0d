// KerasllmAdamw in programs that XLA compiles for the CPU or a GPU: the variables' values go
// through a call of the same kernel, each result in the memory of the value that it replaces.
#include "adamw/adamw.h"
#include "adamw/adamw_attributes.h"
#include "common/xla_kernel.h"
#ifdef KERASLLM_HAS_CUDA
#include "adamw/adamw_cuda.h"
#endif

namespace kerasllm {
namespace {

namespace ffi = xla::ffi;
using tensorflow::OpKernelConstruction;
using tensorflow::TensorShape;
using tensorflow::XlaOpKernel;
using tensorflow::XlaOpKernelContext;

// learning_rate and alpha lie where the program runs.
ffi::Error run(XlaOnCpu& where, const std::vector<AdamwParameter>& parameters, AdamwStep step,
               const float* learning_rate, const float* alpha, bool) {
  step.learning_rate = *learning_rate;
  step.alpha = *alpha;
  XlaParallel parallel(std::move(where.pool));
  adamw(parameters.data(), static_cast<int64_t>(parameters.size()), step, parallel);
  return ffi::Error::Success();
}
#ifdef KERASLLM_HAS_CUDA
ffi::Error run(XlaOnGpu& where, const std::vector<AdamwParameter>& parameters,
               const AdamwStep& step, const float* learning_rate, const float* alpha,
               bool has_half) {
  const AdamwCuda args = {parameters.data(), static_cast<int64_t>(parameters.size()), step,
                          learning_rate, alpha};
  const int type = has_half ? kCudaFloat16 : kCudaBfloat16;
  return launch_on_gpu(where, kerasllm_cuda_adamw_scratch(type, &args),
                       [&](void* scratch, void* stream) {
                         return kerasllm_cuda_adamw(type, &args, scratch, stream);
                       });
}
#endif

template <class Where>
ffi::Error update(Where where, float momentum_rate, float velocity_rate, float epsilon,
                  float weight_decay, float global_clipnorm, ffi::Span<const int64_t> decays,
                  ffi::Span<const float> multipliers, ffi::Span<const int64_t> masters,
                  ffi::RemainingArgs in, ffi::RemainingRets out) {
  const size_t count = decays.size(), gradients = 3 * count + masters.size();
  std::vector<AdamwParameter> parameters(count);
  bool has_half = false;
  for (size_t i = 0; i < count; ++i) {
    const ffi::AnyBuffer gradient = *in.get<ffi::AnyBuffer>(gradients + i);
    const bool is_float = gradient.element_type() == ffi::DataType::F32;
    has_half = has_half || gradient.element_type() == ffi::DataType::F16;
    parameters[i] = {static_cast<int64_t>(gradient.element_count()),
                     xla_input<float>(in, i),
                     xla_input<float>(in, count + i),
                     xla_input<float>(in, 2 * count + i),
                     xla_output<float>(out, i),
                     xla_output<float>(out, count + i),
                     xla_output<float>(out, 2 * count + i),
                     is_float ? xla_input<float>(in, gradients + i) : nullptr,
                     is_float ? nullptr : xla_input<bfloat16>(in, gradients + i),
                     decays.begin()[i] != 0,
                     multipliers.begin()[i]};
  }
  for (size_t i = 0; i < masters.size(); ++i) {
    AdamwParameter& p = parameters[masters.begin()[i]];
    p.rounded = xla_input<bfloat16>(in, 3 * count + i);
    p.new_rounded = xla_output<bfloat16>(out, 3 * count + i);
  }
  const AdamwStep step = {/*learning_rate=*/0.0f, /*alpha=*/0.0f, momentum_rate,
                          velocity_rate,          epsilon,        weight_decay,
                          global_clipnorm};
  return run(where, parameters, step, xla_input<float>(in, gradients + count),
             xla_input<float>(in, gradients + count + 1), has_half);
}

#define KERASLLM_BINDING                           \
  .Attr<float>("momentum_rate")                    \
      .Attr<float>("velocity_rate")                \
      .Attr<float>("epsilon")                      \
      .Attr<float>("weight_decay")                 \
      .Attr<float>("global_clipnorm")              \
      .Attr<ffi::Span<const int64_t>>("decays")    \
      .Attr<ffi::Span<const float>>("multipliers") \
      .Attr<ffi::Span<const int64_t>>("masters")   \
      .RemainingArgs()                             \
      .RemainingRets()
KERASLLM_XLA_HANDLER(kerasllm_adamw, "Host", XlaOnCpu, update<XlaOnCpu>, KERASLLM_BINDING);
#ifdef KERASLLM_HAS_CUDA
KERASLLM_XLA_HANDLER(kerasllm_adamw, "CUDA", XlaOnGpu, update<XlaOnGpu>, KERASLLM_BINDING);
#endif

class AdamwXlaOp : public XlaOpKernel {
 public:
  explicit AdamwXlaOp(OpKernelConstruction* context) : XlaOpKernel(context) {
    OP_REQUIRES_OK(context, attributes_.read(context));
  }

  void Compile(XlaOpKernelContext* context) override {
    const int count = attributes_.num_parameters;
    std::vector<xla::XlaOp> operands;
    std::vector<xla::Shape> results;
    std::vector<TensorShape> shapes(count);
    for (int index = 0; index < 3 * count; ++index) {
      TensorShape shape;
      xla::XlaOp value;
      OP_REQUIRES_OK(context,
                     context->ReadVariableInput(index, tensorflow::DT_FLOAT, &shape, &value));
      if (index < count) shapes[index] = shape;
      OP_REQUIRES_OK(context,
                     check_adamw_shape(index / count, index % count, shape, shapes[index % count]));
      operands.push_back(value);
      results.push_back(row_major_like(xla::F32, shape));
    }
    for (int i = 0; i < attributes_.num_rounded(); ++i) {
      TensorShape shape;
      xla::XlaOp value;
      OP_REQUIRES_OK(context, context->ReadVariableInput(attributes_.rounded_input(i),
                                                         tensorflow::DT_BFLOAT16, &shape, &value));
      const int64_t master = attributes_.masters[i];
      OP_REQUIRES_OK(context, check_adamw_shape(4, i, shape, shapes[master], master));
      operands.push_back(value);
      results.push_back(row_major_like(xla::BF16, shape));
    }
    const int num_variables = static_cast<int>(operands.size());
    for (int i = 0; i < count; ++i) {
      const int gradient = attributes_.input(3, i);
      OP_REQUIRES_OK(context, check_adamw_shape(3, i, context->InputShape(gradient), shapes[i]));
      operands.push_back(context->Input(gradient));
    }
    operands.push_back(context->Input(attributes_.learning_rate_input()));
    operands.push_back(context->Input(attributes_.alpha_input()));
    const AdamwStep& step = attributes_.step;
    const std::vector<int64_t> decays(attributes_.decays.begin(), attributes_.decays.end());
    const std::string text = XlaAttributes()
                                 .set("momentum_rate", step.momentum_rate)
                                 .set("velocity_rate", step.velocity_rate)
                                 .set("epsilon", step.epsilon)
                                 .set("weight_decay", step.weight_decay)
                                 .set("global_clipnorm", step.global_clipnorm)
                                 .set("decays", decays)
                                 .set("multipliers", attributes_.multipliers)
                                 .set("masters", attributes_.masters)
                                 .text();
    const xla::XlaOp call =
        custom_call(context->builder(), "kerasllm_adamw", operands, results, text, num_variables);
    for (int index = 0; index < num_variables; ++index) {
      const bool is_rounded = index >= 3 * count;
      const int input = is_rounded ? attributes_.rounded_input(index - 3 * count) : index;
      OP_REQUIRES_OK(context,
                     context->AssignVariable(
                         input, is_rounded ? tensorflow::DT_BFLOAT16 : tensorflow::DT_FLOAT,
                         xla::GetTupleElement(call, index)));
    }
  }

 private:
  AdamwAttributes attributes_;
};

KERASLLM_REGISTER_XLA("KerasllmAdamw", AdamwXlaOp);

}  // namespace
}  // namespace kerasllm
