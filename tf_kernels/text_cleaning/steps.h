// The steps of cleaning. Each changes `*text` in place, with the help of a buffer of any content.
//
// They do what the regular expressions of kerasllm/text do, found by hand: what a pattern would try
// by backtracking is mostly decided by the next character, and where not, a comment says so. The
// character after the last one of a std::u32string can be read; it is 0, which no pattern asks for.
#ifndef KERASLLM_TEXT_CLEANING_STEPS_H_
#define KERASLLM_TEXT_CLEANING_STEPS_H_

#include <cstdint>
#include <string>
#include <string_view>

namespace kerasllm::text_cleaning {

using Text = std::u32string;

void remove_html(Text* text, Text* buffer);
void remove_urls(Text* text, Text* buffer);
void remove_mentions(Text* text, Text* buffer);
void normalize_width(Text* text, Text* buffer);
void remove_control_characters(Text* text, Text* buffer);
void mask_emails(Text* text, Text* buffer);
void mask_identity_cards(Text* text, Text* buffer);
void mask_bank_cards(Text* text, Text* buffer);
void mask_phones(Text* text, Text* buffer);
void shorten_repeats(int64_t limit, Text* text, Text* buffer);

inline bool is_ascii_digit(char32_t c) { return c - U'0' <= 9; }
inline bool is_ascii_letter(char32_t c) { return (c | 0x20) - U'a' <= 25; }
inline bool is_ascii_alphanumeric(char32_t c) { return is_ascii_letter(c) || is_ascii_digit(c); }
inline bool is_one_of(char32_t c, std::u32string_view characters) {
  return c != 0 && characters.find(c) != std::u32string_view::npos;
}
// The character before `at`, 0 at the beginning.
inline char32_t before(const Text& text, size_t at) { return at > 0 ? text[at - 1] : 0; }

// Where a run of characters that satisfy `holds` ends.
template <class Holds>
size_t end_of_run(const Text& text, size_t at, const Holds& holds) {
  while (at < text.size() && holds(text[at])) ++at;
  return at;
}

// Whether the text goes on with these ASCII letters and marks, in lower case, from `at`.
inline bool continues_with(const Text& text, size_t at, std::string_view lowercase) {
  if (text.size() - at < lowercase.size()) return false;
  for (const char expected : lowercase) {
    const char32_t c = text[at++];
    if (c != static_cast<char32_t>(expected) &&
        !(is_ascii_letter(c) && (c | 0x20) == static_cast<char32_t>(expected))) {
      return false;
    }
  }
  return true;
}

// What re.sub does. `match(at)` gives where a match from `at` ends, or `at` where there is none;
// `replace(begin, end, to)` appends what a match becomes.
template <class Match, class Replace>
void substitute(Text* text, Text* buffer, const Match& match, const Replace& replace) {
  buffer->clear();
  bool found = false;
  size_t copied = 0;
  for (size_t at = 0; at < text->size();) {
    const size_t end = match(at);
    if (end == at) {
      ++at;
      continue;
    }
    buffer->append(*text, copied, at - copied);
    replace(at, end, buffer);
    copied = at = end;
    found = true;
  }
  if (!found) return;
  buffer->append(*text, copied, Text::npos);
  text->swap(*buffer);
}

}  // namespace kerasllm::text_cleaning

#endif  // KERASLLM_TEXT_CLEANING_STEPS_H_
