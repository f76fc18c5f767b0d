// What all OpKernels share: TensorFlow's threads as Parallel, its bfloat16 as ours, shape checks.
#ifndef KERASLLM_COMMON_OP_KERNEL_H_
#define KERASLLM_COMMON_OP_KERNEL_H_

#include <functional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/bfloat16.h"
#include "common/dropout.h"
#include "common/float16.h"
#include "common/parallel.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/lib/core/threadpool.h"
#ifdef KERASLLM_HAS_CUDA
#include "common/cuda_call.h"
#include "xla/stream_executor/stream.h"
#endif

namespace kerasllm {

// The CPU worker threads of the op's device.
class TensorflowParallel final : public Parallel {
 public:
  explicit TensorflowParallel(tensorflow::OpKernelContext* context)
      : workers_(*context->device()->tensorflow_cpu_worker_threads()) {}
  int num_threads() const override { return workers_.num_threads; }
  void run(int64_t num_tasks, void (*body)(void*, int64_t), void* context) override {
    const auto schedule = [this](std::function<void()> f) {
      workers_.workers->Schedule(std::move(f));
    };
    run_on_pool(workers_.num_threads, schedule, num_tasks, body, context);
  }

 private:
  const tensorflow::DeviceBase::CpuWorkerThreads& workers_;
};

// TensorFlow's element type T as the compute code knows it.
template <class T>
struct ComputeType {
  using type = T;
};
template <>
struct ComputeType<tensorflow::bfloat16> {
  using type = bfloat16;
};
template <>
struct ComputeType<Eigen::half> {
  using type = float16;
};

// Where an OpKernel's tensors lie. A family's kernels are templates of it, with a function `run`
// for each: all checks are shared.
struct OnCpu {
  // Whether the host can look at what tensors hold.
  static constexpr bool kHostReads = true;
  static Dropout dropout(float rate, const int32_t* seed) { return make_dropout(rate, seed); }
};

#ifdef KERASLLM_HAS_CUDA
struct OnGpu {
  static constexpr bool kHostReads = false;
  static Dropout dropout(float rate, const int32_t* seed) {
    return make_device_dropout(rate, seed);
  }
};

// Launches on the op's stream, with scratch memory from TensorFlow's allocator, and does not wait:
// the allocator gives the memory to others only behind what is in the stream.
// launcher(scratch, stream) returns a cudaError_t.
template <class Launcher>
void launch_on_gpu(tensorflow::OpKernelContext* context, int64_t scratch_bytes,
                   const Launcher& launcher) {
  tensorflow::Tensor scratch;
  OP_REQUIRES_OK(context,
                 context->allocate_temp(tensorflow::DT_UINT8,
                                        tensorflow::TensorShape({scratch_bytes}), &scratch));
  void* const stream = context->op_device_context()->stream()->platform_specific_handle().stream;
  const int error = launcher(scratch.flat<uint8_t>().data(), stream);
  OP_REQUIRES(context, error == 0,
              absl::InternalError(absl::StrCat(context->op_kernel().type_string(), ": ",
                                               kerasllm_cuda_error_string(error))));
}
#endif

template <class T>
const typename ComputeType<T>::type* data_of(const tensorflow::Tensor& tensor) {
  return reinterpret_cast<const typename ComputeType<T>::type*>(tensor.flat<T>().data());
}
template <class T>
typename ComputeType<T>::type* data_of(tensorflow::Tensor* tensor) {
  return reinterpret_cast<typename ComputeType<T>::type*>(tensor->flat<T>().data());
}

// A tensor as rows over its last axis: how many, how long, and its shape with rows of another size.
inline int64_t rows_of(const tensorflow::Tensor& tensor) {
  int64_t rows = 1;
  for (int i = 0; i + 1 < tensor.dims(); ++i) rows *= tensor.dim_size(i);
  return rows;
}
inline int64_t last_size(const tensorflow::Tensor& tensor) {
  return tensor.dim_size(tensor.dims() - 1);
}
inline tensorflow::TensorShape with_last(const tensorflow::Tensor& tensor, int64_t size) {
  tensorflow::TensorShape shape = tensor.shape();
  shape.set_dim(shape.dims() - 1, size);
  return shape;
}

inline absl::Status expect_shape(const char* op, const char* name, const tensorflow::Tensor& tensor,
                                 const tensorflow::TensorShape& expected) {
  if (tensor.shape() == expected) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(op, ": ", name, " has shape ",
                                                 tensor.shape().DebugString(), ", expected ",
                                                 expected.DebugString()));
}

// A tensor (0,) stands for one that is not there.
inline bool is_absent(const tensorflow::Tensor& tensor) {
  return tensor.dims() == 1 && tensor.dim_size(0) == 0;
}
template <class T>
const typename ComputeType<T>::type* optional_data(const tensorflow::Tensor& tensor) {
  return is_absent(tensor) ? nullptr : data_of<T>(tensor);
}
template <class T>
typename ComputeType<T>::type* optional_data(tensorflow::Tensor* tensor, bool present) {
  return present ? data_of<T>(tensor) : nullptr;
}
inline absl::Status expect_shape_or_absent(const char* op, const char* name,
                                           const tensorflow::Tensor& tensor,
                                           const tensorflow::TensorShape& expected) {
  return is_absent(tensor) ? absl::OkStatus() : expect_shape(op, name, tensor, expected);
}

// Rows over the last axis, whatever the others are.
inline absl::Status expect_row(const char* op, const char* name, const tensorflow::Tensor& tensor) {
  if (tensor.dims() >= 1) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(op, ": ", name, " is a scalar, expected (..., dim)"));
}

inline absl::Status expect_rank(const char* op, const char* name, const tensorflow::Tensor& tensor,
                                int rank, const char* dimensions) {
  if (tensor.dims() == rank) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      op, ": ", name, " has shape ", tensor.shape().DebugString(), ", expected ", dimensions));
}

inline absl::Status expect_rate(const char* op, float rate) {
  if (rate >= 0.0f && rate < 1.0f) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(op, ": dropout rate is ", rate, ", expected at least 0 and below 1"));
}

}  // namespace kerasllm

#endif  // KERASLLM_COMMON_OP_KERNEL_H_
