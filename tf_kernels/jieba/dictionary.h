// jieba's dictionary, ready to cut: a trie of all words and their beginnings as a double array
// (Aoe, An Efficient Digital Search Algorithm by Using a Double-Array Structure, 1989) over
// characters, the words' frequencies, and the hidden Markov model. It does not change once made,
// so threads share it.
#ifndef KERASLLM_JIEBA_DICTIONARY_H_
#define KERASLLM_JIEBA_DICTIONARY_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "jieba/hmm.h"

namespace kerasllm::jieba {

// The ids by which the trie knows characters: 1 and up, 0 for a character that no word has.
class Alphabet {
 public:
  Alphabet() : pages_(kNumPages), ids_(kPageSize) {}
  void add(char32_t character);
  uint32_t id_of(char32_t character) const {
    const uint32_t page = character >> 8;
    return page < kNumPages ? ids_[pages_[page] * kPageSize + character % kPageSize] : 0;
  }
  const std::vector<char32_t>& characters() const { return characters_; }
  uint32_t size() const { return static_cast<uint32_t>(characters_.size()); }

 private:
  static constexpr uint32_t kPageSize = 256, kNumPages = 0x110000 / kPageSize;
  std::vector<uint16_t> pages_;  // page 0 of `ids_` is that of the pages without any character
  std::vector<uint32_t> ids_;
  std::vector<char32_t> characters_;  // by id, from 1
};

class Dictionary {
 public:
  using Node = uint32_t;
  static constexpr Node kRoot = 0, kNone = UINT32_MAX;

  // A node and the character that leads to it; `log_frequency` is negative where it is no word.
  struct Unit {
    uint32_t base;    // its child by the character with id i is unit base + i,
    uint32_t parent;  // if that unit's parent is this one
    double log_frequency;
  };

  uint32_t label(char32_t character) const { return alphabet_.id_of(character); }
  Node child(Node node, uint32_t label) const {
    const Node next = units_[node].base + label;
    return units_[next].parent == node ? next : kNone;
  }
  double log_frequency(Node node) const { return units_[node].log_frequency; }
  double log_total() const { return log_total_; }
  uint64_t total() const { return total_; }
  // 0 for what is only the beginning of a word, and for what is not there.
  uint64_t frequency(std::u32string_view word) const;

  // Words that the hidden Markov model must not make: those added with frequency 0.
  bool is_split(std::u32string_view word) const {
    return !split_words_.empty() && split_words_.count(word) > 0;
  }
  const Hmm& hmm() const { return hmm_; }
  int64_t size_bytes() const;

  // The dictionary as the content of a file: magic, version, checksum, tables. Frequencies and not
  // their logarithms, so that these are those of the mathematical library that jieba would use.
  std::string serialize() const;
  // Writes the checksum into such a content; tests damage contents behind the checksum's back.
  static void seal(std::string* content);
  // Of the content's beginning, which tells it from that of any other dictionary.
  static constexpr size_t kHeaderBytes = 48;

  // What `serialize` wrote. Where it is anything else, null, and why in `error`.
  static std::shared_ptr<const Dictionary> deserialize(std::string_view content,
                                                       std::string* error);

 private:
  friend class DictionaryBuilder;

  void take_logarithms();

  Alphabet alphabet_;
  std::vector<Unit> units_;
  std::vector<uint64_t> frequencies_;  // by unit
  uint64_t total_ = 0;
  double log_total_ = 0;
  std::set<std::u32string, std::less<>> split_words_;
  Hmm hmm_;
};

}  // namespace kerasllm::jieba

#endif  // KERASLLM_JIEBA_DICTIONARY_H_
