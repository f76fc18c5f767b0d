// Of a kernel that lies row by row, a piece of work is a range of rows and of columns: a few rows
// at a time pass by the sums of these columns, which stay in the first cache, and the rows after
// them are fetched meanwhile; the pieces' sums are added in their order. Of a transposed one it is
// a range of columns, four at a time, whose sums stay in registers. The pieces follow from the
// sizes alone, so results do not depend on the number of threads.
#include "common/packing.h"
#include "few_rows_product/few_rows_product_dispatch.h"

namespace kerasllm {
namespace KERASLLM_ISA {
namespace {

constexpr int kRowBlock = 4;  // rows of inputs at a time, and columns of a transposed kernel
constexpr int kUnroll = 4;
constexpr int kTileRows = kLanes == 16 ? 8 : 4;  // rows of inputs whose sums fill the registers
constexpr int kTileVecs = 2;
constexpr int64_t kTileDepth = 8;  // rows of a kernel at a time
constexpr int64_t kPieces = 8, kPieceColumns = 768;
constexpr int64_t kTransposedColumns = 16 * kLanes;
constexpr int64_t kThreadWork = 1 << 15;  // elements of the kernel

template <bool kValue>
struct Whole {
  static constexpr bool value = kValue;
};
// A whole vector, or the first `count` elements: a choice made while compiling, as the loops below
// are too large for the compiler to make it.
template <bool kWhole, class T>
inline __attribute__((always_inline)) Vec load_some(const T* p, int64_t count) {
  if constexpr (kWhole) {
    return load(p);
  } else {
    return load_first(p, count);
  }
}

// sums[r][j] += inputs[r][k] * kernel[k][j] for a block of k, and kVecs vectors of columns.
template <int kRows, int kVecs, bool kWhole, class T>
inline __attribute__((always_inline)) void add_tile(const float* inputs, int64_t padded,
                                                    int64_t depth, const T* kernel, int64_t columns,
                                                    int64_t count, float* sums, int64_t width) {
  Vec tile[kRows][kVecs];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVecs; ++v) tile[r][v] = load(sums + r * width + v * kLanes);
  }
  for (int64_t k = 0; k < depth; ++k) {
    const T* const from = kernel + k * columns;
    Vec row[kVecs];
#pragma GCC unroll 2
    for (int v = 0; v < kVecs; ++v) row[v] = load_some<kWhole>(from + v * kLanes, count);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const Vec value = broadcast(inputs[r * padded + k]);
#pragma GCC unroll 2
      for (int v = 0; v < kVecs; ++v) tile[r][v] += value * row[v];
    }
    constexpr int64_t kLine = 64 / sizeof(T);
#pragma GCC unroll 2
    for (int64_t c = 0; c < kVecs * kLanes; c += kLine) {
      __builtin_prefetch(from + kTileDepth * columns + c);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVecs; ++v) store(sums + r * width + v * kLanes, tile[r][v]);
  }
}

// The same for `count` columns.
template <int kRows, class T>
void add_block(const float* inputs, int64_t padded, int64_t depth, const T* kernel, int64_t columns,
               int64_t count, float* sums, int64_t width) {
  constexpr int64_t kTile = kTileVecs * kLanes;
  int64_t c = 0;
  for (; c + kTile <= count; c += kTile) {
    add_tile<kRows, kTileVecs, true>(inputs, padded, depth, kernel + c, columns, kLanes, sums + c,
                                     width);
  }
  for (; c < count; c += kLanes) {
    add_tile<kRows, 1, false>(inputs, padded, depth, kernel + c, columns,
                              min_of<int64_t>(kLanes, count - c), sums + c, width);
  }
}

template <class T>
void add_rows(int64_t rows, const float* inputs, int64_t padded, int64_t depth, const T* kernel,
              int64_t columns, int64_t count, float* sums, int64_t width) {
  switch (rows) {
#define KERASLLM_ROWS(n)                                                        \
  case n:                                                                       \
    if constexpr (n <= kTileRows) {                                             \
      add_block<n>(inputs, padded, depth, kernel, columns, count, sums, width); \
    }                                                                           \
    break;
    KERASLLM_ROWS(1)
    KERASLLM_ROWS(2)
    KERASLLM_ROWS(3)
    KERASLLM_ROWS(4)
    KERASLLM_ROWS(5)
    KERASLLM_ROWS(6)
    KERASLLM_ROWS(7)
    KERASLLM_ROWS(8)
#undef KERASLLM_ROWS
  }
}

// products[r][j][lane] = the sum over each lane's k of inputs[r][k] * kernel[j][k].
template <int kRows, int kColumns, bool kAhead, class T>
inline __attribute__((always_inline)) void dot_products(const float* inputs, int64_t padded,
                                                        const T* kernel, int64_t depth,
                                                        Vec* products) {
  Vec sums[kRows][kColumns];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < kColumns; ++j) sums[r][j] = Vec{};
  }
  const auto add = [&](int64_t k, int64_t count, auto whole) KERASLLM_INLINE {
    Vec columns[kColumns];
#pragma GCC unroll 4
    for (int j = 0; j < kColumns; ++j)
      columns[j] = load_some<decltype(whole)::value>(kernel + j * depth + k, count);
    if constexpr (kAhead) {
#pragma GCC unroll 4
      for (int j = 0; j < kColumns; ++j) __builtin_prefetch(kernel + (kColumns + j) * depth + k);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const Vec value = load(inputs + r * padded + k);  // zeros behind the row
#pragma GCC unroll 4
      for (int j = 0; j < kColumns; ++j) sums[r][j] += value * columns[j];
    }
  };
  int64_t k = 0;
  for (; k + kLanes <= depth; k += kLanes) add(k, kLanes, Whole<true>());
  if (k < depth) add(k, depth - k, Whole<false>());
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < kColumns; ++j) products[r * kLanes + j] = sums[r][j];
  }
}

// The same for any number of rows; the first of them fetch the kernel's columns that come after.
template <int kColumns, class T>
void dot_row_blocks(const float* inputs, int64_t rows, int64_t padded, const T* kernel,
                    int64_t depth, Vec* products) {
  for (int64_t r = 0; r < rows; r += kRowBlock) {
    const float* const from = inputs + r * padded;
    Vec* const to = products + r * kLanes;
    switch (min_of<int64_t>(rows - r, kRowBlock)) {
#define KERASLLM_ROWS(n)                                                 \
  case n:                                                                \
    if (r == 0) {                                                        \
      dot_products<n, kColumns, true>(from, padded, kernel, depth, to);  \
    } else {                                                             \
      dot_products<n, kColumns, false>(from, padded, kernel, depth, to); \
    }                                                                    \
    break;
      KERASLLM_ROWS(1)
      KERASLLM_ROWS(2)
      KERASLLM_ROWS(3)
      KERASLLM_ROWS(4)
#undef KERASLLM_ROWS
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

// sums[r][j] = the sum over rows [begin, end) of the kernel, for `count` columns from `first` on.
template <class T>
void multiply(const FewRowsProduct<T>& args, const float* inputs, int64_t padded, int64_t begin,
              int64_t end, int64_t first, int64_t count, float* sums, int64_t width) {
  for (int64_t r = 0; r < args.rows; ++r) {
    for (int64_t c = 0; c < count; c += kLanes) store(sums + r * width + c, Vec{});
  }
  for (int64_t k = begin; k < end; k += kTileDepth) {
    const int64_t depth = min_of(kTileDepth, end - k);
    for (int64_t r = 0; r < args.rows; r += kTileRows) {
      add_rows(min_of<int64_t>(kTileRows, args.rows - r), inputs + r * padded + k, padded, depth,
               args.kernel + k * args.columns + first, args.columns, count, sums + r * width,
               width);
    }
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
      transpose(lanes);
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

// How a product is cut into pieces.
struct Pieces {
  int64_t across, down, width;
  float* sums;  // (down, rows, width), where the kernel is not transposed

  int64_t count() const { return across * down; }
};

template <class T>
Pieces cut(const FewRowsProduct<T>& args) {
  if (args.transposed) return {ceil_div(args.columns, kTransposedColumns), 1, 0, nullptr};
  const int64_t across = ceil_div(args.columns, kPieceColumns);
  const int64_t down =
      max_of<int64_t>(1, min_of(ceil_div(kPieces, max_of<int64_t>(across, 1)), args.depth / 32));
  return {across, down, round_up(args.columns, kLanes), nullptr};
}

template <class T>
void run_piece(const FewRowsProduct<T>& args, const Pieces& pieces, const float* inputs,
               int64_t padded, int64_t piece) {
  if (args.transposed) {
    const int64_t first = piece * kTransposedColumns;
    multiply_transposed(args, inputs, padded, first,
                        min_of(args.columns, first + kTransposedColumns));
    return;
  }
  const int64_t i = piece / pieces.across, first = piece % pieces.across * kPieceColumns;
  multiply(args, inputs, padded, args.depth * i / pieces.down, args.depth * (i + 1) / pieces.down,
           first, min_of(kPieceColumns, args.columns - first),
           pieces.sums + i * args.rows * pieces.width + first, pieces.width);
}

template <class T>
void add_pieces(const FewRowsProduct<T>& args, const Pieces& pieces) {
  const int64_t width = pieces.width;
  for (int64_t r = 0; r < args.rows; ++r) {
    for (int64_t c = 0; c < args.columns; c += kLanes) {
      Vec sum = load(pieces.sums + r * width + c);
      for (int64_t i = 1; i < pieces.down; ++i) {
        sum += load(pieces.sums + (i * args.rows + r) * width + c);
      }
      write(args, r, c, sum, min_of<int64_t>(kLanes, args.columns - c));
    }
  }
}

template <class T>
void products(const FewRowsProduct<T>* args, int64_t count, Parallel& parallel) {
  const int64_t rows = args[0].rows, depth = args[0].depth;
  const int64_t padded = round_up(max_of<int64_t>(depth, 1), kLanes);
  Pieces pieces[kMaxProducts];
  int64_t total = 0, work = 0;
  int64_t bytes = Scratch::rounded(rows * padded * sizeof(float));
  const auto sum_bytes = [&](int64_t i) {
    return static_cast<int64_t>(pieces[i].down * rows * pieces[i].width * sizeof(float));
  };
  for (int64_t i = 0; i < count; ++i) {
    pieces[i] = cut(args[i]);
    total += pieces[i].count();
    work += depth * args[i].columns;
    bytes += Scratch::rounded(sum_bytes(i));
  }
  if (rows * total == 0) return;
  Scratch scratch(bytes);
  float* const inputs = static_cast<float*>(scratch.take(rows * padded * sizeof(float)));
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t k = 0; k < padded; k += kLanes) {
      store(inputs + r * padded + k,
            load_first(args[0].inputs + r * depth + k, max_of<int64_t>(0, depth - k)));
    }
  }
  for (int64_t i = 0; i < count; ++i) {
    pieces[i].sums = static_cast<float*>(scratch.take(sum_bytes(i)));
  }
  for_each_piece(total, work, parallel, [&](int64_t piece) {
    int64_t i = 0;
    while (piece >= pieces[i].count()) piece -= pieces[i++].count();
    run_piece(args[i], pieces[i], inputs, padded, piece);
  });
  for (int64_t i = 0; i < count; ++i) {
    if (!args[i].transposed) add_pieces(args[i], pieces[i]);
  }
}

}  // namespace

extern const FewRowsProductKernels few_rows_product_kernels = {&products<float>,
                                                               &products<bfloat16>};

}  // namespace KERASLLM_ISA
}  // namespace kerasllm
