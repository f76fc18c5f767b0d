// Attention backward. Probabilities are computed again from the scores and forward's log_sum_exp,
// tile by tile:
//
//   dP = (d_outputs . value) * dropout     dS = P * (dP - sum over j of P dP)
//   d_query = scale dS key     d_key = scale dS^T query     d_value = (P * dropout)^T d_outputs
//
// the sum being that of outputs * d_outputs. A piece of work is one key and value head of one batch
// element, or, where there are few, some of its keys; d_query is then added up at the end, in the
// order of the keys. How work is cut depends on the shape alone, and so do the bits of the results.
#include "attention/attention_dispatch.h"
#include "attention/attention_pack.h"
#include "attention/attention_rows.h"

namespace kerasllm {
namespace KERASLLM_ISA {
namespace {

constexpr int64_t kRows = 64;        // queries at a time, a multiple of every kDepthMultiple
constexpr int64_t kTile = 128;       // keys at a time
constexpr int64_t kPieces = 32;      // wanted, so that every thread has some
constexpr int64_t kLeastKeys = 256;  // in a piece
static_assert(kTile % kRandomColumns == 0 && kTile % kPanel == 0, "");
static_assert(kRows <= TransposedBlock<bfloat16>::kDepth, "");

template <class T>
struct Sizes {
  using Op = Operand<T>;
  const AttentionShape& shape;
  int64_t group;                                         // heads that share a key and value head
  int64_t rows;                                          // queries, padded to kRows
  int64_t depth, value_depth;                            // of left operands
  int64_t panels, value_panels, columns, value_columns;  // of right operands and sums
  int64_t keys, chunks;                                  // keys in a piece, pieces of a head

  explicit Sizes(const AttentionShape& s) : shape(s) {
    group = s.num_heads / s.num_key_value_heads;
    rows = round_up(s.query_length, kRows);
    depth = padded_depth<Op>(s.head_dim);
    value_depth = padded_depth<Op>(s.value_dim);
    panels = ceil_div(s.head_dim, kPanel);
    value_panels = ceil_div(s.value_dim, kPanel);
    columns = panels * kPanel;
    value_columns = value_panels * kPanel;
    const int64_t heads = max_of<int64_t>(1, s.batch * s.num_key_value_heads);
    chunks = min_of(ceil_div(kPieces, heads), ceil_div(s.key_length, kLeastKeys));
    keys = round_up(ceil_div(s.key_length, max_of<int64_t>(1, chunks)), kTile);
    chunks = ceil_div(s.key_length, max_of<int64_t>(1, keys));
  }
  int64_t pieces() const { return shape.batch * shape.num_key_value_heads * chunks; }
  // Whether rows packed as a left operand lie as they would in a panel.
  bool rows_are_panels(int64_t dim) const {
    return kUnit<Op> == 1 && dim <= kPanel && padded_depth<Op>(dim) == kPanel;
  }
};

template <class T>
class Worker {
 public:
  using Op = Operand<T>;

  // `partial`: (chunks, batch, query_length, num_heads, head_dim), or null for one chunk.
  Worker(const AttentionBackward<T>& args, const Sizes<T>& sizes, float* partial)
      : args_(args), sizes_(sizes), partial_(partial), scratch_(Layout(sizes).bytes) {
    const Layout layout(sizes);
    float** const floats[] = {&d_query_, &d_key_,   &d_value_, &scores_, &gradients_,
                              &slopes_,  &factors_, &deltas_,  &lse_};
    Op** const operands[] = {&query_, &d_out_,       &query_panels_,  &d_out_panels_,
                             &keys_,  &keys_turned_, &values_turned_, &left_};
    for (int i = 0; i < Layout::kFloats; ++i) {
      *floats[i] = static_cast<float*>(scratch_.take(layout.floats[i]));
    }
    for (int i = 0; i < Layout::kOperands; ++i) {
      *operands[i] = static_cast<Op*>(scratch_.take(layout.operands[i]));
    }
    if (sizes.rows_are_panels(sizes.shape.head_dim)) query_panels_ = query_;
    if (sizes.rows_are_panels(sizes.shape.value_dim)) d_out_panels_ = d_out_;
    begin_ = static_cast<int32_t*>(scratch_.take(sizes.rows * sizeof(int32_t)));
    end_ = static_cast<int32_t*>(scratch_.take(sizes.rows * sizeof(int32_t)));
  }

  // `next`: the piece after this one, or none of them.
  void run(int64_t piece, int64_t next) {
    const AttentionShape& s = sizes_.shape;
    const int64_t index = piece / sizes_.chunks, chunk = piece % sizes_.chunks;
    const int64_t batch = index / s.num_key_value_heads, key_head = index % s.num_key_value_heads;
    const int64_t first_key = chunk * sizes_.keys;
    const int64_t num_keys = min_of(sizes_.keys, s.key_length - first_key);
    const int64_t end_key = first_key + num_keys;
    const HeadRows<T> keys(args_.key, s.key_length, s.num_key_value_heads, s.head_dim, batch,
                           key_head);
    const HeadRows<T> values(args_.value, s.key_length, s.num_key_value_heads, s.value_dim, batch,
                             key_head);
    clear(d_key_, sizes_.keys * sizes_.columns);
    clear(d_value_, sizes_.keys * sizes_.value_columns);
    const int64_t end_head = (key_head + 1) * sizes_.group;
    for (int64_t head = key_head * sizes_.group; head < end_head; ++head) {
      const Head rules(s, args_.options, batch, head);
      rules.ranges(0, s.query_length, begin_, end_);
      read_head(batch, head);
      const BlockRange range = block_range(begin_, end_, s.query_length);
      for (int64_t tile = first_key; tile < end_key; tile += kTile) {
        if (tile >= range.end || tile + kTile <= range.begin) continue;
        pack_tile(keys, values, tile, max_of(range.begin, tile), min_of(range.end, tile + kTile));
        ahead_.clear();
        const int64_t after = tile + kTile, end = min_of(end_key, range.end);
        if (after < end) {
          ahead_.add(keys, after, min_of(kTile, end - after));
          ahead_.add(values, after, min_of(kTile, end - after));
        } else if (head + 1 < end_head) {
          add_head(batch, head + 1);
        } else if (next < sizes_.pieces()) {
          const int64_t next_index = next / sizes_.chunks;
          add_head(next_index / s.num_key_value_heads,
                   next_index % s.num_key_value_heads * sizes_.group);
        }
        for (int64_t row = 0; row < s.query_length; row += kRows) {
          const int64_t rows = min_of(kRows, s.query_length - row);
          const BlockRange seen = block_range(begin_ + row, end_ + row, rows);
          if (seen.begin < tile + kTile && seen.end > tile) {
            meet(rules, tile, tile - first_key, row, rows, seen);
          }
        }
      }
      write_query(batch, head, chunk);
    }
    const int64_t first = ((batch * s.key_length + first_key) * s.num_key_value_heads + key_head);
    write_rows(d_key_, sizes_.keys, sizes_.panels, num_keys, s.head_dim, args_.options.scale,
               args_.d_key + first * s.head_dim, s.num_key_value_heads * s.head_dim);
    write_rows(d_value_, sizes_.keys, sizes_.value_panels, num_keys, s.value_dim, 1.0f,
               args_.d_value + first * s.value_dim, s.num_key_value_heads * s.value_dim);
  }

 private:
  struct Layout {
    static constexpr int kFloats = 9, kOperands = 8;
    int64_t floats[kFloats], operands[kOperands], bytes;

    explicit Layout(const Sizes<T>& s)
        : floats{s.rows * s.columns,
                 s.keys * s.columns,
                 s.keys * s.value_columns,
                 kRows * kTile,
                 kRows * kTile,
                 kTile,
                 kTile,
                 s.rows,
                 s.rows},
          operands{s.rows * s.depth,      s.rows * s.value_depth,
                   s.rows * s.columns,    s.rows * s.value_columns,
                   kTile * s.columns,     kTile * s.depth,
                   kTile * s.value_depth, TransposedBlock<Op>::left_size(kTile)} {
      bytes = 2 * Scratch::rounded(s.rows * sizeof(int32_t));
      for (int64_t& size : floats) bytes += Scratch::rounded(size *= sizeof(float));
      for (int64_t& size : operands) bytes += Scratch::rounded(size *= sizeof(Op));
    }
  };

  static void clear(float* to, int64_t size) { __builtin_memset(to, 0, size * sizeof(float)); }

  HeadRows<T> query_rows(const T* tensor, int64_t dim, int64_t batch, int64_t head) const {
    return {tensor, sizes_.shape.query_length, sizes_.shape.num_heads, dim, batch, head};
  }
  void add_head(int64_t batch, int64_t head) {
    const AttentionShape& s = sizes_.shape;
    ahead_.add(query_rows(args_.query, s.head_dim, batch, head), 0, s.query_length);
    ahead_.add(query_rows(args_.d_outputs, s.value_dim, batch, head), 0, s.query_length);
    ahead_.add(query_rows(args_.outputs, s.value_dim, batch, head), 0, s.query_length);
  }

  // Packs the queries and the gradients of the outputs of a head, and sums up what the softmax's
  // gradient subtracts.
  void read_head(int64_t batch, int64_t head) {
    const AttentionShape& s = sizes_.shape;
    const int64_t length = s.query_length;
    const HeadRows<T> query = query_rows(args_.query, s.head_dim, batch, head);
    const HeadRows<T> d_out = query_rows(args_.d_outputs, s.value_dim, batch, head);
    const HeadRows<T> out = query_rows(args_.outputs, s.value_dim, batch, head);
    pack_rows(query, 0, length, sizes_.depth, query_);
    pack_rows(d_out, 0, length, sizes_.value_depth, d_out_);
    for (int64_t p = 0; p < sizes_.panels && query_panels_ != query_; ++p) {
      pack_panel(query, 0, length, p * kPanel, sizes_.rows,
                 query_panels_ + p * sizes_.rows * kPanel);
    }
    for (int64_t p = 0; p < sizes_.value_panels && d_out_panels_ != d_out_; ++p) {
      pack_panel(d_out, 0, length, p * kPanel, sizes_.rows,
                 d_out_panels_ + p * sizes_.rows * kPanel);
    }
    const float* const lse = args_.log_sum_exp + (batch * s.num_heads + head) * length;
    for (int64_t i = 0; i < length; ++i) {
      Vec sum = {};
      for (int64_t c = 0; c < s.value_dim; c += kLanes) {
        sum += load_first(out.row(i) + c, s.value_dim - c) *
               load_first(d_out.row(i) + c, s.value_dim - c);
      }
      deltas_[i] = sum_of_lanes(sum);
      // Probabilities of a row that sees nothing become zero.
      lse_[i] = lse[i] == -kInfinity ? kInfinity : lse[i];
    }
    clear(d_query_, sizes_.rows * sizes_.columns);
  }

  void pack_tile(const HeadRows<T>& keys, const HeadRows<T>& values, int64_t tile, int64_t begin,
                 int64_t end) {
    for (int64_t key = begin / kPanel * kPanel; key < end; key += kPanel) {
      const int64_t count = min_of<int64_t>(kPanel, end - key), place = key - tile;
      pack_transposed(keys, key, count, sizes_.depth, keys_turned_ + place * sizes_.depth);
      pack_transposed(values, key, count, sizes_.value_depth,
                      values_turned_ + place * sizes_.value_depth);
      for (int64_t p = 0; p < sizes_.panels; ++p) {
        pack_panel(keys, key, count, p * kPanel, kPanel, keys_ + (p * kTile + place) * kPanel);
      }
    }
  }

  // Rows [row, row + rows) of the queries meet the keys of a tile, the `place`th of the piece's.
  void meet(const Head& rules, int64_t tile, int64_t place, int64_t row, int64_t rows,
            const BlockRange& seen) {
    constexpr int64_t kMultiple = kLanes > kDepthMultiple<Op> ? kLanes : kDepthMultiple<Op>;
    const int64_t from = (max_of(seen.begin, tile) - tile) / kPanel * kPanel;
    const int64_t to = round_up(min_of(seen.end, tile + kTile) - tile, kMultiple);
    // What comes next is there when this tile has met all queries.
    const int64_t rows_ahead =
        ceil_div(max_of(kTile, sizes_.rows), sizes_.rows / kRows * (kTile / kPanel));
    const bool hide =
        !rules.always_finish() && (seen.all_begin > tile + from || seen.all_end < tile + to);
    for (int64_t c = from; c < to; c += kPanel) {
      panel_product(query_ + row * sizes_.depth, sizes_.depth, rows, sizes_.depth,
                    keys_turned_ + c * sizes_.depth, scores_ + c, kTile, false);
      panel_product(d_out_ + row * sizes_.value_depth, sizes_.value_depth, rows, sizes_.value_depth,
                    values_turned_ + c * sizes_.value_depth, gradients_ + c, kTile, false);
      ahead_.fetch(rows_ahead);
    }
    for (int64_t r = 0; r < rows; ++r) {
      if (hide) {
        rules.hide(tile, from, to, begin_[row + r], end_[row + r], scores_ + r * kTile);
      }
      differentiate_row(rules, tile, row, r, from, to);
    }

    const Op* const d_scores = reinterpret_cast<const Op*>(gradients_);
    for (int64_t p = 0; p < sizes_.panels; ++p) {
      panel_product(d_scores + from, kTile * kUnit<Op>, rows, to - from,
                    keys_ + (p * kTile + from) * kPanel,
                    d_query_ + row * sizes_.columns + p * kPanel, sizes_.columns, true);
    }
    add_transposed(scores_, rows, from, to, d_out_panels_, sizes_.value_panels, row,
                   d_value_ + place * kPanel);
    add_transposed(gradients_, rows, from, to, query_panels_, sizes_.panels, row,
                   d_key_ + place * kPanel);
  }

  // The probabilities of row `r`, after dropout, take the place of its scores, and the gradients of
  // its scores that of the gradients of its probabilities.
  void differentiate_row(const Head& rules, int64_t tile, int64_t row, int64_t r, int64_t from,
                         int64_t to) {
    float* const scores = scores_ + r * kTile;
    float* const gradients = gradients_ + r * kTile;
    Op* const probabilities = reinterpret_cast<Op*>(scores);
    Op* const d_scores = reinterpret_cast<Op*>(gradients);
    const int64_t query = row + r;
    const Vec lse = broadcast(lse_[query]), delta = broadcast(deltas_[query]);
    float scale = args_.options.scale;
    const bool finish = rules.always_finish();
    if (finish) {
      rules.finish_row(query, tile, from, to, begin_[query], end_[query], scores, slopes_);
      scale = 1.0f;
    }
    const bool capped = finish && args_.options.soft_cap > 0.0f;
    if (!rules.drops() && !capped) {
      for (int64_t c = from; c < to; c += kLanes) {
        const Vec p = softmax_exp_vec(load(scores + c) * scale - lse);
        const Vec d = p * (load(gradients + c) - delta);
        store(probabilities + c, p);
        store(d_scores + c, d);
      }
      return;
    }
    if (rules.drops()) rules.make_dropout_factors(query, tile, from, to, factors_);
    for (int64_t c = from; c < to; c += kLanes) {
      const Vec p = softmax_exp_vec(load(scores + c) * scale - lse);
      const Vec factor = rules.drops() ? load(factors_ + c) : broadcast(1.0f);
      Vec d = p * (load(gradients + c) * factor - delta);
      if (capped) d *= load(slopes_ + c);
      store(probabilities + c, p * factor);
      store(d_scores + c, d);
    }
  }

  // sums[key][.] += over the block's queries, left[query][key] * right[query][.], for the keys
  // [from, to) of a tile. `left` holds operands in the place of floats, kTile floats a row.
  void add_transposed(const float* left, int64_t rows, int64_t from, int64_t to,
                      const float* panels, int64_t num_panels, int64_t row, float* sums) {
    for (int64_t p = 0; p < num_panels; ++p) {
      multiply_blocks(Left<float>{left + from, 1, kTile}, to - from, rows,
                      panels + (p * sizes_.rows + row) * kPanel,
                      sums + (p * sizes_.keys + from) * kPanel, kPanel, true);
    }
  }
#if defined(__AVX512BF16__) || defined(KERASLLM_AMX)
  void add_transposed(const float* left, int64_t rows, int64_t from, int64_t to,
                      const bfloat16* panels, int64_t num_panels, int64_t row, float* sums) {
    const bfloat16* const operands = reinterpret_cast<const bfloat16*>(left);
    const int64_t depth = padded_depth<bfloat16>(rows), size = to - from;
    const auto row_at = [&](int64_t k) {
      return k < rows ? operands + k * 2 * kTile + from : nullptr;
    };
    pack_left(row_at, size, 0, depth, size, left_);
    for (int64_t p = 0; p < num_panels; ++p) {
      transposed_product(left_, size, depth, panels + (p * sizes_.rows + row) * kPanel,
                         sums + (p * sizes_.keys + from) * kPanel);
    }
  }
#endif

  void write_query(int64_t batch, int64_t head, int64_t chunk) const {
    const AttentionShape& s = sizes_.shape;
    const int64_t first = (batch * s.query_length * s.num_heads + head) * s.head_dim;
    const int64_t stride = s.num_heads * s.head_dim;
    for (int64_t i = 0; i < s.query_length; ++i) {
      for (int64_t c = 0; c < s.head_dim; c += kLanes) {
        const Vec d = load(d_query_ + i * sizes_.columns + c) * args_.options.scale;
        const int64_t to = first + i * stride + c, count = s.head_dim - c;
        if (partial_ == nullptr) {
          store_first(args_.d_query + to, d, count);
        } else {
          store_first(partial_ + chunk * s.batch * s.query_length * stride + to, d, count);
        }
      }
    }
  }

  // From panels of `panel_rows` rows.
  static void write_rows(const float* sums, int64_t panel_rows, int64_t panels, int64_t rows,
                         int64_t dim, float scale, T* to, int64_t stride) {
    for (int64_t p = 0; p < panels; ++p) {
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t j = 0; j < kPanel && p * kPanel + j < dim; j += kLanes) {
          const int64_t c = p * kPanel + j;
          store_first(to + r * stride + c, load(sums + (p * panel_rows + r) * kPanel + j) * scale,
                      dim - c);
        }
      }
    }
  }

  const AttentionBackward<T>& args_;
  const Sizes<T>& sizes_;
  float* partial_;
  Scratch scratch_;
  float* d_query_;                    // (rows, columns)
  float *d_key_, *d_value_;           // (panels, keys, kPanel)
  float *scores_, *gradients_;        // (kRows, kTile)
  float *slopes_, *factors_;          // (kTile)
  float *deltas_, *lse_;              // (rows)
  Op *query_, *d_out_;                // (rows, depth), left operands
  Op *query_panels_, *d_out_panels_;  // (panels, rows, kPanel), right operands
  Op* keys_;                          // (panels, kTile, kPanel)
  Op *keys_turned_, *values_turned_;  // panels of kPanel keys, (depth, kPanel) each
  Op* left_;               // bfloat16 probabilities or their gradients, by pairs of queries
  int32_t *begin_, *end_;  // (rows)
  Ahead ahead_;
};

template <class T>
void add_partial(const AttentionBackward<T>& args, const float* partial, int64_t chunks,
                 Parallel& parallel) {
  constexpr int64_t kTaskElements = 16 * 1024;
  const AttentionShape& s = args.shape;
  const int64_t size = s.batch * s.query_length * s.num_heads * s.head_dim;
  parallel.for_each(ceil_div(size, kTaskElements), [&](int64_t task) {
    const int64_t end = min_of(size, (task + 1) * kTaskElements);
    for (int64_t i = task * kTaskElements; i < end; i += kLanes) {
      Vec sum = {};
      for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        sum += load_first(partial + chunk * size + i, end - i);
      }
      store_first(args.d_query + i, sum, end - i);
    }
  });
}

template <class T>
void backward(const AttentionBackward<T>& args, Parallel& parallel) {
  const AttentionShape& s = args.shape;
  const Sizes<T> sizes(s);
  const int64_t query_size = s.batch * s.query_length * s.num_heads * s.head_dim;
  if (s.key_length == 0) __builtin_memset(args.d_query, 0, query_size * sizeof(T));
  const int64_t pieces = sizes.pieces();
  if (pieces == 0) return;
  const int64_t partial_size = sizes.chunks > 1 ? sizes.chunks * query_size : 0;
  Scratch partial_memory(partial_size * sizeof(float));
  float* const partial =
      sizes.chunks > 1 ? static_cast<float*>(partial_memory.take(partial_size)) : nullptr;
  constexpr int64_t kThreadWork = 1 << 20;
  const int64_t work =
      s.batch * s.num_heads * s.query_length * s.key_length * (s.head_dim + s.value_dim);
  const int64_t workers =
      min_of(min_of<int64_t>(parallel.num_threads(), pieces), 1 + work / kThreadWork);
  int64_t untaken = 0;
  const auto take = [&] { return __atomic_fetch_add(&untaken, 1, __ATOMIC_RELAXED); };
  parallel.for_each(workers, [&](int64_t) {
    const TilesInUse tiles;
    Worker<T> worker(args, sizes, partial);
    for (int64_t piece = take(), next; piece < pieces; piece = next) {
      next = take();
      worker.run(piece, next);
    }
  });
  if (partial != nullptr) add_partial(args, partial, sizes.chunks, parallel);
}

}  // namespace

extern const AttentionBackwardKernels attention_backward_kernels = {&backward<float>,
                                                                    &backward<bfloat16>};

}  // namespace KERASLLM_ISA
}  // namespace kerasllm
