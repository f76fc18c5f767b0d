// jieba's dictionary while words are added to it: what its `FREQ` and `total` hold, and the rules
// by which `add_word` and `suggest_freq` change them.
#ifndef KERASLLM_JIEBA_DICTIONARY_BUILDER_H_
#define KERASLLM_JIEBA_DICTIONARY_BUILDER_H_

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "jieba/dictionary.h"

namespace kerasllm::jieba {

class DictionaryBuilder {
 public:
  using Node = uint32_t;
  static constexpr Node kRoot = 0, kNone = UINT32_MAX;
  // Frequencies and their total stay exact as int64.
  static constexpr uint64_t kLargestTotal = INT64_MAX;

  DictionaryBuilder();

  // Reads a main dictionary, on each line a word, its frequency and whatever follows, separated by
  // single blanks (UTF-8). A word that comes twice has its last frequency, and both are part of the
  // total. Returns what is wrong with it, or "".
  std::string add_lines(std::string_view lines);

  // jieba's add_word; with frequency 0 its del_word. False where the total would grow too large,
  // or a character is none of Unicode.
  bool add_word(std::u32string_view word, uint64_t frequency);
  // jieba's suggest_freq of a word that should be one: the least frequency that makes it so.
  uint64_t suggest_frequency(std::u32string_view word) const;

  uint64_t frequency(std::u32string_view word) const;
  uint64_t total() const { return total_; }

  // The dictionary to cut with. There must be a word in it. The builder is of no use afterwards.
  std::shared_ptr<const Dictionary> build(const Hmm& hmm);

  // What a cut asks (see segmentation.h); labels are the characters themselves.
  uint32_t label(char32_t character) const { return character; }
  Node child(Node node, uint32_t label) const;
  double log_frequency(Node node) const;
  double log_total() const;

 private:
  static constexpr uint64_t kEmpty = UINT64_MAX;

  uint64_t key(Node node, uint32_t label) const { return uint64_t{node} << 21 | label; }
  // The place of a key in the table, or the free one where it would be.
  size_t place_of(uint64_t key) const;
  Node child_or_new(Node node, char32_t character);
  bool set(std::u32string_view word, uint64_t frequency);
  void grow();

  // By node; children come after their parents.
  std::vector<Node> parents_;
  std::vector<char32_t> labels_;
  std::vector<uint64_t> frequencies_;
  // An open-addressed hash table from (node, label) to node.
  std::vector<uint64_t> keys_;
  std::vector<Node> nodes_;
  uint64_t total_ = 0;
  std::set<std::u32string, std::less<>> split_words_;
};

}  // namespace kerasllm::jieba

#endif  // KERASLLM_JIEBA_DICTIONARY_BUILDER_H_
