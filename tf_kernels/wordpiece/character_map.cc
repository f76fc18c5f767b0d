#include "wordpiece/character_map.h"

#include "wordpiece/normalization.h"
#include "wordpiece/tables.h"

namespace kerasllm {

using Action = CharacterAction;

CharacterMap::CharacterMap(const CharacterMapOptions& options,
                           const std::unordered_map<uint32_t, uint32_t>& symbols,
                           const std::unordered_map<uint32_t, int32_t>& ids, int32_t unknown_id)
    : symbols_(symbols),
      ids_(ids),
      unknown_id_(unknown_id),
      pages_(0x110000 >> kPageBits, 0),
      actions_(kPageSize, Action::make(Action::kSymbol, 0)) {
  // From the general to the particular: what comes later wins.
  for (const auto& [code, symbol] : symbols) at(code) = Action::make(Action::kSymbol, symbol);
  for (const unicode::Range& range : wordpiece::kPunctuation) {
    for (uint32_t code = range.first; code <= range.last; ++code) at(code) = word(code);
  }
  if (options.split_cjk) {
    for (const CjkBlock& block : kCjkBlocks) {
      for (uint32_t code = block.first; code <= block.last; ++code) at(code) = word(code);
    }
  }
  for (const uint32_t code : changing_characters()) at(code) = normalized_action(code, options);
  for (const unicode::Range& range : wordpiece::kSpaces) {
    for (uint32_t code = range.first; code <= range.last; ++code) {
      at(code) = Action::make(Action::kSpace, 0);
    }
  }
  for (const unicode::Range& range : wordpiece::kRemoved) {
    for (uint32_t code = range.first; code <= range.last; ++code) {
      at(code) = Action::make(Action::kDropped, 0);
    }
  }
}

Action CharacterMap::normalized(uint32_t code) const {
  if (is_punctuation(code)) return word(code);
  const auto found = symbols_.find(code);
  return Action::make(Action::kSymbol, found == symbols_.end() ? 0 : found->second);
}

Action& CharacterMap::at(uint32_t code) {
  uint32_t& page = pages_[code >> kPageBits];
  if (page == 0) {
    page = static_cast<uint32_t>(actions_.size());
    actions_.resize(actions_.size() + kPageSize, Action::make(Action::kSymbol, 0));
  }
  return actions_[page + (code & (kPageSize - 1))];
}

Action CharacterMap::word(uint32_t code) const {
  const auto found = ids_.find(code);
  return Action::make(Action::kWord,
                      static_cast<uint32_t>(found == ids_.end() ? unknown_id_ : found->second));
}

Action CharacterMap::normalized_action(uint32_t code, const CharacterMapOptions& options) {
  const std::vector<uint32_t> parts =
      normalize_character(code, options.strip_accents, options.lowercase);
  if (parts.empty()) return Action::make(Action::kDropped, 0);
  if (options.strip_accents) {
    for (const uint32_t part : parts) {
      if (combining_class(part) != 0) return Action::make(Action::kReorders, 0);
    }
  }
  // The ideographs of the compatibility blocks are others, decomposed.
  if (options.split_cjk && is_cjk(code)) return word(parts[0]);
  if (parts.size() == 1) return normalized(parts[0]);
  const Action expands = Action::make(Action::kExpands, static_cast<uint32_t>(parts_.size()));
  parts_.push_back({static_cast<uint32_t>(parts.size())});
  for (const uint32_t part : parts) parts_.push_back(normalized(part));
  return expands;
}

}  // namespace kerasllm
