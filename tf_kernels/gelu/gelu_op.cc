#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace kerasllm {
namespace {

using absl::Status;
using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

// The inputs of rank 1 or more, and the bias: (columns,), or (0,) for none.
Status read_inputs(InferenceContext* c, ShapeHandle* inputs) {
  ShapeHandle bias;
  DimensionHandle columns;
  TF_RETURN_IF_ERROR(c->WithRankAtLeast(c->input(0), 1, inputs));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 1, &bias));
  const DimensionHandle size = c->Dim(bias, 0);
  if (c->ValueKnown(size) && c->Value(size) == 0) return absl::OkStatus();
  return c->Merge(c->Dim(*inputs, -1), size, &columns);
}

Status output_shape(InferenceContext* c, ShapeHandle inputs, ShapeHandle* outputs) {
  bool gated;
  TF_RETURN_IF_ERROR(c->GetAttr("gated", &gated));
  *outputs = inputs;
  if (!gated) return absl::OkStatus();
  DimensionHandle dim;
  TF_RETURN_IF_ERROR(c->Divide(c->Dim(inputs, -1), 2, /*evenly_divisible=*/true, &dim));
  return c->ReplaceDim(inputs, -1, dim, outputs);
}

Status gelu_shapes(InferenceContext* c) {
  ShapeHandle inputs, outputs;
  TF_RETURN_IF_ERROR(read_inputs(c, &inputs));
  TF_RETURN_IF_ERROR(output_shape(c, inputs, &outputs));
  c->set_output(0, outputs);
  return absl::OkStatus();
}

Status gelu_grad_shapes(InferenceContext* c) {
  ShapeHandle inputs, outputs;
  TF_RETURN_IF_ERROR(read_inputs(c, &inputs));
  TF_RETURN_IF_ERROR(output_shape(c, inputs, &outputs));
  TF_RETURN_IF_ERROR(c->Merge(outputs, c->input(2), &outputs));
  c->set_output(0, inputs);
  c->set_output(1, c->input(1));
  return absl::OkStatus();
}

}  // namespace

REGISTER_OP("KerasllmGelu")
    .Input("inputs: T")
    .Input("bias: float")
    .Output("outputs: T")
    .Attr("T: {float, bfloat16, half}")
    .Attr("kind: {'erf', 'tanh', 'silu', 'relu'} = 'erf'")
    .Attr("gated: bool = false")
    .SetShapeFn(gelu_shapes)
    .Doc(R"doc(
A bias and an activation in one pass: GELU and SiLU (Hendrycks and Gimpel, 2016), and their gated forms (Shazeer, 2020).

inputs: (..., dim); gated, (..., 2 * dim): the gate and beside it the value.
bias: as long as a row of inputs, or (0,) for none.
outputs: act(inputs + bias), (..., dim); gated, act(gate + its bias) * (value + its bias).
kind: act: the GELU by erf or its approximation by tanh, the SiLU or ReLU.
)doc");

REGISTER_OP("KerasllmGeluGrad")
    .Input("inputs: T")
    .Input("bias: float")
    .Input("d_outputs: T")
    .Output("d_inputs: T")
    .Output("d_bias: float")
    .Attr("T: {float, bfloat16, half}")
    .Attr("kind: {'erf', 'tanh', 'silu', 'relu'} = 'erf'")
    .Attr("gated: bool = false")
    .SetShapeFn(gelu_grad_shapes)
    .Doc(R"doc(
Gradients of KerasllmGelu by its inputs, from that by its outputs.

d_outputs: (..., dim), the gradient by outputs.
d_inputs: the gradient by inputs, in its shape.
d_bias: the gradient by bias, in its shape.
)doc");

}  // namespace kerasllm
