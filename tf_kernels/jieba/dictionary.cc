#include "jieba/dictionary.h"

#include <cmath>

namespace kerasllm::jieba {

void Alphabet::add(char32_t character) {
  uint16_t& page = pages_[character / kPageSize];
  if (page == 0) {
    page = static_cast<uint16_t>(ids_.size() / kPageSize);
    ids_.resize(ids_.size() + kPageSize);
  }
  characters_.push_back(character);
  ids_[page * kPageSize + character % kPageSize] = size();
}

uint64_t Dictionary::frequency(std::u32string_view word) const {
  Node node = kRoot;
  for (const char32_t character : word) {
    node = child(node, label(character));
    if (node == kNone) return 0;
  }
  return frequencies_[node];
}

int64_t Dictionary::size_bytes() const {
  return static_cast<int64_t>(units_.size() * (sizeof(Unit) + sizeof(uint64_t)) +
                              hmm_.emission.size() * sizeof(double));
}

void Dictionary::take_logarithms() {
  for (size_t i = 0; i < units_.size(); ++i) {
    const uint64_t frequency = frequencies_[i];
    units_[i].log_frequency = frequency == 0 ? -1.0 : std::log(static_cast<double>(frequency));
  }
  log_total_ = std::log(static_cast<double>(total_));
}

}  // namespace kerasllm::jieba
