// What all OpKernels share: TensorFlow's threads as Parallel, its bfloat16 as ours, shape checks.
#ifndef KERASLLM_COMMON_OP_KERNEL_H_
#define KERASLLM_COMMON_OP_KERNEL_H_

#include <functional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/bfloat16.h"
#include "common/parallel.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/lib/core/threadpool.h"

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

template <class T>
const typename ComputeType<T>::type* data_of(const tensorflow::Tensor& tensor) {
  return reinterpret_cast<const typename ComputeType<T>::type*>(tensor.flat<T>().data());
}
template <class T>
typename ComputeType<T>::type* data_of(tensorflow::Tensor* tensor) {
  return reinterpret_cast<typename ComputeType<T>::type*>(tensor->flat<T>().data());
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
