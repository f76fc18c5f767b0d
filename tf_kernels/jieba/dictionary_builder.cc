#include "jieba/dictionary_builder.h"

#include <algorithm>
#include <cmath>

#include "jieba/characters.h"
#include "jieba/double_array.h"
#include "jieba/segmentation.h"

namespace kerasllm::jieba {

DictionaryBuilder::DictionaryBuilder()
    : parents_(1, kNone), labels_(1), frequencies_(1), keys_(1024, kEmpty), nodes_(1024) {}

size_t DictionaryBuilder::place_of(uint64_t key) const {
  const size_t mask = keys_.size() - 1;
  size_t place = (key * 0x9E3779B97F4A7C15ull >> 20) & mask;
  while (keys_[place] != key && keys_[place] != kEmpty) place = (place + 1) & mask;
  return place;
}

DictionaryBuilder::Node DictionaryBuilder::child(Node node, uint32_t label) const {
  const size_t place = place_of(key(node, label));
  return keys_[place] == kEmpty ? kNone : nodes_[place];
}

void DictionaryBuilder::grow() {
  keys_.assign(2 * keys_.size(), kEmpty);
  nodes_.resize(keys_.size());
  for (Node node = 1; node < parents_.size(); ++node) {
    const size_t place = place_of(key(parents_[node], labels_[node]));
    keys_[place] = key(parents_[node], labels_[node]);
    nodes_[place] = node;
  }
}

DictionaryBuilder::Node DictionaryBuilder::child_or_new(Node node, char32_t character) {
  size_t place = place_of(key(node, character));
  if (keys_[place] != kEmpty) return nodes_[place];
  if (2 * parents_.size() > keys_.size()) {
    grow();
    place = place_of(key(node, character));
  }
  const Node made = static_cast<Node>(parents_.size());
  keys_[place] = key(node, character);
  nodes_[place] = made;
  parents_.push_back(node);
  labels_.push_back(character);
  frequencies_.push_back(0);
  return made;
}

bool DictionaryBuilder::set(std::u32string_view word, uint64_t frequency) {
  if (frequency > kLargestTotal - total_) return false;
  total_ += frequency;
  Node node = kRoot;
  for (const char32_t character : word) node = child_or_new(node, character);
  frequencies_[node] = frequency;
  return true;
}

std::string DictionaryBuilder::add_lines(std::string_view lines) {
  std::vector<char32_t> word;
  std::vector<int32_t> starts;
  for (int64_t number = 1; !lines.empty(); ++number) {
    const size_t line_size = std::min(lines.find('\n'), lines.size());
    std::string_view line = lines.substr(0, line_size);
    lines.remove_prefix(std::min(line_size + 1, lines.size()));
    const std::string where = "line " + std::to_string(number) + " of the dictionary ";
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    const size_t word_size = line.find(' ');
    if (word_size == 0 || word_size == std::string_view::npos) {
      return where + "should be a word, a blank and its frequency";
    }
    decode_utf8(line.data(), static_cast<int64_t>(word_size), &word, &starts);
    if (std::find(word.begin(), word.end(), kReplacement) != word.end()) {
      return where + "is not UTF-8";
    }
    line.remove_prefix(word_size + 1);
    line = line.substr(0, line.find(' '));
    uint64_t frequency = 0;
    for (const char c : line) {
      if (c < '0' || c > '9' || frequency > kLargestTotal / 16) {
        return where + "has a frequency that is no whole number, or too large";
      }
      frequency = 10 * frequency + (c - '0');
    }
    if (line.empty()) return where + "has no frequency";
    if (!set({word.data(), word.size()}, frequency)) {
      return where + "makes the sum of all frequencies too large";
    }
  }
  return "";
}

bool DictionaryBuilder::add_word(std::u32string_view word, uint64_t frequency) {
  const auto is_none = [](char32_t character) { return character > kLastCharacter; };
  if (std::any_of(word.begin(), word.end(), is_none) || !set(word, frequency)) return false;
  if (frequency == 0) split_words_.emplace(word);
  return true;
}

double DictionaryBuilder::log_frequency(Node node) const {
  const uint64_t frequency = frequencies_[node];
  return frequency == 0 ? -1.0 : std::log(static_cast<double>(frequency));
}

double DictionaryBuilder::log_total() const { return std::log(static_cast<double>(total_)); }

uint64_t DictionaryBuilder::frequency(std::u32string_view word) const {
  Node node = kRoot;
  for (const char32_t character : word) {
    node = child(node, character);
    if (node == kNone) return 0;
  }
  return frequencies_[node];
}

// jieba multiplies the shares of the words that the word is cut into so far (without the hidden
// Markov model) and takes the frequency that is just above. Its `FREQ.get(word, 1)` is 1 for what
// is no node, and 0 for what is only the beginning of a word.
uint64_t DictionaryBuilder::suggest_frequency(std::u32string_view word) const {
  const double total = static_cast<double>(total_);
  const auto frequency_or_1 = [&](std::u32string_view part) -> uint64_t {
    Node node = kRoot;
    for (const char32_t character : part) {
      node = child(node, character);
      if (node == kNone) return 1;
    }
    return frequencies_[node];
  };
  double share = 1.0;
  const auto multiply = [&](size_t begin, size_t end) {
    share *= static_cast<double>(frequency_or_1(word.substr(begin, end - begin))) / total;
  };
  std::vector<uint32_t> labels(word.begin(), word.end());
  std::vector<double> scores(word.size() + 1);
  std::vector<int32_t> ends(word.size() + 1);
  for (size_t begin = 0; begin < word.size();) {
    size_t end = begin;
    while (end < word.size() && is_in_run(word[end])) ++end;
    if (end == begin) {  // "\r\n" is one token, any other character outside a run is one too
      end += word.substr(begin, 2) == U"\r\n" ? 2 : 1;
      multiply(begin, end);
      begin = end;
      continue;
    }
    find_route(*this, labels.data() + begin, static_cast<int64_t>(end - begin), scores.data(),
               ends.data());
    for_each_word_of_route(
        word.data() + begin, static_cast<int64_t>(end - begin), ends.data(),
        [&](int64_t first, int64_t last) { multiply(begin + first, begin + last); });
    begin = end;
  }
  const uint64_t least = static_cast<uint64_t>(share * total) + 1;
  return std::max(least, frequency_or_1(word));
}

std::shared_ptr<const Dictionary> DictionaryBuilder::build(const Hmm& hmm) {
  // A quarter of the memory, and not needed any more.
  std::vector<uint64_t>().swap(keys_);
  std::vector<Node>().swap(nodes_);
  auto dictionary = std::make_shared<Dictionary>();
  build_double_array(parents_, labels_, frequencies_, &dictionary->alphabet_, &dictionary->units_,
                     &dictionary->frequencies_);
  dictionary->total_ = total_;
  dictionary->split_words_ = split_words_;
  dictionary->hmm_ = hmm;
  dictionary->take_logarithms();
  return dictionary;
}

}  // namespace kerasllm::jieba
