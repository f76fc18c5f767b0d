// Control characters, blanks and repeats, as kerasllm/text/cleaning.py.
#include "text_cleaning/characters.h"
#include "text_cleaning/steps.h"

namespace kerasllm::text_cleaning {
namespace {

constexpr char32_t kJoiner = 0x200D, kEmojiSelector = 0xFE0F, kKeycap = 0x20E3;

bool is_selector(char32_t c) { return c - 0xFE00 <= 0xF; }
bool is_emoji(char32_t c) { return is(c, kEmoji); }

bool is_kept(const Text& text, size_t at) {
  const char32_t c = text[at];
  if (is(c, kInvisible)) return false;
  if (c != kJoiner && !is_selector(c)) return true;
  const char32_t previous = before(text, at);
  if (c == kJoiner) {
    const bool after_emoji =
        is_emoji(previous) || (previous == kEmojiSelector && is_emoji(before(text, at - 1)));
    return after_emoji && is_emoji(text[at + 1]);
  }
  const bool in_keycap = c == kEmojiSelector && text[at + 1] == kKeycap &&
                         (is_ascii_digit(previous) || previous == U'#' || previous == U'*');
  return in_keycap || is_emoji(previous);
}

bool may_repeat(char32_t c) { return (CharacterFlags::get()[c] & (kDigit | kBlank)) == 0; }
bool is_modifier(char32_t c) { return c == kEmojiSelector || c - 0x1F3FB <= 4; }

// How often in a row the `size` characters from `at` stand there.
int64_t count_repeats(const Text& text, size_t at, size_t size) {
  int64_t count = 1;
  for (size_t next = at + size; next + size <= text.size(); next += size, ++count) {
    for (size_t i = 0; i < size; ++i) {
      if (text[at + i] != text[next + i]) return count;
    }
  }
  return count;
}

}  // namespace

void remove_control_characters(Text* text, Text* buffer) {
  const auto& flags = CharacterFlags::get();
  buffer->clear();
  bool blank = false;
  for (size_t at = 0; at < text->size(); ++at) {
    const char32_t c = (*text)[at];
    if ((flags[c] & kBlank) != 0) {
      blank = true;
    } else if (is_kept(*text, at)) {
      if (blank && !buffer->empty()) buffer->push_back(U' ');
      blank = false;
      buffer->push_back(c);
    }
  }
  text->swap(*buffer);
}

void shorten_repeats(int64_t limit, Text* text, Text* buffer) {
  size_t unit = 1;  // characters of what is repeated: one, or one with its modifier
  substitute(
      text, buffer,
      [&](size_t at) {
        if (!may_repeat((*text)[at])) return at;
        for (unit = at + 1 < text->size() && is_modifier((*text)[at + 1]) ? 2 : 1; unit > 0;
             --unit) {
          const int64_t count = count_repeats(*text, at, unit);
          if (count > limit) return at + static_cast<size_t>(count) * unit;
        }
        return at;
      },
      [&](size_t begin, size_t, Text* to) {
        for (int64_t i = 0; i < limit; ++i) to->append(*text, begin, unit);
      });
}

}  // namespace kerasllm::text_cleaning
