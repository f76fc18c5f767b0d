#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace kerasllm {
namespace {

using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

absl::Status few_rows_product_shapes(InferenceContext* c) {
  ShapeHandle inputs, kernel, bias;
  DimensionHandle depth;
  bool transposed;
  TF_RETURN_IF_ERROR(c->GetAttr("transposed", &transposed));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 2, &inputs));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 2, &kernel));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(2), 1, &bias));
  TF_RETURN_IF_ERROR(c->Merge(c->Dim(inputs, 1), c->Dim(kernel, transposed ? 1 : 0), &depth));
  c->set_output(0, c->Matrix(c->Dim(inputs, 0), c->Dim(kernel, transposed ? 0 : 1)));
  return absl::OkStatus();
}

}  // namespace

REGISTER_OP("KerasllmFewRowsProduct")
    .Input("inputs: T")
    .Input("kernel: T")
    .Input("bias: T")
    .Output("outputs: U")
    .Attr("T: {float, bfloat16}")
    .Attr("U: {float, bfloat16}")
    .Attr("transposed: bool")
    .SetShapeFn(few_rows_product_shapes)
    .Doc(R"doc(
A few rows times a matrix, at the speed at which memory gives the matrix. Sums are float32.

inputs: (rows, depth).
kernel: (depth, columns), or (columns, depth) where transposed.
bias: (columns,), or (0,) for none.
outputs: (rows, columns), float or T.
transposed: Whether the kernel is given transposed.
)doc");

}  // namespace kerasllm
