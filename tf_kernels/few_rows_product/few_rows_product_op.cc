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
  int count;
  TF_RETURN_IF_ERROR(c->GetAttr("transposed", &transposed));
  TF_RETURN_IF_ERROR(c->GetAttr("N", &count));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 2, &inputs));
  for (int i = 0; i < count; ++i) {
    TF_RETURN_IF_ERROR(c->WithRank(c->input(1 + i), 2, &kernel));
    TF_RETURN_IF_ERROR(c->WithRank(c->input(1 + count + i), 1, &bias));
    TF_RETURN_IF_ERROR(c->Merge(c->Dim(inputs, 1), c->Dim(kernel, transposed ? 1 : 0), &depth));
    c->set_output(i, c->Matrix(c->Dim(inputs, 0), c->Dim(kernel, transposed ? 0 : 1)));
  }
  return absl::OkStatus();
}

}  // namespace

REGISTER_OP("KerasllmFewRowsProduct")
    .Input("inputs: T")
    .Input("kernels: N * T")
    .Input("biases: N * T")
    .Output("outputs: N * U")
    .Attr("N: int >= 1")
    .Attr("T: {float, bfloat16}")
    .Attr("U: {float, bfloat16}")
    .Attr("transposed: bool")
    .SetShapeFn(few_rows_product_shapes)
    .Doc(R"doc(
A few rows times each of a few matrices, at the speed at which memory gives these. Sums are float32.

inputs: (rows, depth).
kernels: Up to 4, each (depth, columns), or (columns, depth) where transposed.
biases: For each kernel (columns,), or (0,) for none.
outputs: For each kernel (rows, columns), float or T.
transposed: Whether the kernels are given transposed.
)doc");

}  // namespace kerasllm
