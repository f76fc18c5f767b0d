// KerasllmEmbedding and KerasllmEmbeddingGrad on the CPU.
#include "common/op_kernel.h"
#include "embedding/embedding.h"
#include "embedding/embedding_shapes.h"

namespace kerasllm {
namespace {

using absl::Status;
using tensorflow::OpKernel;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;

// The inputs that both ops begin with, all shapes and ids checked.
Status read_lookup(OpKernelContext* context, const char* op, EmbeddingShapes* shapes,
                   EmbeddingLookup* lookup) {
  *shapes = {context->input(0).shape(), context->input(1).shape(), context->input(2).shape(),
             context->input(3).shape(), context->input(4).shape(), context->input(5).shape()};
  TF_RETURN_IF_ERROR(check_embedding_shapes(op, *shapes));
  *lookup = make_embedding_lookup(*shapes, context->input(0).flat<int32_t>().data(),
                                  context->input(3).flat<int32_t>().data(),
                                  context->input(5).scalar<int32_t>()());
  const std::string error = embedding_error(*lookup, shapes->has_positions());
  return error.empty() ? absl::OkStatus()
                       : absl::InvalidArgumentError(absl::StrCat(op, ": ", error));
}

template <class T, class U>
class EmbeddingOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    EmbeddingShapes shapes;
    EmbeddingForward<typename ComputeType<T>::type, typename ComputeType<U>::type> args;
    OP_REQUIRES_OK(context, read_lookup(context, "KerasllmEmbedding", &shapes, &args.lookup));
    Tensor* outputs;
    OP_REQUIRES_OK(context, context->allocate_output(0, shapes.outputs(), &outputs));
    args.token_embeddings = data_of<T>(context->input(1));
    args.position_embeddings = shapes.has_positions() ? data_of<T>(context->input(2)) : nullptr;
    args.segment_embeddings = shapes.has_segments() ? data_of<T>(context->input(4)) : nullptr;
    args.outputs = data_of<U>(outputs);
    TensorflowParallel parallel(context);
    embedding_forward(args, parallel);
  }
};

template <class T, class U>
class EmbeddingGradOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    constexpr char kOp[] = "KerasllmEmbeddingGrad";
    EmbeddingShapes shapes;
    EmbeddingBackward<typename ComputeType<T>::type, typename ComputeType<U>::type> args;
    OP_REQUIRES_OK(context, read_lookup(context, kOp, &shapes, &args.lookup));
    const Tensor& d_outputs = context->input(6);
    OP_REQUIRES_OK(context, expect_shape(kOp, "d_outputs", d_outputs, shapes.outputs()));
    Tensor *d_tokens, *d_positions, *d_segments;
    OP_REQUIRES_OK(context, context->allocate_output(0, shapes.token_embeddings, &d_tokens));
    OP_REQUIRES_OK(context, context->allocate_output(1, shapes.position_embeddings, &d_positions));
    OP_REQUIRES_OK(context, context->allocate_output(2, shapes.segment_embeddings, &d_segments));
    args.d_outputs = data_of<U>(d_outputs);
    args.d_token_embeddings = data_of<T>(d_tokens);
    args.d_position_embeddings = shapes.has_positions() ? data_of<T>(d_positions) : nullptr;
    args.d_segment_embeddings = shapes.has_segments() ? data_of<T>(d_segments) : nullptr;
    TensorflowParallel parallel(context);
    embedding_backward(args, parallel);
  }
};

#define KERASLLM_REGISTER(T, Out)                             \
  REGISTER_KERNEL_BUILDER(Name("KerasllmEmbedding")           \
                              .Device(tensorflow::DEVICE_CPU) \
                              .TypeConstraint<T>("T")         \
                              .TypeConstraint<Out>("U"),      \
                          EmbeddingOp<T, Out>);               \
  REGISTER_KERNEL_BUILDER(Name("KerasllmEmbeddingGrad")       \
                              .Device(tensorflow::DEVICE_CPU) \
                              .TypeConstraint<T>("T")         \
                              .TypeConstraint<Out>("U"),      \
                          EmbeddingGradOp<T, Out>)

KERASLLM_REGISTER(float, float);
KERASLLM_REGISTER(float, tensorflow::bfloat16);
KERASLLM_REGISTER(tensorflow::bfloat16, float);
KERASLLM_REGISTER(tensorflow::bfloat16, tensorflow::bfloat16);

}  // namespace
}  // namespace kerasllm
