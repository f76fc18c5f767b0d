// What the patterns ask of a character: a look into a table of bits.
#ifndef KERASLLM_TEXT_CLEANING_CHARACTERS_H_
#define KERASLLM_TEXT_CLEANING_CHARACTERS_H_

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace kerasllm::text_cleaning {

enum CharacterFlag : uint8_t {
  kWord = 1,        // Python's \w
  kDigit = 2,       // Python's \d
  kBlank = 4,       // Python's \s
  kEmoji = 8,       // kerasllm.text.cleaning.EMOJI
  kInvisible = 16,  // always, whatever stands around it
  kUnstable = 32,   // NFKC may change it, move it, or join it to what stands before it
};

class CharacterFlags {
 public:
  // The only one; made at the first call.
  static const CharacterFlags& get();
  uint8_t operator[](char32_t c) const {
    return flags_[pages_[c >> kPageBits] << kPageBits | (c & ((1 << kPageBits) - 1))];
  }

 private:
  CharacterFlags();

  static constexpr int kPageBits = 8;
  uint16_t pages_[0x110000 >> kPageBits];
  std::vector<uint8_t> flags_;  // the first page: nothing holds
};

inline bool is(char32_t c, CharacterFlag flag) { return CharacterFlags::get()[c] & flag; }

}  // namespace kerasllm::text_cleaning

#endif  // KERASLLM_TEXT_CLEANING_CHARACTERS_H_
