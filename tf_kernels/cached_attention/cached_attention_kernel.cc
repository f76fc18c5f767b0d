// KerasllmCachedAttention on the CPU.
#include <vector>

#include "attention/attention.h"
#include "cached_attention/cached_attention.h"
#include "common/op_kernel.h"
#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/framework/resource_var.h"

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

template <class T>
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
    CachedAttention<Element> args;
    OP_REQUIRES_OK(context, read(context, *keys->tensor(), *values->tensor(), &args));
    Tensor* outputs;
    OP_REQUIRES_OK(context, context->allocate_output(0, context->input(2).shape(), &outputs));
    const auto update = [&](Var* variable, int input) -> Status {
      TF_RETURN_IF_ERROR(own(context, variable->tensor()));
      update_cache({args.shape, args.start, data_of<T>(context->input(input)),
                    data_of<T>(variable->tensor())});
      return absl::OkStatus();
    };
    OP_REQUIRES_OK(context, update(keys.get(), 3));
    OP_REQUIRES_OK(context, update(values.get(), 4));
    args.key_cache = data_of<T>(static_cast<const Tensor&>(*keys->tensor()));
    args.value_cache = data_of<T>(static_cast<const Tensor&>(*values->tensor()));
    args.outputs = data_of<T>(outputs);
    TensorflowParallel parallel(context);
    if (args.start == 0 && args.shape.query_length > 1) {
      begin(context, args, parallel);
    } else {
      cached_attention(args, parallel);
    }
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
    Tensor copy;
    TF_RETURN_IF_ERROR(context->allocate_temp(tensor->dtype(), tensor->shape(), &copy));
    copy.flat<T>() = tensor->flat<T>();
    *tensor = std::move(copy);
    return absl::OkStatus();
  }

  // The begin of texts needs no cache: attention over the new keys alone, tile by tile.
  void begin(OpKernelContext* context, const CachedAttention<Element>& args,
             TensorflowParallel& parallel) const {
    const CachedAttentionShape& s = args.shape;
    AttentionForward<Element> forward = {};
    forward.shape = {s.batch,    s.query_length, s.query_length, s.num_heads, s.num_key_value_heads,
                     s.head_dim, s.head_dim};
    forward.options.scale = scale_;
    forward.options.causal = true;
    forward.options.window = window_;
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
    std::vector<float> log_sum_exp(s.batch * s.num_heads * s.query_length);
    forward.query = args.query;
    forward.key = data_of<T>(context->input(3));
    forward.value = data_of<T>(context->input(4));
    forward.outputs = args.outputs;
    forward.log_sum_exp = log_sum_exp.data();
    attention_forward(forward, parallel);
  }

  float scale_;
  int64_t window_;
};

#define KERASLLM_REGISTER(T)                                                                 \
  REGISTER_KERNEL_BUILDER(                                                                   \
      Name("KerasllmCachedAttention").Device(tensorflow::DEVICE_CPU).TypeConstraint<T>("T"), \
      CachedAttentionOp<T>)

KERASLLM_REGISTER(float);
KERASLLM_REGISTER(tensorflow::bfloat16);

}  // namespace
}  // namespace kerasllm
