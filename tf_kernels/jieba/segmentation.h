// The likeliest way through a run of characters by the dictionary alone, for either dictionary: the
// one that is being built and the one to cut with.
#ifndef KERASLLM_JIEBA_SEGMENTATION_H_
#define KERASLLM_JIEBA_SEGMENTATION_H_

#include <cstdint>
#include <limits>

#include "jieba/characters.h"

namespace kerasllm::jieba {

// Finds for each position of a run the end of the word that begins there on the likeliest way from
// it to the end of the run. `labels` (size,) are those of the trie; `scores` and `ends` have room
// for size + 1.
//
// jieba's sums and ties to the last bit: a score is (log(frequency) - log(total)) + the score of
// what follows, and of equals the longer word is taken. Where no word begins, the character alone
// counts as one of frequency 1.
template <class Trie>
void find_route(const Trie& trie, const uint32_t* labels, int64_t size, double* scores,
                int32_t* ends) {
  const double log_total = trie.log_total(), score_of_unknown = 0.0 - log_total;
  scores[size] = 0.0;
  for (int64_t begin = size - 1; begin >= 0; --begin) {
    double best = -std::numeric_limits<double>::infinity();
    int64_t best_end = 0;
    auto node = Trie::kRoot;
    for (int64_t end = begin; end < size;) {
      node = trie.child(node, labels[end]);
      if (node == Trie::kNone) break;
      ++end;
      const double log_frequency = trie.log_frequency(node);
      if (log_frequency < 0.0) continue;
      const double score = (log_frequency - log_total) + scores[end];
      if (score >= best) {
        best = score;
        best_end = end;
      }
    }
    if (best_end == 0) {
      best = score_of_unknown + scores[begin + 1];
      best_end = begin + 1;
    }
    scores[begin] = best;
    ends[begin] = static_cast<int32_t>(best_end);
  }
}

// Calls word(begin, end) for the words of a route, without the hidden Markov model: letters and
// digits that stand alone are joined.
template <class Word>
void for_each_word_of_route(const char32_t* text, int64_t size, const int32_t* ends,
                            const Word& word) {
  int64_t joined_from = 0;  // to `begin`, if it is less
  for (int64_t begin = 0; begin < size;) {
    const int64_t end = ends[begin];
    if (end - begin > 1 || !is_latin_or_digit(text[begin])) {
      if (joined_from < begin) word(joined_from, begin);
      word(begin, end);
      joined_from = end;
    }
    begin = end;
  }
  if (joined_from < size) word(joined_from, size);
}

}  // namespace kerasllm::jieba

#endif  // KERASLLM_JIEBA_SEGMENTATION_H_
