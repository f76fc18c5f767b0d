#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace kerasllm {
namespace {

using absl::Status;
using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

// Whether the tensor is (0,), which stands for one that is not there.
bool is_absent(InferenceContext* c, ShapeHandle shape) {
  return c->RankKnown(shape) && c->Rank(shape) == 1 && c->ValueKnown(c->Dim(shape, 0)) &&
         c->Value(c->Dim(shape, 0)) == 0;
}

Status merge_vector(InferenceContext* c, int index, DimensionHandle dim) {
  ShapeHandle vector;
  DimensionHandle unused;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(index), 1, &vector));
  return is_absent(c, vector) ? absl::OkStatus() : c->Merge(c->Dim(vector, 0), dim, &unused);
}

Status layer_norm_shapes(InferenceContext* c) {
  ShapeHandle inputs, residual = c->input(1), seed, rows;
  TF_RETURN_IF_ERROR(c->WithRankAtLeast(c->input(0), 1, &inputs));
  const bool alone = is_absent(c, residual);
  if (!alone) TF_RETURN_IF_ERROR(c->Merge(inputs, residual, &inputs));
  TF_RETURN_IF_ERROR(merge_vector(c, 2, c->Dim(inputs, -1)));
  TF_RETURN_IF_ERROR(merge_vector(c, 3, c->Dim(inputs, -1)));
  TF_RETURN_IF_ERROR(c->Merge(c->input(4), c->MakeShape({2}), &seed));
  TF_RETURN_IF_ERROR(c->Subshape(inputs, 0, -1, &rows));
  float rate;
  TF_RETURN_IF_ERROR(c->GetAttr("dropout_rate", &rate));
  c->set_output(0, inputs);
  c->set_output(1, alone && rate == 0.0f ? c->MakeShape({0}) : inputs);
  c->set_output(2, rows);
  c->set_output(3, rows);
  return absl::OkStatus();
}

Status layer_norm_grad_shapes(InferenceContext* c) {
  ShapeHandle sum, d_sum = c->input(5), seed, rows;
  TF_RETURN_IF_ERROR(c->WithRankAtLeast(c->input(0), 1, &sum));
  TF_RETURN_IF_ERROR(c->Merge(sum, c->input(4), &sum));
  if (!is_absent(c, d_sum)) TF_RETURN_IF_ERROR(c->Merge(sum, d_sum, &sum));
  TF_RETURN_IF_ERROR(merge_vector(c, 1, c->Dim(sum, -1)));
  TF_RETURN_IF_ERROR(c->Subshape(sum, 0, -1, &rows));
  TF_RETURN_IF_ERROR(c->Merge(rows, c->input(2), &rows));
  TF_RETURN_IF_ERROR(c->Merge(rows, c->input(3), &rows));
  TF_RETURN_IF_ERROR(c->Merge(c->input(6), c->MakeShape({2}), &seed));
  float rate;
  TF_RETURN_IF_ERROR(c->GetAttr("dropout_rate", &rate));
  c->set_output(0, sum);
  c->set_output(1, rate == 0.0f ? c->MakeShape({0}) : sum);
  for (int i = 2; i < 4; ++i) c->set_output(i, c->MakeShape({c->Dim(sum, -1)}));
  return absl::OkStatus();
}

}  // namespace

REGISTER_OP("KerasllmLayerNorm")
    .Input("inputs: T")
    .Input("residual: T")
    .Input("gamma: float")
    .Input("beta: float")
    .Input("seed: int32")
    .Output("outputs: T")
    .Output("sum: T")
    .Output("mean: float")
    .Output("reciprocal_deviation: float")
    .Attr("T: {float, bfloat16, half}")
    .Attr("epsilon: float")
    .Attr("rms: bool = false")
    .Attr("dropout_rate: float = 0.0")
    .Attr("return_sum: bool = true")
    .SetShapeFn(layer_norm_shapes)
    .Doc(R"doc(
Layer normalisation (Ba, Kiros and Hinton, 2016) of residual + dropout(inputs) over the last axis.

inputs: (..., dim).
residual: (..., dim), or (0,) for none.
gamma: (dim,), or (0,) for ones.
beta: (dim,), or (0,) for zeros.
seed: (2,), two words; which elements dropout drops follows from them.
outputs: (sum - mean) * reciprocal_deviation * gamma + beta, (..., dim).
sum: residual + dropout(inputs), (..., dim); (0,) where that is inputs.
mean: (...), the mean of each row; zero where rms.
reciprocal_deviation: (...), 1 / sqrt(variance + epsilon) of each row.
epsilon: Added to the variance.
rms: Root mean square normalisation (Zhang and Sennrich, 2019): the variance is that about zero.
dropout_rate: The share of inputs dropped, in [0, 1).
return_sum: Whether sum is used by others than the gradient op; else its gradient is not asked for.
)doc");

REGISTER_OP("KerasllmLayerNormGrad")
    .Input("sum: T")
    .Input("gamma: float")
    .Input("mean: float")
    .Input("reciprocal_deviation: float")
    .Input("d_outputs: T")
    .Input("d_sum: T")
    .Input("seed: int32")
    .Output("d_inputs: T")
    .Output("d_residual: T")
    .Output("d_gamma: float")
    .Output("d_beta: float")
    .Attr("T: {float, bfloat16, half}")
    .Attr("rms: bool = false")
    .Attr("dropout_rate: float = 0.0")
    .SetShapeFn(layer_norm_grad_shapes)
    .Doc(R"doc(
Gradients of KerasllmLayerNorm by its inputs, from those by its outputs and its sum.

sum: What was normalised: KerasllmLayerNorm's sum, or its inputs where that is empty.
mean: As KerasllmLayerNorm gave it, like reciprocal_deviation.
d_outputs: (..., dim), the gradient by outputs.
d_sum: (..., dim), the gradient by sum; or (0,) for none.
d_inputs: (..., dim), the gradient by inputs.
d_residual: (..., dim), the gradient by residual; (0,) without dropout, where it is d_inputs.
d_gamma: (dim,), the gradient by gamma.
d_beta: (dim,), the gradient by beta.
)doc");

}  // namespace kerasllm
