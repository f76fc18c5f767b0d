#include "lstm/lstm.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace kerasllm {
namespace {

using absl::Status;
using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

// state = units, rounded up; unknown where units are.
DimensionHandle state_dim(InferenceContext* c, DimensionHandle units) {
  return c->ValueKnown(units) ? c->MakeDim(lstm_state_size(c->Value(units))) : c->UnknownDim();
}

Status lstm_shapes(InferenceContext* c) {
  ShapeHandle inputs, hidden, cell, kernel, recurrent_kernel, bias, mask;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 3, &inputs));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 2, &hidden));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(2), 2, &cell));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(3), 2, &kernel));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(4), 2, &recurrent_kernel));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(5), 1, &bias));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(6), 2, &mask));
  bool return_sequences, save_activations;
  TF_RETURN_IF_ERROR(c->GetAttr("return_sequences", &return_sequences));
  TF_RETURN_IF_ERROR(c->GetAttr("save_activations", &save_activations));

  const DimensionHandle time = c->Dim(inputs, 1);
  DimensionHandle batch, units = c->Dim(recurrent_kernel, 0), unused;
  TF_RETURN_IF_ERROR(c->Merge(c->Dim(inputs, 0), c->Dim(hidden, 0), &batch));
  TF_RETURN_IF_ERROR(c->Merge(batch, c->Dim(cell, 0), &batch));
  TF_RETURN_IF_ERROR(c->Merge(units, c->Dim(hidden, 1), &units));
  TF_RETURN_IF_ERROR(c->Merge(units, c->Dim(cell, 1), &units));
  TF_RETURN_IF_ERROR(c->Merge(c->Dim(inputs, 2), c->Dim(kernel, 0), &unused));
  TF_RETURN_IF_ERROR(c->Merge(c->Dim(kernel, 1), c->Dim(recurrent_kernel, 1), &unused));
  TF_RETURN_IF_ERROR(c->Merge(c->Dim(kernel, 1), c->Dim(bias, 0), &unused));

  const DimensionHandle length = return_sequences ? time : c->MakeDim(1);
  c->set_output(0, c->MakeShape({batch, length, units}));
  c->set_output(1, c->MakeShape({batch, units}));
  c->set_output(2, c->MakeShape({batch, units}));
  const DimensionHandle state = state_dim(c, units);
  DimensionHandle gates;
  TF_RETURN_IF_ERROR(c->Multiply(state, 4, &gates));
  if (save_activations) {
    c->set_output(3, c->MakeShape({time, batch, gates}));
    c->set_output(4, c->MakeShape({time, batch, state}));
    c->set_output(5, c->MakeShape({time, batch, state}));
  } else {
    for (int i = 3; i < 6; ++i) c->set_output(i, c->MakeShape({0, 0, 0}));
  }
  return absl::OkStatus();
}

// Each gradient has the shape of its input.
Status lstm_grad_shapes(InferenceContext* c) {
  for (int i = 0; i < 5; ++i) c->set_output(i, c->input(i));
  ShapeHandle kernel;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(3), 2, &kernel));
  c->set_output(5, c->MakeShape({c->Dim(kernel, 1)}));
  return absl::OkStatus();
}

}  // namespace

REGISTER_OP("KerasllmLstm")
    .Input("inputs: T")
    .Input("initial_hidden: T")
    .Input("initial_cell: T")
    .Input("kernel: T")
    .Input("recurrent_kernel: T")
    .Input("bias: T")
    .Input("mask: bool")
    .Output("outputs: T")
    .Output("final_hidden: T")
    .Output("final_cell: T")
    .Output("gates: T")
    .Output("cells: float")
    .Output("hidden: T")
    .Attr("T: {float, bfloat16, half}")
    .Attr("go_backwards: bool = false")
    .Attr("zero_output_for_mask: bool = false")
    .Attr("return_sequences: bool = true")
    .Attr("save_activations: bool = false")
    .SetShapeFn(lstm_shapes)
    .Doc(R"doc(
A whole LSTM layer over a sequence (Hochreiter and Schmidhuber, 1997), gates in Keras's order: input, forget, candidate, output.

inputs: (batch, time, input_dim).
initial_hidden: (batch, units).
initial_cell: (batch, units).
kernel: (input_dim, 4 * units).
recurrent_kernel: (units, 4 * units).
bias: (4 * units,).
mask: (batch, time), false where a step is left out and the states are carried on; or (0, 0) for no mask.
outputs: (batch, time, units), or (batch, 1, units), the last one, unless return_sequences.
final_hidden: (batch, units).
final_cell: (batch, units).
gates: what KerasllmLstmGrad needs, empty unless save_activations; so are cells and hidden.
go_backwards: from the last step to the first; outputs are in the order of computation.
zero_output_for_mask: the output of a masked step is zero; else it repeats the one before.
)doc");

REGISTER_OP("KerasllmLstmGrad")
    .Input("inputs: T")
    .Input("initial_hidden: T")
    .Input("initial_cell: T")
    .Input("kernel: T")
    .Input("recurrent_kernel: T")
    .Input("mask: bool")
    .Input("gates: T")
    .Input("cells: float")
    .Input("hidden: T")
    .Input("d_outputs: T")
    .Input("d_final_hidden: T")
    .Input("d_final_cell: T")
    .Output("d_inputs: T")
    .Output("d_initial_hidden: T")
    .Output("d_initial_cell: T")
    .Output("d_kernel: T")
    .Output("d_recurrent_kernel: T")
    .Output("d_bias: T")
    .Attr("T: {float, bfloat16, half}")
    .Attr("go_backwards: bool = false")
    .Attr("zero_output_for_mask: bool = false")
    .Attr("return_sequences: bool = true")
    .SetShapeFn(lstm_grad_shapes)
    .Doc(R"doc(
Gradients of KerasllmLstm by its inputs, from those by its first three outputs.

gates: as KerasllmLstm gave it with save_activations, like cells and hidden.
d_outputs: the gradient by outputs, in its shape; d_final_hidden and d_final_cell likewise.
d_inputs: the gradient by inputs, in its shape; the other outputs likewise.
)doc");

}  // namespace kerasllm
