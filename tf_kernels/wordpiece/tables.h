// What BERT's tokenisation asks of Unicode, as `tokenizers` has it (see make_tables).
#ifndef KERASLLM_WORDPIECE_TABLES_H_
#define KERASLLM_WORDPIECE_TABLES_H_

#include "common/unicode.h"

namespace kerasllm::wordpiece {

using unicode::Range;
using unicode::Table;

// Each `step`-th code point from `first` to `last` has its lower case `difference` further on.
struct LowercaseRun {
  char32_t first, last, step;
  int32_t difference;
};

extern const Table<Range> kRemoved;      // controls, formats, private use and U+FFFD
extern const Table<Range> kSpaces;       // whitespace
extern const Table<Range> kPunctuation;  // categories P*, and all ASCII that is no letter or digit
extern const Table<Range> kNonspacing;   // category Mn
extern const Table<LowercaseRun> kLowercase;  // all but U+0130, which becomes two
// Where `tokenizers` is behind Unicode 14: of combining class 0, and without a decomposition.
extern const Table<Range> kStarters;
extern const Table<char32_t> kUndecomposed;

}  // namespace kerasllm::wordpiece

#endif  // KERASLLM_WORDPIECE_TABLES_H_
