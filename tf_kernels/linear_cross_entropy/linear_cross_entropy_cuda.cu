// Linear cross-entropy on the GPU: products in tiles (common/cuda_gemm_mma.h), and between them
// what is in linear_cross_entropy_cuda_rows.h.
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
#include "common/cuda_gemm_mma.h"
#include "linear_cross_entropy/linear_cross_entropy_cuda.h"
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
constexpr int kThreads = 256, kListThreads = 1024;
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

// The rows that count, in order; and whether their losses have one factor.
struct ListRows {
  int64_t rows, ignore_index;
  const int32_t* labels;
  const float* d_losses;  // null in forward
  bool saved;             // one factor is enough
  float scale;            // for factors around 1
  int32_t *list, *listed_labels;
  Found* found;
};
__global__ void __launch_bounds__(kListThreads) list_rows_kernel(ListRows args) {
  __shared__ int32_t counts[kListThreads];
  __shared__ float largest[kListThreads];
  __shared__ float first_factor;
  const int thread = threadIdx.x;
  const int64_t each = cuda_ceil_div(args.rows, kListThreads);
  const int64_t begin = cuda_min(args.rows, thread * each);
  const int64_t end = cuda_min(args.rows, begin + each);
  int32_t mine = 0;
  for (int64_t row = begin; row < end; ++row) mine += args.labels[row] != args.ignore_index;
  counts[thread] = mine;
  __syncthreads();
  for (int step = 1; step < kListThreads; step *= 2) {
    const int32_t before = thread >= step ? counts[thread - step] : 0;
    __syncthreads();
    counts[thread] += before;
    __syncthreads();
  }
  const int32_t count = counts[kListThreads - 1];
  int32_t to = counts[thread] - mine;
  __syncthreads();  // `counts` serves again
  const bool has_factors = args.d_losses != nullptr;
  for (int64_t row = begin; row < end; ++row) {
    const int32_t label = args.labels[row];
    if (label == args.ignore_index) continue;
    if (to == 0 && has_factors) first_factor = args.d_losses[row];
    args.list[to] = static_cast<int32_t>(row);
    args.listed_labels[to++] = label;
  }
  __syncthreads();
  int32_t others = 0;
  float most = 0.0f;
  if (has_factors) {
    for (int64_t row = begin; row < end; ++row) {
      if (args.labels[row] == args.ignore_index) continue;
      const float factor = args.d_losses[row];
      others |= !(factor == first_factor);  // a NaN is equal to nothing
      most = fmaxf(most, fabsf(factor));
    }
  }
  counts[thread] = others;
  largest[thread] = most;
  __syncthreads();
  for (int step = kListThreads / 2; step > 0; step /= 2) {
    if (thread < step) {
      counts[thread] |= counts[thread + step];
      largest[thread] = fmaxf(largest[thread], largest[thread + step]);
    }
    __syncthreads();
  }
  if (thread != 0) return;
  Found found = {count, count, 1.0f, args.scale, 1.0f / args.scale};
  if (has_factors && count > 0) {
    found.factor = first_factor;
    if (args.saved && counts[0] == 0) found.remake = -1;
    const float size = largest[0];
    if (args.scale != 1.0f && size > 1e-30f && size < 1e30f) {
      const int exponent = ilogbf(size);
      found.scale = scalbnf(args.scale, -exponent);
      found.unscale = scalbnf(1.0f / args.scale, exponent);
    }
  }
  *args.found = found;
}

// Rows of `from` (dim wide), those in `list` or all, to rows of `stride` with zeros behind dim.
template <class T>
__global__ void __launch_bounds__(kThreads)
    pack_rows_kernel(const Found* found, const int32_t* list, const T* from, int64_t dim, T* to,
                     int64_t stride) {
  const int64_t row = blockIdx.x;
  if (found->remake < 0 || (list != nullptr && row >= found->remake)) return;
  const T* const source = from + (list != nullptr ? list[row] : row) * dim;
  for (int64_t column = threadIdx.x; column < stride; column += blockDim.x) {
    store_one(to + row * stride + column, column < dim ? load_one(source + column) : 0.0f);
  }
}

// Takes a product's sums times `*factor`, in float32 or, where `sums` is null, in T.
template <class T>
struct StoreSums {
  float* sums;
  T* results;
  int64_t stride;
  int64_t split_size;  // elements between the sums of two splits
  bool adds;           // to the sums that are there
  bool in_pairs;       // two elements are aligned where the first is of an even column
  const float* factor;

  template <class Tile>
  KERASLLM_DEVICE void operator()(Tile& tile, const GemmPlace& place, float*) const {
    const float times = factor == nullptr ? 1.0f : *factor;
    const int64_t split = place.split * split_size;
#pragma unroll
    for (int i = 0; i < Tile::kRows; ++i) {
      const int row = place.row + tile.row(i);
      if (row >= place.rows) continue;
#pragma unroll
      for (int j = 0; j < Tile::kColumns; j += 2) {
        const int column = place.column + tile.column(j);
        if (column >= place.columns) continue;
        const bool second = column + 1 < place.columns;
        const int64_t at = split + row * stride + column;
        float v[2] = {tile.value(i, j) * times, tile.value(i, j + 1) * times};
        if (sums != nullptr && adds) {
          v[0] += sums[at];
          if (second) v[1] += sums[at + 1];
        }
        if (sums != nullptr) {
          put(sums + at, v, second);
        } else {
          put(results + at, v, second);
        }
      }
    }
  }

 private:
  template <class Out>
  KERASLLM_DEVICE void put(Out* to, const float (&v)[2], bool second) const {
    if (in_pairs) {
      store(to, v);
    } else {
      store_one(to, v[0]);
      if (second) store_one(to + 1, v[1]);
    }
  }
};

// The sums of all splits (splits, rows, dim), in order, to the rows of the tensor.
template <class T>
__global__ void __launch_bounds__(kThreads)
    hidden_gradient_kernel(const Found* found, const int32_t* list, int64_t first,
                           const float* partials, int64_t splits, int64_t split_size, int64_t dim,
                           T* to) {
  const int64_t row = blockIdx.x;
  if (row >= found->remake - first) return;
  const float factor = found->unscale;
  for (int64_t column = threadIdx.x; column < dim; column += blockDim.x) {
    float sum = 0.0f;
    for (int64_t split = 0; split < splits; ++split) {
      sum += partials[split * split_size + row * dim + column];
    }
    store_one(to + list[row] * dim + column, sum * factor);
  }
}

__global__ void __launch_bounds__(kThreads)
    bias_gradient_kernel(const Found* found, const float* strips, int64_t count, int64_t classes,
                         bool adds, float* to) {
  const int64_t id = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (found->remake < 0 || id >= classes) return;
  float sum = 0.0f;
  for (int64_t strip = 0; strip < count; ++strip) sum += strips[strip * classes + id];
  to[id] = (adds ? to[id] : 0.0f) + sum * found->unscale;
}

// What forward saved, times the losses' one factor, if they have one.
template <int kWidth, class T>
__global__ void __launch_bounds__(kThreads)
    scale_kernel(const Found* found, const float* from, int64_t size, T* to) {
  if (found->remake >= 0) return;
  const int64_t at = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kWidth;
  if (at >= size) return;
  float v[kWidth];
  load_floats(from + at, v);
#pragma unroll
  for (float& value : v) value *= found->factor;
  store(to + at, v);
}
template <class T>
int scale(const Found* found, const float* from, int64_t size, T* to, void* stream) {
  if (size == 0) return 0;
  const bool wide = size % 4 == 0 && aligned_to_16(from, to);
  const int64_t blocks = cuda_ceil_div(size, kThreads * (wide ? 4 : 1));
  return launch(wide ? &scale_kernel<4, T> : &scale_kernel<1, T>,
                dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 0, stream, found, from, size,
                to);
}

// The same of the hidden states, each row by its own factor.
template <class T>
__global__ void __launch_bounds__(kThreads)
    scale_rows_kernel(const int32_t* labels, int64_t ignore_index, const float* factors,
                      const float* from, int64_t dim, T* to) {
  const int64_t row = blockIdx.x;
  // Saved as zero; what came for it, which may be no number, does not count.
  const float factor = labels[row] == ignore_index ? 0.0f : factors[row];
  for (int64_t column = threadIdx.x; column < dim; column += blockDim.x) {
    store_one(to + row * dim + column, from[row * dim + column] * factor);
  }
}

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
