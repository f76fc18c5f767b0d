// Packs a trie into a double array.
#ifndef KERASLLM_JIEBA_DOUBLE_ARRAY_H_
#define KERASLLM_JIEBA_DOUBLE_ARRAY_H_

#include <cstdint>
#include <vector>

#include "jieba/dictionary.h"

namespace kerasllm::jieba {

// The trie has node 0 as its root; `parents` and `labels` say where each other one hangs, parents
// before their children. Fills `alphabet` with its characters, the most frequent first, `units`
// (but for their logarithms) and the frequencies by unit. The units of unknown and unused places
// lie in the array too: base + id of any node and any character is inside it.
void build_double_array(const std::vector<uint32_t>& parents, const std::vector<char32_t>& labels,
                        const std::vector<uint64_t>& frequencies, Alphabet* alphabet,
                        std::vector<Dictionary::Unit>* units,
                        std::vector<uint64_t>* unit_frequencies);

}  // namespace kerasllm::jieba

#endif  // KERASLLM_JIEBA_DOUBLE_ARRAY_H_
