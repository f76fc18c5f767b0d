// BERT's tokenisation (Devlin, Chang, Lee and Toutanova, BERT, 2019), token for token that of
// BertNormalizer, BertPreTokenizer and WordPiece of Hugging Face `tokenizers`: control characters
// dropped, blanks and (by default) Chinese characters and punctuation parted, lower case, accents
// stripped, and each word cut into the longest pieces that the vocabulary has, from left to right.
//
// Text is UTF-8; what is none counts as U+FFFD, which is dropped (utf8.h says how much is one).
#ifndef KERASLLM_WORDPIECE_WORDPIECE_H_
#define KERASLLM_WORDPIECE_WORDPIECE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "wordpiece/character_map.h"
#include "wordpiece/token_buffer.h"
#include "wordpiece/token_trie.h"

namespace kerasllm {

struct WordpieceOptions {
  bool lowercase = true;
  bool strip_accents = true;
  bool split_cjk = true;
  // Whether "[MASK]" in a text is that token; else it is three words.
  bool special_tokens_in_text = true;
  int32_t max_characters_per_word = 100;  // longer words are unknown
  std::string unknown_token = "[UNK]", class_token = "[CLS]", separator_token = "[SEP]",
              padding_token = "[PAD]";
  std::vector<std::string> more_special_tokens = {"[MASK]"};  // found in texts like those four
};

enum class OffsetUnit { kNone, kBytes, kCodePoints };

class Wordpiece {
 public:
  // `vocabulary`: the content of a vocab.txt, one token a line, its number from 0 being the id.
  // Returns null and a sentence where it cannot be used.
  static std::shared_ptr<const Wordpiece> create(std::string_view vocabulary,
                                                 const WordpieceOptions& options,
                                                 std::string* error);

  // Appends the tokens of `count` texts, and to lengths[i] the number of those of text i. At least
  // the first `limit` tokens of each text are there; the rest may be left out.
  void tokenize(const std::string_view* texts, int64_t count, int64_t limit, OffsetUnit unit,
                TokenBuffer* tokens, int64_t* lengths) const;

  int64_t size() const { return size_; }
  int32_t unknown_id() const { return unknown_id_; }
  int32_t class_id() const { return class_id_; }
  int32_t separator_id() const { return separator_id_; }
  int32_t padding_id() const { return padding_id_; }

 private:
  template <bool kOffsets>
  friend class WordpieceRun;
  struct SpecialToken {
    std::string text;
    int32_t id;
  };
  Wordpiece() = default;
  const SpecialToken* special_token_at(std::string_view text) const;

  WordpieceOptions options_;
  int64_t size_ = 0;
  int32_t unknown_id_ = 0, class_id_ = 0, separator_id_ = 0, padding_id_ = 0;
  std::vector<SpecialToken> special_tokens_;  // the longest first
  std::unique_ptr<CharacterMap> characters_;
  std::unique_ptr<TokenTrie> trie_;
};

}  // namespace kerasllm

#endif  // KERASLLM_WORDPIECE_WORDPIECE_H_
