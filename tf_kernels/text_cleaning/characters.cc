#include "text_cleaning/characters.h"

#include "text_cleaning/tables.h"

namespace kerasllm::text_cleaning {

const CharacterFlags& CharacterFlags::get() {
  static const CharacterFlags& flags = *new CharacterFlags;
  return flags;
}

CharacterFlags::CharacterFlags() : pages_{}, flags_(1 << kPageBits, 0) {
  const std::pair<CharacterFlag, const Table<Range>*> tables[] = {
      {kWord, &kWordRanges},   {kDigit, &kDigitRanges},         {kBlank, &kBlankRanges},
      {kEmoji, &kEmojiRanges}, {kInvisible, &kInvisibleRanges}, {kUnstable, &kUnstableRanges},
  };
  for (const auto& [flag, ranges] : tables) {
    for (const Range& range : *ranges) {
      for (char32_t c = range.first; c <= range.last; ++c) {
        uint16_t& page = pages_[c >> kPageBits];
        if (page == 0) {
          page = static_cast<uint16_t>(flags_.size() >> kPageBits);
          flags_.resize(flags_.size() + (1 << kPageBits), 0);
        }
        flags_[static_cast<size_t>(page) << kPageBits | (c & ((1 << kPageBits) - 1))] |= flag;
      }
    }
  }
}

}  // namespace kerasllm::text_cleaning
