#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace kerasllm {
namespace {

using absl::Status;
using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

// The shapes of query, key and value must fit each other; the kernel checks them, the mask and the
// rest once more, with their values. Gives the sizes of outputs and log_sum_exp.
Status merge_shapes(InferenceContext* c, ShapeHandle* outputs, ShapeHandle* log_sum_exp) {
  ShapeHandle query, key, value, mask;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &query));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 4, &key));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(2), 4, &value));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(3), 4, &mask));
  DimensionHandle batch, merged;
  TF_RETURN_IF_ERROR(c->Merge(c->Dim(query, 0), c->Dim(key, 0), &batch));
  TF_RETURN_IF_ERROR(c->Merge(batch, c->Dim(value, 0), &batch));
  TF_RETURN_IF_ERROR(c->Merge(c->Dim(key, 1), c->Dim(value, 1), &merged));
  TF_RETURN_IF_ERROR(c->Merge(c->Dim(key, 2), c->Dim(value, 2), &merged));
  TF_RETURN_IF_ERROR(c->Merge(c->Dim(query, 3), c->Dim(key, 3), &merged));
  *outputs = c->MakeShape({batch, c->Dim(query, 1), c->Dim(query, 2), c->Dim(value, 3)});
  *log_sum_exp = c->MakeShape({batch, c->Dim(query, 2), c->Dim(query, 1)});
  return absl::OkStatus();
}

Status attention_shapes(InferenceContext* c) {
  ShapeHandle outputs, log_sum_exp;
  TF_RETURN_IF_ERROR(merge_shapes(c, &outputs, &log_sum_exp));
  c->set_output(0, outputs);
  c->set_output(1, log_sum_exp);
  return absl::OkStatus();
}

// Each gradient has the shape of its input.
Status attention_grad_shapes(InferenceContext* c) {
  ShapeHandle outputs, log_sum_exp, merged;
  TF_RETURN_IF_ERROR(merge_shapes(c, &outputs, &log_sum_exp));
  TF_RETURN_IF_ERROR(c->Merge(c->input(8), outputs, &merged));
  TF_RETURN_IF_ERROR(c->Merge(c->input(9), log_sum_exp, &merged));
  TF_RETURN_IF_ERROR(c->Merge(c->input(10), outputs, &merged));
  for (int i = 0; i < 3; ++i) c->set_output(i, c->input(i));
  return absl::OkStatus();
}

}  // namespace

REGISTER_OP("KerasllmAttention")
    .Input("query: T")
    .Input("key: T")
    .Input("value: T")
    .Input("mask: M")
    .Input("lengths: int32")
    .Input("query_offset: int32")
    .Input("query_mask: bool")
    .Input("seed: int32")
    .Output("outputs: T")
    .Output("log_sum_exp: float")
    .Attr("T: {float, bfloat16, half}")
    .Attr("M: {bool, float, bfloat16, half}")
    .Attr("scale: float")
    .Attr("causal: bool = false")
    .Attr("window: int = 0")
    .Attr("soft_cap: float = 0.0")
    .Attr("dropout_rate: float = 0.0")
    .SetShapeFn(attention_shapes)
    .Doc(R"doc(
Softmax attention without the matrix of scores (flash attention; Dao et al., 2022).

query: (batch, query_length, num_heads, head_dim).
key: (batch, key_length, num_key_value_heads, head_dim), num_heads a multiple of num_key_value_heads.
value: (batch, key_length, num_key_value_heads, value_dim).
mask: (batch or 1, num_heads or 1, query_length or 1, key_length): bool, false where a query does not see a key, or numbers added to the scores; or (0, 0, 0, 0) for none.
lengths: (batch,), the number of keys of each row that are not padding; or (0,) for all.
query_offset: (batch,), the place of the first query among the keys, at least 0; or (0,) for 0.
query_mask: (batch, query_length), false where a query sees no key; or (0, 0) for none.
seed: (2,), two words for dropout.
outputs: (batch, query_length, num_heads, value_dim); zeros where a query sees no key.
log_sum_exp: (batch, num_heads, query_length), the logarithm of the sum of exp(scores); minus infinity where a query sees no key.
scale: What products of queries and keys are multiplied by.
causal: Whether a query sees no key after its own place.
window: A query sees the window latest keys, its own place included; if not causal, also the window first ones from its place on. 0 for no window.
soft_cap: Scores become soft_cap * tanh(score / soft_cap), before the mask; 0 for no cap.
dropout_rate: The share of probabilities dropped, in [0, 1), taken to the nearest 1/65536.
)doc");

REGISTER_OP("KerasllmAttentionGrad")
    .Input("query: T")
    .Input("key: T")
    .Input("value: T")
    .Input("mask: M")
    .Input("lengths: int32")
    .Input("query_offset: int32")
    .Input("query_mask: bool")
    .Input("seed: int32")
    .Input("outputs: T")
    .Input("log_sum_exp: float")
    .Input("d_outputs: T")
    .Output("d_query: T")
    .Output("d_key: T")
    .Output("d_value: T")
    .Attr("T: {float, bfloat16, half}")
    .Attr("M: {bool, float, bfloat16, half}")
    .Attr("scale: float")
    .Attr("causal: bool = false")
    .Attr("window: int = 0")
    .Attr("soft_cap: float = 0.0")
    .Attr("dropout_rate: float = 0.0")
    .SetShapeFn(attention_grad_shapes)
    .Doc(R"doc(
Gradients of KerasllmAttention by query, key and value, from that by its outputs.

outputs: as KerasllmAttention gave it, like log_sum_exp.
d_outputs: the gradient by outputs, in its shape.
d_query: the gradient by query, in its shape; the other outputs likewise.
)doc");

}  // namespace kerasllm
