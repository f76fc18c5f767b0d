// KerasllmEmbedding and KerasllmEmbeddingGrad on the CPU and the GPU.
#include "common/op_kernel.h"
#include "embedding/embedding.h"
#include "embedding/embedding_shapes.h"
#ifdef KERASLLM_HAS_CUDA
#include "embedding/embedding_cuda.h"
#include "tensorflow/core/util/determinism.h"
#endif

namespace kerasllm {
namespace {

using absl::Status;
using tensorflow::OpKernel;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;

// Whether every id and position has a row. On the GPU the kernels see to it (embedding_cuda.h).
Status check_ids(OnCpu, const char* op, const Tensor& start, bool has_positions,
                 EmbeddingLookup* lookup) {
  lookup->start = start.scalar<int32_t>()();
  const std::string error = embedding_error(*lookup, has_positions);
  return error.empty() ? absl::OkStatus()
                       : absl::InvalidArgumentError(absl::StrCat(op, ": ", error));
}

template <class T, class U>
void run(OnCpu, OpKernelContext* context, const EmbeddingForward<T, U>& args) {
  TensorflowParallel parallel(context);
  embedding_forward(args, parallel);
}
template <class T, class U>
void run(OnCpu, OpKernelContext* context, const EmbeddingBackward<T, U>& args) {
  TensorflowParallel parallel(context);
  embedding_backward(args, parallel);
}
#ifdef KERASLLM_HAS_CUDA
Status check_ids(OnGpu, const char*, const Tensor& start, bool, EmbeddingLookup* lookup) {
  lookup->device_start = start.flat<int32_t>().data();
  return absl::OkStatus();
}
template <class T, class U>
void run(OnGpu, OpKernelContext* context, const EmbeddingForward<T, U>& args) {
  constexpr int kType = embedding_cuda_type(kCudaType<T>, kCudaType<U>);
  launch_on_gpu(context, 0, [&](void* scratch, void* stream) {
    return kerasllm_cuda_embedding_forward(kType, &args, scratch, stream);
  });
}
template <class T, class U>
void run(OnGpu, OpKernelContext* context, const EmbeddingBackward<T, U>& args) {
  constexpr int kType = embedding_cuda_type(kCudaType<T>, kCudaType<U>);
  const bool deterministic = tensorflow::OpDeterminismRequired();
  const int64_t bytes = kerasllm_cuda_embedding_backward_scratch(kType, &args, deterministic);
  launch_on_gpu(context, bytes, [&](void* scratch, void* stream) {
    return kerasllm_cuda_embedding_backward(kType, &args, deterministic, scratch, stream);
  });
}
#endif

// The inputs that both ops begin with, all shapes and ids checked.
template <class Device>
Status read_lookup(OpKernelContext* context, const char* op, EmbeddingShapes* shapes,
                   EmbeddingLookup* lookup) {
  *shapes = {context->input(0).shape(), context->input(1).shape(), context->input(2).shape(),
             context->input(3).shape(), context->input(4).shape(), context->input(5).shape()};
  TF_RETURN_IF_ERROR(check_embedding_shapes(op, *shapes));
  *lookup = make_embedding_lookup(*shapes, context->input(0).flat<int32_t>().data(),
                                  context->input(3).flat<int32_t>().data(),
                                  /*start=*/0);
  return check_ids(Device(), op, context->input(5), shapes->has_positions(), lookup);
}

template <class T, class U, class Device>
class EmbeddingOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    EmbeddingShapes shapes;
    EmbeddingForward<typename ComputeType<T>::type, typename ComputeType<U>::type> args;
    OP_REQUIRES_OK(context,
                   read_lookup<Device>(context, "KerasllmEmbedding", &shapes, &args.lookup));
    Tensor* outputs;
    OP_REQUIRES_OK(context, context->allocate_output(0, shapes.outputs(), &outputs));
    args.token_embeddings = data_of<T>(context->input(1));
    args.position_embeddings = shapes.has_positions() ? data_of<T>(context->input(2)) : nullptr;
    args.segment_embeddings = shapes.has_segments() ? data_of<T>(context->input(4)) : nullptr;
    args.outputs = data_of<U>(outputs);
    run(Device(), context, args);
  }
};

template <class T, class U, class Device>
class EmbeddingGradOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    constexpr char kOp[] = "KerasllmEmbeddingGrad";
    EmbeddingShapes shapes;
    EmbeddingBackward<typename ComputeType<T>::type, typename ComputeType<U>::type> args;
    OP_REQUIRES_OK(context, read_lookup<Device>(context, kOp, &shapes, &args.lookup));
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
    run(Device(), context, args);
  }
};

#define KERASLLM_REGISTER(device, Where, T, Out)          \
  REGISTER_KERNEL_BUILDER(Name("KerasllmEmbedding")       \
                              .Device(tensorflow::device) \
                              .TypeConstraint<T>("T")     \
                              .TypeConstraint<Out>("U"),  \
                          EmbeddingOp<T, Out, Where>);    \
  REGISTER_KERNEL_BUILDER(Name("KerasllmEmbeddingGrad")   \
                              .Device(tensorflow::device) \
                              .TypeConstraint<T>("T")     \
                              .TypeConstraint<Out>("U"),  \
                          EmbeddingGradOp<T, Out, Where>)

KERASLLM_REGISTER(DEVICE_CPU, OnCpu, float, float);
KERASLLM_REGISTER(DEVICE_CPU, OnCpu, float, tensorflow::bfloat16);
KERASLLM_REGISTER(DEVICE_CPU, OnCpu, tensorflow::bfloat16, float);
KERASLLM_REGISTER(DEVICE_CPU, OnCpu, tensorflow::bfloat16, tensorflow::bfloat16);
#ifdef KERASLLM_HAS_CUDA
KERASLLM_REGISTER(DEVICE_GPU, OnGpu, float, float);
KERASLLM_REGISTER(DEVICE_GPU, OnGpu, float, tensorflow::bfloat16);
KERASLLM_REGISTER(DEVICE_GPU, OnGpu, float, Eigen::half);
KERASLLM_REGISTER(DEVICE_GPU, OnGpu, tensorflow::bfloat16, float);
KERASLLM_REGISTER(DEVICE_GPU, OnGpu, tensorflow::bfloat16, tensorflow::bfloat16);
KERASLLM_REGISTER(DEVICE_GPU, OnGpu, Eigen::half, float);
KERASLLM_REGISTER(DEVICE_GPU, OnGpu, Eigen::half, Eigen::half);
#endif

}  // namespace
}  // namespace kerasllm
