// What both text families that normalise ask of Unicode 14: combining classes and decompositions.
// unicode_tables.cc holds the data, made by make_tables.
#ifndef KERASLLM_COMMON_UNICODE_H_
#define KERASLLM_COMMON_UNICODE_H_

#include <algorithm>
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
  char32_t first, last;
};
struct ClassRange {
  char32_t first, last;
  uint8_t combining_class;
};
// One step of a code point's decomposition: `size` items of kDecompositionParts.
struct Decomposition {
  char32_t code;
  int32_t begin, size;
  bool is_compatibility;
};

// Each in rising order.
extern const Table<ClassRange> kCombiningClasses;   // those other than 0
extern const Table<Decomposition> kDecompositions;  // without the Hangul syllables
extern const Table<char32_t> kDecompositionParts;

// Hangul syllables are composed and decomposed by arithmetic (The Unicode Standard, section 3.12).
constexpr char32_t kSyllable = 0xAC00, kLeading = 0x1100, kVowel = 0x1161, kTrailing = 0x11A7;
constexpr char32_t kNumLeading = 19, kNumVowels = 21, kNumTrailing = 28;
constexpr char32_t kNumSyllables = kNumLeading * kNumVowels * kNumTrailing;

// The item of a table of ranges that holds the code point, or null.
template <class T>
const T* find_range(const Table<T>& table, char32_t code) {
  const T* const found =
      std::lower_bound(table.begin(), table.end(), code,
                       [](const T& item, char32_t value) { return item.last < value; });
  return found != table.end() && found->first <= code ? found : nullptr;
}

inline int combining_class(char32_t code) {
  const ClassRange* const range = find_range(kCombiningClasses, code);
  return range == nullptr ? 0 : range->combining_class;
}

// Appends a code point's full decomposition, canonical or of compatibility, or the code point.
template <class String>
void append_decomposition(char32_t code, bool compatibility, String* to) {
  if (code - kSyllable < kNumSyllables) {
    const char32_t index = code - kSyllable;
    to->push_back(kLeading + index / (kNumVowels * kNumTrailing));
    to->push_back(kVowel + index / kNumTrailing % kNumVowels);
    if (index % kNumTrailing != 0) to->push_back(kTrailing + index % kNumTrailing);
    return;
  }
  const Decomposition* const found =
      code < kDecompositions.begin()->code
          ? kDecompositions.end()
          : std::lower_bound(
                kDecompositions.begin(), kDecompositions.end(), code,
                [](const Decomposition& item, char32_t value) { return item.code < value; });
  if (found == kDecompositions.end() || found->code != code ||
      (found->is_compatibility && !compatibility)) {
    to->push_back(code);
    return;
  }
  const char32_t* const parts = kDecompositionParts.items + found->begin;
  for (int i = 0; i < found->size; ++i) append_decomposition(parts[i], compatibility, to);
}

}  // namespace kerasllm::unicode

#endif  // KERASLLM_COMMON_UNICODE_H_
