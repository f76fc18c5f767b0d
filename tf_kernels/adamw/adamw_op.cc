#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace kerasllm {
namespace {

absl::Status adamw_shapes(tensorflow::shape_inference::InferenceContext* c) {
  tensorflow::shape_inference::ShapeHandle unused;
  int num_parameters;
  TF_RETURN_IF_ERROR(c->GetAttr("N", &num_parameters));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(4 * num_parameters), 0, &unused));
  return c->WithRank(c->input(4 * num_parameters + 1), 0, &unused);
}

}  // namespace

REGISTER_OP("KerasllmAdamw")
    .Input("parameters: N * resource")
    .Input("momentums: N * resource")
    .Input("velocities: N * resource")
    .Input("gradients: G")
    .Input("learning_rate: float")
    .Input("alpha: float")
    .Input("rounded: M * resource")
    .Attr("N: int >= 1")
    .Attr("M: int >= 0 = 0")
    .Attr("G: list({float, bfloat16, half}) >= 1")
    .Attr("momentum_rate: float")
    .Attr("velocity_rate: float")
    .Attr("epsilon: float")
    .Attr("weight_decay: float = 0.0")
    .Attr("decays: list(bool) >= 1")
    .Attr("global_clipnorm: float = 0.0")
    .Attr("multipliers: list(float) = []")
    .Attr("masters: list(int) = []")
    .SetIsStateful()
    .SetShapeFn(adamw_shapes)
    .Doc(R"doc(
One step of Adam with decoupled weight decay over all parameters, in place.

parameters: float32 variables.
momentums: The running means of the gradients, float32 variables of the same shapes.
velocities: The running means of the gradients' squares, float32 variables of the same shapes.
gradients: Tensors of the same shapes; on a GPU float16 ones too, but not beside bfloat16 ones.
learning_rate: What weight decay is multiplied by.
alpha: learning_rate * sqrt(1 - beta_2^step) / (1 - beta_1^step).
rounded: bfloat16 variables whose float32 master weights are parameters; they get the rounded
  results. One that is not its master's rounded value was assigned by somebody else, and the master
  takes its value before the step.
momentum_rate: 1 - beta_1.
velocity_rate: 1 - beta_2.
weight_decay: 0 for none.
decays: Whether weight decay applies to each of the parameters.
global_clipnorm: What the norm of all gradients together is clipped to; 0 for no clipping.
multipliers: What learning_rate and alpha are multiplied by for each of the parameters; none for 1.
masters: Which of the parameters are the master weights of each of the rounded variables.
)doc");

}  // namespace kerasllm
