// KerasllmCachedAttention on the CPU and the GPU.
#include <vector>

#include "attention/attention.h"
#include "cached_attention/cached_attention.h"
#include "common/op_kernel.h"
#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/framework/resource_var.h"
#ifdef KERASLLM_HAS_CUDA
#include "attention/attention_cuda.h"
#include "cached_attention/cached_attention_cuda.h"
#include "tensorflow/core/framework/device.h"
#endif

namespace kerasllm {
namespace {

using absl::Status;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::Var;

constexpr char kOp[] = "KerasllmCachedAttention";

Status invalid(const std::string& text) {
  return absl::InvalidArgumentError(absl::StrCat(kOp, ": ", text));
}

// A step of the op, its new keys and values (batch, query_length, num_key_value_heads, head_dim).
template <class T>
struct Step {
  CachedAttention<T> args;
  const T *key, *value;
};

// The begin of texts needs no cache: attention over the new keys alone, tile by tile.
template <class T>
bool is_begin(const CachedAttention<T>& args) {
  return args.start == 0 && args.shape.query_length > 1;
}
template <class T>
AttentionForward<T> begin_of(const Step<T>& step, float* log_sum_exp) {
  const CachedAttentionShape& s = step.args.shape;
  AttentionForward<T> forward = {};
  forward.shape = {s.batch,    s.query_length, s.query_length, s.num_heads, s.num_key_value_heads,
                   s.head_dim, s.head_dim};
  forward.options.scale = step.args.scale;
  forward.options.causal = true;
  forward.options.window = step.args.window;
  forward.query = step.args.query;
  forward.key = step.key;
  forward.value = step.value;
  forward.outputs = step.args.outputs;
  forward.log_sum_exp = log_sum_exp;
  return forward;
}

template <class T>
void run(OnCpu, OpKernelContext* context, const Step<T>& step) {
  TensorflowParallel parallel(context);
  const CachedAttention<T>& args = step.args;
  const CachedAttentionShape& s = args.shape;
  if (!is_begin(args)) return cached_attention(args, parallel);
  std::vector<float> log_sum_exp(s.batch * s.num_heads * s.query_length);
  AttentionForward<T> forward = begin_of(step, log_sum_exp.data());
  std::vector<char> mask;
  if (args.first_key != nullptr) {
    mask.resize(s.batch * s.query_length);
    for (int64_t b = 0; b < s.batch; ++b) {
      for (int64_t j = 0; j < s.query_length; ++j) {
        mask[b * s.query_length + j] = j >= args.first_key[b];
      }
    }
    forward.options.mask_type = MaskType::kBool;
    forward.options.mask = mask.data();
    forward.options.mask_batch_stride = s.query_length;
  }
  attention_forward(forward, parallel);
}
template <class T>
Status update(OnCpu, OpKernelContext*, const CacheUpdate<T>& args) {
  update_cache(args);
  return absl::OkStatus();
}
template <class T>
Status copy(OnCpu, OpKernelContext*, const Tensor& from, Tensor* to) {
  to->flat<T>() = from.flat<T>();
  return absl::OkStatus();
}

#ifdef KERASLLM_HAS_CUDA
template <class T>
void run(OnGpu, OpKernelContext* context, const Step<T>& step) {
  const CachedAttention<T>& args = step.args;
  const CachedAttentionShape& s = args.shape;
  // Which keys are padding the host cannot see: such a begin goes through the cache.
  if (is_begin(args) && args.first_key == nullptr) {
    Tensor log_sum_exp;
    OP_REQUIRES_OK(context, context->allocate_temp(
                                tensorflow::DT_FLOAT,
                                TensorShape({s.batch, s.num_heads, s.query_length}), &log_sum_exp));
    const AttentionForward<T> forward = begin_of(step, data_of<float>(&log_sum_exp));
    const int64_t bytes = kerasllm_cuda_attention_forward_scratch(kCudaType<T>, &forward);
    launch_on_gpu(context, bytes, [&](void* scratch, void* stream) {
      return kerasllm_cuda_attention_forward(kCudaType<T>, &forward, scratch, stream);
    });
    return;
  }
  const int64_t bytes = kerasllm_cuda_cached_attention_scratch(kCudaType<T>, &args, nullptr);
  launch_on_gpu(context, bytes, [&](void* scratch, void* stream) {
    return kerasllm_cuda_cached_attention(kCudaType<T>, &args, nullptr, scratch, stream);
  });
}
template <class T>
Status update(OnGpu, OpKernelContext* context, const CacheUpdate<T>& args) {
  launch_on_gpu(context, 0, [&](void* scratch, void* stream) {
    return kerasllm_cuda_cache_update(kCudaType<T>, &args, nullptr, scratch, stream);
  });
  return context->status();
}
template <class T>
Status copy(OnGpu, OpKernelContext* context, const Tensor& from, Tensor* to) {
  Status status;
  // Put on the stream; what is called afterwards is called at once.
  context->op_device_context()->CopyTensorInSameDevice(
      &from, static_cast<tensorflow::Device*>(context->device()), to,
      [&status](const Status& copied) { status = copied; });
  return status;
}
#endif

template <class T, class Device>
class CachedAttentionOp : public tensorflow::OpKernel {
 public:
  using Element = typename ComputeType<T>::type;

  explicit CachedAttentionOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("scale", &scale_));
    OP_REQUIRES_OK(context, context->GetAttr("window", &window_));
    OP_REQUIRES(context, window_ >= 0,
                invalid(absl::StrCat("window is ", window_, ", expected 0 or more")));
  }

  void Compute(OpKernelContext* context) override {
    tensorflow::core::RefCountPtr<Var> keys, values;
    OP_REQUIRES_OK(context, tensorflow::LookupResource(
                                context, tensorflow::HandleFromInput(context, 0), &keys));
    OP_REQUIRES_OK(context, tensorflow::LookupResource(
                                context, tensorflow::HandleFromInput(context, 1), &values));
    OP_REQUIRES(context, keys.get() != values.get(),
                invalid("key_cache and value_cache are the same variable"));
    const tensorflow::mutex_lock key_lock(*keys->mu());
    const tensorflow::mutex_lock value_lock(*values->mu());
    Step<Element> step;
    CachedAttention<Element>& args = step.args;
    OP_REQUIRES_OK(context, read(context, *keys->tensor(), *values->tensor(), &args));
    Tensor* outputs;
    OP_REQUIRES_OK(context, context->allocate_output(0, context->input(2).shape(), &outputs));
    step.key = data_of<T>(context->input(3));
    step.value = data_of<T>(context->input(4));
    const auto put = [&](Var* variable, const Element* rows) -> Status {
      TF_RETURN_IF_ERROR(own(context, variable->tensor()));
      const CacheUpdate<Element> into = {args.shape, args.start, rows,
                                         data_of<T>(variable->tensor())};
      return update(Device(), context, into);
    };
    OP_REQUIRES_OK(context, put(keys.get(), step.key));
    OP_REQUIRES_OK(context, put(values.get(), step.value));
    args.key_cache = data_of<T>(static_cast<const Tensor&>(*keys->tensor()));
    args.value_cache = data_of<T>(static_cast<const Tensor&>(*values->tensor()));
    args.outputs = data_of<T>(outputs);
    run(Device(), context, step);
  }

 private:
  Status read(OpKernelContext* context, const Tensor& keys, const Tensor& values,
              CachedAttention<Element>* args) const {
    const Tensor &query = context->input(2), &key = context->input(3), &value = context->input(4);
    const Tensor &start = context->input(5), &first_key = context->input(6);
    const char* const sizes = "(batch, num_key_value_heads, max_length, head_dim)";
    TF_RETURN_IF_ERROR(expect_rank(kOp, "key_cache", keys, 4, sizes));
    TF_RETURN_IF_ERROR(
        expect_rank(kOp, "query", query, 4, "(batch, query_length, num_heads, head_dim)"));
    if (keys.dtype() != query.dtype() || values.dtype() != query.dtype()) {
      return invalid("the caches are not of the dtype of query");
    }
    const CachedAttentionShape s = {keys.dim_size(0),  query.dim_size(1), keys.dim_size(2),
                                    query.dim_size(2), keys.dim_size(1),  keys.dim_size(3)};
    TF_RETURN_IF_ERROR(expect_shape(kOp, "value_cache", values, keys.shape()));
    TF_RETURN_IF_ERROR(expect_shape(
        kOp, "query", query, TensorShape({s.batch, s.query_length, s.num_heads, s.head_dim})));
    const TensorShape rows({s.batch, s.query_length, s.num_key_value_heads, s.head_dim});
    TF_RETURN_IF_ERROR(expect_shape(kOp, "key", key, rows));
    TF_RETURN_IF_ERROR(expect_shape(kOp, "value", value, rows));
    TF_RETURN_IF_ERROR(expect_shape(kOp, "start", start, TensorShape({})));
    TF_RETURN_IF_ERROR(expect_shape_or_absent(kOp, "first_key", first_key, TensorShape({s.batch})));
    if (s.num_key_value_heads < 1 || s.num_heads % s.num_key_value_heads != 0) {
      return invalid(absl::StrCat("num_heads is ", s.num_heads, ", expected a multiple of ",
                                  s.num_key_value_heads));
    }
    if (s.head_dim < 1 || s.head_dim > kMaxHeadDim) {
      return invalid(absl::StrCat("head_dim is ", s.head_dim, ", expected 1 to ", kMaxHeadDim));
    }
    const int64_t first = start.scalar<int32_t>()();
    if (first < 0 || first + s.query_length > s.max_length) {
      return invalid(absl::StrCat("start is ", first, " with ", s.query_length,
                                  " queries; the caches have ", s.max_length, " places"));
    }
    *args = {s,       scale_,  window_, first, optional_data<int32_t>(first_key), data_of<T>(query),
             nullptr, nullptr, nullptr};
    return absl::OkStatus();
  }

  // Makes the tensor the only one with its buffer, so that writing changes no other.
  static Status own(OpKernelContext* context, Tensor* tensor) {
    if (tensor->RefCountIsOne()) return absl::OkStatus();
    Tensor own_tensor;
    TF_RETURN_IF_ERROR(context->allocate_temp(tensor->dtype(), tensor->shape(), &own_tensor));
    TF_RETURN_IF_ERROR(copy<T>(Device(), context, *tensor, &own_tensor));
    *tensor = std::move(own_tensor);
    return absl::OkStatus();
  }

  float scale_;
  int64_t window_;
};

#define KERASLLM_REGISTER(device, Where, T)               \
  REGISTER_KERNEL_BUILDER(Name("KerasllmCachedAttention") \
                              .Device(tensorflow::device) \
                              .HostMemory("key_cache")    \
                              .HostMemory("value_cache")  \
                              .HostMemory("start")        \
                              .TypeConstraint<T>("T"),    \
                          CachedAttentionOp<T, Where>)

KERASLLM_REGISTER(DEVICE_CPU, OnCpu, float);
KERASLLM_REGISTER(DEVICE_CPU, OnCpu, tensorflow::bfloat16);
#ifdef KERASLLM_HAS_CUDA
KERASLLM_REGISTER(DEVICE_GPU, OnGpu, float);
KERASLLM_REGISTER(DEVICE_GPU, OnGpu, tensorflow::bfloat16);
KERASLLM_REGISTER(DEVICE_GPU, OnGpu, Eigen::half);
#endif

}  // namespace
}  // namespace kerasllm
