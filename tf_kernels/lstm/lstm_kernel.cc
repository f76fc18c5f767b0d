// KerasllmLstm and KerasllmLstmGrad on the CPU and the GPU.
#include "common/op_kernel.h"
#include "lstm/lstm.h"
#ifdef KERASLLM_HAS_CUDA
#include "lstm/lstm_cuda.h"
#endif

namespace kerasllm {
namespace {

using absl::Status;
using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;

// Reads the sizes off the inputs that forward and backward share (the first five of both) and
// checks them against each other. `mask` may be (0, 0): no mask.
Status read_shape(OpKernelContext* context, const char* op, const Tensor& mask, LstmShape* shape) {
  const Tensor& inputs = context->input(0);
  const Tensor& recurrent_kernel = context->input(4);
  TF_RETURN_IF_ERROR(expect_rank(op, "inputs", inputs, 3, "(batch, time, input_dim)"));
  TF_RETURN_IF_ERROR(
      expect_rank(op, "recurrent_kernel", recurrent_kernel, 2, "(units, 4 * units)"));
  shape->batch = inputs.dim_size(0);
  shape->time = inputs.dim_size(1);
  shape->input_dim = inputs.dim_size(2);
  shape->units = recurrent_kernel.dim_size(0);
  const int64_t batch = shape->batch, units = shape->units;
  TF_RETURN_IF_ERROR(
      expect_shape(op, "initial_hidden", context->input(1), TensorShape({batch, units})));
  TF_RETURN_IF_ERROR(
      expect_shape(op, "initial_cell", context->input(2), TensorShape({batch, units})));
  TF_RETURN_IF_ERROR(
      expect_shape(op, "kernel", context->input(3), TensorShape({shape->input_dim, 4 * units})));
  TF_RETURN_IF_ERROR(
      expect_shape(op, "recurrent_kernel", recurrent_kernel, TensorShape({units, 4 * units})));
  if (mask.dims() == 2 && mask.dim_size(0) == 0 && mask.dim_size(1) == 0) {
    return absl::OkStatus();
  }
  return expect_shape(op, "mask", mask, TensorShape({batch, shape->time}));
}

const bool* mask_or_null(const Tensor& mask) {
  return mask.NumElements() == 0 ? nullptr : mask.flat<bool>().data();
}

// The sizes of what forward keeps for backward.
TensorShape saved_shape(const LstmShape& shape, int64_t multiple) {
  return TensorShape({shape.time, shape.batch, multiple * lstm_state_size(shape.units)});
}

Status read_attributes(OpKernelConstruction* context, LstmShape* shape) {
  TF_RETURN_IF_ERROR(context->GetAttr("go_backwards", &shape->go_backwards));
  TF_RETURN_IF_ERROR(context->GetAttr("zero_output_for_mask", &shape->zero_output_for_mask));
  return context->GetAttr("return_sequences", &shape->return_sequences);
}

template <class T>
void run(OnCpu, OpKernelContext* context, const LstmForward<T>& args) {
  TensorflowParallel parallel(context);
  lstm_forward(args, parallel);
}
template <class T>
void run(OnCpu, OpKernelContext* context, const LstmBackward<T>& args) {
  TensorflowParallel parallel(context);
  lstm_backward(args, parallel);
}
#ifdef KERASLLM_HAS_CUDA
template <class T>
void run(OnGpu, OpKernelContext* context, const LstmForward<T>& args) {
  const int64_t bytes = kerasllm_cuda_lstm_forward_scratch(kCudaType<T>, &args);
  launch_on_gpu(context, bytes, [&](void* scratch, void* stream) {
    return kerasllm_cuda_lstm_forward(kCudaType<T>, &args, scratch, stream);
  });
}
template <class T>
void run(OnGpu, OpKernelContext* context, const LstmBackward<T>& args) {
  const int64_t bytes = kerasllm_cuda_lstm_backward_scratch(kCudaType<T>, &args);
  launch_on_gpu(context, bytes, [&](void* scratch, void* stream) {
    return kerasllm_cuda_lstm_backward(kCudaType<T>, &args, scratch, stream);
  });
}
#endif

template <class T, class Device>
class LstmOp : public OpKernel {
 public:
  explicit LstmOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, read_attributes(context, &shape_));
    OP_REQUIRES_OK(context, context->GetAttr("save_activations", &save_activations_));
  }

  void Compute(OpKernelContext* context) override {
    LstmShape shape = shape_;
    const Tensor& mask = context->input(6);
    OP_REQUIRES_OK(context, read_shape(context, "KerasllmLstm", mask, &shape));
    OP_REQUIRES_OK(context, expect_shape("KerasllmLstm", "bias", context->input(5),
                                         TensorShape({4 * shape.units})));
    const int64_t length = shape.return_sequences ? shape.time : 1;
    const TensorShape state_shape({shape.batch, shape.units}), empty({0, 0, 0});
    Tensor* results[6];
    const TensorShape shapes[6] = {TensorShape({shape.batch, length, shape.units}),
                                   state_shape,
                                   state_shape,
                                   save_activations_ ? saved_shape(shape, 4) : empty,
                                   save_activations_ ? saved_shape(shape, 1) : empty,
                                   save_activations_ ? saved_shape(shape, 1) : empty};
    for (int i = 0; i < 6; ++i) {
      OP_REQUIRES_OK(context, context->allocate_output(i, shapes[i], &results[i]));
    }
    LstmForward<typename ComputeType<T>::type> args = {
        shape,
        data_of<T>(context->input(0)),
        data_of<T>(context->input(1)),
        data_of<T>(context->input(2)),
        data_of<T>(context->input(3)),
        data_of<T>(context->input(4)),
        data_of<T>(context->input(5)),
        mask_or_null(mask),
        data_of<T>(results[0]),
        data_of<T>(results[1]),
        data_of<T>(results[2]),
        save_activations_ ? data_of<T>(results[3]) : nullptr,
        save_activations_ ? data_of<float>(results[4]) : nullptr,
        save_activations_ ? data_of<T>(results[5]) : nullptr};
    run(Device(), context, args);
  }

 private:
  LstmShape shape_ = {};
  bool save_activations_;
};

template <class T, class Device>
class LstmGradOp : public OpKernel {
 public:
  explicit LstmGradOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, read_attributes(context, &shape_));
  }

  void Compute(OpKernelContext* context) override {
    const char* const op = "KerasllmLstmGrad";
    LstmShape shape = shape_;
    const Tensor& mask = context->input(5);
    OP_REQUIRES_OK(context, read_shape(context, op, mask, &shape));
    const int64_t length = shape.return_sequences ? shape.time : 1;
    const TensorShape state_shape({shape.batch, shape.units});
    OP_REQUIRES_OK(context, expect_shape(op, "gates", context->input(6), saved_shape(shape, 4)));
    OP_REQUIRES_OK(context, expect_shape(op, "cells", context->input(7), saved_shape(shape, 1)));
    OP_REQUIRES_OK(context, expect_shape(op, "hidden", context->input(8), saved_shape(shape, 1)));
    OP_REQUIRES_OK(context, expect_shape(op, "d_outputs", context->input(9),
                                         TensorShape({shape.batch, length, shape.units})));
    OP_REQUIRES_OK(context, expect_shape(op, "d_final_hidden", context->input(10), state_shape));
    OP_REQUIRES_OK(context, expect_shape(op, "d_final_cell", context->input(11), state_shape));
    Tensor* results[6];
    for (int i = 0; i < 6; ++i) {
      const TensorShape result = i < 5 ? context->input(i).shape() : TensorShape({4 * shape.units});
      OP_REQUIRES_OK(context, context->allocate_output(i, result, &results[i]));
    }
    LstmBackward<typename ComputeType<T>::type> args = {shape,
                                                        data_of<T>(context->input(0)),
                                                        data_of<T>(context->input(1)),
                                                        data_of<T>(context->input(2)),
                                                        data_of<T>(context->input(3)),
                                                        data_of<T>(context->input(4)),
                                                        mask_or_null(mask),
                                                        data_of<T>(context->input(6)),
                                                        data_of<float>(context->input(7)),
                                                        data_of<T>(context->input(8)),
                                                        data_of<T>(context->input(9)),
                                                        data_of<T>(context->input(10)),
                                                        data_of<T>(context->input(11)),
                                                        data_of<T>(results[0]),
                                                        data_of<T>(results[1]),
                                                        data_of<T>(results[2]),
                                                        data_of<T>(results[3]),
                                                        data_of<T>(results[4]),
                                                        data_of<T>(results[5])};
    run(Device(), context, args);
  }

 private:
  LstmShape shape_ = {};
};

#define KERASLLM_REGISTER(device, Where, T)                                                       \
  REGISTER_KERNEL_BUILDER(Name("KerasllmLstm").Device(tensorflow::device).TypeConstraint<T>("T"), \
                          LstmOp<T, Where>);                                                      \
  REGISTER_KERNEL_BUILDER(                                                                        \
      Name("KerasllmLstmGrad").Device(tensorflow::device).TypeConstraint<T>("T"),                 \
      LstmGradOp<T, Where>)

KERASLLM_REGISTER(DEVICE_CPU, OnCpu, float);
KERASLLM_REGISTER(DEVICE_CPU, OnCpu, tensorflow::bfloat16);
#ifdef KERASLLM_HAS_CUDA
KERASLLM_REGISTER(DEVICE_GPU, OnGpu, float);
KERASLLM_REGISTER(DEVICE_GPU, OnGpu, tensorflow::bfloat16);
KERASLLM_REGISTER(DEVICE_GPU, OnGpu, Eigen::half);
#endif

}  // namespace
}  // namespace kerasllm
