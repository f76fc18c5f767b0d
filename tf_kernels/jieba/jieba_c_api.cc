// What Python calls by ctypes, without TensorFlow. Texts and tokens are UTF-32, one behind the
// other in one buffer; ctypes releases Python's lock while a function here runs.
#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "jieba/dictionary_builder.h"
#include "jieba/jieba.h"

#define KERASLLM_EXPORT __attribute__((visibility("default")))

namespace kerasllm::jieba {
namespace {

struct Engine {
  std::shared_ptr<const Dictionary> dictionary;
};

struct Tokens {
  std::vector<char32_t> text;
  std::vector<int64_t> counts;
};

// Appends the tokens of a text, a separator before each, and counts them.
int64_t append_tokens(const char32_t* text, const std::vector<Piece>& pieces, char32_t separator,
                      std::vector<char32_t>* tokens) {
  size_t size = 0;
  for (const Piece& piece : pieces) size += piece.end - piece.begin + 1;
  const size_t before = tokens->size();
  if (before + size > tokens->capacity()) tokens->reserve(2 * (before + size));
  tokens->resize(before + size);
  char32_t* to = tokens->data() + before;
  int64_t count = 0;
  for (const Piece& piece : pieces) {
    if (!piece.continues) {
      *to++ = separator;
      ++count;
    }
    to = std::copy(text + piece.begin, text + piece.end, to);
  }
  tokens->resize(to - tokens->data());
  return count;
}

void tell(const std::string& what, char* error, int64_t error_size) {
  const size_t size = std::min(what.size(), static_cast<size_t>(error_size - 1));
  std::memcpy(error, what.data(), size);
  error[size] = '\0';
}

// Calls what makes an object, and gives null and the reason where it throws (bad_alloc).
template <class Make>
auto guarded(char* error, int64_t error_size, const Make& make) -> decltype(make()) {
  try {
    return make();
  } catch (const std::exception& exception) {
    tell(exception.what(), error, error_size);
    return nullptr;
  }
}

}  // namespace
}  // namespace kerasllm::jieba

using kerasllm::jieba::append_tokens;
using kerasllm::jieba::Dictionary;
using kerasllm::jieba::DictionaryBuilder;
using kerasllm::jieba::Engine;
using kerasllm::jieba::guarded;
using kerasllm::jieba::Hmm;
using kerasllm::jieba::kNumStates;
using kerasllm::jieba::Mode;
using kerasllm::jieba::Options;
using kerasllm::jieba::Piece;
using kerasllm::jieba::Segmenter;
using kerasllm::jieba::tell;
using kerasllm::jieba::Tokens;

extern "C" {

// A dictionary of the lines of jieba's dict.txt and of the user's words, `word_lengths` characters
// each, in turn; a frequency below 0 is one to suggest. The tables of the hidden Markov model are
// in the order of jieba/hmm.h. Null where something is wrong, and what in `error`.
KERASLLM_EXPORT Engine* kerasllm_jieba_new(const char* lines, int64_t lines_size,
                                           const double* start, const double* transition,
                                           const double* emission, const char32_t* words,
                                           const int64_t* word_lengths, const int64_t* frequencies,
                                           int64_t num_words, char* error, int64_t error_size) {
  return guarded(error, error_size, [&]() -> Engine* {
    DictionaryBuilder builder;
    const std::string problem = builder.add_lines({lines, static_cast<size_t>(lines_size)});
    if (!problem.empty() || builder.total() == 0) {
      tell(problem.empty() ? "the dictionary has no words" : problem, error, error_size);
      return nullptr;
    }
    for (int64_t i = 0; i < num_words; ++i) {
      const std::u32string_view word(words, word_lengths[i]);
      words += word_lengths[i];
      const uint64_t frequency =
          frequencies[i] < 0 ? builder.suggest_frequency(word) : uint64_t(frequencies[i]);
      if (!builder.add_word(word, frequency)) {
        tell("word " + std::to_string(i) +
                 " is no Unicode, or makes the sum of all frequencies too large",
             error, error_size);
        return nullptr;
      }
    }
    Hmm hmm;
    std::copy_n(start, kNumStates, hmm.start);
    std::copy_n(transition, kNumStates * kNumStates, &hmm.transition[0][0]);
    std::copy_n(emission, hmm.emission.size(), hmm.emission.data());
    return new Engine{builder.build(hmm)};
  });
}

KERASLLM_EXPORT void kerasllm_jieba_delete(Engine* engine) { delete engine; }

KERASLLM_EXPORT int64_t kerasllm_jieba_frequency(const Engine* engine, const char32_t* word,
                                                 int64_t length) {
  return static_cast<int64_t>(engine->dictionary->frequency({word, static_cast<size_t>(length)}));
}

KERASLLM_EXPORT int64_t kerasllm_jieba_total(const Engine* engine) {
  return static_cast<int64_t>(engine->dictionary->total());
}

// The number of characters that the hidden Markov model's table has a row for, from U+4E00.
KERASLLM_EXPORT int64_t kerasllm_jieba_num_characters() { return Hmm::kNumCharacters; }

// The content of the file that the ops read.
KERASLLM_EXPORT std::string* kerasllm_jieba_serialize(const Engine* engine, char* error,
                                                      int64_t error_size) {
  return guarded(error, error_size,
                 [&] { return new std::string(engine->dictionary->serialize()); });
}
KERASLLM_EXPORT const char* kerasllm_jieba_content(const std::string* content, int64_t* size) {
  *size = static_cast<int64_t>(content->size());
  return content->data();
}
KERASLLM_EXPORT void kerasllm_jieba_content_delete(std::string* content) { delete content; }

// Cuts texts of `lengths` characters; `mode` counts as jieba::Mode does.
KERASLLM_EXPORT Tokens* kerasllm_jieba_cut(const Engine* engine, const char32_t* texts,
                                           const int64_t* lengths, int64_t num_texts, int mode,
                                           int hmm, int keep_blanks, int64_t longest_run,
                                           char32_t separator, char* error, int64_t error_size) {
  return guarded(error, error_size, [&] {
    auto tokens = std::make_unique<Tokens>();
    Segmenter segmenter(*engine->dictionary,
                        Options{static_cast<Mode>(mode), hmm != 0, keep_blanks != 0, longest_run});
    std::vector<Piece> pieces;
    tokens->counts.resize(num_texts);
    for (int64_t i = 0; i < num_texts; ++i) {
      pieces.clear();
      segmenter.cut(texts, lengths[i], &pieces);
      tokens->counts[i] = append_tokens(texts, pieces, separator, &tokens->text);
      texts += lengths[i];
    }
    return tokens.release();
  });
}
// All tokens, a separator before each; and how many each text has.
KERASLLM_EXPORT const char32_t* kerasllm_jieba_tokens(const Tokens* tokens, int64_t* size) {
  *size = static_cast<int64_t>(tokens->text.size());
  return tokens->text.data();
}
KERASLLM_EXPORT const int64_t* kerasllm_jieba_counts(const Tokens* tokens) {
  return tokens->counts.data();
}
KERASLLM_EXPORT void kerasllm_jieba_tokens_delete(Tokens* tokens) { delete tokens; }

}  // extern "C"
