// KerasllmEmbedding and KerasllmEmbeddingGrad in programs that XLA compiles for the CPU: calls of
// the same kernels. Shapes are checked as the program is compiled, ids as it runs.
#include "common/xla_kernel.h"
#include "embedding/embedding.h"
#include "embedding/embedding_shapes.h"

namespace kerasllm {
namespace {

namespace ffi = xla::ffi;
using tensorflow::OpKernelConstruction;
using tensorflow::TensorShape;
using tensorflow::XlaOpKernel;
using tensorflow::XlaOpKernelContext;

// The op's first inputs as its handler gets them; an error names the first id without a row.
ffi::Error read_lookup(const ffi::RemainingArgs& in, EmbeddingShapes* shapes,
                       EmbeddingLookup* lookup) {
  const auto shape = [&](size_t index) {
    const auto dimensions = in.get<ffi::AnyBuffer>(index)->dimensions();
    return TensorShape(std::vector<int64_t>(dimensions.begin(), dimensions.end()));
  };
  *shapes = {shape(0), shape(1), shape(2), shape(3), shape(4), shape(5)};
  *lookup = make_embedding_lookup(*shapes, xla_input<int32_t>(in, 0), xla_input<int32_t>(in, 3),
                                  *xla_input<int32_t>(in, 5));
  const std::string error = embedding_error(*lookup, shapes->has_positions());
  return error.empty() ? ffi::Error::Success()
                       : ffi::Error::InvalidArgument("KerasllmEmbedding: " + error);
}

template <class T, class U>
ffi::Error forward(ffi::ThreadPool pool, ffi::RemainingArgs in, ffi::RemainingRets out) {
  EmbeddingShapes shapes;
  EmbeddingForward<T, U> args;
  if (ffi::Error error = read_lookup(in, &shapes, &args.lookup); error.failure()) return error;
  args.token_embeddings = xla_input<T>(in, 1);
  args.position_embeddings = optional_xla_input<T>(in, 2);
  args.segment_embeddings = optional_xla_input<T>(in, 4);
  args.outputs = xla_output<U>(out, 0);
  XlaParallel parallel(std::move(pool));
  embedding_forward(args, parallel);
  return ffi::Error::Success();
}

template <class T, class U>
ffi::Error backward(ffi::ThreadPool pool, ffi::RemainingArgs in, ffi::RemainingRets out) {
  EmbeddingShapes shapes;
  EmbeddingBackward<T, U> args;
  if (ffi::Error error = read_lookup(in, &shapes, &args.lookup); error.failure()) return error;
  args.d_outputs = xla_input<U>(in, 6);
  args.d_token_embeddings = xla_output<T>(out, 0);
  args.d_position_embeddings = optional_xla_output<T>(out, 1);
  args.d_segment_embeddings = optional_xla_output<T>(out, 2);
  XlaParallel parallel(std::move(pool));
  embedding_backward(args, parallel);
  return ffi::Error::Success();
}

#define KERASLLM_EMBEDDING_HANDLER(name, function)                                                 \
  XLA_FFI_DEFINE_HANDLER(k##name, function,                                                        \
                         ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().RemainingArgs().RemainingRets()); \
  XLA_FFI_REGISTER_HANDLER(ffi::GetXlaFfiApi(), #name, "Host", k##name)
// Named by the types of tables and outputs.
#define KERASLLM_EMBEDDING_HANDLERS(T, U, T_name, U_name)                              \
  KERASLLM_EMBEDDING_HANDLER(kerasllm_embedding_##T_name##_##U_name, (forward<T, U>)); \
  KERASLLM_EMBEDDING_HANDLER(kerasllm_embedding_grad_##T_name##_##U_name, (backward<T, U>))

KERASLLM_EMBEDDING_HANDLERS(float, float, float32, float32);
KERASLLM_EMBEDDING_HANDLERS(float, bfloat16, float32, bfloat16);
KERASLLM_EMBEDDING_HANDLERS(bfloat16, float, bfloat16, float32);
KERASLLM_EMBEDDING_HANDLERS(bfloat16, bfloat16, bfloat16, bfloat16);

class EmbeddingXlaBase : public XlaOpKernel {
 public:
  explicit EmbeddingXlaBase(OpKernelConstruction* context) : XlaOpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("T", &table_type_));
    OP_REQUIRES_OK(context, context->GetAttr("U", &output_type_));
  }

 protected:
  static EmbeddingShapes shapes_of(XlaOpKernelContext* context) {
    return {context->InputShape(0), context->InputShape(1), context->InputShape(2),
            context->InputShape(3), context->InputShape(4), context->InputShape(5)};
  }
  std::string handler(const char* name) const {
    return typed_handler(typed_handler(name, table_type_).c_str(), output_type_);
  }
  tensorflow::DataType table_type_, output_type_;
};

class EmbeddingXlaOp : public EmbeddingXlaBase {
 public:
  using EmbeddingXlaBase::EmbeddingXlaBase;
  void Compile(XlaOpKernelContext* context) override {
    const EmbeddingShapes shapes = shapes_of(context);
    OP_REQUIRES_OK(context, check_embedding_shapes("KerasllmEmbedding", shapes));
    emit_custom_call(context, handler("kerasllm_embedding"),
                     {row_major_like(xla_type(output_type_), shapes.outputs())},
                     XlaAttributes().text());
  }
};

class EmbeddingGradXlaOp : public EmbeddingXlaBase {
 public:
  using EmbeddingXlaBase::EmbeddingXlaBase;
  void Compile(XlaOpKernelContext* context) override {
    const EmbeddingShapes shapes = shapes_of(context);
    OP_REQUIRES_OK(context, check_embedding_shapes("KerasllmEmbeddingGrad", shapes));
    OP_REQUIRES(
        context, context->InputShape(6) == shapes.outputs(),
        absl::InvalidArgumentError(absl::StrCat("KerasllmEmbeddingGrad: d_outputs has shape ",
                                                context->InputShape(6).DebugString(), ", expected ",
                                                shapes.outputs().DebugString())));
    const xla::PrimitiveType type = xla_type(table_type_);
    emit_custom_call(context, handler("kerasllm_embedding_grad"),
                     {row_major_like(type, shapes.token_embeddings),
                      row_major_like(type, shapes.position_embeddings),
                      row_major_like(type, shapes.segment_embeddings)},
                     XlaAttributes().text());
  }
};

REGISTER_KERNEL_BUILDER(Name("KerasllmEmbedding").Device("XLA_CPU_JIT"), EmbeddingXlaOp);
REGISTER_KERNEL_BUILDER(Name("KerasllmEmbeddingGrad").Device("XLA_CPU_JIT"), EmbeddingGradXlaOp);

}  // namespace
}  // namespace kerasllm
