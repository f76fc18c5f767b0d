#include "text_encoding/characters.h"

#include "common/utf8.h"
#include "text_cleaning/characters.h"

namespace kerasllm::text_encoding {
namespace {

using text_cleaning::is;
using text_cleaning::kBlank;
using text_cleaning::kEmoji;

constexpr char32_t kJoiner = 0x200D, kEmojiSelector = 0xFE0F, kKeycap = 0x20E3;

bool is_digit(char32_t c) { return c - U'0' <= 9; }
bool is_letter(char32_t c) { return (c | 0x20) - U'a' <= 25; }
bool is_regional_indicator(char32_t c) { return c - 0x1F1E6 <= 25; }
bool is_accent(char32_t c) { return c - 0x300 <= 0x6F; }
bool is_latin(char32_t c) {
  return is_digit(c) || is_letter(c) || (c >= 0xC0 && c <= 0x24F && c != 0xD7 && c != 0xF7) ||
         is_accent(c);
}
// What belongs to the character before it: accents, variation selectors, keycaps, skin tones.
bool is_attached(char32_t c) {
  return is_accent(c) || c - 0xFE00 <= 0xF || c == kKeycap || c - 0x1F3FB <= 4;
}

}  // namespace

void CharacterSplitter::split(std::string_view text, std::vector<Token>* tokens) {
  characters_.clear();
  starts_.clear();
  const auto* const bytes = reinterpret_cast<const unsigned char*>(text.data());
  const auto* const last = bytes + text.size();
  for (const auto* p = bytes; p < last;) {
    uint32_t code;
    starts_.push_back(p - bytes);
    p += decode_utf8(p, last, &code);
    characters_.push_back(code);
  }
  const size_t size = characters_.size();
  starts_.push_back(static_cast<int64_t>(text.size()));
  characters_.insert(characters_.end(), 2, 0);
  for (size_t at = 0; at < size;) {
    size_t end = options_.keep_words ? end_of_word(at) : at;
    if (end == at) end = end_of_character(at);
    // What is attached to a blank is none, so such a token is not blank.
    const bool blank = end == at + 1 && is(characters_[at], kBlank);
    if (!blank || options_.keep_blanks) tokens->push_back({starts_[at], starts_[end]});
    at = end;
  }
}

size_t CharacterSplitter::end_of_character(size_t at) const {
  if (is_regional_indicator(characters_[at]) && is_regional_indicator(characters_[at + 1])) {
    return at + 2;
  }
  for (++at;;) {
    if (is_attached(characters_[at])) {
      ++at;
    } else if (characters_[at] == kJoiner && is(characters_[at + 1], kEmoji)) {
      at += 2;
    } else {
      return at;
    }
  }
}

// Where a word or number that begins at `at` ends; `at` if there is none. A keycap begins with a
// digit, but is no number.
size_t CharacterSplitter::end_of_word(size_t at) const {
  const auto& c = characters_;
  if (is_digit(c[at])) {
    const size_t keycap = c[at + 1] == kEmojiSelector ? at + 2 : at + 1;
    if (c[keycap] == kKeycap) return keycap + 1;
  }
  if (!is_latin(c[at])) return at;
  for (++at;; ++at) {
    const bool in_number = c[at] == U'.' && is_digit(c[at - 1]) && is_digit(c[at + 1]);
    const bool in_word =
        (c[at] == U'\'' || c[at] == 0x2019) && is_letter(c[at - 1]) && is_letter(c[at + 1]);
    if (!is_latin(c[at]) && !in_number && !in_word) return at;
  }
}

}  // namespace kerasllm::text_encoding
