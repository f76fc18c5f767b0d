// How the GPU's linear cross-entropy is cut into blocks, and its steps on one: products in tiles
// (common/cuda_gemm_mma.h), and between them the kernels of the other files here.
#ifndef KERASLLM_LINEAR_CROSS_ENTROPY_LINEAR_CROSS_ENTROPY_CUDA_WORK_H_
#define KERASLLM_LINEAR_CROSS_ENTROPY_LINEAR_CROSS_ENTROPY_CUDA_WORK_H_

#include "common/cuda_gemm_mma.h"
#include "linear_cross_entropy/linear_cross_entropy_cuda_gradients.h"
#include "linear_cross_entropy/linear_cross_entropy_cuda_list.h"
#include "linear_cross_entropy/linear_cross_entropy_cuda_rows.h"

namespace kerasllm {
namespace {

#ifdef __CUDACC__
constexpr int64_t kChunkBytes = 512 << 20;  // of the block that forward keeps
constexpr int64_t kBlockBytes = 128 << 20;  // and backward
constexpr int64_t kMostRows = 8192;         // of which statistics are kept at a time
#else
constexpr int64_t kChunkBytes = 1 << 17, kBlockBytes = 1 << 17, kMostRows = 128;
#endif
constexpr int64_t kMostSplits = 16;

inline int64_t round_up(int64_t value, int64_t unit) { return cuda_ceil_div(value, unit) * unit; }

// Parts of the scratch memory; without memory it only counts.
struct Divider {
  char* memory;
  int64_t bytes = 0;
  template <class T>
  void take(T** pointer, int64_t size) {
    *pointer = memory == nullptr ? nullptr : reinterpret_cast<T*>(memory + bytes);
    bytes += round_up(size * static_cast<int64_t>(sizeof(T)), 256);
  }
};

// How the work is cut; it follows from the shape alone, so the bits do too.
template <class T>
struct Plan {
  int64_t dim_stride, tile_columns;
  bool packs_kernel;
  int64_t chunk_rows;     // rows whose statistics are made together
  int64_t block_rows;     // of the block of logits
  int64_t block_classes;  // and its classes, 0 where none is kept
  int64_t block_stride;
  int64_t splits;  // of the depth in the hidden states' gradient

  // `by_classes`: the block holds all rows and some of the classes, else the other way round.
  Plan(const LinearCrossEntropyInputs<T>& in, bool keeps, bool by_classes) {
    constexpr int64_t kSize = sizeof(T);
    dim_stride = round_up(in.dim, kVectorWidth<T>);
    packs_kernel = dim_stride != in.dim;
    tile_columns = gemm_tile_columns<T>();
    const int64_t rows = cuda_max(1, in.rows);
    const int64_t class_stride = round_up(cuda_max(1, in.vocabulary), kVectorWidth<T>);
    int64_t most = kMostRows;
    if (keeps && !by_classes) {
      most = cuda_min(most, kChunkBytes / (kSize * class_stride) / kStripRows * kStripRows);
      most = cuda_max(most, kStripRows);
    }
    chunk_rows = round_up(cuda_ceil_div(rows, cuda_ceil_div(rows, most)), kStripRows);
    block_rows = by_classes ? in.rows : chunk_rows;
    block_classes = keeps ? in.vocabulary : 0;
    if (keeps && by_classes) {
      const int64_t fit = kBlockBytes / (kSize * rows) / tile_columns;
      block_classes = cuda_min(in.vocabulary, cuda_max(1, fit) * tile_columns);
    }
    block_stride = round_up(block_classes, kVectorWidth<T>);
    // Enough blocks for all multiprocessors, yet a depth that is worth the partial sums.
    const int64_t tiles = cuda_max(1, cuda_ceil_div(block_rows, kStripRows)) *
                          cuda_max(1, cuda_ceil_div(in.dim, tile_columns));
    splits = cuda_min(kMostSplits, cuda_ceil_div(264, tiles));
    splits = cuda_max(1, cuda_min(splits, block_classes / 512));
  }
};

template <class T>
class Work {
 public:
  // `hidden`: the hidden states' gradient is made; `bias`: the bias's.
  Work(const LinearCrossEntropyInputs<T>& in, const Plan<T>& plan, bool hidden, bool bias,
       void* memory, void* stream)
      : in_(in), plan_(plan), stream_(stream) {
    Divider divider = {static_cast<char*>(memory)};
    int32_t *list, *labels;
    divider.take(&found_, 1);
    divider.take(&list, in.rows);
    divider.take(&labels, in.rows);
    rows_.list = list;
    rows_.labels = labels;
    for (float** p :
         {&rows_.label_logit, &rows_.peak, &rows_.scale, &rows_.offset, &rows_.label_gradient}) {
      divider.take(p, in.rows);
    }
    const int64_t places =
        cuda_max(plan.chunk_rows * cuda_ceil_div(in.vocabulary, plan.tile_columns),
                 plan.block_rows * cuda_ceil_div(plan.block_classes, plan.tile_columns));
    for (float** p : {&statistics_.largest, &statistics_.sum, &statistics_.total}) {
      divider.take(p, places);
    }
    divider.take(&statistics_.best, places);
    divider.take(&hidden_, in.rows * plan.dim_stride);
    divider.take(&packed_kernel_, plan.packs_kernel ? in.vocabulary * plan.dim_stride : 0);
    divider.take(&block_, plan.block_rows * plan.block_stride);
    const int64_t strips = cuda_ceil_div(plan.block_rows, kStripRows);
    divider.take(&strips_, bias ? strips * plan.block_classes : 0);
    divider.take(&partials_, hidden ? plan.splits * plan.block_rows * in.dim : 0);
    bytes_ = divider.bytes;
  }
  int64_t bytes() const { return bytes_; }
  const Found* found() const { return found_; }
  T* block() const { return block_; }

  int begin(const float* d_losses, bool saved) const {
    if (!plan_.packs_kernel && !aligned_to_16(in_.kernel)) return 1;  // cudaErrorInvalidValue
    const float scale = std::is_same_v<T, float16> ? 1024.0f : 1.0f;
    const ListRows list = {in_.rows,
                           in_.options.ignore_index,
                           in_.labels,
                           d_losses,
                           saved,
                           scale,
                           const_cast<int32_t*>(rows_.list),
                           const_cast<int32_t*>(rows_.labels),
                           found_};
    KERASLLM_RETURN_IF_ERROR(
        launch(&list_rows_kernel, dim3(1), dim3(kListThreads), 0, stream_, list));
    if (in_.dim == 0) return 0;
    KERASLLM_RETURN_IF_ERROR(launch(&pack_rows_kernel<T>, dim3(static_cast<unsigned>(in_.rows)),
                                    dim3(kThreads), 0, stream_, found_, rows_.list,
                                    in_.hidden_states, in_.dim, hidden_, plan_.dim_stride));
    if (!plan_.packs_kernel) return 0;
    return launch(&pack_rows_kernel<T>, dim3(static_cast<unsigned>(in_.vocabulary)), dim3(kThreads),
                  0, stream_, found_, static_cast<const int32_t*>(nullptr), in_.kernel, in_.dim,
                  packed_kernel_, plan_.dim_stride);
  }

  // Logits of `rows` rows from `row` on, and of classes likewise.
  int logits(int64_t row, int64_t rows, int64_t first_class, int64_t classes, bool keeps) const {
    GemmProblem<T> problem = {hidden(row, rows), kernel(first_class, classes), rows, classes,
                              in_.dim};
    problem.count = &found_->remake;
    problem.first = row;
    const TakeLogits<T> take = {in_.bias,    rows_.from(row),          statistics(rows),
                                first_class, keeps ? block_ : nullptr, plan_.block_stride};
    return gemm<true, true>(problem, take, stream_);
  }

  int finish(int64_t row, int64_t rows, const float* weights, float* losses, bool* correct,
             float* log_sum_exp) const {
    const FinishRows args = {in_.options,
                             in_.vocabulary,
                             cuda_ceil_div(in_.vocabulary, plan_.tile_columns),
                             rows,
                             row,
                             found_,
                             rows_.from(row),
                             statistics(rows),
                             weights,
                             losses,
                             correct,
                             log_sum_exp};
    return launch(&finish_rows_kernel, dim3(static_cast<unsigned>(cuda_ceil_div(rows, kWarp))),
                  dim3(kWarp, kSlices), 0, stream_, args);
  }

  // The block becomes the logits' gradient; d_bias may be null.
  int logits_gradient(int64_t row, int64_t rows, int64_t first_class, int64_t classes,
                      float* d_bias) const {
    const LogitsGradient<T> args = {rows,
                                    row,
                                    first_class,
                                    classes,
                                    plan_.tile_columns,
                                    found_,
                                    rows_.from(row),
                                    statistics(rows),
                                    block_,
                                    plan_.block_stride,
                                    d_bias == nullptr ? nullptr : strips_};
    const int64_t strips = cuda_ceil_div(rows, kStripRows);
    const int64_t blocks = cuda_ceil_div(plan_.block_stride, kWarp * kVectorWidth<T>);
    KERASLLM_RETURN_IF_ERROR(
        launch(&logits_gradient_kernel<T>,
               dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(strips)),
               dim3(kWarp, kSlices), 0, stream_, args));
    if (d_bias == nullptr) return 0;
    return launch(&bias_gradient_kernel,
                  dim3(static_cast<unsigned>(cuda_ceil_div(classes, kThreads))), dim3(kThreads), 0,
                  stream_, found_, strips_, strips, classes, row > 0, d_bias + first_class);
  }

  // The block's share in the hidden states' gradient; the first class begins it.
  int add_hidden_gradient(int64_t row, int64_t rows, int64_t first_class, int64_t classes) const {
    GemmProblem<T> problem = {{block_, plan_.block_stride, rows, plan_.block_stride},
                              kernel(first_class, classes),
                              rows,
                              in_.dim,
                              classes,
                              plan_.splits};
    problem.count = &found_->remake;
    problem.first = row;
    const StoreSums<T> store = {partials_,       nullptr,          in_.dim, rows * in_.dim,
                                first_class > 0, in_.dim % 2 == 0, nullptr};
    return gemm<true, false>(problem, store, stream_);
  }
  template <class Out>
  int hidden_gradient(int64_t row, int64_t rows, Out* to) const {
    if (in_.dim == 0) return 0;
    return launch(&hidden_gradient_kernel<Out>, dim3(static_cast<unsigned>(rows)), dim3(kThreads),
                  0, stream_, found_, rows_.list + row, row, partials_, plan_.splits,
                  rows * in_.dim, in_.dim, to);
  }

  // The block's share in the kernel's gradient, which goes to `sums`, begun by the first row, or,
  // if that is null, to `results`.
  int kernel_gradient(int64_t row, int64_t rows, int64_t first_class, int64_t classes, float* sums,
                      T* results) const {
    GemmProblem<T> problem = {{block_, plan_.block_stride, rows, plan_.block_stride},
                              hidden(row, rows),
                              classes,
                              in_.dim,
                              rows};
    problem.count = &found_->remake;
    problem.first = row;
    problem.counts_depth = true;
    const int64_t begin = first_class * in_.dim;
    const StoreSums<T> store = {sums == nullptr ? nullptr : sums + begin,
                                results == nullptr ? nullptr : results + begin,
                                in_.dim,
                                0,
                                row > 0,
                                in_.dim % 2 == 0 && aligned_to_16(sums, results),
                                &found_->unscale};
    return gemm<false, false>(problem, store, stream_);
  }

 private:
  GemmOperand<T> hidden(int64_t row, int64_t rows) const {
    return {hidden_ + row * plan_.dim_stride, plan_.dim_stride, rows, plan_.dim_stride};
  }
  GemmOperand<T> kernel(int64_t first_class, int64_t classes) const {
    const T* const data = plan_.packs_kernel ? packed_kernel_ : in_.kernel;
    return {data + first_class * plan_.dim_stride, plan_.dim_stride, classes, plan_.dim_stride};
  }
  Statistics statistics(int64_t rows) const {
    Statistics result = statistics_;
    result.stride = rows;
    return result;
  }

  const LinearCrossEntropyInputs<T>& in_;
  const Plan<T>& plan_;
  void* stream_;
  int64_t bytes_;
  Found* found_;
  Rows rows_;
  Statistics statistics_;
  T *hidden_, *packed_kernel_, *block_;
  float *strips_, *partials_;
};

}  // namespace
}  // namespace kerasllm

#endif  // KERASLLM_LINEAR_CROSS_ENTROPY_LINEAR_CROSS_ENTROPY_CUDA_WORK_H_
