// Chinese words as jieba 0.42.1 (Sun Junyi, 2012-2020) cuts them, to the last token: the likeliest
// way through the words of a dictionary, and a hidden Markov model for words that it lacks.
//
// The time is linear in the length of a text (jieba's own is quadratic in an unbroken run): walks
// through the trie end with the longest word, and Viterbi's states are found by back pointers.
#ifndef KERASLLM_JIEBA_JIEBA_H_
#define KERASLLM_JIEBA_JIEBA_H_

#include <cstdint>
#include <vector>

#include "jieba/dictionary.h"

namespace kerasllm::jieba {

enum class Mode {
  kCut,     // jieba.cut: every character in one word
  kAll,     // jieba.cut(cut_all=True): all words of the dictionary, overlapping; never with `hmm`
  kSearch,  // jieba.cut_for_search: before a long word the words of 2 and 3 characters inside it
};

struct Options {
  Mode mode = Mode::kCut;
  bool hmm = true;  // whether the hidden Markov model finds words that the dictionary lacks
  // Whether blank tokens are kept; mode kAll has empty ones among them.
  bool keep_blanks = false;
  // Where runs of letters, digits and Chinese characters are cut before anything else, as texts of
  // their own; 0 for nowhere.
  int64_t longest_run = 0;
};

// A token is a piece [begin, end) of the text. Only in mode kAll can one have several: jieba joins
// Latin words across one that the dictionary has in two lengths.
struct Piece {
  int32_t begin, end;
  bool continues;  // the token of the piece before this one
};

// Cuts one text after the other; one object a thread.
class Segmenter {
 public:
  // The dictionary must outlive the object.
  Segmenter(const Dictionary& dictionary, const Options& options)
      : dictionary_(dictionary), options_(options) {}

  // Appends the tokens of a text of less than 2^31 characters; offsets count characters.
  void cut(const char32_t* text, int64_t size, std::vector<Piece>* pieces);

  // The same for UTF-8 of less than 2^31 bytes; offsets count bytes. Bytes that are no UTF-8 are
  // characters that no word has (see decode_utf8).
  void cut_utf8(const char* text, int64_t size_bytes, std::vector<Piece>* pieces);

 private:
  void cut_outside(int64_t begin, int64_t end);
  void cut_run(int64_t begin, int64_t end);
  void cut_all(int64_t begin, int64_t end);
  void cut_with_hmm(int64_t begin, int64_t end);
  void cut_unknown(int64_t begin, int64_t end);
  void cut_by_states(int64_t begin, int64_t end);
  void cut_latin(int64_t begin, int64_t end);
  bool is_word(int64_t begin, int64_t end) const;
  void emit(int64_t begin, int64_t end, bool continues = false) {
    pieces_->push_back({static_cast<int32_t>(begin), static_cast<int32_t>(end), continues});
  }
  void emit_word(int64_t begin, int64_t end);

  const Dictionary& dictionary_;
  const Options options_;

  const char32_t* text_ = nullptr;
  std::vector<Piece>* pieces_ = nullptr;
  // Of the run being cut, which begins at `run_begin_`.
  int64_t run_begin_ = 0;
  std::vector<uint32_t> labels_;
  std::vector<double> scores_;
  std::vector<int32_t> ends_;
  std::vector<uint8_t> states_;
  std::vector<int32_t> word_ends_;
  std::vector<char32_t> characters_;
  std::vector<int32_t> starts_;
};

}  // namespace kerasllm::jieba

#endif  // KERASLLM_JIEBA_JIEBA_H_
