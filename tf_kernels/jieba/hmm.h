// The hidden Markov model by which jieba (its module `finalseg`) finds words that the dictionary
// lacks: each character begins a word (B), is inside one (M), ends one (E) or stands alone (S); the
// likeliest sequence of states is Viterbi's (Error Bounds for Convolutional Codes, 1967).
#ifndef KERASLLM_JIEBA_HMM_H_
#define KERASLLM_JIEBA_HMM_H_

#include <cstdint>
#include <vector>

#include "jieba/characters.h"

namespace kerasllm::jieba {

// In the order of their letters, by which jieba breaks ties.
enum State { kBegin, kEnd, kMiddle, kSingle, kNumStates };

// What jieba takes for the logarithm of a probability that its tables lack.
inline constexpr double kMinFloat = -3.14e100;

struct Hmm {
  static constexpr int64_t kNumCharacters = kLastHan - kFirstHan + 1;

  double start[kNumStates];
  double transition[kNumStates][kNumStates];  // (from, to)
  // (character - kFirstHan, state)
  std::vector<double> emission = std::vector<double>(kNumCharacters * kNumStates, kMinFloat);
};

// The likeliest states of `size` > 0 characters, each of them is_han. `states` has room for `size`;
// it is used as working memory too.
void likeliest_states(const Hmm& hmm, const char32_t* text, int64_t size, uint8_t* states);

}  // namespace kerasllm::jieba

#endif  // KERASLLM_JIEBA_HMM_H_
