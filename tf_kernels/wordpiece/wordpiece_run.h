// The inner loop: from the bytes of one text to its tokens.
#ifndef KERASLLM_WORDPIECE_WORDPIECE_RUN_H_
#define KERASLLM_WORDPIECE_WORDPIECE_RUN_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "wordpiece/wordpiece.h"

namespace kerasllm {

// Working memory for the texts of one thread, one after the other.
template <bool kOffsets>
class WordpieceRun {
 public:
  explicit WordpieceRun(const Wordpiece& model);

  // Appends tokens of `text` until it ends or there are `limit` of them or a few more.
  void tokenize(std::string_view text, int64_t limit, TokenBuffer* tokens);

 private:
  // A character of the word being read, its place in bytes.
  void add(CharacterAction action, int64_t start, int64_t end);
  void add_symbol(uint32_t symbol, int64_t start, int64_t end);
  void end_word();
  void put(int32_t id, int64_t start, int64_t end);

  // Handles text[begin, ...) up to the next special token as a whole; returns where it ends.
  int64_t tokenize_in_order(int64_t begin);

  const Wordpiece& model_;
  const CharacterMap& characters_;
  const TokenTrie& trie_;
  const int32_t max_characters_;

  std::vector<uint32_t> symbols_;
  std::vector<int64_t> starts_, ends_;  // of each symbol, with offsets
  int32_t length_ = 0;                  // characters in the word, also those beyond symbols_
  int64_t word_start_ = 0, word_end_ = 0;

  std::string_view text_;
  int32_t* ids_ = nullptr;
  int64_t *token_starts_ = nullptr, *token_ends_ = nullptr;
  int64_t count_ = 0;  // tokens of this text
};

extern template class WordpieceRun<false>;
extern template class WordpieceRun<true>;

}  // namespace kerasllm

#endif  // KERASLLM_WORDPIECE_WORDPIECE_RUN_H_
