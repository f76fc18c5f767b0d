#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace kerasllm {
namespace {

using absl::Status;
using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

Status dense_shapes(InferenceContext* c) {
  ShapeHandle inputs, kernel, bias, outputs;
  DimensionHandle dim, units = c->UnknownDim();
  TF_RETURN_IF_ERROR(c->WithRankAtLeast(c->input(0), 1, &inputs));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 2, &kernel));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(2), 1, &bias));
  TF_RETURN_IF_ERROR(c->Merge(c->Dim(inputs, -1), c->Dim(kernel, 0), &dim));
  units = c->Dim(kernel, 1);
  const DimensionHandle size = c->Dim(bias, 0);
  if (!c->ValueKnown(size) || c->Value(size) != 0) {
    TF_RETURN_IF_ERROR(c->Merge(units, size, &units));
  }
  TF_RETURN_IF_ERROR(c->ReplaceDim(inputs, -1, units, &outputs));
  c->set_output(0, outputs);
  return absl::OkStatus();
}

Status inputs_grad_shapes(InferenceContext* c) {
  ShapeHandle kernel, d_outputs, d_inputs;
  DimensionHandle units;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 2, &kernel));
  TF_RETURN_IF_ERROR(c->WithRankAtLeast(c->input(1), 1, &d_outputs));
  TF_RETURN_IF_ERROR(c->Merge(c->Dim(kernel, 1), c->Dim(d_outputs, -1), &units));
  TF_RETURN_IF_ERROR(c->ReplaceDim(d_outputs, -1, c->Dim(kernel, 0), &d_inputs));
  c->set_output(0, d_inputs);
  return absl::OkStatus();
}

Status kernel_grad_shapes(InferenceContext* c) {
  ShapeHandle inputs, d_outputs, rows, d_rows;
  TF_RETURN_IF_ERROR(c->WithRankAtLeast(c->input(0), 1, &inputs));
  TF_RETURN_IF_ERROR(c->WithRankAtLeast(c->input(1), 1, &d_outputs));
  TF_RETURN_IF_ERROR(c->Subshape(inputs, 0, -1, &rows));
  TF_RETURN_IF_ERROR(c->Subshape(d_outputs, 0, -1, &d_rows));
  TF_RETURN_IF_ERROR(c->Merge(rows, d_rows, &rows));
  c->set_output(0, c->Matrix(c->Dim(inputs, -1), c->Dim(d_outputs, -1)));
  return absl::OkStatus();
}

Status bias_grad_shapes(InferenceContext* c) {
  ShapeHandle d_outputs;
  TF_RETURN_IF_ERROR(c->WithRankAtLeast(c->input(0), 1, &d_outputs));
  c->set_output(0, c->Vector(c->Dim(d_outputs, -1)));
  return absl::OkStatus();
}

}  // namespace

REGISTER_OP("KerasllmDense")
    .Input("inputs: T")
    .Input("kernel: T")
    .Input("bias: float")
    .Output("outputs: T")
    .Attr("T: {float, bfloat16}")
    .SetShapeFn(dense_shapes)
    .Doc(R"doc(
A dense layer's product with its bias: inputs x kernel + bias, summed up in float32.

inputs: (..., input_dim).
kernel: (input_dim, units).
bias: (units,), or (0,) for none.
outputs: (..., units).
)doc");

REGISTER_OP("KerasllmDenseInputsGrad")
    .Input("kernel: T")
    .Input("d_outputs: T")
    .Output("d_inputs: T")
    .Attr("T: {float, bfloat16}")
    .SetShapeFn(inputs_grad_shapes)
    .Doc(R"doc(
The gradient of KerasllmDense by its inputs.

kernel: (input_dim, units).
d_outputs: (..., units), the gradient by outputs.
d_inputs: (..., input_dim).
)doc");

REGISTER_OP("KerasllmDenseKernelGrad")
    .Input("inputs: T")
    .Input("d_outputs: T")
    .Output("d_kernel: T")
    .Attr("T: {float, bfloat16}")
    .SetShapeFn(kernel_grad_shapes)
    .Doc(R"doc(
The gradient of KerasllmDense by its kernel, the same bits on any number of threads.

inputs: (..., input_dim).
d_outputs: (..., units), the gradient by outputs.
d_kernel: (input_dim, units).
)doc");

REGISTER_OP("KerasllmDenseBiasGrad")
    .Input("d_outputs: T")
    .Output("d_bias: float")
    .Attr("T: {float, bfloat16}")
    .SetShapeFn(bias_grad_shapes)
    .Doc(R"doc(
The gradient of KerasllmDense by its bias, the same bits on any number of threads.

d_outputs: (..., units), the gradient by outputs.
d_bias: (units,).
)doc");

}  // namespace kerasllm
