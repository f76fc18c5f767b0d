#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace kerasllm {
namespace {

absl::Status dropout_shapes(tensorflow::shape_inference::InferenceContext* c) {
  tensorflow::shape_inference::ShapeHandle inputs, seed;
  TF_RETURN_IF_ERROR(c->WithRankAtLeast(c->input(0), 1, &inputs));
  TF_RETURN_IF_ERROR(c->Merge(c->input(1), c->MakeShape({2}), &seed));
  c->set_output(0, inputs);
  return absl::OkStatus();
}

}  // namespace

REGISTER_OP("KerasllmDropout")
    .Input("inputs: T")
    .Input("seed: int32")
    .Output("outputs: T")
    .Attr("T: {float, bfloat16, half}")
    .Attr("rate: float")
    .SetShapeFn(dropout_shapes)
    .Doc(R"doc(
Dropout with random bits by counter: the same seed drops the same elements, on any device.

inputs: (..., dim).
seed: (2,), two words; equal seeds drop the same elements of equal shapes.
outputs: inputs / (1 - rate) where kept, else zero.
rate: The share of elements dropped, in [0, 1), taken to the nearest 1/65536.
)doc");

}  // namespace kerasllm
