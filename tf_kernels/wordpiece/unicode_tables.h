// What BERT's tokenisation asks of Unicode, as `tokenizers` has it (see make_unicode_tables.py).
#ifndef KERASLLM_WORDPIECE_UNICODE_TABLES_H_
#define KERASLLM_WORDPIECE_UNICODE_TABLES_H_

#include <cstdint>

namespace kerasllm::unicode {

template <class T>
struct Table {
  const T* items;
  int size;
  const T* begin() const { return items; }
  const T* end() const { return items + size; }
};

struct Range {
  uint32_t first, last;
};
struct ClassRange {
  uint32_t first, last;
  uint8_t combining_class;
};
// Each `step`-th code point from `first` to `last` has its lower case `difference` further on.
struct LowercaseRun {
  uint32_t first, last, step;
  int32_t difference;
};

extern const Table<Range> kRemoved;      // controls, formats, private use and U+FFFD
extern const Table<Range> kSpaces;       // whitespace
extern const Table<Range> kPunctuation;  // categories P*, and all ASCII that is no letter or digit
extern const Table<Range> kNonspacing;   // category Mn
extern const Table<ClassRange> kNonstarters;   // canonical combining class other than 0
extern const Table<LowercaseRun> kLowercase;   // all but U+0130, which becomes two
extern const Table<uint32_t> kDecompositions;  // code point, number, full decomposition, ...

}  // namespace kerasllm::unicode

#endif  // KERASLLM_WORDPIECE_UNICODE_TABLES_H_
