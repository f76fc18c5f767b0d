// Batches of texts on several threads: ragged tokens, and the padded input of a BERT.
#ifndef KERASLLM_WORDPIECE_WORDPIECE_BATCH_H_
#define KERASLLM_WORDPIECE_WORDPIECE_BATCH_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/parallel.h"
#include "wordpiece/wordpiece.h"

namespace kerasllm {

// The tokens of a list of texts. Texts are handed to threads in groups; what comes out does not
// depend on the groups.
class WordpieceBatch {
 public:
  // `limit` as in Wordpiece::tokenize. The texts are only read here.
  WordpieceBatch(const Wordpiece& model, const std::string_view* texts, int64_t count,
                 int64_t limit, OffsetUnit unit, Parallel& parallel);

  int64_t num_texts() const { return static_cast<int64_t>(lengths_.size()); }
  int64_t num_tokens() const;
  int64_t length(int64_t text) const { return lengths_[static_cast<size_t>(text)]; }
  const int32_t* ids(int64_t text) const { return ids_[static_cast<size_t>(text)]; }

  // The tokens of all texts in one row: (num_tokens), and where each text begins and the last one
  // ends: (num_texts + 1). `starts` and `ends` may be null.
  void copy(int32_t* ids, int64_t* row_splits, int64_t* starts, int64_t* ends) const;

 private:
  struct Group {
    int64_t begin, end;  // texts
    TokenBuffer tokens;
  };
  std::vector<Group> groups_;
  std::vector<int64_t> lengths_;
  std::vector<const int32_t*> ids_;
};

enum class Truncation { kLongestFirst, kOnlyFirst, kOnlySecond };

struct EncodingOptions {
  int64_t max_length = 0;  // with special tokens; 0 for any
  Truncation truncation = Truncation::kLongestFirst;
  bool pad_to_max_length = false;  // else to the longest of the batch
  bool has_pairs = false;
};

// [CLS] text [SEP], or [CLS] text [SEP] pair [SEP], padded.
class EncodedBatch {
 public:
  // `pairs` is not looked at without options.has_pairs. Where error() is not empty afterwards,
  // nothing else may be asked.
  EncodedBatch(const Wordpiece& model, const std::string_view* texts, const std::string_view* pairs,
               int64_t count, const EncodingOptions& options, Parallel& parallel);

  const std::string& error() const { return error_; }
  int64_t length() const { return length_; }

  // Each (count, length()).
  void write(int32_t* token_ids, int32_t* segment_ids, bool* padding_mask,
             Parallel& parallel) const;

 private:
  // Tokens that are kept of a text and its pair.
  struct Kept {
    int64_t first, second;
  };
  Kept truncate(int64_t row, int64_t first, int64_t second);

  const Wordpiece& model_;
  const EncodingOptions options_;
  WordpieceBatch firsts_, seconds_;
  std::vector<Kept> kept_;
  std::string error_;
  int64_t length_ = 0;
};

}  // namespace kerasllm

#endif  // KERASLLM_WORDPIECE_WORDPIECE_BATCH_H_
