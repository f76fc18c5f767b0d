#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace kerasllm {
namespace {

using absl::Status;
using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

// What act makes of `columns`.
Status activated_dim(InferenceContext* c, DimensionHandle columns, DimensionHandle* dim) {
  bool gated;
  TF_RETURN_IF_ERROR(c->GetAttr("gated", &gated));
  *dim = columns;
  return gated ? c->Divide(columns, 2, /*evenly_divisible=*/true, dim) : absl::OkStatus();
}

// A bias is as long as a row, or (0,) for none.
Status check_bias(InferenceContext* c, int index, DimensionHandle size) {
  ShapeHandle bias;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(index), 1, &bias));
  const DimensionHandle found = c->Dim(bias, 0);
  if (c->ValueKnown(found) && c->Value(found) == 0) return absl::OkStatus();
  return c->Merge(size, found, &size);
}

// The sizes of what goes into the two kernels and comes out of them.
Status read_kernels(InferenceContext* c, int hidden_index, int output_index,
                    DimensionHandle* input_dim, DimensionHandle* columns,
                    DimensionHandle* output_dim) {
  ShapeHandle hidden_kernel, output_kernel;
  DimensionHandle dim;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(hidden_index), 2, &hidden_kernel));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(output_index), 2, &output_kernel));
  *input_dim = c->Dim(hidden_kernel, 0);
  *columns = c->Dim(hidden_kernel, 1);
  *output_dim = c->Dim(output_kernel, 1);
  TF_RETURN_IF_ERROR(activated_dim(c, *columns, &dim));
  return c->Merge(dim, c->Dim(output_kernel, 0), &dim);
}

Status feed_forward_shapes(InferenceContext* c) {
  ShapeHandle inputs, outputs, hidden;
  DimensionHandle input_dim, columns, output_dim;
  bool keep_hidden;
  TF_RETURN_IF_ERROR(c->GetAttr("keep_hidden", &keep_hidden));
  TF_RETURN_IF_ERROR(c->WithRankAtLeast(c->input(0), 1, &inputs));
  TF_RETURN_IF_ERROR(read_kernels(c, 1, 3, &input_dim, &columns, &output_dim));
  TF_RETURN_IF_ERROR(c->Merge(c->Dim(inputs, -1), input_dim, &input_dim));
  TF_RETURN_IF_ERROR(check_bias(c, 2, columns));
  TF_RETURN_IF_ERROR(check_bias(c, 4, output_dim));
  TF_RETURN_IF_ERROR(c->ReplaceDim(inputs, -1, output_dim, &outputs));
  TF_RETURN_IF_ERROR(c->ReplaceDim(inputs, -1, columns, &hidden));
  c->set_output(0, outputs);
  c->set_output(1, keep_hidden ? hidden : c->Vector(0));
  return absl::OkStatus();
}

Status feed_forward_grad_shapes(InferenceContext* c) {
  ShapeHandle hidden, d_outputs, rows, d_inputs, activated;
  DimensionHandle input_dim, columns, output_dim, dim;
  TF_RETURN_IF_ERROR(read_kernels(c, 0, 1, &input_dim, &columns, &output_dim));
  TF_RETURN_IF_ERROR(c->WithRankAtLeast(c->input(2), 1, &hidden));
  TF_RETURN_IF_ERROR(c->WithRankAtLeast(c->input(3), 1, &d_outputs));
  TF_RETURN_IF_ERROR(c->Merge(c->Dim(hidden, -1), columns, &columns));
  TF_RETURN_IF_ERROR(c->Merge(c->Dim(d_outputs, -1), output_dim, &output_dim));
  TF_RETURN_IF_ERROR(c->ReplaceDim(d_outputs, -1, columns, &rows));
  TF_RETURN_IF_ERROR(c->Merge(rows, hidden, &hidden));
  TF_RETURN_IF_ERROR(c->ReplaceDim(hidden, -1, input_dim, &d_inputs));
  c->set_output(0, d_inputs);
  TF_RETURN_IF_ERROR(activated_dim(c, columns, &dim));
  TF_RETURN_IF_ERROR(c->ReplaceDim(hidden, -1, dim, &activated));
  c->set_output(1, hidden);
  c->set_output(2, activated);
  c->set_output(3, c->Vector(columns));
  return absl::OkStatus();
}

}  // namespace

REGISTER_OP("KerasllmFeedForward")
    .Input("inputs: T")
    .Input("hidden_kernel: T")
    .Input("hidden_bias: float")
    .Input("output_kernel: T")
    .Input("output_bias: float")
    .Output("outputs: T")
    .Output("hidden: T")
    .Attr("T: {float, bfloat16}")
    .Attr("kind: {'erf', 'tanh', 'silu', 'relu'} = 'erf'")
    .Attr("gated: bool = false")
    .Attr("keep_hidden: bool = true")
    .SetShapeFn(feed_forward_shapes)
    .Doc(R"doc(
Two dense layers with an activation between them, the feed-forward branch of a transformer (Vaswani et al., 2017; gated: Shazeer, 2020).

inputs: (..., input_dim).
hidden_kernel: (input_dim, dim); gated, (input_dim, 2 * dim): of the gate and beside it of the value.
hidden_bias: as long as a row of hidden_kernel, or (0,) for none.
output_kernel: (dim, output_dim).
output_bias: (output_dim,), or (0,) for none.
outputs: act(hidden) x output_kernel + output_bias, (..., output_dim); gated, (act(gate) * value) x output_kernel + output_bias.
hidden: inputs x hidden_kernel + hidden_bias, (..., dim) or (..., 2 * dim); (0,) without keep_hidden.
kind: act: the GELU by erf or its approximation by tanh, the SiLU or ReLU.
keep_hidden: whether to write hidden, which the gradient is made of.
)doc");

REGISTER_OP("KerasllmFeedForwardGrad")
    .Input("hidden_kernel: T")
    .Input("output_kernel: T")
    .Input("hidden: T")
    .Input("d_outputs: T")
    .Output("d_inputs: T")
    .Output("d_hidden: T")
    .Output("activated: T")
    .Output("d_hidden_bias: float")
    .Attr("T: {float, bfloat16}")
    .Attr("kind: {'erf', 'tanh', 'silu', 'relu'} = 'erf'")
    .Attr("gated: bool = false")
    .SetShapeFn(feed_forward_grad_shapes)
    .Doc(R"doc(
Gradients of KerasllmFeedForward by its inputs and by hidden, from that by its outputs; the same bits on any number of threads. Those by the kernels are KerasllmDenseKernelGrad of inputs and d_hidden and of activated and d_outputs.

hidden: that of the forward pass.
d_outputs: (..., output_dim), the gradient by outputs.
d_inputs: (..., input_dim).
d_hidden: the gradient by hidden, in its shape.
activated: (..., dim), what output_kernel is multiplied with.
d_hidden_bias: as long as a row of hidden.
)doc");

}  // namespace kerasllm
