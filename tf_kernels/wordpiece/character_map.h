// Everything that happens to a code point between the text and the trie, worked out beforehand: one
// load says whether it is dropped, ends a word, is a word of its own or a symbol of one.
#ifndef KERASLLM_WORDPIECE_CHARACTER_MAP_H_
#define KERASLLM_WORDPIECE_CHARACTER_MAP_H_

#include <cstdint>
#include <unordered_map>
#include <vector>

namespace kerasllm {

struct CharacterAction {
  enum Kind : uint32_t {
    kSymbol,   // value: the character's symbol in the trie, 0 if the vocabulary lacks it
    kWord,     // value: the id of the token that a character is all by itself
    kSpace,    // ends a word
    kDropped,  // leaves no trace
    kExpands,  // value: where the actions of its parts begin
    kReorders  // may change places with its neighbours: the text is to be normalised as a whole
  };
  uint32_t bits;

  static CharacterAction make(Kind kind, uint32_t value) { return {value << 4 | kind}; }
  Kind kind() const { return static_cast<Kind>(bits & 7); }
  bool may_begin_special_token() const { return (bits & 8) != 0; }
  uint32_t value() const { return bits >> 4; }
};

struct CharacterMapOptions {
  bool lowercase, strip_accents, split_cjk;
};

class CharacterMap {
 public:
  // `symbols`: the characters of the vocabulary; `ids`: those that are a token.
  CharacterMap(const CharacterMapOptions& options,
               const std::unordered_map<uint32_t, uint32_t>& symbols,
               const std::unordered_map<uint32_t, int32_t>& ids, int32_t unknown_id);

  CharacterAction operator[](uint32_t code) const {
    return actions_[pages_[code >> kPageBits] + (code & (kPageSize - 1))];
  }
  // The parts of an action that expands: *count of them.
  const CharacterAction* parts(CharacterAction action, uint32_t* count) const {
    *count = parts_[action.value()].bits;
    return &parts_[action.value() + 1];
  }
  // What a character does that has been normalised already: it is a symbol or a word.
  CharacterAction normalized(uint32_t code) const;

  void mark_special(uint32_t code) { at(code).bits |= 8; }

 private:
  static constexpr int kPageBits = 8;
  static constexpr uint32_t kPageSize = 1 << kPageBits;

  CharacterAction& at(uint32_t code);
  CharacterAction word(uint32_t code) const;
  CharacterAction normalized_action(uint32_t code, const CharacterMapOptions& options);

  std::unordered_map<uint32_t, uint32_t> symbols_;
  std::unordered_map<uint32_t, int32_t> ids_;
  int32_t unknown_id_;
  std::vector<uint32_t> pages_;           // where the page of each 256 code points begins
  std::vector<CharacterAction> actions_;  // the first page: characters that no token has
  std::vector<CharacterAction> parts_;
};

}  // namespace kerasllm

#endif  // KERASLLM_WORDPIECE_CHARACTER_MAP_H_
