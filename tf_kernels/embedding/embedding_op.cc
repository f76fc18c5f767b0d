#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace kerasllm {
namespace {

using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

// A table that is not there is (0, 0), so its width is compared where it has rows.
absl::Status merge_width(InferenceContext* c, int index, ShapeHandle token_embeddings) {
  ShapeHandle table;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(index), 2, &table));
  if (!c->ValueKnown(c->Dim(table, 0)) || c->Value(c->Dim(table, 0)) == 0) return absl::OkStatus();
  tensorflow::shape_inference::DimensionHandle unused;
  return c->Merge(c->Dim(table, 1), c->Dim(token_embeddings, 1), &unused);
}

absl::Status check_inputs(InferenceContext* c, ShapeHandle* outputs) {
  ShapeHandle token_ids, token_embeddings, unused;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 2, &token_ids));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 2, &token_embeddings));
  TF_RETURN_IF_ERROR(merge_width(c, 2, token_embeddings));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(3), 2, &unused));
  TF_RETURN_IF_ERROR(merge_width(c, 4, token_embeddings));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(5), 0, &unused));
  return c->Concatenate(token_ids, c->Vector(c->Dim(token_embeddings, 1)), outputs);
}

absl::Status embedding_shapes(InferenceContext* c) {
  ShapeHandle outputs;
  TF_RETURN_IF_ERROR(check_inputs(c, &outputs));
  c->set_output(0, outputs);
  return absl::OkStatus();
}

absl::Status embedding_grad_shapes(InferenceContext* c) {
  ShapeHandle outputs;
  TF_RETURN_IF_ERROR(check_inputs(c, &outputs));
  TF_RETURN_IF_ERROR(c->Merge(c->input(6), outputs, &outputs));
  c->set_output(0, c->input(1));
  c->set_output(1, c->input(2));
  c->set_output(2, c->input(4));
  return absl::OkStatus();
}

}  // namespace

REGISTER_OP("KerasllmEmbedding")
    .Input("token_ids: int32")
    .Input("token_embeddings: T")
    .Input("position_embeddings: T")
    .Input("segment_ids: int32")
    .Input("segment_embeddings: T")
    .Input("start: int32")
    .Output("outputs: U")
    .Attr("T: {float, bfloat16, half}")
    .Attr("U: {float, bfloat16, half}")
    .SetShapeFn(embedding_shapes)
    .Doc(R"doc(
The sum of a token's, its position's and its segment's embedding, summed in float32.

token_ids: (batch, time), each at least 0 and below vocabulary.
token_embeddings: (vocabulary, dim).
position_embeddings: (max_length, dim), or (0, 0) for none; row start + t is added at time t.
segment_ids: (batch, time), each at least 0 and below num_segments, or (0, 0).
segment_embeddings: (num_segments, dim), or (0, 0) for none.
start: The position of the first step, a scalar.
outputs: (batch, time, dim).
)doc");

REGISTER_OP("KerasllmEmbeddingGrad")
    .Input("token_ids: int32")
    .Input("token_embeddings: T")
    .Input("position_embeddings: T")
    .Input("segment_ids: int32")
    .Input("segment_embeddings: T")
    .Input("start: int32")
    .Input("d_outputs: U")
    .Output("d_token_embeddings: T")
    .Output("d_position_embeddings: T")
    .Output("d_segment_embeddings: T")
    .Attr("T: {float, bfloat16, half}")
    .Attr("U: {float, bfloat16, half}")
    .SetShapeFn(embedding_grad_shapes)
    .Doc(R"doc(
The gradients of KerasllmEmbedding's tables, dense; of the tables only the shapes are looked at.

d_outputs: (batch, time, dim), the gradient of outputs.
)doc");

}  // namespace kerasllm
