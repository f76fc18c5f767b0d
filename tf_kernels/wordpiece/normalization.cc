#include "wordpiece/normalization.h"

#include <algorithm>

#include "wordpiece/tables.h"

namespace kerasllm {
namespace {

constexpr uint32_t kCapitalIWithDot = 0x130, kDotAbove = 0x307;

using unicode::find_range;

bool is_decomposed(uint32_t code) {
  const auto& exceptions = wordpiece::kUndecomposed;
  return std::find(exceptions.begin(), exceptions.end(), code) == exceptions.end();
}

}  // namespace

bool is_removed(uint32_t code) { return find_range(wordpiece::kRemoved, code) != nullptr; }
bool is_space(uint32_t code) { return find_range(wordpiece::kSpaces, code) != nullptr; }
bool is_punctuation(uint32_t code) { return find_range(wordpiece::kPunctuation, code) != nullptr; }
bool is_nonspacing(uint32_t code) { return find_range(wordpiece::kNonspacing, code) != nullptr; }

bool is_cjk(uint32_t code) {
  for (const CjkBlock& block : kCjkBlocks) {
    if (code >= block.first && code <= block.last) return true;
  }
  return false;
}

int combining_class(uint32_t code) {
  return find_range(wordpiece::kStarters, code) != nullptr ? 0 : unicode::combining_class(code);
}

void append_decomposition(uint32_t code, std::vector<uint32_t>* to) {
  if (is_decomposed(code)) {
    unicode::append_decomposition(code, /*compatibility=*/false, to);
  } else {
    to->push_back(code);
  }
}

void append_lowercase(uint32_t code, std::vector<uint32_t>* to) {
  if (code == kCapitalIWithDot) {
    to->push_back('i');
    to->push_back(kDotAbove);
    return;
  }
  const wordpiece::LowercaseRun* const run = find_range(wordpiece::kLowercase, code);
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
  for (uint32_t i = 0; i < unicode::kNumSyllables; ++i) codes.push_back(unicode::kSyllable + i);
  for (const unicode::Decomposition& item : unicode::kDecompositions) {
    if (!item.is_compatibility) codes.push_back(item.code);
  }
  for (const wordpiece::LowercaseRun& run : wordpiece::kLowercase) {
    for (uint32_t code = run.first; code <= run.last; code += run.step) codes.push_back(code);
  }
  for (const unicode::Range& range : wordpiece::kNonspacing) {
    for (uint32_t code = range.first; code <= range.last; ++code) codes.push_back(code);
  }
  for (const unicode::ClassRange& range : unicode::kCombiningClasses) {
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
