// What all XLA kernels share: a custom call in the compiled program; its handler's threads on the
// CPU, its stream and scratch memory on a GPU.
#ifndef KERASLLM_COMMON_XLA_KERNEL_H_
#define KERASLLM_COMMON_XLA_KERNEL_H_

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/bfloat16.h"
#include "common/dropout.h"
#include "common/float16.h"
#include "common/parallel.h"
#include "common/xla_shapes.h"
#ifdef KERASLLM_HAS_CUDA
#include "common/cuda_call.h"
#endif
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

// Where a handler's operands and results lie. Handlers are templates of it, with a function `run`
// for each: a handler's parameters begin with it, bound by .Ctx<XlaOnCpu>() or .Ctx<XlaOnGpu>().
struct XlaOnCpu {
  xla::ffi::ThreadPool pool;

  // Whether the host can look at what tensors hold.
  static constexpr bool kHostReads = true;
  static Dropout dropout(float rate, const int32_t* seed) { return make_dropout(rate, seed); }
};

#ifdef KERASLLM_HAS_CUDA
struct XlaOnGpu {
  void* stream;
  xla::ffi::ScratchAllocator scratch;  // what it gave goes back when the handler returns

  static constexpr bool kHostReads = false;
  static Dropout dropout(float rate, const int32_t* seed) {
    return make_device_dropout(rate, seed);
  }
};

// Launches on the program's stream and does not wait. launcher(scratch, stream) returns a
// cudaError_t.
template <class Launcher>
xla::ffi::Error launch_on_gpu(XlaOnGpu& where, int64_t scratch_bytes, const Launcher& launcher) {
  void* scratch = nullptr;
  if (scratch_bytes > 0) {
    const auto memory = where.scratch.Allocate(static_cast<size_t>(scratch_bytes), 256);
    if (!memory.has_value()) {
      return xla::ffi::Error(
          xla::ffi::ErrorCode::kResourceExhausted,
          absl::StrCat("kerasllm: no ", scratch_bytes, " bytes of scratch memory on the GPU"));
    }
    scratch = *memory;
  }
  const int error = launcher(scratch, where.stream);
  return error == 0 ? xla::ffi::Error::Success()
                    : xla::ffi::Error::Internal(
                          absl::StrCat("kerasllm: ", kerasllm_cuda_error_string(error)));
}
#endif

// Registers `function`, whose parameters begin with `Where`, as handler `name` of a platform;
// `binding` is what comes behind .Ctx<Where>().
#define KERASLLM_XLA_HANDLER(name, platform, Where, function, binding)          \
  XLA_FFI_DEFINE_HANDLER(k##Where##_##name, function,                           \
                         xla::ffi::Ffi::Bind().Ctx<kerasllm::Where>() binding); \
  XLA_FFI_REGISTER_HANDLER(xla::ffi::GetXlaFfiApi(), #name, platform, k##Where##_##name)
// The same for all element types, of function<Where, T>; and an op's XLA kernel.
#define KERASLLM_XLA_CPU_HANDLERS(name, function, binding)                                      \
  KERASLLM_XLA_HANDLER(name##_float32, "Host", XlaOnCpu, (function<XlaOnCpu, float>), binding); \
  KERASLLM_XLA_HANDLER(name##_bfloat16, "Host", XlaOnCpu, (function<XlaOnCpu, bfloat16>), binding)
#define KERASLLM_REGISTER_XLA_CPU(op, Kernel) \
  REGISTER_KERNEL_BUILDER(Name(op).Device("XLA_CPU_JIT"), WithShapesChecked<Kernel>)
#ifdef KERASLLM_HAS_CUDA
#define KERASLLM_XLA_HANDLERS(name, function, binding)                                          \
  KERASLLM_XLA_CPU_HANDLERS(name, function, binding);                                           \
  KERASLLM_XLA_HANDLER(name##_float32, "CUDA", XlaOnGpu, (function<XlaOnGpu, float>), binding); \
  KERASLLM_XLA_HANDLER(name##_bfloat16, "CUDA", XlaOnGpu, (function<XlaOnGpu, bfloat16>),       \
                       binding);                                                                \
  KERASLLM_XLA_HANDLER(name##_float16, "CUDA", XlaOnGpu, (function<XlaOnGpu, float16>), binding)
#define KERASLLM_REGISTER_XLA(op, Kernel) \
  KERASLLM_REGISTER_XLA_CPU(op, Kernel);  \
  REGISTER_KERNEL_BUILDER(Name(op).Device("XLA_GPU_JIT"), WithShapesChecked<Kernel>)
#else
#define KERASLLM_XLA_HANDLERS KERASLLM_XLA_CPU_HANDLERS
#define KERASLLM_REGISTER_XLA KERASLLM_REGISTER_XLA_CPU
#endif

// Within a handler: the data of the call's operands and results.
template <class T>
const T* xla_input(const xla::ffi::RemainingArgs& arguments, size_t index) {
  return static_cast<const T*>(arguments.get<xla::ffi::AnyBuffer>(index)->untyped_data());
}
template <class T>
T* xla_output(const xla::ffi::RemainingRets& results, size_t index) {
  return static_cast<T*>((*results.get<xla::ffi::AnyBuffer>(index))->untyped_data());
}

// An operand as rows over its last axis.
struct XlaRows {
  int64_t count, size;
};
inline XlaRows xla_rows(const xla::ffi::RemainingArgs& arguments, size_t index) {
  int64_t count = 1;
  const auto sizes = arguments.get<xla::ffi::AnyBuffer>(index)->dimensions();
  for (size_t i = 0; i + 1 < sizes.size(); ++i) count *= sizes[i];
  return {count, sizes.back()};
}

// Data that is null for a tensor without elements, which stands for one that is not there.
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
  XlaAttributes& set(const char* name, const std::vector<float>& values) {
    std::string list;
    for (const float value : values) {
      absl::StrAppendFormat(&list, "%s%.9e", list.empty() ? ": " : ", ", value);
    }
    return add(name, "array<f32" + list + ">");
  }
  std::string text() const { return "{" + text_ + "}"; }

 private:
  XlaAttributes& add(const char* name, const std::string& value) {
    absl::StrAppend(&text_, text_.empty() ? "" : ", ", name, " = ", value);
    return *this;
  }
  std::string text_;
};

// Handlers are registered once per element type: NAME_float32, NAME_bfloat16 and, on GPUs,
// NAME_float16.
inline std::string typed_handler(const char* name, tensorflow::DataType type) {
  if (type == tensorflow::DT_HALF) return absl::StrCat(name, "_float16");
  return absl::StrCat(name, type == tensorflow::DT_FLOAT ? "_float32" : "_bfloat16");
}
inline xla::PrimitiveType xla_type(tensorflow::DataType type) {
  if (type == tensorflow::DT_HALF) return xla::F16;
  return type == tensorflow::DT_FLOAT ? xla::F32 : xla::BF16;
}

inline tensorflow::TensorShape with_last(tensorflow::TensorShape shape, int64_t size) {
  shape.set_dim(shape.dims() - 1, size);
  return shape;
}

inline int64_t last_size(const tensorflow::TensorShape& shape) {
  return shape.dim_size(shape.dims() - 1);
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

#ifdef KERASLLM_HAS_CUDA
template <>
struct xla::ffi::CtxDecoding<kerasllm::XlaOnGpu> {
  using Type = kerasllm::XlaOnGpu;
  static std::optional<Type> Decode(const XLA_FFI_Api* api, XLA_FFI_ExecutionContext* context,
                                    DiagnosticEngine& diagnostic) {
    auto stream = CtxDecoding<PlatformStream<void*>>::Decode(api, context, diagnostic);
    auto scratch = CtxDecoding<ScratchAllocator>::Decode(api, context, diagnostic);
    if (!stream || !scratch) return std::nullopt;
    return Type{*stream, std::move(*scratch)};
  }
};
#endif
template <>
struct xla::ffi::CtxDecoding<kerasllm::XlaOnCpu> {
  using Type = kerasllm::XlaOnCpu;
  static std::optional<Type> Decode(const XLA_FFI_Api* api, XLA_FFI_ExecutionContext* context,
                                    DiagnosticEngine& diagnostic) {
    auto pool = CtxDecoding<ThreadPool>::Decode(api, context, diagnostic);
    if (!pool) return std::nullopt;
    return Type{std::move(*pool)};
  }
};

#endif  // KERASLLM_COMMON_XLA_KERNEL_H_
