#include "wordpiece/normalization.h"

#include <algorithm>

#include "wordpiece/unicode_tables.h"

namespace kerasllm {
namespace {

// Hangul syllables are decomposed by arithmetic (The Unicode Standard, section 3.12).
constexpr uint32_t kHangul = 0xAC00, kHangulEnd = 0xD7A4;
constexpr uint32_t kLeading = 0x1100, kVowel = 0x1161, kTrailing = 0x11A7;
constexpr uint32_t kNumVowels = 21, kNumTrailing = 28;

constexpr uint32_t kCapitalIWithDot = 0x130, kDotAbove = 0x307;

// The item whose range holds the code point, or null.
template <class T>
const T* find(const unicode::Table<T>& table, uint32_t code) {
  const T* const found =
      std::lower_bound(table.begin(), table.end(), code,
                       [](const T& item, uint32_t value) { return item.last < value; });
  return found != table.end() && found->first <= code ? found : nullptr;
}

// Where each code point stands in kDecompositions, in rising order.
const std::vector<const uint32_t*>& decompositions() {
  static const std::vector<const uint32_t*> index = [] {
    std::vector<const uint32_t*> result;
    const uint32_t* const end = unicode::kDecompositions.end();
    for (const uint32_t* p = unicode::kDecompositions.begin(); p < end; p += 2 + p[1]) {
      result.push_back(p);
    }
    return result;
  }();
  return index;
}

}  // namespace

bool is_removed(uint32_t code) { return find(unicode::kRemoved, code) != nullptr; }
bool is_space(uint32_t code) { return find(unicode::kSpaces, code) != nullptr; }
bool is_punctuation(uint32_t code) { return find(unicode::kPunctuation, code) != nullptr; }
bool is_nonspacing(uint32_t code) { return find(unicode::kNonspacing, code) != nullptr; }

bool is_cjk(uint32_t code) {
  for (const CjkBlock& block : kCjkBlocks) {
    if (code >= block.first && code <= block.last) return true;
  }
  return false;
}

int combining_class(uint32_t code) {
  const unicode::ClassRange* const range = find(unicode::kNonstarters, code);
  return range == nullptr ? 0 : range->combining_class;
}

void append_decomposition(uint32_t code, std::vector<uint32_t>* to) {
  if (code >= kHangul && code < kHangulEnd) {
    const uint32_t index = code - kHangul;
    to->push_back(kLeading + index / (kNumVowels * kNumTrailing));
    to->push_back(kVowel + index / kNumTrailing % kNumVowels);
    if (index % kNumTrailing != 0) to->push_back(kTrailing + index % kNumTrailing);
    return;
  }
  const auto& index = decompositions();
  const auto found =
      std::lower_bound(index.begin(), index.end(), code,
                       [](const uint32_t* item, uint32_t value) { return *item < value; });
  if (found == index.end() || **found != code) {
    to->push_back(code);
  } else {
    to->insert(to->end(), *found + 2, *found + 2 + (*found)[1]);
  }
}

void append_lowercase(uint32_t code, std::vector<uint32_t>* to) {
  if (code == kCapitalIWithDot) {
    to->push_back('i');
    to->push_back(kDotAbove);
    return;
  }
  const unicode::LowercaseRun* const run = find(unicode::kLowercase, code);
  const bool changes = run != nullptr && (code - run->first) % run->step == 0;
  to->push_back(changes ? code + static_cast<uint32_t>(run->difference) : code);
}

std::vector<uint32_t> normalize_character(uint32_t code, bool strip_accents, bool lowercase) {
  std::vector<uint32_t> parts, result;
  if (strip_accents) {
    append_decomposition(code, &parts);
    parts.erase(std::remove_if(parts.begin(), parts.end(), is_nonspacing), parts.end());
  } else {
    parts.push_back(code);
  }
  if (!lowercase) return parts;
  for (const uint32_t part : parts) append_lowercase(part, &result);
  return result;
}

std::vector<uint32_t> changing_characters() {
  std::vector<uint32_t> codes = {kCapitalIWithDot};
  for (uint32_t code = kHangul; code < kHangulEnd; ++code) codes.push_back(code);
  for (const uint32_t* const item : decompositions()) codes.push_back(*item);
  for (const unicode::LowercaseRun& run : unicode::kLowercase) {
    for (uint32_t code = run.first; code <= run.last; code += run.step) codes.push_back(code);
  }
  for (const unicode::Range& range : unicode::kNonspacing) {
    for (uint32_t code = range.first; code <= range.last; ++code) codes.push_back(code);
  }
  for (const unicode::ClassRange& range : unicode::kNonstarters) {
    for (uint32_t code = range.first; code <= range.last; ++code) codes.push_back(code);
  }
  return codes;
}

std::vector<SourcedCharacter> strip_accents_in_order(const std::vector<SourcedCharacter>& text) {
  struct Part {
    uint32_t code;
    int combining_class;
    bool first;  // of the parts of one character
  };
  std::vector<Part> parts;
  std::vector<uint32_t> decomposed;
  for (const SourcedCharacter& character : text) {
    decomposed.clear();
    append_decomposition(character.code, &decomposed);
    for (size_t i = 0; i < decomposed.size(); ++i) {
      parts.push_back({decomposed[i], combining_class(decomposed[i]), i == 0});
    }
  }
  const auto is_starter = [](const Part& part) { return part.combining_class == 0; };
  for (auto begin = parts.begin(); begin != parts.end();) {
    const auto end = std::find_if(begin, parts.end(), is_starter);
    std::stable_sort(begin, end, [](const Part& a, const Part& b) {
      return a.combining_class < b.combining_class;
    });
    begin = end == parts.end() ? end : end + 1;
  }
  std::vector<SourcedCharacter> result;
  size_t next = 0;  // in `text`
  for (const Part& part : parts) {
    if (part.first) ++next;
    const SourcedCharacter& source = text[next == 0 ? 0 : next - 1];
    if (!is_nonspacing(part.code)) result.push_back({part.code, source.start, source.end});
  }
  return result;
}

}  // namespace kerasllm
