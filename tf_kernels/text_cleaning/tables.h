// What the cleaning of texts asks of Unicode and HTML, as Python has it (see make_tables).
#ifndef KERASLLM_TEXT_CLEANING_TABLES_H_
#define KERASLLM_TEXT_CLEANING_TABLES_H_

#include "common/unicode.h"

namespace kerasllm::text_cleaning {

using unicode::Range;
using unicode::Table;

struct Composition {
  char32_t first, second, composed;
};
// `second` is 0 where an entity is one character.
struct Entity {
  const char* name;
  char32_t first, second;
};
// A number that does not stand for the code point of that number; for none if `code` is 0.
struct Reference {
  char32_t number, code;
};
struct Element {
  const char* name;
  bool is_block;
};

// Python's \w, \d and \s, emoji, what is always invisible, and what NFKC may change or move.
extern const Table<Range> kWordRanges, kDigitRanges, kBlankRanges, kEmojiRanges, kInvisibleRanges,
    kUnstableRanges;
// Each in rising order.
extern const Table<Composition> kCompositions;  // without the Hangul syllables
extern const Table<Entity> kEntities;           // those that end with a semicolon, without it
extern const Table<Reference> kInvalidReferences;
extern const Table<Element> kElements;

}  // namespace kerasllm::text_cleaning

#endif  // KERASLLM_TEXT_CLEANING_TABLES_H_
