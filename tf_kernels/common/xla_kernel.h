// What all XLA kernels share: a custom call in the compiled program, its handler's threads.
#ifndef KERASLLM_COMMON_XLA_KERNEL_H_
#define KERASLLM_COMMON_XLA_KERNEL_H_

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/parallel.h"
#include "tensorflow/compiler/tf2xla/xla_op_kernel.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "xla/ffi/api/ffi.h"
#include "xla/hlo/builder/xla_builder.h"
#include "xla/shape_util.h"

// In xla/ffi/ffi_api.h, which needs headers that the wheel does not bring. XLA_FFI_GetApi, the
// public name, is not exported by tensorflow-cpu.
namespace xla::ffi {
const XLA_FFI_Api* GetXlaFfiApi();
}

namespace kerasllm {

// The threads that the compiled program runs on.
class XlaParallel final : public Parallel {
 public:
  explicit XlaParallel(xla::ffi::ThreadPool pool) : pool_(std::move(pool)) {}
  int num_threads() const override { return static_cast<int>(pool_.num_threads()); }
  void run(int64_t num_tasks, void (*body)(void*, int64_t), void* context) override {
    const auto schedule = [this](std::function<void()> f) { pool_.Schedule(std::move(f)); };
    run_on_pool(num_threads(), schedule, num_tasks, body, context);
  }

 private:
  xla::ffi::ThreadPool pool_;
};

// Within a handler: the data of the call's operands and results.
template <class T>
const T* xla_input(const xla::ffi::RemainingArgs& arguments, size_t index) {
  return static_cast<const T*>(arguments.get<xla::ffi::AnyBuffer>(index)->untyped_data());
}
template <class T>
T* xla_output(const xla::ffi::RemainingRets& results, size_t index) {
  return static_cast<T*>((*results.get<xla::ffi::AnyBuffer>(index))->untyped_data());
}

// The same, null for a tensor without elements, which stands for one that is not there.
template <class T>
const T* optional_xla_input(const xla::ffi::RemainingArgs& arguments, size_t index) {
  const xla::ffi::AnyBuffer buffer = *arguments.get<xla::ffi::AnyBuffer>(index);
  return buffer.element_count() == 0 ? nullptr : static_cast<const T*>(buffer.untyped_data());
}
template <class T>
T* optional_xla_output(const xla::ffi::RemainingRets& results, size_t index) {
  const xla::ffi::AnyBuffer buffer = **results.get<xla::ffi::AnyBuffer>(index);
  return buffer.element_count() == 0 ? nullptr : static_cast<T*>(buffer.untyped_data());
}

// Attributes of a custom call, written as the MLIR dictionary that the compiler parses.
class XlaAttributes {
 public:
  XlaAttributes& set(const char* name, bool value) { return add(name, value ? "true" : "false"); }
  XlaAttributes& set(const char* name, int64_t value) {
    return add(name, absl::StrCat(value, " : i64"));
  }
  XlaAttributes& set(const char* name, float value) {
    return add(name, absl::StrFormat("%.9e : f32", value));
  }
  XlaAttributes& set(const char* name, const std::vector<int64_t>& values) {
    std::string list;
    for (const int64_t value : values) absl::StrAppend(&list, list.empty() ? ": " : ", ", value);
    return add(name, "array<i64" + list + ">");
  }
  std::string text() const { return "{" + text_ + "}"; }

 private:
  XlaAttributes& add(const char* name, const std::string& value) {
    absl::StrAppend(&text_, text_.empty() ? "" : ", ", name, " = ", value);
    return *this;
  }
  std::string text_;
};

// Handlers are registered once per element type: NAME_float32 and NAME_bfloat16.
inline std::string typed_handler(const char* name, tensorflow::DataType type) {
  return std::string(name) + (type == tensorflow::DT_FLOAT ? "_float32" : "_bfloat16");
}
inline xla::PrimitiveType xla_type(tensorflow::DataType type) {
  return type == tensorflow::DT_FLOAT ? xla::F32 : xla::BF16;
}

// The shape of a dense, row-major tensor.
inline xla::Shape row_major(xla::PrimitiveType type, const std::vector<int64_t>& dimensions) {
  return xla::ShapeUtil::MakeShapeWithDescendingLayout(type, dimensions);
}

inline xla::Shape row_major_like(xla::PrimitiveType type, const tensorflow::TensorShape& shape) {
  const auto sizes = shape.dim_sizes();
  return row_major(type, {sizes.begin(), sizes.end()});
}

// A call of handler `name`, operands and results row-major; the results are a tuple. `attributes`
// is an MLIR dictionary, such as "{go_backwards = true}". The first `num_in_place` results lie in
// the memory of the operands of the same index.
inline xla::XlaOp custom_call(xla::XlaBuilder* builder, const std::string& name,
                              const std::vector<xla::XlaOp>& operands,
                              const std::vector<xla::Shape>& results, const std::string& attributes,
                              int64_t num_in_place = 0) {
  std::vector<xla::Shape> operand_shapes;
  for (const xla::XlaOp operand : operands) {
    const auto shape = builder->GetShape(operand);
    if (!shape.ok()) return builder->ReportError(shape.status());
    const auto dimensions = shape->dimensions();
    operand_shapes.push_back(
        row_major(shape->element_type(), {dimensions.begin(), dimensions.end()}));
  }
  std::vector<std::pair<xla::ShapeIndex, std::pair<int64_t, xla::ShapeIndex>>> aliases(
      num_in_place);
  for (int64_t i = 0; i < num_in_place; ++i) {
    aliases[i].first.push_back(i);
    aliases[i].second.first = i;
  }
  return xla::CustomCallWithLayout(
      builder, name, operands, xla::ShapeUtil::MakeTupleShape(results), operand_shapes, attributes,
      /*has_side_effect=*/false, aliases, /*literal=*/nullptr,
      xla::CustomCallSchedule::SCHEDULE_NONE, xla::CustomCallApiVersion::API_VERSION_TYPED_FFI);
}

// Emits a call of handler `name` with all inputs of the op and sets its outputs to the results.
inline void emit_custom_call(tensorflow::XlaOpKernelContext* context, const std::string& name,
                             const std::vector<xla::Shape>& results,
                             const std::string& attributes) {
  std::vector<xla::XlaOp> operands;
  for (int i = 0; i < context->num_inputs(); ++i) operands.push_back(context->Input(i));
  const xla::XlaOp call = custom_call(context->builder(), name, operands, results, attributes);
  for (size_t i = 0; i < results.size(); ++i) {
    context->SetOutput(static_cast<int>(i), xla::GetTupleElement(call, static_cast<int64_t>(i)));
  }
}

}  // namespace kerasllm

#endif  // KERASLLM_COMMON_XLA_KERNEL_H_
