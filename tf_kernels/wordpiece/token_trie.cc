#include "wordpiece/token_trie.h"

#include <algorithm>
#include <tuple>

namespace kerasllm {

TokenTrie::TokenTrie(std::vector<Entry> entries, uint32_t num_symbols) {
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.inside, a.symbols) < std::tie(b.inside, b.symbols);
  });
  nodes_.resize(2);
  // A node is a range of the sorted entries that share their first `depth` symbols.
  struct Range {
    size_t begin, end, depth;
    uint32_t node;
  };
  const auto first_inside = std::partition_point(entries.begin(), entries.end(),
                                                 [](const Entry& e) { return !e.inside; });
  const size_t middle = static_cast<size_t>(first_inside - entries.begin());
  std::vector<Range> waiting = {{0, middle, 0, kWordStart},
                                {middle, entries.size(), 0, kWordInside}};
  Symbols edges;
  std::vector<size_t> bounds;
  for (size_t i = 0; i < waiting.size(); ++i) {
    auto [begin, end, depth, node] = waiting[i];
    if (begin < end && entries[begin].symbols.size() == depth)
      nodes_[node].id = entries[begin++].id;
    edges.clear();
    bounds.clear();
    for (size_t j = begin; j < end; ++j) {
      const uint32_t symbol = entries[j].symbols[depth];
      if (edges.empty() || edges.back() != symbol) {
        edges.push_back(symbol);
        bounds.push_back(j);
      }
    }
    if (edges.empty()) continue;
    bounds.push_back(end);
    const uint32_t base = place(edges);
    nodes_[node].base = base;
    for (size_t j = 0; j < edges.size(); ++j) {
      nodes_[base + edges[j]].parent = node;
      waiting.push_back({bounds[j], bounds[j + 1], depth + 1, base + edges[j]});
    }
  }
  nodes_.resize(nodes_.size() + num_symbols);  // so that no step leaves the array
}

// Where a node's edges all fall on free places.
uint32_t TokenTrie::place(const Symbols& edges) {
  constexpr int kMostTries = 1000;  // then it goes to the end: some room for time
  const auto is_free = [&](uint32_t at) {
    return at >= nodes_.size() || (at > kWordInside && nodes_[at].parent == kNone);
  };
  while (!is_free(first_free_)) ++first_free_;
  uint32_t at = std::max(first_free_, edges.front());
  for (int tries = 0; at < nodes_.size(); ++at, ++tries) {
    if (tries == kMostTries) at = static_cast<uint32_t>(nodes_.size());
    const uint32_t base = at - edges.front();
    if (std::all_of(edges.begin(), edges.end(), [&](uint32_t e) { return is_free(base + e); }))
      break;
  }
  const uint32_t base = at - edges.front();
  if (base + edges.back() >= nodes_.size()) nodes_.resize(base + edges.back() + 1);
  return base;
}

}  // namespace kerasllm
