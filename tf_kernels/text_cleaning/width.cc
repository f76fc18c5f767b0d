// Unicode's NFKC (The Unicode Standard, sections 3.11 and 3.12; UAX #15), as unicodedata.normalize.
#include <algorithm>

#include "text_cleaning/characters.h"
#include "text_cleaning/steps.h"
#include "text_cleaning/tables.h"

namespace kerasllm::text_cleaning {
namespace {

using unicode::kLeading, unicode::kSyllable, unicode::kTrailing, unicode::kVowel;
using unicode::kNumLeading, unicode::kNumSyllables, unicode::kNumTrailing, unicode::kNumVowels;

// Of this many and more marks in a row only some are kept, as in normalize_width.
constexpr size_t kManyMarks = 100;
constexpr int kMaxMarks = 30;

int combining_class(char32_t c) { return is(c, kUnstable) ? unicode::combining_class(c) : 0; }

// The full compatibility decomposition.
void append_decomposition(char32_t c, Text* to) {
  if (is(c, kUnstable)) {
    unicode::append_decomposition(c, /*compatibility=*/true, to);
  } else {
    to->push_back(c);
  }
}

// What two characters become together, 0 for nothing.
char32_t compose(char32_t first, char32_t second) {
  if (!is(second, kUnstable)) return 0;
  if (first - kLeading < kNumLeading && second - kVowel < kNumVowels) {
    return kSyllable + ((first - kLeading) * kNumVowels + (second - kVowel)) * kNumTrailing;
  }
  if (first - kSyllable < kNumSyllables && (first - kSyllable) % kNumTrailing == 0 &&
      second - kTrailing - 1 < kNumTrailing - 1) {
    return first + (second - kTrailing);
  }
  const Composition* const found =
      std::lower_bound(kCompositions.begin(), kCompositions.end(), std::pair(first, second),
                       [](const Composition& item, const std::pair<char32_t, char32_t>& value) {
                         return std::pair(item.first, item.second) < value;
                       });
  const bool known =
      found != kCompositions.end() && found->first == first && found->second == second;
  return known ? found->composed : 0;
}

// Sorts every run of marks by their classes. No run is long: see limit_marks.
void order_marks(Text* text) {
  for (size_t at = 1; at < text->size(); ++at) {
    const char32_t c = (*text)[at];
    const int own = combining_class(c);
    if (own == 0) continue;
    size_t to = at;
    for (; to > 0 && combining_class((*text)[to - 1]) > own; --to) (*text)[to] = (*text)[to - 1];
    (*text)[to] = c;
  }
}

void compose_all(Text* text) {
  size_t size = 0, starter = Text::npos;
  int last_class = 0;  // of what was kept after the starter
  for (size_t at = 0; at < text->size(); ++at) {
    const char32_t c = (*text)[at];
    const int own = combining_class(c);
    const bool adjacent = starter != Text::npos && starter + 1 == size;
    if (starter != Text::npos && (adjacent || last_class < own)) {
      const char32_t composed = compose((*text)[starter], c);
      if (composed != 0) {
        (*text)[starter] = composed;
        continue;
      }
    }
    if (own == 0) {
      starter = size;
    }
    last_class = own;
    (*text)[size++] = c;
  }
  text->resize(size);
}

bool is_perhaps_mark(char32_t c) {
  if (c == 0xFF9E || c == 0xFF9F) return true;
  return !(c >= U'!' && c <= U'~') && (CharacterFlags::get()[c] & (kWord | kBlank)) == 0;
}

void limit_marks(Text* text, Text* buffer) {
  substitute(
      text, buffer,
      [&](size_t at) {
        const size_t end = end_of_run(*text, at, is_perhaps_mark);
        return end - at >= kManyMarks ? end : at;
      },
      [&](size_t begin, size_t end, Text* to) {
        Text decomposed;
        int marks = 0;
        for (size_t i = begin; i < end; ++i) {
          decomposed.clear();
          append_decomposition((*text)[i], &decomposed);
          marks = combining_class(decomposed[0]) != 0 ? marks + 1 : 0;
          if (marks <= kMaxMarks) to->push_back((*text)[i]);
        }
      });
}

}  // namespace

void normalize_width(Text* text, Text* buffer) {
  const auto& flags = CharacterFlags::get();
  const auto is_unstable = [&](char32_t c) { return (flags[c] & kUnstable) != 0; };
  if (std::none_of(text->begin(), text->end(), [](char32_t c) { return c >= 0x80; })) return;
  if (text->size() >= kManyMarks) limit_marks(text, buffer);
  if (std::none_of(text->begin(), text->end(), is_unstable)) return;
  buffer->clear();
  for (const char32_t c : *text) append_decomposition(c, buffer);
  order_marks(buffer);
  compose_all(buffer);
  text->swap(*buffer);
}

}  // namespace kerasllm::text_cleaning
