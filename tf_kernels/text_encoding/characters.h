// Cutting a text into characters as a reader counts them: what kerasllm.text.CharTokenizer does.
#ifndef KERASLLM_TEXT_ENCODING_CHARACTERS_H_
#define KERASLLM_TEXT_ENCODING_CHARACTERS_H_

#include <cstdint>
#include <string_view>
#include <vector>

namespace kerasllm::text_encoding {

struct CharacterOptions {
  bool keep_words = false;   // Latin words and numbers are one token each
  bool keep_blanks = false;  // blanks are tokens
};

// The bytes of a text that are a token.
struct Token {
  int64_t begin, end;
};

// Cuts one text after another. An object is for one thread.
class CharacterSplitter {
 public:
  explicit CharacterSplitter(const CharacterOptions& options) : options_(options) {}

  // Appends the tokens of a UTF-8 text. Bytes that are none are characters, U+FFFD.
  void split(std::string_view text, std::vector<Token>* tokens);

 private:
  size_t end_of_character(size_t at) const;
  size_t end_of_word(size_t at) const;

  const CharacterOptions options_;
  std::vector<char32_t> characters_;  // and a 0 behind the last one, twice
  std::vector<int64_t> starts_;       // the byte where each begins, and where the text ends
};

}  // namespace kerasllm::text_encoding

#endif  // KERASLLM_TEXT_ENCODING_CHARACTERS_H_
