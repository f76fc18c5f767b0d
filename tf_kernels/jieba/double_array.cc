#include "jieba/double_array.h"

#include <algorithm>
#include <numeric>
#include <unordered_map>

namespace kerasllm::jieba {
namespace {

// Which units are taken.
class Places {
 public:
  bool taken(uint64_t place) const {
    return place / 64 < bits_.size() && bits_[place / 64] >> (place % 64) & 1;
  }
  void take(uint64_t place) {
    if (place / 64 >= bits_.size()) bits_.resize(2 * (place / 64) + 1);
    bits_[place / 64] |= uint64_t{1} << (place % 64);
  }
  uint64_t next_free(uint64_t place) const {
    for (; place / 64 < bits_.size(); place = (place / 64 + 1) * 64) {
      const uint64_t free = ~bits_[place / 64] >> (place % 64);
      if (free != 0) return place + __builtin_ctzll(free);
    }
    return place;
  }

 private:
  std::vector<uint64_t> bits_;
};

// The children of each node, behind one another; those of node n begin at `begins[n]`.
struct Children {
  std::vector<uint32_t> begins, nodes;

  explicit Children(const std::vector<uint32_t>& parents)
      : begins(parents.size() + 1), nodes(parents.size() - 1) {
    for (size_t node = 1; node < parents.size(); ++node) ++begins[parents[node] + 1];
    std::partial_sum(begins.begin(), begins.end(), begins.begin());
    std::vector<uint32_t> next(begins.begin(), begins.end() - 1);
    for (size_t node = 1; node < parents.size(); ++node) {
      nodes[next[parents[node]]++] = static_cast<uint32_t>(node);
    }
  }
  uint32_t count(uint32_t node) const { return begins[node + 1] - begins[node]; }
};

// Frequent characters get the small ids, so that what is asked for most lies close together.
void number_characters(const std::vector<char32_t>& labels, Alphabet* alphabet) {
  std::unordered_map<char32_t, uint32_t> counts;
  for (size_t node = 1; node < labels.size(); ++node) ++counts[labels[node]];
  std::vector<std::pair<char32_t, uint32_t>> sorted(counts.begin(), counts.end());
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  });
  for (const auto& [character, count] : sorted) alphabet->add(character);
}

}  // namespace

void build_double_array(const std::vector<uint32_t>& parents, const std::vector<char32_t>& labels,
                        const std::vector<uint64_t>& frequencies, Alphabet* alphabet,
                        std::vector<Dictionary::Unit>* units,
                        std::vector<uint64_t>* unit_frequencies) {
  number_characters(labels, alphabet);
  const uint64_t num_ids = alphabet->size() + 1;
  std::vector<uint32_t> ids(labels.size());
  for (size_t node = 1; node < labels.size(); ++node) ids[node] = alphabet->id_of(labels[node]);
  const Children children(parents);

  // Nodes with many children first, while there is room for any pattern; the many with one child
  // then fill the holes.
  std::vector<uint32_t> order(parents.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin() + 1, order.end(),
                   [&](uint32_t a, uint32_t b) { return children.count(a) > children.count(b); });

  // The root's base is 0, so that unit i is the node of the character with id i alone.
  Places places;
  for (uint64_t place = 0; place < num_ids; ++place) places.take(place);
  // A childless node keeps base 0: what is looked for there in vain is the unit of the next
  // character alone, which the next walk wants anyway.
  std::vector<uint32_t> bases(parents.size()), unit_of(parents.size());
  constexpr int kMostTries = 32;
  uint64_t cursor = num_ids, last_unit = num_ids - 1;
  uint32_t count_before = UINT32_MAX;
  std::vector<uint32_t> pattern;
  for (const uint32_t node : order) {
    const uint32_t count = children.count(node);
    if (count == 0) continue;
    const uint32_t* const first = children.nodes.data() + children.begins[node];
    pattern.clear();
    for (uint32_t i = 0; i < count; ++i) pattern.push_back(ids[first[i]]);
    std::sort(pattern.begin(), pattern.end());
    uint64_t base = 0;
    if (node != Dictionary::kRoot) {
      // Half the children, and the holes may serve again.
      if (count <= count_before / 2) {
        cursor = num_ids;
        count_before = count;
      }
      const auto fits = [&](uint64_t at) {
        return std::none_of(pattern.begin() + 1, pattern.end(),
                            [&](uint32_t id) { return places.taken(at + id); });
      };
      uint64_t place = places.next_free(cursor);
      int tries = 1;
      for (; !fits(place - pattern[0]); ++tries) place = places.next_free(place + 1);
      if (tries > kMostTries || count == 1) cursor = place;
      base = place - pattern[0];
      for (const uint32_t id : pattern) places.take(base + id);
      last_unit = std::max(last_unit, base + pattern.back());
    }
    bases[node] = static_cast<uint32_t>(base);
    for (uint32_t i = 0; i < count; ++i) {
      unit_of[first[i]] = static_cast<uint32_t>(base + ids[first[i]]);
    }
  }

  units->assign(last_unit + num_ids, {0, Dictionary::kNone, -1.0});
  unit_frequencies->assign(units->size(), 0);
  for (size_t node = 0; node < parents.size(); ++node) {
    Dictionary::Unit& unit = (*units)[unit_of[node]];
    unit.base = bases[node];
    if (node > 0) unit.parent = unit_of[parents[node]];
    (*unit_frequencies)[unit_of[node]] = frequencies[node];
  }
}

}  // namespace kerasllm::jieba
