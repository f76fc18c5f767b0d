#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace kerasllm {
namespace {

using absl::Status;
using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

// Checks the first four inputs, which forward and backward share. A bias of no known size or of
// size 0 fits every vocabulary.
Status check_inputs(InferenceContext* c, ShapeHandle* hidden_states, ShapeHandle* kernel,
                    DimensionHandle* rows) {
  ShapeHandle bias, labels;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 2, hidden_states));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 2, kernel));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(2), 1, &bias));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(3), 1, &labels));
  DimensionHandle unused;
  TF_RETURN_IF_ERROR(c->Merge(c->Dim(*hidden_states, 1), c->Dim(*kernel, 1), &unused));
  return c->Merge(c->Dim(*hidden_states, 0), c->Dim(labels, 0), rows);
}

Status linear_cross_entropy_shapes(InferenceContext* c) {
  ShapeHandle hidden_states, kernel;
  DimensionHandle rows;
  TF_RETURN_IF_ERROR(check_inputs(c, &hidden_states, &kernel, &rows));
  for (int i = 0; i < 3; ++i) c->set_output(i, c->MakeShape({rows}));
  bool save_gradients;
  TF_RETURN_IF_ERROR(c->GetAttr("save_gradients", &save_gradients));
  if (save_gradients) {
    c->set_output(3, c->MakeShape({rows, c->Dim(kernel, 1)}));
    c->set_output(4, kernel);
    c->set_output(5, c->input(2));
  } else {
    c->set_output(3, c->MakeShape({0, 0}));
    c->set_output(4, c->MakeShape({0, 0}));
    c->set_output(5, c->MakeShape({0}));
  }
  return absl::OkStatus();
}

Status linear_cross_entropy_grad_shapes(InferenceContext* c) {
  ShapeHandle hidden_states, kernel;
  DimensionHandle rows;
  TF_RETURN_IF_ERROR(check_inputs(c, &hidden_states, &kernel, &rows));
  ShapeHandle d_losses;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(4), 1, &d_losses));
  TF_RETURN_IF_ERROR(c->Merge(rows, c->Dim(d_losses, 0), &rows));
  for (int i = 0; i < 3; ++i) c->set_output(i, c->input(i));
  return absl::OkStatus();
}

}  // namespace

REGISTER_OP("KerasllmLinearCrossEntropy")
    .Input("hidden_states: T")
    .Input("kernel: T")
    .Input("bias: float")
    .Input("labels: int32")
    .Output("losses: float")
    .Output("correct: bool")
    .Output("log_sum_exp: float")
    .Output("d_hidden_states: float")
    .Output("d_kernel: float")
    .Output("d_bias: float")
    .Attr("T: {float, bfloat16, half}")
    .Attr("ignore_index: int = -100")
    .Attr("label_smoothing: float = 0.0")
    .Attr("z_loss: float = 0.0")
    .Attr("save_gradients: bool = false")
    .SetShapeFn(linear_cross_entropy_shapes)
    .Doc(R"doc(
The softmax cross-entropy of hidden_states * kernel^T + bias, whose logits are never stored as a whole (Wijmans et al., 2024).

hidden_states: (rows, dim).
kernel: (vocabulary, dim).
bias: (vocabulary,), or (0,) for none.
labels: (rows,), each in [0, vocabulary) or ignore_index; on a GPU another one is no error: its loss is NaN.
losses: (rows,), 0 where ignored.
correct: (rows,), whether the label has the largest logit and no smaller id has the same.
log_sum_exp: (rows,) of the logits, 0 where ignored.
d_hidden_states: the gradient of the sum of all losses by hidden_states, empty unless save_gradients; d_kernel and d_bias likewise.
ignore_index: rows with this label have loss 0 and no gradient, and cost nothing.
label_smoothing: the share of the target that is spread over all classes, in [0, 1].
z_loss: weight of log_sum_exp^2 in the loss, at least 0.
save_gradients: make the gradients while the logits are at hand; for training.
)doc");

REGISTER_OP("KerasllmLinearCrossEntropyGrad")
    .Input("hidden_states: T")
    .Input("kernel: T")
    .Input("bias: float")
    .Input("labels: int32")
    .Input("d_losses: float")
    .Input("saved_d_hidden_states: float")
    .Input("saved_d_kernel: float")
    .Input("saved_d_bias: float")
    .Output("d_hidden_states: T")
    .Output("d_kernel: T")
    .Output("d_bias: float")
    .Attr("T: {float, bfloat16, half}")
    .Attr("ignore_index: int = -100")
    .Attr("label_smoothing: float = 0.0")
    .Attr("z_loss: float = 0.0")
    .Attr("saved: bool")
    .SetShapeFn(linear_cross_entropy_grad_shapes)
    .Doc(R"doc(
Gradients of KerasllmLinearCrossEntropy by its first three inputs, from that by losses.

d_losses: (rows,). Where it is the same for all rows that count, what forward saved is scaled; else the gradient by kernel is made again.
saved_d_hidden_states: as KerasllmLinearCrossEntropy gave it with save_gradients, like saved_d_kernel and saved_d_bias.
saved: whether forward saved gradients; without, all are made here.
)doc");

}  // namespace kerasllm
