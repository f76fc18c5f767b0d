#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace kerasllm {
namespace {

using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

absl::Status cached_attention_shapes(InferenceContext* c) {
  ShapeHandle query, rows;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(2), 4, &query));
  for (const int input : {3, 4}) TF_RETURN_IF_ERROR(c->WithRank(c->input(input), 4, &rows));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(5), 0, &rows));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(6), 1, &rows));
  c->set_output(0, query);
  return absl::OkStatus();
}

}  // namespace

REGISTER_OP("KerasllmCachedAttention")
    .Input("key_cache: resource")
    .Input("value_cache: resource")
    .Input("query: T")
    .Input("key: T")
    .Input("value: T")
    .Input("start: int32")
    .Input("first_key: int32")
    .Output("outputs: T")
    .Attr("T: {float, bfloat16, half}")
    .Attr("scale: float")
    .Attr("window: int = 0")
    .SetIsStateful()
    .SetShapeFn(cached_attention_shapes)
    .Doc(R"doc(
Puts new keys and values into caches, in place, and attends causally over what the caches hold.

key_cache: A variable, (batch, num_key_value_heads, max_length, head_dim).
value_cache: The same.
query: (batch, query_length, num_heads, head_dim).
key: (batch, query_length, num_key_value_heads, head_dim).
value: The same.
start: The place of the first query; start + query_length is at most max_length.
first_key: (batch,), the first key that is no padding; or (0,) for zeros.
outputs: (batch, query_length, num_heads, head_dim).
scale: What the products are multiplied by.
window: A query sees that many of the latest keys; 0 for all.
)doc");

}  // namespace kerasllm
