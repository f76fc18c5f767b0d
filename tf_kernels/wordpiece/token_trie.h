// The tokens of a vocabulary as a trie in two arrays (Aoe, An Efficient Digital Search Algorithm by
// Using a Double-Array Structure, 1989): a step is one addition, one load and one comparison.
#ifndef KERASLLM_WORDPIECE_TOKEN_TRIE_H_
#define KERASLLM_WORDPIECE_TOKEN_TRIE_H_

#include <cstdint>
#include <vector>

namespace kerasllm {

class TokenTrie {
 public:
  using Symbols = std::vector<uint32_t>;
  static constexpr uint32_t kNone = UINT32_MAX;
  // Two tries in one: tokens that begin a word and those that continue one.
  static constexpr uint32_t kWordStart = 0, kWordInside = 1;

  struct Entry {
    Symbols symbols;  // from 1 to num_symbols - 1; no two entries of one trie are equal
    bool inside;
    int32_t id;
  };
  TokenTrie(std::vector<Entry> entries, uint32_t num_symbols);

  // The node that `symbol` (below num_symbols; 0 is on no edge) leads to, or kNone.
  uint32_t step(uint32_t node, uint32_t symbol) const {
    const uint32_t next = nodes_[node].base + symbol;
    return nodes_[next].parent == node ? next : kNone;
  }
  // The token that ends in a node, or -1.
  int32_t id(uint32_t node) const { return nodes_[node].id; }

 private:
  struct Node {
    uint32_t base = 0, parent = kNone;
    int32_t id = -1;
  };
  uint32_t place(const Symbols& edges);

  std::vector<Node> nodes_;
  uint32_t first_free_ = 2;
};

}  // namespace kerasllm

#endif  // KERASLLM_WORDPIECE_TOKEN_TRIE_H_
