#include "jieba/hmm.h"

namespace kerasllm::jieba {
namespace {

// Which of the two states that may come before a state did: one bit a state.
constexpr State kBefore[kNumStates][2] = {
    {kEnd, kSingle},    // before B
    {kBegin, kMiddle},  // before E
    {kBegin, kMiddle},  // before M
    {kEnd, kSingle},    // before S
};

}  // namespace

void likeliest_states(const Hmm& hmm, const char32_t* text, int64_t size, uint8_t* states) {
  const double* const emission = hmm.emission.data();
  const auto emission_of = [=](int64_t t) { return emission + kNumStates * (text[t] - kFirstHan); };
  double best[kNumStates];
  for (int state = 0; state < kNumStates; ++state) {
    best[state] = hmm.start[state] + emission_of(0)[state];
  }
  for (int64_t t = 1; t < size; ++t) {
    const double* const here = emission_of(t);
    double next[kNumStates];
    unsigned came_from = 0;
    for (int state = 0; state < kNumStates; ++state) {
      const State first = kBefore[state][0], second = kBefore[state][1];
      // Summed in jieba's order. Of equals it takes the state with the greater letter: the second.
      const double a = best[first] + hmm.transition[first][state] + here[state];
      const double b = best[second] + hmm.transition[second][state] + here[state];
      const bool take_second = b >= a;
      next[state] = take_second ? b : a;
      came_from |= static_cast<unsigned>(take_second) << state;
    }
    for (int state = 0; state < kNumStates; ++state) best[state] = next[state];
    states[t] = static_cast<uint8_t>(came_from);
  }
  int state = best[kSingle] >= best[kEnd] ? kSingle : kEnd;
  for (int64_t t = size - 1; t > 0; --t) {
    const unsigned came_from = states[t];
    states[t] = static_cast<uint8_t>(state);
    state = kBefore[state][came_from >> state & 1];
  }
  states[0] = static_cast<uint8_t>(state);
}

}  // namespace kerasllm::jieba
