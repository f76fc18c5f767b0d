// KerasllmAdamw in programs that XLA compiles for the CPU: the variables' values go through a call
// of the same kernel, each result in the memory of the value that it replaces.
#include "adamw/adamw.h"
#include "adamw/adamw_attributes.h"
#include "common/xla_kernel.h"

namespace kerasllm {
namespace {

namespace ffi = xla::ffi;
using tensorflow::OpKernelConstruction;
using tensorflow::TensorShape;
using tensorflow::XlaOpKernel;
using tensorflow::XlaOpKernelContext;

ffi::Error run(ffi::ThreadPool pool, float momentum_rate, float velocity_rate, float epsilon,
               float weight_decay, float global_clipnorm, ffi::Span<const int64_t> decays,
               ffi::Span<const int64_t> masters, ffi::RemainingArgs in, ffi::RemainingRets out) {
  const size_t count = decays.size(), gradients = 3 * count + masters.size();
  std::vector<AdamwParameter> parameters(count);
  for (size_t i = 0; i < count; ++i) {
    const ffi::AnyBuffer gradient = *in.get<ffi::AnyBuffer>(gradients + i);
    const bool is_float = gradient.element_type() == ffi::DataType::F32;
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
                     xla_input<float>(in, gradients + count + 2)[i]};
  }
  for (size_t i = 0; i < masters.size(); ++i) {
    AdamwParameter& p = parameters[masters.begin()[i]];
    p.rounded = xla_input<bfloat16>(in, 3 * count + i);
    p.new_rounded = xla_output<bfloat16>(out, 3 * count + i);
  }
  const AdamwStep step = {*xla_input<float>(in, gradients + count),
                          *xla_input<float>(in, gradients + count + 1),
                          momentum_rate,
                          velocity_rate,
                          epsilon,
                          weight_decay,
                          global_clipnorm};
  XlaParallel parallel(std::move(pool));
  adamw(parameters.data(), static_cast<int64_t>(count), step, parallel);
  return ffi::Error::Success();
}

XLA_FFI_DEFINE_HANDLER(kKerasllmAdamw, run,
                       ffi::Ffi::Bind()
                           .Ctx<ffi::ThreadPool>()
                           .Attr<float>("momentum_rate")
                           .Attr<float>("velocity_rate")
                           .Attr<float>("epsilon")
                           .Attr<float>("weight_decay")
                           .Attr<float>("global_clipnorm")
                           .Attr<ffi::Span<const int64_t>>("decays")
                           .Attr<ffi::Span<const int64_t>>("masters")
                           .RemainingArgs()
                           .RemainingRets());
XLA_FFI_REGISTER_HANDLER(ffi::GetXlaFfiApi(), "kerasllm_adamw", "Host", kKerasllmAdamw);

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
    operands.push_back(xla::ConstantR1<float>(context->builder(), attributes_.multipliers));
    const AdamwStep& step = attributes_.step;
    const std::vector<int64_t> decays(attributes_.decays.begin(), attributes_.decays.end());
    const std::string text = XlaAttributes()
                                 .set("momentum_rate", step.momentum_rate)
                                 .set("velocity_rate", step.velocity_rate)
                                 .set("epsilon", step.epsilon)
                                 .set("weight_decay", step.weight_decay)
                                 .set("global_clipnorm", step.global_clipnorm)
                                 .set("decays", decays)
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

REGISTER_KERNEL_BUILDER(Name("KerasllmAdamw").Device("XLA_CPU_JIT"), AdamwXlaOp);

}  // namespace
}  // namespace kerasllm
