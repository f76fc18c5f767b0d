// The shapes of an op's inputs, checked as XLA compiles it: sizes that were unknown when the graph
// was traced are known then, and the shape function, which passed them by, sees them all.
#ifndef KERASLLM_COMMON_XLA_SHAPES_H_
#define KERASLLM_COMMON_XLA_SHAPES_H_

#include <vector>

#include "tensorflow/compiler/tf2xla/xla_op_kernel.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tensorflow/core/public/version.h"

namespace kerasllm {

inline absl::Status check_shapes(tensorflow::XlaOpKernelContext* context) {
  const tensorflow::NodeDef& node = context->op_kernel().def();
  const tensorflow::OpRegistrationData* op;
  TF_RETURN_IF_ERROR(tensorflow::OpRegistry::Global()->LookUp(node.op(), &op));
  std::vector<tensorflow::PartialTensorShape> shapes;
  for (int i = 0; i < context->num_inputs(); ++i) shapes.push_back(context->InputShape(i));
  const std::vector<const tensorflow::Tensor*> no_values(shapes.size());
  tensorflow::shape_inference::InferenceContext inference(
      TF_GRAPH_DEF_VERSION, tensorflow::AttrSlice(node), op->op_def, shapes, no_values,
      std::vector<tensorflow::PartialTensorShape>(), {});
  TF_RETURN_IF_ERROR(inference.construction_status());
  return inference.Run(op->shape_inference_fn);
}

// The kernel, whose Compile() can count on what the op's shape function checks.
template <class Kernel>
class WithShapesChecked final : public Kernel {
 public:
  using Kernel::Kernel;
  void Compile(tensorflow::XlaOpKernelContext* context) override {
    OP_REQUIRES_OK(context, check_shapes(context));
    Kernel::Compile(context);
  }
};

}  // namespace kerasllm

#endif  // KERASLLM_COMMON_XLA_SHAPES_H_
