// jieba's algorithm as its authors' Python states it, with a map from words to frequencies, for
// tests: no trie, no state kept between calls, quadratic where it likes. It shares nothing with the
// code under test but the types of characters' classes, which the Python tests hold against `re`.
#ifndef KERASLLM_JIEBA_JIEBA_REFERENCE_H_
#define KERASLLM_JIEBA_JIEBA_REFERENCE_H_

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "jieba/characters.h"
#include "jieba/hmm.h"

namespace kerasllm::jieba {

struct Reference {
  using Words = std::vector<std::u32string>;
  std::map<std::u32string, uint64_t> frequencies;
  std::map<std::u32string, bool> split_words;
  uint64_t total = 0;
  Hmm hmm;

  void add(const std::u32string& word, uint64_t frequency, bool by_user) {
    frequencies[word] = frequency;
    total += frequency;
    for (size_t size = 1; size <= word.size(); ++size)
      frequencies.insert({word.substr(0, size), 0});
    if (by_user && frequency == 0) split_words[word] = true;
  }
  uint64_t frequency(const std::u32string& word, uint64_t otherwise = 0) const {
    const auto found = frequencies.find(word);
    return found == frequencies.end() ? otherwise : found->second;
  }

  std::vector<std::vector<size_t>> graph(const std::u32string& run) const {
    std::vector<std::vector<size_t>> ends(run.size());
    for (size_t k = 0; k < run.size(); ++k) {
      for (size_t i = k; i < run.size() && frequencies.count(run.substr(k, i - k + 1)); ++i) {
        if (frequency(run.substr(k, i - k + 1)) > 0) ends[k].push_back(i);
      }
      if (ends[k].empty()) ends[k].push_back(k);
    }
    return ends;
  }

  std::vector<size_t> route(const std::u32string& run) const {
    const auto ends = graph(run);
    std::vector<std::pair<double, size_t>> best(run.size() + 1, {0.0, 0});
    for (size_t k = run.size(); k-- > 0;) {
      best[k] = {-INFINITY, 0};
      for (const size_t x : ends[k]) {
        const uint64_t count = std::max<uint64_t>(frequency(run.substr(k, x - k + 1)), 1);
        const double score = std::log(static_cast<double>(count)) -
                             std::log(static_cast<double>(total)) + best[x + 1].first;
        best[k] = std::max(best[k], std::make_pair(score, x));
      }
    }
    std::vector<size_t> result;
    for (const auto& pair : best) result.push_back(pair.second);
    return result;
  }

  // States by letters, in which ties are broken.
  std::string states(const std::u32string& text) const {
    const std::string letters = "BEMS";
    const std::map<char, std::string> before = {{'B', "ES"}, {'M', "MB"}, {'S', "SE"}, {'E', "BM"}};
    const auto emission = [&](size_t t, char y) {
      return hmm.emission[4 * (text[t] - kFirstHan) + letters.find(y)];
    };
    std::map<char, double> v;
    std::map<char, std::string> path;
    for (const char y : letters) {
      v[y] = hmm.start[letters.find(y)] + emission(0, y);
      path[y] = y;
    }
    for (size_t t = 1; t < text.size(); ++t) {
      std::map<char, double> next_v;
      std::map<char, std::string> next_path;
      for (const char y : letters) {
        std::pair<double, char> best = {-INFINITY, 0};
        for (const char y0 : before.at(y)) {
          const double step = hmm.transition[letters.find(y0)][letters.find(y)];
          best = std::max(best, std::make_pair(v[y0] + step + emission(t, y), y0));
        }
        next_v[y] = best.first;
        next_path[y] = path[best.second] + y;
      }
      v = next_v;
      path = next_path;
    }
    return std::make_pair(v['E'], 'E') > std::make_pair(v['S'], 'S') ? path['E'] : path['S'];
  }

  void cut_unknown(const std::u32string& text, Words* words) const {
    for (size_t begin = 0, end; begin < text.size(); begin = end) {
      end = begin;
      while (end < text.size() && is_han(text[end]) == is_han(text[begin])) ++end;
      const std::u32string part = text.substr(begin, end - begin);
      if (!is_han(part[0])) {
        cut_latin(part, words);
        continue;
      }
      const std::string found = states(part);
      for (size_t first = 0, at = 0; at < part.size(); ++at) {
        if (found[at] == 'B') first = at;
        if (found[at] != 'E' && found[at] != 'S') continue;
        if (found[at] == 'S') first = at;
        const std::u32string word = part.substr(first, at + 1 - first);
        if (split_words.count(word)) {
          for (const char32_t c : word) words->emplace_back(1, c);
        } else {
          words->push_back(word);
        }
      }
    }
  }

  // ([a-zA-Z0-9]+(?:\.\d+)?%?)
  static void cut_latin(const std::u32string& text, Words* words) {
    std::u32string other;
    for (size_t at = 0; at < text.size();) {
      if (!is_latin_or_digit(text[at])) {
        other += text[at++];
        continue;
      }
      if (!other.empty()) words->push_back(std::exchange(other, {}));
      std::u32string match;
      while (at < text.size() && is_latin_or_digit(text[at])) match += text[at++];
      if (text.substr(at, 1) == U"." && at + 1 < text.size() && is_digit(text[at + 1])) {
        match += text[at++];
        while (at < text.size() && is_digit(text[at])) match += text[at++];
      }
      if (text.substr(at, 1) == U"%") match += text[at++];
      words->push_back(match);
    }
    if (!other.empty()) words->push_back(other);
  }

  Words cut_run(const std::u32string& run, bool with_hmm) const {
    const std::vector<size_t> ends = route(run);
    Words words;
    std::u32string buffer;
    const auto flush = [&] {
      if (buffer.size() == 1 || (!with_hmm && !buffer.empty())) {
        words.push_back(buffer);
      } else if (!buffer.empty() && frequency(buffer) == 0) {
        cut_unknown(buffer, &words);
      } else {
        for (const char32_t c : buffer) words.emplace_back(1, c);
      }
      buffer.clear();
    };
    for (size_t x = 0; x < run.size(); x = ends[x] + 1) {
      const std::u32string word = run.substr(x, ends[x] + 1 - x);
      if (word.size() == 1 && (with_hmm || is_latin_or_digit(word[0]))) {
        buffer += word;
      } else {
        flush();
        words.push_back(word);
      }
    }
    flush();
    return words;
  }

  Words cut_run_all(const std::u32string& run) const {
    const auto ends = graph(run);
    Words words;
    std::u32string buffer;
    bool scanning = false;
    int64_t old = -1;
    for (int64_t k = 0; k < static_cast<int64_t>(run.size()); ++k) {
      if (scanning && !is_latin_or_digit(run[k])) {
        scanning = false;
        words.push_back(buffer);
      }
      const auto& list = ends[k];
      if (list.size() == 1 && k > old) {
        const std::u32string word = run.substr(k, list[0] + 1 - k);
        if (is_latin_or_digit(word[0])) {
          buffer = scanning ? buffer + word : word;
          scanning = true;
        }
        if (!scanning) words.push_back(word);
        old = static_cast<int64_t>(list[0]);
      } else {
        for (const size_t j : list) {
          if (static_cast<int64_t>(j) <= k) continue;
          words.push_back(run.substr(k, j + 1 - k));
          old = static_cast<int64_t>(j);
        }
      }
    }
    if (scanning) words.push_back(buffer);
    return words;
  }

  // Every token, blank and empty ones too.
  Words cut(const std::u32string& text, bool all, bool with_hmm) const {
    Words words;
    for (size_t begin = 0, end; begin < text.size(); begin = end) {
      end = begin;
      while (end < text.size() && is_in_run(text[end]) == is_in_run(text[begin])) ++end;
      const std::u32string part = text.substr(begin, end - begin);
      if (is_in_run(part[0])) {
        const Words found = all ? cut_run_all(part) : cut_run(part, with_hmm);
        words.insert(words.end(), found.begin(), found.end());
        continue;
      }
      std::u32string between;
      for (size_t at = 0; at < part.size(); ++at) {
        if (!is_blank(part[at])) {
          if (all) between += part[at];
          if (!all) words.emplace_back(1, part[at]);
          continue;
        }
        if (all) words.push_back(std::exchange(between, {}));
        const size_t size = part.substr(at, 2) == U"\r\n" ? 2 : 1;
        words.push_back(part.substr(at, size));
        at += size - 1;
      }
      if (all) words.push_back(between);
    }
    return words;
  }

  Words cut_for_search(const std::u32string& text, bool with_hmm) const {
    Words words;
    for (const std::u32string& word : cut(text, false, with_hmm)) {
      for (size_t size = 2; size <= 3 && size < word.size(); ++size) {
        for (size_t at = 0; at + size <= word.size(); ++at) {
          if (frequency(word.substr(at, size)) > 0) words.push_back(word.substr(at, size));
        }
      }
      words.push_back(word);
    }
    return words;
  }

  uint64_t suggest(const std::u32string& word) const {
    double share = 1.0;
    for (const std::u32string& part : cut(word, false, false)) {
      share *= static_cast<double>(frequency(part, 1)) / static_cast<double>(total);
    }
    return std::max<uint64_t>(static_cast<uint64_t>(share * static_cast<double>(total)) + 1,
                              frequency(word, 1));
  }
};

}  // namespace kerasllm::jieba

#endif  // KERASLLM_JIEBA_JIEBA_REFERENCE_H_
