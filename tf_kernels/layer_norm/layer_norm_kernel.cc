// KerasllmLayerNorm and KerasllmLayerNormGrad on the CPU and the GPU. Large results take over the
// memory of inputs that nobody else needs: fresh memory costs more than the arithmetic.
#include "common/op_kernel.h"
#include "layer_norm/layer_norm.h"
#ifdef KERASLLM_HAS_CUDA
#include "layer_norm/layer_norm_cuda.h"
#endif

namespace kerasllm {
namespace {

using absl::Status;
using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;

// The shape without its last axis.
TensorShape without_last(const TensorShape& shape) {
  TensorShape rows = shape;
  rows.RemoveLastDims(1);
  return rows;
}

template <class T>
void run(OnCpu, OpKernelContext* context, const LayerNormForward<T>& args) {
  TensorflowParallel parallel(context);
  layer_norm_forward(args, parallel);
}
template <class T>
void run(OnCpu, OpKernelContext* context, const LayerNormBackward<T>& args) {
  TensorflowParallel parallel(context);
  layer_norm_backward(args, parallel);
}
#ifdef KERASLLM_HAS_CUDA
template <class T>
void run(OnGpu, OpKernelContext* context, const LayerNormForward<T>& args) {
  launch_on_gpu(context, 0, [&](void* scratch, void* stream) {
    return kerasllm_cuda_layer_norm_forward(kCudaType<T>, &args, scratch, stream);
  });
}
template <class T>
void run(OnGpu, OpKernelContext* context, const LayerNormBackward<T>& args) {
  const int64_t bytes = kerasllm_cuda_layer_norm_backward_scratch(kCudaType<T>, &args);
  launch_on_gpu(context, bytes, [&](void* scratch, void* stream) {
    return kerasllm_cuda_layer_norm_backward(kCudaType<T>, &args, scratch, stream);
  });
}
#endif

template <class Device>
class LayerNormBase : public OpKernel {
 public:
  explicit LayerNormBase(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("rms", &rms_));
    OP_REQUIRES_OK(context, context->GetAttr("dropout_rate", &rate_));
    OP_REQUIRES_OK(context, expect_rate("KerasllmLayerNorm", rate_));
  }

 protected:
  LayerNormShape shape_of(const TensorShape& shape, const Tensor& seed) const {
    return {without_last(shape).num_elements(), shape.dim_size(shape.dims() - 1), rms_,
            Device::dropout(rate_, data_of<int32_t>(seed))};
  }

  bool rms_;
  float rate_;
};

template <class T, class Device>
class LayerNormOp : public LayerNormBase<Device> {
  using LayerNormBase<Device>::rate_;
  using LayerNormBase<Device>::shape_of;

 public:
  explicit LayerNormOp(OpKernelConstruction* context) : LayerNormBase<Device>(context) {
    OP_REQUIRES_OK(context, context->GetAttr("epsilon", &epsilon_));
  }

  void Compute(OpKernelContext* context) override {
    const char* const op = "KerasllmLayerNorm";
    const Tensor &inputs = context->input(0), &residual = context->input(1);
    const Tensor &gamma = context->input(2), &beta = context->input(3), &seed = context->input(4);
    OP_REQUIRES_OK(context, expect_row(op, "inputs", inputs));
    const TensorShape whole = inputs.shape(), row({inputs.dim_size(inputs.dims() - 1)});
    OP_REQUIRES_OK(context, expect_shape_or_absent(op, "residual", residual, whole));
    OP_REQUIRES_OK(context, expect_shape_or_absent(op, "gamma", gamma, row));
    OP_REQUIRES_OK(context, expect_shape_or_absent(op, "beta", beta, row));
    OP_REQUIRES_OK(context, expect_shape(op, "seed", seed, TensorShape({2})));
    const bool keeps_sum = !is_absent(residual) || rate_ > 0.0f;
    const auto* const from = data_of<T>(inputs);
    const auto* const added = optional_data<T>(residual);
    Tensor *outputs, *sum, *mean, *reciprocal_deviation;
    OP_REQUIRES_OK(context, context->forward_input_or_allocate_output({0}, 0, whole, &outputs));
    if (keeps_sum) {
      OP_REQUIRES_OK(context, context->forward_input_or_allocate_output({1}, 1, whole, &sum));
    } else {
      OP_REQUIRES_OK(context, context->allocate_output(1, TensorShape({0}), &sum));
    }
    OP_REQUIRES_OK(context, context->allocate_output(2, without_last(whole), &mean));
    OP_REQUIRES_OK(context,
                   context->allocate_output(3, without_last(whole), &reciprocal_deviation));
    const LayerNormForward<typename ComputeType<T>::type> args = {
        shape_of(whole, seed),
        epsilon_,
        from,
        added,
        optional_data<float>(gamma),
        optional_data<float>(beta),
        data_of<T>(outputs),
        optional_data<T>(sum, keeps_sum),
        data_of<float>(mean),
        data_of<float>(reciprocal_deviation)};
    run(Device(), context, args);
  }

 private:
  float epsilon_;
};

template <class T, class Device>
class LayerNormGradOp : public LayerNormBase<Device> {
  using LayerNormBase<Device>::rate_;
  using LayerNormBase<Device>::shape_of;

 public:
  using LayerNormBase<Device>::LayerNormBase;

  void Compute(OpKernelContext* context) override {
    const char* const op = "KerasllmLayerNormGrad";
    const Tensor &sum = context->input(0), &gamma = context->input(1), &mean = context->input(2);
    const Tensor &reciprocal_deviation = context->input(3), &d_outputs = context->input(4);
    const Tensor &d_sum = context->input(5), &seed = context->input(6);
    OP_REQUIRES_OK(context, expect_row(op, "sum", sum));
    const TensorShape whole = sum.shape(), row({sum.dim_size(sum.dims() - 1)});
    OP_REQUIRES_OK(context, expect_shape_or_absent(op, "gamma", gamma, row));
    OP_REQUIRES_OK(context, expect_shape(op, "mean", mean, without_last(whole)));
    OP_REQUIRES_OK(context, expect_shape(op, "reciprocal_deviation", reciprocal_deviation,
                                         without_last(whole)));
    OP_REQUIRES_OK(context, expect_shape(op, "d_outputs", d_outputs, whole));
    OP_REQUIRES_OK(context, expect_shape_or_absent(op, "d_sum", d_sum, whole));
    OP_REQUIRES_OK(context, expect_shape(op, "seed", seed, TensorShape({2})));
    const bool drops = rate_ > 0.0f;
    LayerNormBackward<typename ComputeType<T>::type> args = {shape_of(whole, seed),
                                                             data_of<T>(sum),
                                                             optional_data<float>(gamma),
                                                             data_of<float>(mean),
                                                             data_of<float>(reciprocal_deviation),
                                                             data_of<T>(d_outputs),
                                                             optional_data<T>(d_sum),
                                                             /*d_inputs=*/nullptr,
                                                             /*d_residual=*/nullptr,
                                                             /*d_gamma=*/nullptr,
                                                             /*d_beta=*/nullptr};
    Tensor *d_inputs, *d_residual, *d_gamma, *d_beta;
    OP_REQUIRES_OK(context,
                   context->forward_input_or_allocate_output({4, 5, 0}, 0, whole, &d_inputs));
    if (drops) {
      OP_REQUIRES_OK(context,
                     context->forward_input_or_allocate_output({5, 0}, 1, whole, &d_residual));
    } else {
      OP_REQUIRES_OK(context, context->allocate_output(1, TensorShape({0}), &d_residual));
    }
    OP_REQUIRES_OK(context, context->allocate_output(2, row, &d_gamma));
    OP_REQUIRES_OK(context, context->allocate_output(3, row, &d_beta));
    args.d_inputs = data_of<T>(d_inputs);
    args.d_residual = optional_data<T>(d_residual, drops);
    args.d_gamma = data_of<float>(d_gamma);
    args.d_beta = data_of<float>(d_beta);
    run(Device(), context, args);
  }
};

#define KERASLLM_REGISTER(device, Where, T)                                            \
  REGISTER_KERNEL_BUILDER(                                                             \
      Name("KerasllmLayerNorm").Device(tensorflow::device).TypeConstraint<T>("T"),     \
      LayerNormOp<T, Where>);                                                          \
  REGISTER_KERNEL_BUILDER(                                                             \
      Name("KerasllmLayerNormGrad").Device(tensorflow::device).TypeConstraint<T>("T"), \
      LayerNormGradOp<T, Where>)

KERASLLM_REGISTER(DEVICE_CPU, OnCpu, float);
KERASLLM_REGISTER(DEVICE_CPU, OnCpu, tensorflow::bfloat16);
#ifdef KERASLLM_HAS_CUDA
KERASLLM_REGISTER(DEVICE_GPU, OnGpu, float);
KERASLLM_REGISTER(DEVICE_GPU, OnGpu, tensorflow::bfloat16);
KERASLLM_REGISTER(DEVICE_GPU, OnGpu, Eigen::half);
#endif

}  // namespace
}  // namespace kerasllm
