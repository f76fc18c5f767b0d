// KerasllmEmbedding and KerasllmEmbeddingGrad in programs that XLA compiles for the CPU or a GPU:
// calls of the same kernels. Shapes are checked as the program is compiled, ids as it runs.
#include "common/xla_kernel.h"
#include "embedding/embedding.h"
#include "embedding/embedding_shapes.h"
#ifdef KERASLLM_HAS_CUDA
#include "embedding/embedding_cuda.h"
#include "tensorflow/core/util/determinism.h"
#endif

namespace kerasllm {
namespace {

namespace ffi = xla::ffi;
using tensorflow::OpKernelConstruction;
using tensorflow::TensorShape;
using tensorflow::XlaOpKernel;
using tensorflow::XlaOpKernelContext;

// Whether every id and position has a row. On the GPU the kernels see to it (embedding_cuda.h).
ffi::Error check_ids(XlaOnCpu&, const int32_t* start, bool has_positions, EmbeddingLookup* lookup) {
  lookup->start = *start;
  const std::string error = embedding_error(*lookup, has_positions);
  return error.empty() ? ffi::Error::Success()
                       : ffi::Error::InvalidArgument("KerasllmEmbedding: " + error);
}
template <class T, class U>
ffi::Error run(XlaOnCpu& where, const EmbeddingForward<T, U>& args) {
  XlaParallel parallel(std::move(where.pool));
  embedding_forward(args, parallel);
  return ffi::Error::Success();
}
template <class T, class U>
ffi::Error run(XlaOnCpu& where, const EmbeddingBackward<T, U>& args) {
  XlaParallel parallel(std::move(where.pool));
  embedding_backward(args, parallel);
  return ffi::Error::Success();
}
#ifdef KERASLLM_HAS_CUDA
ffi::Error check_ids(XlaOnGpu&, const int32_t* start, bool, EmbeddingLookup* lookup) {
  lookup->device_start = start;
  return ffi::Error::Success();
}
template <class T, class U>
ffi::Error run(XlaOnGpu& where, const EmbeddingForward<T, U>& args) {
  constexpr int kType = embedding_cuda_type(kCudaType<T>, kCudaType<U>);
  return launch_on_gpu(where, 0, [&](void* scratch, void* stream) {
    return kerasllm_cuda_embedding_forward(kType, &args, scratch, stream);
  });
}
template <class T, class U>
ffi::Error run(XlaOnGpu& where, const EmbeddingBackward<T, U>& args) {
  constexpr int kType = embedding_cuda_type(kCudaType<T>, kCudaType<U>);
  const bool deterministic = tensorflow::OpDeterminismRequired();
  const int64_t bytes = kerasllm_cuda_embedding_backward_scratch(kType, &args, deterministic);
  return launch_on_gpu(where, bytes, [&](void* scratch, void* stream) {
    return kerasllm_cuda_embedding_backward(kType, &args, deterministic, scratch, stream);
  });
}
#endif

// The op's first inputs as its handler gets them; an error names the first id without a row.
template <class Where>
ffi::Error read_lookup(Where& where, const ffi::RemainingArgs& in, EmbeddingShapes* shapes,
                       EmbeddingLookup* lookup) {
  const auto shape = [&](size_t index) {
    const auto dimensions = in.get<ffi::AnyBuffer>(index)->dimensions();
    return TensorShape(std::vector<int64_t>(dimensions.begin(), dimensions.end()));
  };
  *shapes = {shape(0), shape(1), shape(2), shape(3), shape(4), shape(5)};
  *lookup = make_embedding_lookup(*shapes, xla_input<int32_t>(in, 0), xla_input<int32_t>(in, 3),
                                  /*start=*/0);
  return check_ids(where, xla_input<int32_t>(in, 5), shapes->has_positions(), lookup);
}

template <class Where, class T, class U>
ffi::Error forward(Where where, ffi::RemainingArgs in, ffi::RemainingRets out) {
  EmbeddingShapes shapes;
  EmbeddingForward<T, U> args;
  if (ffi::Error error = read_lookup(where, in, &shapes, &args.lookup); error.failure())
    return error;
  args.token_embeddings = xla_input<T>(in, 1);
  args.position_embeddings = optional_xla_input<T>(in, 2);
  args.segment_embeddings = optional_xla_input<T>(in, 4);
  args.outputs = xla_output<U>(out, 0);
  return run(where, args);
}

template <class Where, class T, class U>
ffi::Error backward(Where where, ffi::RemainingArgs in, ffi::RemainingRets out) {
  EmbeddingShapes shapes;
  EmbeddingBackward<T, U> args;
  if (ffi::Error error = read_lookup(where, in, &shapes, &args.lookup); error.failure())
    return error;
  args.d_outputs = xla_input<U>(in, 6);
  args.d_token_embeddings = xla_output<T>(out, 0);
  args.d_position_embeddings = optional_xla_output<T>(out, 1);
  args.d_segment_embeddings = optional_xla_output<T>(out, 2);
  return run(where, args);
}

// Named by the types of tables and outputs.
#define KERASLLM_EMBEDDING_HANDLERS(platform, Where, T, U, T_name, U_name)           \
  KERASLLM_XLA_HANDLER(kerasllm_embedding_##T_name##_##U_name, platform, Where,      \
                       (forward<Where, T, U>), .RemainingArgs().RemainingRets());    \
  KERASLLM_XLA_HANDLER(kerasllm_embedding_grad_##T_name##_##U_name, platform, Where, \
                       (backward<Where, T, U>), .RemainingArgs().RemainingRets())

KERASLLM_EMBEDDING_HANDLERS("Host", XlaOnCpu, float, float, float32, float32);
KERASLLM_EMBEDDING_HANDLERS("Host", XlaOnCpu, float, bfloat16, float32, bfloat16);
KERASLLM_EMBEDDING_HANDLERS("Host", XlaOnCpu, bfloat16, float, bfloat16, float32);
KERASLLM_EMBEDDING_HANDLERS("Host", XlaOnCpu, bfloat16, bfloat16, bfloat16, bfloat16);
#ifdef KERASLLM_HAS_CUDA
KERASLLM_EMBEDDING_HANDLERS("CUDA", XlaOnGpu, float, float, float32, float32);
KERASLLM_EMBEDDING_HANDLERS("CUDA", XlaOnGpu, float, bfloat16, float32, bfloat16);
KERASLLM_EMBEDDING_HANDLERS("CUDA", XlaOnGpu, float, float16, float32, float16);
KERASLLM_EMBEDDING_HANDLERS("CUDA", XlaOnGpu, bfloat16, float, bfloat16, float32);
KERASLLM_EMBEDDING_HANDLERS("CUDA", XlaOnGpu, bfloat16, bfloat16, bfloat16, bfloat16);
KERASLLM_EMBEDDING_HANDLERS("CUDA", XlaOnGpu, float16, float, float16, float32);
KERASLLM_EMBEDDING_HANDLERS("CUDA", XlaOnGpu, float16, float16, float16, float16);
#endif

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

KERASLLM_REGISTER_XLA("KerasllmEmbedding", EmbeddingXlaOp);
KERASLLM_REGISTER_XLA("KerasllmEmbeddingGrad", EmbeddingGradXlaOp);

}  // namespace
}  // namespace kerasllm
