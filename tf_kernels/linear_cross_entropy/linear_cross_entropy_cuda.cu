// Linear cross-entropy on the GPU: the steps of linear_cross_entropy_cuda_work.h, in their order.
//
// Forward goes chunk of rows by chunk of rows over all classes. The epilogue of the logits' product
// keeps exp(logit - the tile's largest), which half precision keeps as well as a probability; when
// the chunk's rows are finished, it becomes the logits' gradient, and two more products take it
// from there. Backward, where forward saved nothing that serves, makes the statistics first and
// goes block of classes by block of classes over all rows, so that the kernel's gradient is one
// product.
//
// Rows that do not count are left out: a list of the others is made on the device, and the hidden
// states are gathered by it. The host does not know how many these are; blocks without work end.
#include "linear_cross_entropy/linear_cross_entropy_cuda.h"
#include "linear_cross_entropy/linear_cross_entropy_cuda_work.h"

namespace kerasllm {
namespace {

template <class T>
struct Forward {
  const LinearCrossEntropyForward<T>& args;
  Plan<T> plan;
  explicit Forward(const LinearCrossEntropyForward<T>& args)
      : args(args), plan(args.inputs, keeps(), false) {}
  bool keeps() const {
    return args.d_hidden_states != nullptr || args.d_kernel != nullptr || args.d_bias != nullptr;
  }
  bool empty() const { return args.inputs.rows == 0 || args.inputs.vocabulary == 0; }
  Work<T> work(void* scratch, void* stream) const {
    return {args.inputs, plan,  args.d_hidden_states != nullptr, keeps() && args.d_bias != nullptr,
            scratch,     stream};
  }
  int run(void* scratch, void* stream) const;
};

template <class T>
int Forward<T>::run(void* scratch, void* stream) const {
  const LinearCrossEntropyInputs<T>& in = args.inputs;
  // What the rows that do not count get.
  KERASLLM_RETURN_IF_ERROR(clear(args.losses, in.rows * 4, stream));
  KERASLLM_RETURN_IF_ERROR(clear(args.correct, in.rows, stream));
  KERASLLM_RETURN_IF_ERROR(clear(args.log_sum_exp, in.rows * 4, stream));
  if (args.d_hidden_states != nullptr) {
    KERASLLM_RETURN_IF_ERROR(clear(args.d_hidden_states, in.rows * in.dim * 4, stream));
  }
  if (empty()) {
    if (args.d_kernel != nullptr) {
      KERASLLM_RETURN_IF_ERROR(clear(args.d_kernel, in.vocabulary * in.dim * 4, stream));
    }
    return args.d_bias == nullptr ? 0 : clear(args.d_bias, in.vocabulary * 4, stream);
  }
  const Work<T> work = this->work(scratch, stream);
  KERASLLM_RETURN_IF_ERROR(work.begin(nullptr, false));
  const int64_t classes = in.vocabulary;
  for (int64_t row = 0; row < in.rows; row += plan.chunk_rows) {
    const int64_t rows = cuda_min(plan.chunk_rows, in.rows - row);
    KERASLLM_RETURN_IF_ERROR(work.logits(row, rows, 0, classes, keeps()));
    KERASLLM_RETURN_IF_ERROR(
        work.finish(row, rows, nullptr, args.losses, args.correct, args.log_sum_exp));
    if (!keeps()) continue;
    KERASLLM_RETURN_IF_ERROR(work.logits_gradient(row, rows, 0, classes, args.d_bias));
    if (args.d_hidden_states != nullptr) {
      KERASLLM_RETURN_IF_ERROR(work.add_hidden_gradient(row, rows, 0, classes));
      KERASLLM_RETURN_IF_ERROR(work.hidden_gradient(row, rows, args.d_hidden_states));
    }
    if (args.d_kernel != nullptr) {
      KERASLLM_RETURN_IF_ERROR(work.kernel_gradient(row, rows, 0, classes, args.d_kernel, nullptr));
    }
  }
  return 0;
}

template <class T>
struct Backward {
  const LinearCrossEntropyBackward<T>& args;
  Plan<T> plan;
  explicit Backward(const LinearCrossEntropyBackward<T>& args)
      : args(args), plan(args.inputs, true, true) {}
  bool empty() const { return args.inputs.rows == 0 || args.inputs.vocabulary == 0; }
  Work<T> work(void* scratch, void* stream) const {
    return {args.inputs, plan, !args.saved, args.d_bias != nullptr, scratch, stream};
  }
  int run(void* scratch, void* stream) const;
};

template <class T>
int Backward<T>::run(void* scratch, void* stream) const {
  const LinearCrossEntropyInputs<T>& in = args.inputs;
  const int64_t hidden_size = in.rows * in.dim, kernel_size = in.vocabulary * in.dim;
  if (!args.saved || empty()) {
    KERASLLM_RETURN_IF_ERROR(clear(args.d_hidden_states, hidden_size * sizeof(T), stream));
  }
  if (empty()) {
    KERASLLM_RETURN_IF_ERROR(clear(args.d_kernel, kernel_size * sizeof(T), stream));
    return args.d_bias == nullptr ? 0 : clear(args.d_bias, in.vocabulary * 4, stream);
  }
  const Work<T> work = this->work(scratch, stream);
  KERASLLM_RETURN_IF_ERROR(work.begin(args.d_losses, args.saved));
  const int64_t all = in.vocabulary;
  const bool at_once = plan.chunk_rows >= in.rows && plan.block_classes == all;
  for (int64_t row = 0; row < in.rows; row += plan.chunk_rows) {
    const int64_t rows = cuda_min(plan.chunk_rows, in.rows - row);
    KERASLLM_RETURN_IF_ERROR(work.logits(row, rows, 0, all, at_once));
    KERASLLM_RETURN_IF_ERROR(work.finish(row, rows, args.d_losses, nullptr, nullptr, nullptr));
  }
  for (int64_t id = 0; id < all; id += plan.block_classes) {
    const int64_t classes = cuda_min(plan.block_classes, all - id);
    if (!at_once) KERASLLM_RETURN_IF_ERROR(work.logits(0, in.rows, id, classes, true));
    KERASLLM_RETURN_IF_ERROR(work.logits_gradient(0, in.rows, id, classes, args.d_bias));
    if (!args.saved) {
      KERASLLM_RETURN_IF_ERROR(work.add_hidden_gradient(0, in.rows, id, classes));
    }
    KERASLLM_RETURN_IF_ERROR(work.kernel_gradient(0, in.rows, id, classes, nullptr, args.d_kernel));
  }
  if (!args.saved) return work.hidden_gradient(0, in.rows, args.d_hidden_states);
  if (in.dim > 0) {
    KERASLLM_RETURN_IF_ERROR(launch(&scale_rows_kernel<T>, dim3(static_cast<unsigned>(in.rows)),
                                    dim3(kThreads), 0, stream, in.labels, in.options.ignore_index,
                                    args.d_losses, args.saved_d_hidden_states, in.dim,
                                    args.d_hidden_states));
  }
  KERASLLM_RETURN_IF_ERROR(
      scale(work.found(), args.saved_d_kernel, kernel_size, args.d_kernel, stream));
  if (args.d_bias == nullptr) return 0;
  return scale(work.found(), args.saved_d_bias, in.vocabulary, args.d_bias, stream);
}

}  // namespace
}  // namespace kerasllm

using kerasllm::CudaType;
using kerasllm::LinearCrossEntropyBackward;
using kerasllm::LinearCrossEntropyForward;

int kerasllm_cuda_linear_cross_entropy_forward(int type, const void* args, void* scratch,
                                               void* stream) {
  return kerasllm::for_type(static_cast<CudaType>(type), [&](auto t) {
    using T = decltype(t);
    return kerasllm::Forward<T>(*static_cast<const LinearCrossEntropyForward<T>*>(args))
        .run(scratch, stream);
  });
}
int kerasllm_cuda_linear_cross_entropy_backward(int type, const void* args, void* scratch,
                                                void* stream) {
  return kerasllm::for_type(static_cast<CudaType>(type), [&](auto t) {
    using T = decltype(t);
    return kerasllm::Backward<T>(*static_cast<const LinearCrossEntropyBackward<T>*>(args))
        .run(scratch, stream);
  });
}
int64_t kerasllm_cuda_linear_cross_entropy_forward_scratch(int type, const void* args) {
  int64_t bytes = 0;
  kerasllm::for_type(static_cast<CudaType>(type), [&](auto t) {
    using T = decltype(t);
    const kerasllm::Forward<T> forward(*static_cast<const LinearCrossEntropyForward<T>*>(args));
    bytes = forward.work(nullptr, nullptr).bytes();
    return 0;
  });
  return bytes;
}
int64_t kerasllm_cuda_linear_cross_entropy_backward_scratch(int type, const void* args) {
  int64_t bytes = 0;
  kerasllm::for_type(static_cast<CudaType>(type), [&](auto t) {
    using T = decltype(t);
    const kerasllm::Backward<T> backward(*static_cast<const LinearCrossEntropyBackward<T>*>(args));
    bytes = backward.work(nullptr, nullptr).bytes();
    return 0;
  });
  return bytes;
}

KERASLLM_CUDA_STRUCT(LinearCrossEntropyForward, kerasllm::LinearCrossEntropyForward<float>)
KERASLLM_CUDA_STRUCT(LinearCrossEntropyBackward, kerasllm::LinearCrossEntropyBackward<float>)
