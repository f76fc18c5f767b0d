#include "wordpiece/wordpiece_batch.h"

#include <algorithm>
#include <limits>

namespace kerasllm {
namespace {

constexpr int64_t kGroupBytes = 32 * 1024;  // of text: far more work than handing it to a thread
constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();
constexpr int64_t kRowsPerTask = 64;

}  // namespace

WordpieceBatch::WordpieceBatch(const Wordpiece& model, const std::string_view* texts, int64_t count,
                               int64_t limit, OffsetUnit unit, Parallel& parallel)
    : lengths_(static_cast<size_t>(count)), ids_(static_cast<size_t>(count)) {
  for (int64_t begin = 0, end = 0; begin < count; begin = end) {
    for (int64_t bytes = 0; end < count && bytes < kGroupBytes; ++end) {
      bytes += static_cast<int64_t>(texts[end].size()) + 1;
    }
    groups_.push_back({begin, end, {}});
  }
  parallel.for_each(static_cast<int64_t>(groups_.size()), [&](int64_t task) {
    Group& group = groups_[static_cast<size_t>(task)];
    int64_t* const lengths = lengths_.data() + group.begin;
    model.tokenize(texts + group.begin, group.end - group.begin, limit, unit, &group.tokens,
                   lengths);
    const int32_t* ids = group.tokens.ids.get();
    for (int64_t i = group.begin; i < group.end; ++i) {
      ids_[static_cast<size_t>(i)] = ids;
      ids += length(i);
    }
  });
}

int64_t WordpieceBatch::num_tokens() const {
  int64_t result = 0;
  for (const Group& group : groups_) result += group.tokens.size;
  return result;
}

void WordpieceBatch::copy(int32_t* ids, int64_t* row_splits, int64_t* starts, int64_t* ends) const {
  *row_splits = 0;
  for (const int64_t length : lengths_) {
    row_splits[1] = row_splits[0] + length;
    ++row_splits;
  }
  for (const Group& group : groups_) {
    const int64_t size = group.tokens.size;
    ids = std::copy_n(group.tokens.ids.get(), size, ids);
    if (starts != nullptr) starts = std::copy_n(group.tokens.starts.get(), size, starts);
    if (ends != nullptr) ends = std::copy_n(group.tokens.ends.get(), size, ends);
  }
}

EncodedBatch::EncodedBatch(const Wordpiece& model, const std::string_view* texts,
                           const std::string_view* pairs, int64_t count,
                           const EncodingOptions& options, Parallel& parallel)
    : model_(model),
      options_(options),
      // The tokens of a pair must be counted to its end: what is cut depends on the numbers.
      firsts_(model, texts, count,
              options.max_length > 0 && !options.has_pairs ? options.max_length : kNoLimit,
              OffsetUnit::kNone, parallel),
      seconds_(model, pairs, options.has_pairs ? count : 0, kNoLimit, OffsetUnit::kNone, parallel) {
  const int64_t num_special = options_.has_pairs ? 3 : 2;
  if (options.max_length != 0 && options.max_length < num_special) {
    error_ = "max_length is " + std::to_string(options.max_length) + ", expected at least " +
             std::to_string(num_special) + " (the special tokens) or 0 for any length";
  } else if (options.pad_to_max_length && options.max_length == 0) {
    error_ = "padding to max_length needs a max_length";
  } else if (options.truncation == Truncation::kOnlySecond && !options_.has_pairs) {
    error_ = "truncation is only_second, but there are no second texts";
  }
  for (int64_t row = 0; row < count && error_.empty(); ++row) {
    const int64_t first = firsts_.length(row),
                  second = options_.has_pairs ? seconds_.length(row) : 0;
    kept_.push_back(truncate(row, first, second));
    length_ = std::max(length_, kept_.back().first + kept_.back().second + num_special);
  }
  if (options.pad_to_max_length) length_ = options.max_length;
}

// As `tokenizers` does it.
EncodedBatch::Kept EncodedBatch::truncate(int64_t row, int64_t first, int64_t second) {
  if (options_.max_length == 0) return {first, second};
  const int64_t room = options_.max_length - (options_.has_pairs ? 3 : 2);
  const int64_t excess = first + second - room;
  if (excess <= 0) return {first, second};
  if (room == 0) return {0, 0};
  if (options_.truncation == Truncation::kLongestFirst) {
    if (!options_.has_pairs) return {room, 0};
    int64_t shorter = std::min(first, second);
    int64_t longer = std::max(shorter, room - shorter);
    if (shorter + longer > room) {
      shorter = room / 2;
      longer = room - shorter;
    }
    return first > second ? Kept{longer, shorter} : Kept{shorter, longer};
  }
  const bool cuts_first = options_.truncation == Truncation::kOnlyFirst;
  const int64_t left = (cuts_first ? first : second) - excess;
  if (left <= 0) {
    error_ = "truncation of only the " + std::string(cuts_first ? "first" : "second") +
             " text cannot bring row " + std::to_string(row) + " with " + std::to_string(first) +
             " and " + std::to_string(second) + " tokens to max_length " +
             std::to_string(options_.max_length) + " without leaving nothing of it";
  }
  return cuts_first ? Kept{left, second} : Kept{first, left};
}

void EncodedBatch::write(int32_t* token_ids, int32_t* segment_ids, bool* padding_mask,
                         Parallel& parallel) const {
  const auto num_rows = static_cast<int64_t>(kept_.size());
  parallel.for_each((num_rows + kRowsPerTask - 1) / kRowsPerTask, [&](int64_t task) {
    const int64_t end = std::min(num_rows, (task + 1) * kRowsPerTask);
    for (int64_t row = task * kRowsPerTask; row < end; ++row) {
      const auto [first, second] = kept_[static_cast<size_t>(row)];
      int32_t* const ids = token_ids + row * length_;
      int32_t* to = ids;
      *to++ = model_.class_id();
      to = std::copy_n(firsts_.ids(row), first, to);
      *to++ = model_.separator_id();
      const int64_t first_size = to - ids;
      if (options_.has_pairs) {
        to = std::copy_n(seconds_.ids(row), second, to);
        *to++ = model_.separator_id();
      }
      const int64_t size = to - ids;
      std::fill(to, ids + length_, model_.padding_id());
      int32_t* const segments = segment_ids + row * length_;
      std::fill(segments, segments + length_, 0);
      std::fill(segments + first_size, segments + size, 1);
      bool* const mask = padding_mask + row * length_;
      std::fill(mask, mask + size, true);
      std::fill(mask + size, mask + length_, false);
    }
  });
}

}  // namespace kerasllm
