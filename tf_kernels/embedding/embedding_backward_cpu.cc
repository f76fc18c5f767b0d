// The tables' gradients. The tokens are listed by the row that they took, by a counting sort; each
// row is then the sum of its list. What a list has of whole pieces (padding, a frequent word, any
// segment) is summed by piece before, so that no thread is left alone with a long list.
#include "common/vec.h"
#include "embedding/embedding_dispatch.h"

namespace kerasllm {
namespace KERASLLM_ISA {
namespace {

constexpr int64_t kPiece = 128;            // tokens
constexpr int64_t kTaskBytes = 64 * 1024;  // of a table's gradient
constexpr int kVecs = 8;                   // of a row, summed in registers at a time
constexpr int64_t kTokensAhead = 4, kCacheLine = 64;

// One table, and which tokens took which of its rows.
template <class T>
struct Table {
  T* gradient;  // (rows, dim)
  int64_t rows;
  const int32_t* ids;  // (tokens,) or null: the position, start + token % time
  int64_t start, time;
  int64_t* ends;    // (rows,): the tokens of row r are order[ends[r - 1]] to order[ends[r] - 1]
  int64_t* order;   // (tokens,), in the order of occurrence
  float* pieces;    // (tokens / kPiece + 1, dim), see piece_slot
  bool has_pieces;  // a row has a whole piece

  int64_t begin(int64_t row) const { return row == 0 ? 0 : ends[row - 1]; }
  int64_t row_of(int64_t token) const { return ids == nullptr ? start + token % time : ids[token]; }
};

// Where the sum of the piece order[begin] to order[begin + kPiece - 1] is kept: pieces do not
// overlap, so each has a multiple of kPiece to itself.
inline int64_t piece_slot(int64_t begin) { return ceil_div(begin, kPiece); }

template <class T>
void list_tokens(Table<T>& table, int64_t tokens) {
  for (int64_t row = 0; row < table.rows; ++row) table.ends[row] = 0;
  for (int64_t token = 0; token < tokens; ++token) ++table.ends[table.row_of(token)];
  int64_t before = 0, longest = 0;
  for (int64_t row = 0; row < table.rows; ++row) {
    const int64_t count = table.ends[row];
    longest = max_of(longest, count);
    table.ends[row] = before;  // the beginning; filling the list moves it to the end
    before += count;
  }
  for (int64_t token = 0; token < tokens; ++token) {
    table.order[table.ends[table.row_of(token)]++] = token;
  }
  table.has_pieces = longest >= kPiece;
}

// out = the sum of `num_pieces` rows of `pieces` and of the `count` rows of `rows` that `order`
// lists.
template <class From, class To>
void sum_rows(const float* pieces, int64_t num_pieces, const From* rows, const int64_t* order,
              int64_t count, int64_t dim, To* out) {
  int64_t column = 0;
  for (; column + kVecs * kLanes <= dim; column += kVecs * kLanes) {
    Vec sums[kVecs] = {};
    for (int64_t i = 0; i < num_pieces; ++i) {
      for (int v = 0; v < kVecs; ++v) sums[v] += load(pieces + i * dim + column + v * kLanes);
    }
    for (int64_t i = 0; i < count; ++i) {
      for (int v = 0; v < kVecs; ++v) sums[v] += load(rows + order[i] * dim + column + v * kLanes);
    }
    for (int v = 0; v < kVecs; ++v) store(out + column + v * kLanes, sums[v]);
  }
  for (; column < dim; column += kLanes) {
    const int64_t left = dim - column;
    Vec sum = {};
    for (int64_t i = 0; i < num_pieces; ++i) sum += load_first(pieces + i * dim + column, left);
    for (int64_t i = 0; i < count; ++i) sum += load_first(rows + order[i] * dim + column, left);
    store_first(out + column, sum, left);
  }
}

// The piece of slot `slot`, where there is one.
template <class T, class U>
void sum_piece(const Table<T>& table, int64_t slot, const U* d_outputs, int64_t dim) {
  const int64_t row = table.row_of(table.order[slot * kPiece]);
  const int64_t first = table.begin(row);
  const int64_t begin = first + (slot * kPiece - first) / kPiece * kPiece;
  if (begin + kPiece > table.ends[row]) return;
  sum_rows<U, float>(nullptr, 0, d_outputs, table.order + begin, kPiece, dim,
                     table.pieces + slot * dim);
}

template <class T, class U>
void sum_row(const Table<T>& table, int64_t row, const U* d_outputs, int64_t tokens, int64_t dim) {
  const int64_t begin = table.begin(row), num_pieces = (table.ends[row] - begin) / kPiece;
  const int64_t rest = begin + num_pieces * kPiece;
  for (int64_t i = table.ends[row]; i < min_of(table.ends[row] + kTokensAhead, tokens); ++i) {
    const char* const next = reinterpret_cast<const char*>(d_outputs + table.order[i] * dim);
    __builtin_prefetch(next);
    __builtin_prefetch(next + kCacheLine);
  }
  const float* const pieces = num_pieces == 0 ? nullptr : table.pieces + piece_slot(begin) * dim;
  sum_rows(pieces, num_pieces, d_outputs, table.order + rest, table.ends[row] - rest, dim,
           table.gradient + row * dim);
}

template <class T, class U>
void backward(const EmbeddingBackward<T, U>& args, Parallel& parallel) {
  const EmbeddingLookup& lookup = args.lookup;
  const int64_t dim = lookup.dim, tokens = lookup.batch * lookup.time;
  if (dim == 0) return;
  Table<T> tables[3];
  int num_tables = 0;
  const auto add = [&](T* gradient, int64_t rows, const int32_t* ids) {
    if (gradient == nullptr) return;
    tables[num_tables++] = {gradient, rows,    ids,     lookup.start, lookup.time,
                            nullptr,  nullptr, nullptr, false};
  };
  add(args.d_token_embeddings, lookup.vocabulary, lookup.token_ids);
  add(args.d_position_embeddings, lookup.max_length, nullptr);
  add(args.d_segment_embeddings, lookup.num_segments, lookup.segment_ids);

  const int64_t slots = ceil_div(tokens, kPiece);  // piece_slot is below it: pieces are whole
  const int64_t order_bytes = tokens * 8, piece_bytes = slots * dim * 4;
  int64_t bytes = 0;
  for (int i = 0; i < num_tables; ++i) {
    bytes += Scratch::rounded(tables[i].rows * 8) + Scratch::rounded(order_bytes) +
             Scratch::rounded(piece_bytes);
  }
  Scratch scratch(bytes);
  bool has_pieces = false;
  for (int i = 0; i < num_tables; ++i) {
    tables[i].ends = static_cast<int64_t*>(scratch.take(tables[i].rows * 8));
    tables[i].order = static_cast<int64_t*>(scratch.take(order_bytes));
    tables[i].pieces = static_cast<float*>(scratch.take(piece_bytes));
    list_tokens(tables[i], tokens);
    has_pieces = has_pieces || tables[i].has_pieces;
  }
  if (has_pieces) {
    parallel.for_each(num_tables * slots, [&](int64_t task) {
      const Table<T>& table = tables[task / slots];
      if (table.has_pieces) sum_piece(table, task % slots, args.d_outputs, dim);
    });
  }
  const int64_t task_rows = max_of<int64_t>(1, kTaskBytes / (dim * int64_t{sizeof(T)}));
  int64_t tasks_before[4] = {};
  for (int i = 0; i < num_tables; ++i) {
    tasks_before[i + 1] = tasks_before[i] + ceil_div(tables[i].rows, task_rows);
  }
  parallel.for_each(tasks_before[num_tables], [&](int64_t task) {
    int i = 0;
    while (task >= tasks_before[i + 1]) ++i;
    const int64_t first = (task - tasks_before[i]) * task_rows;
    for (int64_t row = first; row < min_of(first + task_rows, tables[i].rows); ++row) {
      sum_row(tables[i], row, args.d_outputs, tokens, dim);
    }
  });
}

}  // namespace

extern const EmbeddingBackwardKernels embedding_backward_kernels = {
    &backward<float, float>, &backward<float, bfloat16>, &backward<bfloat16, float>,
    &backward<bfloat16, bfloat16>};

}  // namespace KERASLLM_ISA
}  // namespace kerasllm
