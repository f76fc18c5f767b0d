// A piece of work is a range of columns. Of a kernel that lies row by row, four rows at a time pass
// by, and the sums of the range stay in the first cache level; of a transposed one, four columns,
// whose sums stay in registers. A sum has its terms in the same order whatever the ranges are, so
// results do not depend on the number of threads.
#include "attention/attention_pack.h"
#include "few_rows_product/few_rows_product_dispatch.h"

namespace kerasllm {
namespace KERASLLM_ISA {
namespace {

constexpr int kRowBlock = 4;           // rows of inputs at a time
constexpr int kUnroll = 4;             // rows or columns of the kernel at a time
constexpr int64_t kMaxColumns = 1024;  // in a piece of work

// sums[r][0, columns) += inputs[r][k] * kernel[k][0, columns) for kDepth steps of k.
template <int kRows, int kDepth, class T>
inline __attribute__((always_inline)) void add_rows(const float* inputs, int64_t depth,
                                                    const T* kernel, int64_t stride, float* sums,
                                                    int64_t columns) {
  Vec values[kRows][kDepth];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int k = 0; k < kDepth; ++k) values[r][k] = broadcast(inputs[r * depth + k]);
  }
  for_each_vec(columns, [&](int64_t c, int64_t count) __attribute__((always_inline)) {
    Vec rows[kDepth];
#pragma GCC unroll 4
    for (int k = 0; k < kDepth; ++k) rows[k] = load_first(kernel + k * stride + c, count);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      // `sums` has room for whole vectors.
      Vec sum = load(sums + r * kMaxColumns + c);
#pragma GCC unroll 4
      for (int k = 0; k < kDepth; ++k) sum += values[r][k] * rows[k];
      store(sums + r * kMaxColumns + c, sum);
    }
  });
}

template <int kDepth, class T>
void add_row_blocks(const float* inputs, int64_t rows, int64_t depth, const T* kernel,
                    int64_t stride, float* sums, int64_t columns) {
  for (int64_t r = 0; r < rows; r += kRowBlock) {
    const float* const from = inputs + r * depth;
    float* const to = sums + r * kMaxColumns;
    switch (min_of<int64_t>(rows - r, kRowBlock)) {
      case 1:
        add_rows<1, kDepth>(from, depth, kernel, stride, to, columns);
        break;
      case 2:
        add_rows<2, kDepth>(from, depth, kernel, stride, to, columns);
        break;
      case 3:
        add_rows<3, kDepth>(from, depth, kernel, stride, to, columns);
        break;
      default:
        add_rows<4, kDepth>(from, depth, kernel, stride, to, columns);
    }
  }
}

// products[r][j][lane] = the sum over each lane's k of inputs[r][k] * kernel[j][k].
template <int kRows, int kColumns, class T>
inline __attribute__((always_inline)) void dot_products(const float* inputs, int64_t padded,
                                                        const T* kernel, int64_t depth,
                                                        Vec* products) {
  Vec sums[kRows][kColumns];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < kColumns; ++j) sums[r][j] = Vec{};
  }
  for_each_vec(depth, [&](int64_t k, int64_t count) __attribute__((always_inline)) {
    Vec columns[kColumns];
#pragma GCC unroll 4
    for (int j = 0; j < kColumns; ++j) columns[j] = load_first(kernel + j * depth + k, count);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const Vec value = load(inputs + r * padded + k);  // zeros behind the row
#pragma GCC unroll 4
      for (int j = 0; j < kColumns; ++j) sums[r][j] += value * columns[j];
    }
  });
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < kColumns; ++j) products[r * kLanes + j] = sums[r][j];
  }
}

template <int kColumns, class T>
void dot_row_blocks(const float* inputs, int64_t rows, int64_t padded, const T* kernel,
                    int64_t depth, Vec* products) {
  for (int64_t r = 0; r < rows; r += kRowBlock) {
    const float* const from = inputs + r * padded;
    Vec* const to = products + r * kLanes;
    switch (min_of<int64_t>(rows - r, kRowBlock)) {
      case 1:
        dot_products<1, kColumns>(from, padded, kernel, depth, to);
        break;
      case 2:
        dot_products<2, kColumns>(from, padded, kernel, depth, to);
        break;
      case 3:
        dot_products<3, kColumns>(from, padded, kernel, depth, to);
        break;
      default:
        dot_products<4, kColumns>(from, padded, kernel, depth, to);
    }
  }
}

template <class T>
void write(const FewRowsProduct<T>& args, int64_t row, int64_t column, Vec sum, int64_t count) {
  if (args.bias != nullptr) sum += load_first(args.bias + column, count);
  const int64_t place = row * args.columns + column;
  if (args.wide_outputs != nullptr) {
    store_first(args.wide_outputs + place, sum, count);
  } else {
    store_first(args.outputs + place, sum, count);
  }
}

template <class T>
void multiply(const FewRowsProduct<T>& args, const float* inputs, int64_t padded, int64_t begin,
              int64_t end, float* sums) {
  const int64_t columns = end - begin;
  for (int64_t i = 0; i < args.rows * kMaxColumns; i += kLanes) store(sums + i, Vec{});
  const T* kernel = args.kernel + begin;
  int64_t k = 0;
  for (; k + kUnroll <= args.depth; k += kUnroll) {
    add_row_blocks<kUnroll>(inputs + k, args.rows, padded, kernel + k * args.columns, args.columns,
                            sums, columns);
  }
  for (; k < args.depth; ++k) {
    add_row_blocks<1>(inputs + k, args.rows, padded, kernel + k * args.columns, args.columns, sums,
                      columns);
  }
  for (int64_t r = 0; r < args.rows; ++r) {
    for (int64_t c = 0; c < columns; c += kLanes) {
      write(args, r, begin + c, load(sums + r * kMaxColumns + c), columns - c);
    }
  }
}

template <class T>
void multiply_transposed(const FewRowsProduct<T>& args, const float* inputs, int64_t padded,
                         int64_t begin, int64_t end, float* scratch) {
  Vec* const products = reinterpret_cast<Vec*>(scratch);  // (rows, kLanes) vectors
  for (int64_t column = begin; column < end; column += kLanes) {
    const int64_t count = min_of<int64_t>(kLanes, end - column);
    for (int64_t i = 0; i < args.rows * kLanes; ++i) products[i] = Vec{};
    int64_t j = 0;
    for (; j + kUnroll <= count; j += kUnroll) {
      dot_row_blocks<kUnroll>(inputs, args.rows, padded, args.kernel + (column + j) * args.depth,
                              args.depth, products + j);
    }
    for (; j < count; ++j) {
      dot_row_blocks<1>(inputs, args.rows, padded, args.kernel + (column + j) * args.depth,
                        args.depth, products + j);
    }
    for (int64_t r = 0; r < args.rows; ++r) {
      Vec* const lanes = products + r * kLanes;
      transpose_step<kLanes / 2>(lanes);
      Vec sum = lanes[0];
      for (int i = 1; i < kLanes; ++i) sum += lanes[i];
      write(args, r, column, sum, count);
    }
  }
}

template <class T>
void product(const FewRowsProduct<T>& args, Parallel& parallel) {
  if (args.rows * args.columns == 0) return;
  const int64_t padded = round_up(max_of<int64_t>(args.depth, 1), kLanes);
  Scratch input_scratch(Scratch::rounded(args.rows * padded * sizeof(float)));
  float* const inputs = static_cast<float*>(input_scratch.take(args.rows * padded * sizeof(float)));
  for (int64_t r = 0; r < args.rows; ++r) {
    for (int64_t k = 0; k < padded; k += kLanes) {
      store(inputs + r * padded + k,
            load_first(args.inputs + r * args.depth + k, max_of<int64_t>(0, args.depth - k)));
    }
  }
  // Ranges of whole vectors, one or more for each thread.
  const int64_t vectors = ceil_div(args.columns, kLanes);
  const int64_t ranges = max_of(min_of<int64_t>(vectors, parallel.num_threads()),
                                ceil_div(vectors * kLanes, kMaxColumns));
  constexpr int64_t kThreadWork = 1 << 15;  // elements of the kernel
  const int64_t workers = min_of(ranges, 1 + args.depth * args.columns / kThreadWork);
  const int64_t sum_bytes =
      args.rows * (args.transposed ? kLanes * sizeof(Vec) : kMaxColumns * sizeof(float));
  int64_t next = 0;
  parallel.for_each(min_of<int64_t>(workers, parallel.num_threads()), [&](int64_t) {
    Scratch scratch(Scratch::rounded(sum_bytes));
    float* const sums = static_cast<float*>(scratch.take(sum_bytes));
    for (int64_t i; (i = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED)) < ranges;) {
      const int64_t begin = vectors * i / ranges * kLanes;
      const int64_t end = min_of(args.columns, vectors * (i + 1) / ranges * kLanes);
      if (args.transposed) {
        multiply_transposed(args, inputs, padded, begin, end, sums);
      } else {
        multiply(args, inputs, padded, begin, end, sums);
      }
    }
  });
}

}  // namespace

extern const FewRowsProductKernels few_rows_product_kernels = {&product<float>, &product<bfloat16>};

}  // namespace KERASLLM_ISA
}  // namespace kerasllm
