// Attention forward. A piece of work is a block of queries of one head. Keys pass by in tiles: each
// is packed once, then meets the queries a few rows at a time, so that their scores stay in the
// first cache level between the two products.
#include "attention/attention_dispatch.h"
#include "attention/attention_pack.h"
#include "attention/attention_rows.h"

namespace kerasllm {
namespace KERASLLM_ISA {
namespace {

constexpr int64_t kRows = 48;      // queries at a time: whole blocks of 6 rows, and of 16 for AMX
constexpr int64_t kTile = 256;     // keys at a time, whole groups of kRandomColumns
constexpr int64_t kMaxBlock = 12;  // most times kRows queries in one piece of work
static_assert(kTile % kRandomColumns == 0 && kTile % kPanel == 0 && kRows % kLanes == 0, "");

template <class T>
struct Sizes {
  using Op = Operand<T>;
  const AttentionShape& shape;
  int64_t depth, value_panels, value_columns;
  int64_t block, blocks;  // queries in a piece of work; pieces of a head

  Sizes(const AttentionShape& s, int num_threads) : shape(s) {
    depth = padded_depth<Op>(s.head_dim);
    value_panels = ceil_div(s.value_dim, kPanel);
    value_columns = value_panels * kPanel;
    // Large blocks pack the keys less often, but every thread should have a few pieces. Rows are
    // computed kRows at a time from the first one on, so results do not depend on it.
    const int64_t groups = ceil_div(s.query_length, kRows);
    const int64_t heads = s.batch * s.num_heads;
    blocks = max_of(ceil_div(groups, kMaxBlock), ceil_div(4 * num_threads, heads));
    blocks = min_of(blocks, max_of<int64_t>(1, groups / 2));
    block = ceil_div(groups, blocks) * kRows;
    blocks = ceil_div(s.query_length, block);
  }
  int64_t pieces() const { return shape.batch * shape.num_heads * blocks; }
  // Rows to bring into the cache beside each product with a panel of keys, so that what the next
  // tile needs is there when its time comes.
  int64_t rows_ahead() const {
    return ceil_div(max_of(block, kTile), block / kRows * (kTile / kPanel));
  }
};

// Where a piece of work lies.
struct Place {
  int64_t batch, head, key_head, first, count;  // queries [first, first + count)

  template <class T>
  Place(const Sizes<T>& sizes, int64_t piece) {
    const AttentionShape& s = sizes.shape;
    const int64_t index = piece / sizes.blocks;
    batch = index / s.num_heads;
    head = index % s.num_heads;
    key_head = head / (s.num_heads / s.num_key_value_heads);
    first = piece % sizes.blocks * sizes.block;
    count = min_of(sizes.block, s.query_length - first);
  }
};

// What one thread needs; used for one piece of work after the other.
template <class T>
class Worker {
 public:
  using Op = Operand<T>;

  Worker(const AttentionForward<T>& args, const Sizes<T>& sizes)
      : args_(args), sizes_(sizes), scratch_(Layout(sizes).bytes) {
    const Layout layout(sizes);
    query_ = static_cast<Op*>(scratch_.take(layout.query));
    keys_ = static_cast<Op*>(scratch_.take(layout.keys));
    values_ = static_cast<Op*>(scratch_.take(layout.values));
    scores_ = static_cast<float*>(scratch_.take(layout.scores));
    factors_ = static_cast<float*>(scratch_.take(layout.factors));
    sums_ = static_cast<float*>(scratch_.take(layout.sums));
    totals_ = static_cast<float*>(scratch_.take(layout.totals));
    tops_ = static_cast<float*>(scratch_.take(layout.rows));
    begin_ = static_cast<int32_t*>(scratch_.take(layout.rows));
    end_ = static_cast<int32_t*>(scratch_.take(layout.rows));
  }

  // `next`: the piece after this one, or none of them.
  void run(int64_t piece, int64_t next) {
    const AttentionShape& s = sizes_.shape;
    const Place place(sizes_, piece);
    first_ = place.first;
    count_ = place.count;
    const Head rules(s, args_.options, place.batch, place.head);
    rules.ranges(first_, count_, begin_, end_);
    const HeadRows<T> keys = keys_of(place), values = values_of(place);
    pack_rows(queries_of(place), first_, count_, sizes_.depth, query_);
    for (int64_t r = 0; r < round_up(count_, kRows); ++r) tops_[r] = -kInfinity;
    const BlockRange range = block_range(begin_, end_, count_);
    for (int64_t tile = range.begin / kTile * kTile; tile < range.end; tile += kTile) {
      pack_tile(keys, values, tile, max_of(range.begin, tile), min_of(range.end, tile + kTile));
      ahead_.clear();
      if (tile + kTile < range.end) {
        add_tile(keys, values, tile + kTile, min_of(range.end, tile + 2 * kTile));
      } else {
        ahead_.add(HeadRows<T>(args_.outputs, s.query_length, s.num_heads, s.value_dim, place.batch,
                               place.head),
                   first_, count_);
        if (next < sizes_.pieces()) {
          const Place after(sizes_, next);
          ahead_.add(queries_of(after), after.first, after.count);
          add_tile(keys_of(after), values_of(after), 0, min_of(kTile, s.key_length));
        }
      }
      for (int64_t row = 0; row < count_; row += kRows) {
        const int64_t rows = min_of(kRows, count_ - row);
        const BlockRange seen = block_range(begin_ + row, end_ + row, rows);
        if (seen.begin < tile + kTile && seen.end > tile) attend(rules, tile, row, rows, seen);
      }
    }
    write(place.batch, place.head);
  }

 private:
  struct Layout {
    int64_t query, keys, values, scores, factors, sums, totals, rows, bytes;

    explicit Layout(const Sizes<T>& s) {
      query = s.block * s.depth * sizeof(Op);
      keys = kTile * s.depth * sizeof(Op);
      values = kTile * s.value_columns * sizeof(Op);
      scores = kRows * kTile * sizeof(float);
      factors = kTile * sizeof(float);
      sums = s.block * s.value_columns * sizeof(float);
      totals = s.block * kLanes * sizeof(float);
      rows = s.block * sizeof(float);
      const int64_t sizes[] = {query, keys,   values, scores, factors,
                               sums,  totals, rows,   rows,   rows};
      bytes = 0;
      for (const int64_t size : sizes) bytes += Scratch::rounded(size);
    }
  };

  HeadRows<T> queries_of(const Place& at) const {
    const AttentionShape& s = sizes_.shape;
    return {args_.query, s.query_length, s.num_heads, s.head_dim, at.batch, at.head};
  }
  HeadRows<T> keys_of(const Place& at) const {
    const AttentionShape& s = sizes_.shape;
    return {args_.key, s.key_length, s.num_key_value_heads, s.head_dim, at.batch, at.key_head};
  }
  HeadRows<T> values_of(const Place& at) const {
    const AttentionShape& s = sizes_.shape;
    return {args_.value, s.key_length, s.num_key_value_heads, s.value_dim, at.batch, at.key_head};
  }
  void add_tile(const HeadRows<T>& keys, const HeadRows<T>& values, int64_t begin, int64_t end) {
    ahead_.add(keys, begin, end - begin);
    ahead_.add(values, begin, end - begin);
  }

  // The keys and values of [begin, end) within a tile, by panels of kPanel keys.
  void pack_tile(const HeadRows<T>& keys, const HeadRows<T>& values, int64_t tile, int64_t begin,
                 int64_t end) {
    for (int64_t key = begin / kPanel * kPanel; key < end; key += kPanel) {
      const int64_t count = min_of<int64_t>(kPanel, end - key);
      pack_transposed(keys, key, count, sizes_.depth, keys_ + (key - tile) * sizes_.depth);
      for (int64_t p = 0; p < sizes_.value_panels; ++p) {
        pack_panel(values, key, count, p * kPanel, kPanel,
                   values_ + (p * kTile + key - tile) * kPanel);
      }
    }
  }

  // Rows [row, row + rows) of the block meet the keys of a tile.
  void attend(const Head& rules, int64_t tile, int64_t row, int64_t rows, const BlockRange& seen) {
    constexpr int64_t kMultiple = kLanes > kDepthMultiple<Op> ? kLanes : kDepthMultiple<Op>;
    const int64_t from = (max_of(seen.begin, tile) - tile) / kPanel * kPanel;
    const int64_t to = round_up(min_of(seen.end, tile + kTile) - tile, kMultiple);
    const bool finish = rules.always_finish();
    const bool hide = !finish && (seen.all_begin > tile + from || seen.all_end < tile + to);
    const float scale = finish ? 1.0f : args_.options.scale;
    const bool fresh = tile <= seen.begin;  // the first tile of these rows
    for (int64_t c = from; c < to; c += kPanel) {
      panel_product(query_ + row * sizes_.depth, sizes_.depth, rows, sizes_.depth,
                    keys_ + c * sizes_.depth, scores_ + c, kTile, false);
      ahead_.fetch(sizes_.rows_ahead());
    }

    alignas(64) float new_tops[kRows], corrections[kRows];
    for (int64_t r = 0; r < kRows; ++r) new_tops[r] = -kInfinity;
    for (int64_t r = 0; r < rows; ++r) {
      float* const s = scores_ + r * kTile;
      if (finish) {
        rules.finish_row(first_ + row + r, tile, from, to, begin_[row + r], end_[row + r], s,
                         nullptr);
      }
      if (hide) rules.hide(tile, from, to, begin_[row + r], end_[row + r], s);
      Vec top = load(s + from);
      for (int64_t c = from + kLanes; c < to; c += kLanes) top = max_vec(load(s + c), top);
      new_tops[r] = max_across(top);
    }
    for (int64_t r = 0; r < kRows; r += kLanes) {
      const Vec before = load(tops_ + row + r);
      const Vec top = max_vec(load(new_tops + r) * scale, before);
      // Rows that have seen nothing yet subtract zero: infinity less infinity would be NaN.
      const Vec reference = top == -kInfinity ? Vec{} : top;
      store(corrections + r, exp_vec(before - reference));
      store(tops_ + row + r, top);
      store(new_tops + r, reference);
    }
    for (int64_t r = 0; r < rows; ++r) {
      const float* const s = scores_ + r * kTile;
      Op* const probabilities = reinterpret_cast<Op*>(scores_ + r * kTile);  // in their place
      const Vec reference = broadcast(new_tops[r]);
      Vec sum = {};
      if (rules.drops()) {
        rules.make_dropout_factors(first_ + row + r, tile, from, to, factors_);
        for (int64_t c = from; c < to; c += kLanes) {
          const Vec p = softmax_exp_vec(load(s + c) * scale - reference);
          sum += p;
          store(probabilities + c, p * load(factors_ + c));
        }
      } else {
        for (int64_t c = from; c < to; c += kLanes) {
          const Vec p = softmax_exp_vec(load(s + c) * scale - reference);
          sum += p;
          store(probabilities + c, p);
        }
      }
      float* const total = totals_ + (row + r) * kLanes;
      store(total, fresh ? sum : load(total) * corrections[r] + sum);
      if (!fresh && corrections[r] != 1.0f) {
        float* const out = sums_ + (row + r) * sizes_.value_columns;
        for (int64_t c = 0; c < sizes_.value_columns; c += kLanes) {
          store(out + c, load(out + c) * corrections[r]);
        }
      }
    }
    for (int64_t p = 0; p < sizes_.value_panels; ++p) {
      panel_product(reinterpret_cast<const Op*>(scores_) + from, kTile * kUnit<Op>, rows, to - from,
                    values_ + (p * kTile + from) * kPanel,
                    sums_ + row * sizes_.value_columns + p * kPanel, sizes_.value_columns, !fresh);
    }
  }

  void write(int64_t batch, int64_t head) const {
    const AttentionShape& s = sizes_.shape;
    for (int64_t row = 0; row < count_; row += kRows) {
      const int64_t rows = min_of(kRows, count_ - row);
      const BlockRange seen = block_range(begin_ + row, end_ + row, rows);
      for (int64_t r = row; r < row + rows; ++r) {
        const float total = seen.begin < seen.end ? sum_of_lanes(load(totals_ + r * kLanes)) : 0.0f;
        const int64_t query = first_ + r;
        args_.log_sum_exp[(batch * s.num_heads + head) * s.query_length + query] =
            total == 0.0f ? -kInfinity : tops_[r] + __builtin_logf(total);
        const float inverse = 1.0f / total;
        T* const out =
            args_.outputs + ((batch * s.query_length + query) * s.num_heads + head) * s.value_dim;
        const float* const from = sums_ + r * sizes_.value_columns;
        for (int64_t c = 0; c < s.value_dim; c += kLanes) {
          const Vec result = total == 0.0f ? Vec{} : load(from + c) * inverse;
          store_first(out + c, result, s.value_dim - c);
        }
      }
    }
  }

  const AttentionForward<T>& args_;
  const Sizes<T>& sizes_;
  Scratch scratch_;
  Op *query_, *keys_, *values_;  // (block, depth); kTile keys; (value_panels, kTile, kPanel)
  float* scores_;                // (kRows, kTile)
  float* factors_;               // (kTile)
  float* sums_;                  // (block, value_columns): of probabilities times values
  float* totals_;                // (block, kLanes): of probabilities, lane by lane
  float* tops_;                  // (block): the largest score so far
  int32_t *begin_, *end_;        // (block): the keys that a query sees
  int64_t first_ = 0, count_ = 0;
  Ahead ahead_;
};

template <class T>
void forward(const AttentionForward<T>& args, Parallel& parallel) {
  const AttentionShape& s = args.shape;
  if (s.batch * s.num_heads * s.query_length == 0) return;
  const Sizes<T> sizes(s, parallel.num_threads());
  const int64_t pieces = sizes.pieces();
  // Work that is done before other threads have woken up stays on this one.
  constexpr int64_t kThreadWork = 1 << 20;
  const int64_t work =
      s.batch * s.num_heads * s.query_length * s.key_length * (s.head_dim + s.value_dim);
  const int64_t workers =
      min_of(min_of<int64_t>(parallel.num_threads(), pieces), 1 + work / kThreadWork);
  int64_t untaken = 0;
  const auto take = [&] { return __atomic_fetch_add(&untaken, 1, __ATOMIC_RELAXED); };
  parallel.for_each(workers, [&](int64_t) {
    const TilesInUse tiles;
    Worker<T> worker(args, sizes);
    for (int64_t piece = take(), next; piece < pieces; piece = next) {
      next = take();
      worker.run(piece, next);
    }
  });
}

}  // namespace

extern const AttentionForwardKernels attention_forward_kernels = {&forward<float>,
                                                                  &forward<bfloat16>};

}  // namespace KERASLLM_ISA
}  // namespace kerasllm
