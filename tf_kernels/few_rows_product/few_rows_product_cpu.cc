// Memory is read from front to back. Of a kernel that lies row by row, a piece of work is a range
// of rows, of which four at a time pass by the sums of all columns; the pieces' sums are added in
// their order. Of a transposed one it is a range of columns, four at a time, whose sums stay in
// registers. The pieces follow from the sizes alone, so results do not depend on the number of
// threads.
#include "attention/attention_pack.h"
#include "few_rows_product/few_rows_product_dispatch.h"

namespace kerasllm {
namespace KERASLLM_ISA {
namespace {

constexpr int kRowBlock = 4;  // rows of inputs at a time
constexpr int kUnroll = 4;    // rows or columns of the kernel at a time
constexpr int64_t kMaxPieces = 8;
constexpr int64_t kThreadWork = 1 << 15;  // elements of the kernel

// sums[r][j] += inputs[r][k] * kernel[k][j] for kDepth steps of k; a row of sums has room for
// `width` columns, whole vectors.
template <int kRows, int kDepth, class T>
inline __attribute__((always_inline)) void add_rows(const float* inputs, int64_t depth,
                                                    const T* kernel, int64_t columns, float* sums,
                                                    int64_t width) {
  Vec values[kRows][kDepth];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int k = 0; k < kDepth; ++k) values[r][k] = broadcast(inputs[r * depth + k]);
  }
  for_each_vec(columns, [&](int64_t c, int64_t count) __attribute__((always_inline)) {
    Vec rows[kDepth];
#pragma GCC unroll 4
    for (int k = 0; k < kDepth; ++k) rows[k] = load_first(kernel + k * columns + c, count);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      Vec sum = load(sums + r * width + c);
#pragma GCC unroll 4
      for (int k = 0; k < kDepth; ++k) sum += values[r][k] * rows[k];
      store(sums + r * width + c, sum);
    }
  });
}

template <int kDepth, class T>
void add_row_blocks(const float* inputs, int64_t rows, int64_t depth, const T* kernel,
                    int64_t columns, float* sums, int64_t width) {
  for (int64_t r = 0; r < rows; r += kRowBlock) {
    const float* const from = inputs + r * depth;
    float* const to = sums + r * width;
    switch (min_of<int64_t>(rows - r, kRowBlock)) {
      case 1:
        add_rows<1, kDepth>(from, depth, kernel, columns, to, width);
        break;
      case 2:
        add_rows<2, kDepth>(from, depth, kernel, columns, to, width);
        break;
      case 3:
        add_rows<3, kDepth>(from, depth, kernel, columns, to, width);
        break;
      default:
        add_rows<4, kDepth>(from, depth, kernel, columns, to, width);
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
inline __attribute__((always_inline)) void write(const FewRowsProduct<T>& args, int64_t row,
                                                 int64_t column, Vec sum, int64_t count) {
  if (args.bias != nullptr) sum += load_first(args.bias + column, count);
  const int64_t place = row * args.columns + column;
  if (args.wide_outputs != nullptr) {
    store_first(args.wide_outputs + place, sum, count);
  } else {
    store_first(args.outputs + place, sum, count);
  }
}

// The sums over rows [begin, end) of the kernel.
template <class T>
void multiply(const FewRowsProduct<T>& args, const float* inputs, int64_t padded, int64_t begin,
              int64_t end, float* sums, int64_t width) {
  for (int64_t i = 0; i < args.rows * width; i += kLanes) store(sums + i, Vec{});
  int64_t k = begin;
  for (; k + kUnroll <= end; k += kUnroll) {
    add_row_blocks<kUnroll>(inputs + k, args.rows, padded, args.kernel + k * args.columns,
                            args.columns, sums, width);
  }
  for (; k < end; ++k) {
    add_row_blocks<1>(inputs + k, args.rows, padded, args.kernel + k * args.columns, args.columns,
                      sums, width);
  }
}

template <class T>
void multiply_transposed(const FewRowsProduct<T>& args, const float* inputs, int64_t padded,
                         int64_t begin, int64_t end) {
  const int64_t bytes = args.rows * kLanes * sizeof(Vec);
  Scratch scratch(Scratch::rounded(bytes));
  Vec* const products = static_cast<Vec*>(scratch.take(bytes));  // (rows, kLanes)
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

// Calls body(piece) for each piece, on as many threads as the work is worth.
template <class Body>
void for_each_piece(int64_t pieces, int64_t work, Parallel& parallel, const Body& body) {
  const int64_t threads = min_of<int64_t>(parallel.num_threads(), 1 + work / kThreadWork);
  int64_t next = 0;
  parallel.for_each(min_of(threads, pieces), [&](int64_t) {
    for (int64_t i; (i = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED)) < pieces;) body(i);
  });
}

template <class T>
void product(const FewRowsProduct<T>& args, Parallel& parallel) {
  if (args.rows * args.columns == 0) return;
  const int64_t padded = round_up(max_of<int64_t>(args.depth, 1), kLanes);
  const int64_t width = round_up(args.columns, kLanes);
  const int64_t pieces = args.transposed
                             ? ceil_div(width / kLanes, 16)
                             : max_of<int64_t>(1, min_of<int64_t>(kMaxPieces, args.depth / 32));
  const int64_t input_bytes = args.rows * padded * sizeof(float);
  const int64_t sum_bytes = args.transposed ? 0 : pieces * args.rows * width * sizeof(float);
  Scratch scratch(Scratch::rounded(input_bytes) + Scratch::rounded(sum_bytes));
  float* const inputs = static_cast<float*>(scratch.take(input_bytes));
  float* const sums = static_cast<float*>(scratch.take(sum_bytes));
  for (int64_t r = 0; r < args.rows; ++r) {
    for (int64_t k = 0; k < padded; k += kLanes) {
      store(inputs + r * padded + k,
            load_first(args.inputs + r * args.depth + k, max_of<int64_t>(0, args.depth - k)));
    }
  }
  const int64_t work = args.depth * args.columns;
  if (args.transposed) {
    for_each_piece(pieces, work, parallel, [&](int64_t i) {
      multiply_transposed(args, inputs, padded, i * 16 * kLanes,
                          min_of(args.columns, (i + 1) * 16 * kLanes));
    });
    return;
  }
  for_each_piece(pieces, work, parallel, [&](int64_t i) {
    multiply(args, inputs, padded, args.depth * i / pieces, args.depth * (i + 1) / pieces,
             sums + i * args.rows * width, width);
  });
  for (int64_t r = 0; r < args.rows; ++r) {
    for (int64_t c = 0; c < args.columns; c += kLanes) {
      Vec sum = load(sums + r * width + c);
      for (int64_t i = 1; i < pieces; ++i) sum += load(sums + (i * args.rows + r) * width + c);
      write(args, r, c, sum, args.columns - c);
    }
  }
}

}  // namespace

extern const FewRowsProductKernels few_rows_product_kernels = {&product<float>, &product<bfloat16>};

}  // namespace KERASLLM_ISA
}  // namespace kerasllm
